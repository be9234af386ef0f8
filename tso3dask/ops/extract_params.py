"""The parameters of a 1-D extraction: reference aperture and user choices brought together.

An EXTRACT1D reference is a JSON dictionary with a list of ``apertures``; each has an ``id`` (a
slit or exposure type name), perhaps a ``spectral_order``, limits in pixels or polynomials, and
background settings. What a user asks for goes before the reference, and the reference before
the defaults of the mode. Rules: JWST documentation of the extract_1d step and of its reference
file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import InputError

__all__ = ["HORIZONTAL", "VERTICAL", "ExtractParams", "Resolution", "resolve_parameters"]

HORIZONTAL = 1
VERTICAL = 2
ANY = "ANY"
SOURCE_POSITION_TYPES = frozenset(
    {"MIR_LRS-FIXEDSLIT", "NRS_FIXEDSLIT", "NRS_MSASPEC", "NRS_BRIGHTOBJ"}
)

Coefficients = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class ExtractParams:
    """How to extract one spectrum; pixel limits are 0-based and inclusive.

    Attributes
    ----------
    dispaxis : int
        1 when wavelength runs along x, 2 along y.
    spectral_order : int
        Order of the spectrum.
    xstart, xstop, ystart, ystop : float
        Limits of the aperture along both axes.
    extract_width : float or None
        Width across the dispersion; goes before the limits across.
    src_coeff, bkg_coeff : tuple of tuple of float, or None
        Lower and upper limit polynomials in turn (constant first) of source and background.
    independent_var : str
        ``"pixel"`` or ``"wavelength"``: what the polynomials are functions of.
    subtract_background : bool
        Whether a background is taken away (it also needs ``bkg_coeff`` or ``bkg_regions``).
    bkg_fit : {"poly", "median"} or None
        How the background of each column is made.
    bkg_order : int
        Order of its polynomial.
    smoothing_length : int
        Odd boxcar length along dispersion for the background, 0 for none.
    use_source_posn : bool
        Whether the aperture moves to the expected place of the source.
    position_offset : float
        Further shift across the dispersion, pixels.
    extraction_type : {"box", "optimal", "horne"}
        Kind of extraction.
    bkg_regions : tuple of float or None
        Lower and upper edges in turn of background regions, pixels from the trace; go before
        `bkg_coeff`.
    bkg_clip : float or None
        Limit of the clipping of background pixels, in sigma.
    """

    dispaxis: int
    spectral_order: int
    xstart: float
    xstop: float
    ystart: float
    ystop: float
    extract_width: float | None = None
    src_coeff: Coefficients | None = None
    bkg_coeff: Coefficients | None = None
    independent_var: str = "pixel"
    subtract_background: bool = False
    bkg_fit: str | None = None
    bkg_order: int = 0
    smoothing_length: int = 0
    use_source_posn: bool = False
    position_offset: float = 0.0
    extraction_type: str = "box"
    bkg_regions: tuple[float, ...] | None = None
    bkg_clip: float | None = None

    @property
    def fits_background(self) -> bool:
        """Whether this extraction takes a background away."""
        regions = self.bkg_coeff is not None or self.bkg_regions is not None
        return self.subtract_background and regions


@dataclass(frozen=True)
class Resolution:
    """Outcome of `resolve_parameters`.

    ``params`` is None when the spectrum cannot be extracted (an order that the reference does
    not list, or no dispersion direction); ``notes`` then says why. Other notes are warnings.
    """

    params: ExtractParams | None
    notes: tuple[str, ...] = ()


def resolve_parameters(
    reference: Mapping[str, Any] | None,
    *,
    shape: tuple[int, int],
    dispaxis: int | None,
    slit_name: str | None,
    spectral_order: int | None,
    exp_type: str,
    source_type: str | None = None,
    extraction_type: str | None = "box",
    psf_available: bool = False,
    subtract_background: bool | None = None,
    bkg_fit: str | None = None,
    bkg_order: int | None = None,
    smoothing_length: float | None = None,
    use_source_posn: bool | None = None,
    position_offset: float | None = 0.0,
    bkg_regions: tuple[float, ...] | None = None,
    bkg_clip: float | None = None,
) -> Resolution:
    """Settle the parameters of one spectrum's extraction.

    Parameters
    ----------
    reference : mapping or None
        Content of the EXTRACT1D reference; None for "N/A", which means the whole array, box
        extraction, no background and no shift, whatever else is asked for.
    shape : tuple of int
        ``(y, x)`` shape of the image.
    dispaxis : int or None
        Dispersion direction of the data (header DISPAXIS), 1 or 2.
    slit_name : str or None
        Name to look up among the apertures: the slit of NIRSpec bright objects, else EXP_TYPE.
        None and ``"ANY"`` match the first aperture.
    spectral_order : int or None
        Order of the spectrum; None counts as 1.
    exp_type : str
        EXP_TYPE of the exposure.
    source_type : str or None
        SRCTYPE; a source that is not ``"POINT"`` is not shifted unless the user asks for it.
    extraction_type : str or None
        ``"box"``, ``"optimal"`` or None (optimal when the source position is used).
    psf_available : bool
        Whether a PSF reference is there; without one the extraction is a box.
    subtract_background, bkg_fit, bkg_order, smoothing_length, use_source_posn
        The user's choices; None leaves each to the reference.
    position_offset : float or None
        Shift across the dispersion, pixels.
    bkg_regions, bkg_clip
        Regions that go before the reference's, also without a reference, and clipping in them.

    Returns
    -------
    Resolution
        Parameters and notes.

    Raises
    ------
    InputError
        When no aperture is named for this slit, or the reference makes no sense.
    """
    notes: list[str] = []
    if spectral_order is None:
        spectral_order = 1
        notes.append("the spectral order of the data is not given; order 1 is assumed")
    if dispaxis not in (HORIZONTAL, VERTICAL):
        notes.append("the dispersion direction of the data is not given: no spectrum is extracted")
        return Resolution(None, tuple(notes))
    ny, nx = int(shape[-2]), int(shape[-1])
    if reference is None:
        whole = ExtractParams(dispaxis, spectral_order, 0, nx - 1, 0, ny - 1)
        if extraction_type not in ("box", "horne"):
            notes.append("without an extract1d reference the extraction is a box")
        elif extraction_type == "horne":
            whole = replace(whole, extraction_type="horne")
        if subtract_background is not False and bkg_regions is not None:
            length = _smoothing_length(smoothing_length or 0, notes)
            whole = _with_regions(whole, bkg_fit, bkg_order, length, bkg_regions, bkg_clip)
        return Resolution(whole, tuple(notes))

    aperture = _match_aperture(reference, slit_name, spectral_order)
    if aperture is None:
        notes.append(
            f"the extract1d reference has no aperture for order {spectral_order} of "
            f"{slit_name!r}: no spectrum is extracted"
        )
        return Resolution(None, tuple(notes))

    bkg_coeff = _coefficients(aperture, "bkg_coeff")
    if subtract_background is None:
        subtract_background = bkg_coeff is not None or bkg_regions is not None
    fit, order = _background_fit(aperture, subtract_background, bkg_fit, bkg_order)
    if use_source_posn is None:
        use_source_posn = source_type == "POINT" and bool(
            _get(aperture, "use_source_posn", exp_type in SOURCE_POSITION_TYPES)
        )

    if smoothing_length is None:
        smoothing_length = _get(aperture, "smoothing_length", 0)
    kind = _kind(extraction_type, psf_available, bool(use_source_posn), notes)
    if subtract_background and (kind == "optimal" or bkg_coeff or bkg_regions):
        _check_fit("poly" if kind == "optimal" else fit, order)

    params = ExtractParams(
        dispaxis=dispaxis,
        spectral_order=spectral_order,
        xstart=_get(aperture, "xstart", 0),
        xstop=_get(aperture, "xstop", nx - 1),
        ystart=_get(aperture, "ystart", 0),
        ystop=_get(aperture, "ystop", ny - 1),
        extract_width=aperture.get("extract_width"),
        src_coeff=_coefficients(aperture, "src_coeff"),
        bkg_coeff=bkg_coeff,
        independent_var=str(_get(aperture, "independent_var", "pixel")).lower(),
        subtract_background=bool(subtract_background),
        bkg_fit=fit,
        bkg_order=int(order),
        smoothing_length=_smoothing_length(smoothing_length or 0, notes),
        use_source_posn=bool(use_source_posn),
        position_offset=float(position_offset or 0.0),
        extraction_type=kind,
        bkg_regions=bkg_regions,
        bkg_clip=bkg_clip,
    )
    return Resolution(params, tuple(notes))


def _kind(wanted: str | None, psf_available: bool, at_source: bool, notes: list[str]) -> str:
    """Kind of extraction that can be made."""
    kind = str(wanted).lower()
    if not psf_available and kind not in ("box", "horne"):
        notes.append("no PSF reference is available: the extraction is a box")
        return "box"
    if kind == "none":
        return "optimal" if at_source else "box"
    return kind


def _with_regions(
    params: ExtractParams,
    fit: str | None,
    order: int | None,
    smoothing_length: int,
    regions: tuple[float, ...],
    clip: float | None,
) -> ExtractParams:
    """Take away a background though there is no reference."""
    fit, degree = _background_fit({}, True, fit, order)
    _check_fit(fit, degree)
    return replace(
        params,
        subtract_background=True,
        bkg_fit=fit,
        bkg_order=int(degree),
        smoothing_length=smoothing_length,
        bkg_regions=regions,
        bkg_clip=clip,
    )


def _match_aperture(
    reference: Mapping[str, Any], slit_name: str | None, spectral_order: int
) -> Mapping[str, Any] | None:
    """First aperture of the slit and order; None if only the order is missing."""
    try:
        apertures = reference["apertures"]
    except (KeyError, TypeError):
        raise InputError("the extract1d reference has no list 'apertures'") from None
    name = ANY if slit_name is None else slit_name
    named = [
        aperture
        for aperture in apertures
        if aperture.get("id", "dummy") != "dummy"
        and (name == ANY or aperture["id"] in (name, ANY))
        and aperture.get("region_type", "target") == "target"
    ]
    if not named:
        present = sorted({str(a["id"]) for a in apertures if a.get("id", "dummy") != "dummy"})
        raise InputError(
            f"the extract1d reference has no aperture for {name!r}; "
            f"it has: {', '.join(present) or 'none'}"
        )
    for aperture in named:
        if aperture.get("spectral_order", spectral_order) in (spectral_order, ANY):
            return aperture
    return None


def _background_fit(
    aperture: Mapping[str, Any], wanted: bool, fit: str | None, order: int | None
) -> tuple[str | None, float]:
    """Kind and polynomial order of the background fit."""
    if order is None:
        order = _get(aperture, "bkg_order", 0)
    if not wanted:
        return None, order
    kind = str(fit if fit is not None else _get(aperture, "bkg_fit", "poly")).lower()
    return ("poly", 0) if kind == "mean" else (kind, order)


def _check_fit(fit: str | None, order: float) -> None:
    if fit not in ("poly", "median"):
        raise InputError(f"bkg_fit is {fit!r}; it must be 'poly', 'mean' or 'median'")
    if fit == "poly" and (order < 0 or order != int(order)):
        raise InputError(f"bkg_order is {order!r}; it must be a whole number, 0 or more")


def _get(aperture: Mapping[str, Any], key: str, default: Any) -> Any:
    value = aperture.get(key)
    return default if value is None else value


def _coefficients(aperture: Mapping[str, Any], key: str) -> Coefficients | None:
    value = aperture.get(key)
    if value is None:
        return None
    limits = tuple(tuple(float(c) for c in polynomial) for polynomial in value)
    if len(limits) % 2 or not all(limits):
        raise InputError(
            f"{key} of the extract1d reference must hold pairs of lower and upper limits, "
            f"each with at least one coefficient; it has {len(limits)} lists"
        )
    return limits or None


def _smoothing_length(length: float, notes: list[str]) -> int:
    """Bring the background smoothing to an odd whole number of at least 3, or 0."""
    whole = int(length)
    if whole != length:
        whole = round(length)
        notes.append(f"smoothing_length {length} is not a whole number: {whole} is used")
    if whole == 0:
        return 0
    if whole < 3:
        notes.append(f"smoothing_length {whole} is below 3: the background is not smoothed")
        return 0
    if whole % 2 == 0:
        notes.append(f"smoothing_length {whole} is even: {whole - 1} is used")
        whole -= 1
    return whole
