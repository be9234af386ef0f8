"""The dask graphs that join files (`tso3dask.io`) and kernels (`tso3dask.ops`)."""
