"""Names of products, as the ``jwst`` pipeline gives them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePath

from tso3dask.errors import InputError

__all__ = [
    "ENDINGS",
    "ProductNames",
    "crfints_name",
    "default_product_name",
    "product_file",
    "product_names",
    "split_suffix",
]

# Endings that count as a suffix: those of products, and the names of pipeline steps, which are
# also recognised with "step" or "pipeline" behind them and without underscores.
_PRODUCT_ENDINGS = """
    ami ami-oi aminorm aminorm-oi blot bsub bsubints c1d cal calints cat crf crfints dark i2d mbsub
    median phot psfalign psfstack psfsub ramp rate rateints s2d s3d snr uncal wfscmb whtlt x1d
    x1dints engdblog guider_cds bkg_subtract hlsp spec2nrslamp
""".split()  # noqa: SIM905
_STEP_ENDINGS = """
    adaptive_trace_model align_refs ami_analyze ami_normalize assign_mtwcs assign_wcs
    clean_flicker_noise combine_1d cube_build dark_current dq_init emicorr extract_1d extract_2d
    firstframe flat_field fringe gain_scale group_scale imprint ipc jump klip lastframe linearity
    master_background outlier_detection pathloss persistence photom picture_frame ramp_fit refpix
    resample resample_spec reset residual_fringe rscd saturation skymatch source_catalog
    spectral_leak srctype stackrefs straylight superbias targ_centroid tweakreg white_light
    wfscombine
""".split()  # noqa: SIM905
_STEP_NAMES = """
    adaptivetracemodel alignrefs amianalyze aminormalize assignmtwcs assignwcs background
    badpixselfcal barshadow chargemigration cleanflickernoise combine1d cubebuild
    darkcurrent dqinit emicorr
    extract1d extract2d firstframe flatfield fringe gainscale groupscale guidercds hlsp imprint ipc
    jump klip lastframe linearity masterbackground masterbackgroundmos msaflagopen outlierdetection
    pathloss persistence photom pictureframe pixelreplace rampfit refpix resample resamplespec reset
    residualfringe rscd saturation skymatch sourcecatalog sourcetype spectralleak stackrefs
    straylight superbias targcentroid tsophotometry tweakreg wavecorr wfscombine wfsscontam
    whitelight
""".split()  # noqa: SIM905
_PIPELINES = "ami3 coron3 dark detector1 guider image2 image3 spec2 spec3 tso3".split()  # noqa: SIM905

ENDINGS = sorted(
    {
        *_PRODUCT_ENDINGS,
        *_STEP_ENDINGS,
        *(f"{name}step" for name in _STEP_NAMES),
        *(f"{name}pipeline" for name in _PIPELINES),
    }
)
"""Every ending of a file name, behind ``_`` or ``-``, that a product's suffix replaces."""

_NAME = re.compile(rf"^(?P<root>.+?)((?P<separator>_|-)({'|'.join(map(re.escape, ENDINGS))}))?$")


def split_suffix(stem: str) -> tuple[str, str]:
    """Return `stem` without a known suffix, and the separator that stood before it, else ``_``."""
    match = _NAME.match(stem)
    if match is None:
        return stem, "_"
    return match["root"], match["separator"] or "_"


def product_file(
    name: str, suffix: str, extension: str, asn_id: str | None = None, index: int | None = None
) -> str:
    """Return the file name of a product.

    Parameters
    ----------
    name : str
        Product name of an association, or the file name of a member. Folders in it are dropped,
        and so is what follows its last dot; a known suffix at its end is replaced.
    suffix, extension : str
        As in ``"x1dints"``, ``"fits"``.
    asn_id : str, optional
        Put before the suffix.
    index : int, optional
        Put after that, where several files would have one name.
    """
    stem = PurePath(PurePath(name.replace("\\", "/")).name).stem
    root, separator = split_suffix(stem)
    middle = "".join(f"_{part}" for part in (asn_id, index) if part is not None)
    return f"{root}{middle}{separator}{suffix}.{extension}"


def crfints_name(member: str, asn_id: str | None) -> str:
    """Return the file name of the crfints product of a member, given the member's file name."""
    if asn_id is not None:
        member = member.replace(f"_{asn_id}", "")
    return product_file(member, "crfints", "fits", asn_id)


def default_product_name(member: str) -> str:
    """Return the product name of a plain list of files: the first one's without its suffix."""
    stem = PurePath(member).name.split(".")[0]
    return stem.rpartition("_")[0] or stem


@dataclass(frozen=True)
class ProductNames:
    """File names, without folder, of everything that a run may write.

    ``crfints`` has one name per member, in member order.
    """

    crfints: tuple[str, ...]
    phot: str
    x1dints: str
    whtlt: str
    quicklook: str
    speclc: str
    regressors: str
    light_curves: str

    @property
    def stem(self) -> str:
        """Beginning of the names of all tables and figures."""
        return self.phot.removesuffix("_phot.ecsv")


def product_names(
    name: str,
    members: tuple[Path, ...],
    asn_id: str | None = None,
    output_dir: Path | None = None,
) -> ProductNames:
    """Return the names of all products of an association.

    Parameters
    ----------
    name : str
        The product name.
    members : tuple of Path
        The member files.
    asn_id : str, optional
        Identifier of the association, as ``o001`` or ``a3001``.
    output_dir : Path, optional
        Where the products will be; given, no product may replace a member.

    Raises
    ------
    InputError
        If two members lead to one crfints name, or a product would replace a member.
    """
    owner: dict[str, Path] = {}
    for member in members:
        product = crfints_name(member.name, asn_id)
        if product in owner:
            raise InputError(
                f"{owner[product]} and {member} would both become {product}; rename one of them"
            )
        owner[product] = member
    names = ProductNames(
        crfints=tuple(owner),
        phot=product_file(name, "phot", "ecsv"),
        x1dints=product_file(name, "x1dints", "fits"),
        whtlt=product_file(name, "whtlt", "ecsv"),
        quicklook=product_file(name, "quicklook", "png"),
        speclc=product_file(name, "speclc", "ecsv"),
        regressors=product_file(name, "regressors", "ecsv"),
        light_curves=product_file(name, "lightcurves", "png"),
    )
    if output_dir is not None:
        products = {*names.crfints, names.phot, names.x1dints, names.whtlt}
        folder = output_dir.resolve()
        for member in members:
            if member.name in products and member.resolve().parent == folder:
                raise InputError(
                    f"the product {member.name} would replace the input {member}; "
                    "choose another output folder"
                )
    return names
