"""Check what `tso3dask demo` left in a folder: every product, readable, whole, with its rows."""

import sys
from pathlib import Path

from astropy.io import fits
from astropy.table import QTable
from stdatamodels.jwst import datamodels


def one(folder: Path, pattern: str) -> Path:
    """Return the one file of a folder that fits a pattern."""
    (path,) = folder.glob(pattern)
    return path


def main(root: Path, nints: int) -> None:
    """Check the products of an imaging and a spectroscopic demonstration."""
    imaging, spectra = root / "nrc_tsimage/products", root / "mir_lrs-slitless/products"
    for folder, model_type in ((imaging, "CubeModel"), (spectra, "SlitModel")):
        flagged = 0
        members = sorted(folder.glob("*_crfints.fits"))
        for path in members:
            with datamodels.open(path) as model:
                model.validate()
                assert type(model).__name__ == model_type, (path, model)
                assert model.meta.cal_step.outlier_detection == "COMPLETE", path
            flagged += int((fits.getdata(path, "DQ") & 16 > 0).sum())
        assert len(members) == 2 and flagged > 0, (folder, flagged)
        assert one(folder, "*_quicklook.png").stat().st_size > 20_000, folder
        assert not list(folder.glob(".*")), folder

    phot = QTable.read(one(imaging, "*_phot.ecsv"), format="ascii.ecsv")
    assert len(phot) == nints and (phot["net_aperture_sum"].value > 0).all(), phot
    with datamodels.open(one(spectra, "*_x1dints.fits")) as model:
        model.validate()
        assert type(model).__name__ == "TSOMultiSpecModel", model
        assert sum(len(spec.spec_table) for spec in model.spec) == nints, model
    white = QTable.read(one(spectra, "*_whtlt.ecsv"), format="ascii.ecsv")
    assert len(white) == nints and (white["whitelight_flux"].value > 0).all(), white
    print(f"demo: all products of {nints} integrations are there")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
