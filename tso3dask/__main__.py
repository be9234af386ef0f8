"""``python -m tso3dask``."""

from tso3dask.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
