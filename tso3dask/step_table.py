"""The table of steps and parameters: names, types, defaults, meaning and support.

Names, types, defaults and meaning are those of the ``jwst`` package, version 3.0.0, but for the
rows made with `_own` and the choices listed as ``added_choices``, which it does not know; their
defaults leave all numbers as they are without them. One frozen dataclass per step; the metadata of
its fields holds the rest of each row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from tso3dask.values import Support

__all__ = [
    "STEPS",
    "AdaptiveTraceModel",
    "Extract1d",
    "LightCurveParameters",
    "OutlierDetection",
    "Photom",
    "PixelReplace",
    "Regressors",
    "StepParameters",
    "TsoPhotometry",
    "WhiteLight",
]

_NO = Support.NO_EFFECT
_SOSS = Support.SOSS
_NOT_YET = Support.NOT_YET


def _p(kind: str, default: Any, help: str, support: Support = Support.FULL, **more: Any) -> Any:
    """Return a dataclass field that carries one row of the parameter table."""
    return field(default=default, metadata={"kind": kind, "help": help, "support": support, **more})


def _own(kind: str, default: Any, help: str, support: Support = Support.FULL, **more: Any) -> Any:
    """Return a row that ``jwst`` does not have."""
    return _p(kind, default, help, support, added=True, **more)


def _reference(help: str, support: Support = Support.FULL) -> Any:
    return _p("reference", None, f"{help}; N/A for none", support)


@dataclass(frozen=True, kw_only=True)
class StepParameters:
    """Parameters that every step has."""

    step: ClassVar[str] = ""
    class_name: ClassVar[str] = ""
    added: ClassVar[bool] = False
    """Whether ``jwst`` does not have the step."""

    skip: bool = _p("boolean", False, "leave this step out")
    save_results: bool = _p("boolean", False, "write the step's own file as well")
    output_file: str | None = _p("file", None, "name of the step's own file, which makes it")
    output_dir: str | None = _p("file", None, "folder of the step's own file")
    output_ext: str = _p(
        "string", ".fits", "file type of the step's own file", only=(".fits", "fits")
    )
    output_use_model: bool = _p("boolean", False, "name the step's own file as its input")
    output_use_index: bool = _p("boolean", True, "number files that would have one name")
    search_output_file: bool = _p("boolean", True, "name the step's own file as the product")
    suffix: str | None = _p("string", None, "suffix of the step's own file; None: the step's name")
    input_dir: str | None = _p("string", None, "folder of the input", _NO)
    pre_hooks: tuple[Any, ...] = _p("hooks", (), "functions of the step's input, run before it")
    post_hooks: tuple[Any, ...] = _p("hooks", (), "functions of the step's result, run after it")


@dataclass(frozen=True, kw_only=True)
class OutlierDetection(StepParameters):
    """Flag pixels that deviate from their running median in time."""

    step: ClassVar[str] = "outlier_detection"
    class_name: ClassVar[str] = "OutlierDetectionStep"

    rolling_window_width: int = _p("integer", 25, "integrations in the running median")
    snr: str = _p("numbers", "5.0 4.0", "threshold in sigma (the first number)", size=(1, 2))
    maskpt: float = _p("float", 0.7, "weights below this share of the mean weight are masked")
    good_bits: str = _p("string", "~DO_NOT_USE", "DQ flags of pixels that count as good")
    save_intermediate_results: bool = _p("boolean", False, "write the medians")
    search_output_file: bool = _p("boolean", False, "name the step's own file as the product")
    weight_type: str = _p("option", "ivm", "weights", _NO, choices=("ivm", "exptime"))
    pixfrac: float = _p("float", 1.0, "drop size", _NO)
    kernel: str = _p("option", "square", "drop shape", _NO, choices=("square", "point", "turbo"))
    fillval: str = _p("string", "NAN", "value of pixels without data", _NO)
    scale: str = _p("numbers", "1.2 0.7", "scale of the derivative", _NO, size=(1, 2))
    backg: float = _p("float", 0.0, "background", _NO)
    kernel_size: str = _p("numbers", "7 7", "kernel of the IFU medians", _NO, size=(1, 2))
    threshold_percent: float = _p("float", 99.8, "IFU threshold", _NO)
    ifu_second_check: bool = _p("boolean", False, "second IFU check", _NO)
    resample_data: bool = _p("boolean", True, "resample before the median", _NO)
    in_memory: bool = _p("boolean", True, "keep images in memory", _NO)
    pixmap_stepsize: float = _p("float", 1.0, "step of the pixel map", _NO)
    pixmap_order: int = _p("integer", 1, "spline order of the pixel map", _NO)
    nan_aware: bool = _own("boolean", False, "leave NaN out of running medians")
    boundary: str = _own(
        "option",
        "segment",
        "where the window ends; exposure: rows of neighbouring segments are read from their files",
        choices=("segment", "exposure"),
    )
    scale_brightness: bool = _own(
        "boolean", False, "medians follow brightness, background and place of each integration"
    )
    noise: str = _own(
        "option",
        "err",
        "what the threshold is in units of; model: variances of the integration, or of the "
        "exposure's model where they are missing or far off, and the noise of the median",
        choices=("err", "model"),
    )
    grow: int = _own("integer", 0, "steps to pixels beside a flagged one, flagged too", minimum=0)
    max_flagged: float | None = _own(
        "float", None, "largest share of the target's pixels flagged in an integration", minimum=0
    )
    on_excess: str = _own(
        "option", "warn", "what to do beyond max_flagged", choices=("warn", "stop")
    )

    @property
    def own(self) -> bool:
        """Whether any parameter asks for more than ``jwst`` does."""
        return (
            self.nan_aware
            or self.scale_brightness
            or self.boundary != "segment"
            or self.noise != "err"
            or self.grow > 0
            or self.max_flagged is not None
        )

    @property
    def needs_model(self) -> bool:
        """Whether medians, noise or the guard need the model of the exposure."""
        asked = self.scale_brightness or self.noise == "model" or self.max_flagged is not None
        return asked and not self.skip

    @property
    def threshold(self) -> float:
        """The threshold in units of the pixel's error: the first number of ``snr``."""
        return float(self.snr.split()[0])


@dataclass(frozen=True, kw_only=True)
class TsoPhotometry(StepParameters):
    """Circular aperture photometry of a target on every integration."""

    step: ClassVar[str] = "tso_photometry"
    class_name: ClassVar[str] = "TSOPhotometryStep"

    save_results: bool = _p("boolean", False, "write the step's own file as well", _NO)
    save_catalog: bool = _p("boolean", False, "write one table per segment as well")
    radius: float = _p("float", 3.0, "aperture radius, pixels")
    radius_inner: float = _p("float", 4.0, "inner radius of the background annulus, pixels")
    radius_outer: float = _p("float", 5.0, "outer radius of the background annulus, pixels")
    centroid_source: bool = _p("boolean", True, "find the target before measuring it")
    search_box_width: int = _p("integer", 41, "box of the first search, pixels, odd")
    fit_box_width: int = _p("integer", 11, "box of the centroid and of the PSF fit, pixels, odd")
    moving_centroid: bool = _p("boolean", False, "follow the centroid of each integration")
    smooth_centroid: int = _own(
        "integer",
        0,
        "follow the running median of the centroids over that many integrations; 0: do not",
        minimum=0,
    )
    radii: str | None = _own(
        "numbers", None, "radii of further apertures, pixels: columns of their own", size=(1, 40)
    )
    bkg_clip: float | None = _own(
        "float", None, "annulus pixels further than this from the others are left out, sigma"
    )
    override_gain: str | None = _reference("gain file, used for data in DN/s")

    @property
    def more_radii(self) -> tuple[float, ...]:
        """Numbers of ``radii``."""
        return tuple(map(float, (self.radii or "").split()))


@dataclass(frozen=True, kw_only=True)
class AdaptiveTraceModel(StepParameters):
    """Model of the spectral trace, off by default; refused where one could be made."""

    step: ClassVar[str] = "adaptive_trace_model"
    class_name: ClassVar[str] = "AdaptiveTraceModelStep"

    skip: bool = _p("boolean", True, "leave this step out (False: for cubes, without any effect)")
    fit_threshold: float = _p("float", 10.0, "sigma limit of the spline fits", _NO)
    oversample: float = _p("float", 1.0, "oversampling of the model", _NO)
    slope_limit: float = _p("float", 0.1, "slope limit of the splines", _NO)
    psf_optimal: bool = _p("boolean", False, "take the target as a point source", _NO)
    save_intermediate_results: bool = _p("boolean", False, "write the model", _NO)
    output_use_model: bool = _p("boolean", True, "name the step's own file as its input", _NO)
    maximum_cores: str = _p("string", "none", "processes to use", _NO)


@dataclass(frozen=True, kw_only=True)
class PixelReplace(StepParameters):
    """Replacement of bad pixels between crfints and extraction, off by default."""

    step: ClassVar[str] = "pixel_replace"
    class_name: ClassVar[str] = "PixelReplaceStep"

    skip: bool = _p("boolean", True, "leave this step out")
    algorithm: str = _p(
        "option",
        "mingrad",
        "method; trace_model only where it falls back to mingrad: NIRCam grism and cubes; "
        "temporal: medians in time, in imaging too",
        choices=("fit_profile", "mingrad", "trace_model"),
        added_choices=("temporal",),
    )
    n_adjacent_cols: int = _p(
        "integer", 3, "columns on each side that make the profile, fit_profile only"
    )
    output_use_model: bool = _p("boolean", True, "name the step's own file as its input", _NO)

    @property
    def needs_model(self) -> bool:
        """Whether pixels are taken from the model of the exposure."""
        return self.algorithm == "temporal" and not self.skip


@dataclass(frozen=True, kw_only=True)
class Extract1d(StepParameters):
    """Extraction of a spectrum from every integration."""

    step: ClassVar[str] = "extract_1d"
    class_name: ClassVar[str] = "Extract1dStep"

    subtract_background: bool | None = _p(
        "boolean", None, "subtract the background; None: where the reference has its region"
    )
    apply_apcorr: bool = _p("boolean", True, "correct point sources for the finite aperture")
    extraction_type: str | None = _p(
        "option",
        "box",
        "method of extraction; horne: optimal by the exposure's own profile; None: optimal where "
        "the target's position is used",
        choices=("box", "optimal"),
        added_choices=("horne",),
        optional=True,
    )
    use_source_posn: bool | None = _p(
        "boolean", None, "centre the aperture on the target; None: by mode and source type"
    )
    position_offset: float = _p("float", 0.0, "shift of the aperture across the trace, pixels")
    smoothing_length: int | None = _p("integer", None, "smoothing of the background, pixels")
    bkg_fit: str | None = _p(
        "option", None, "background estimate", choices=("poly", "mean", "median")
    )
    bkg_order: int | None = _p("integer", None, "order of a poly background", minimum=0)
    aperture_width: float | None = _own(
        "float", None, "full width of the aperture across the trace, pixels; None: as the reference"
    )
    follow_trace: bool = _own(
        "boolean", False, "lead the aperture along the trace of the exposure's own image"
    )
    optimize_aperture: bool = _own(
        "boolean", False, "take the width of the aperture at which the white light scatters least"
    )
    bkg_regions: str | None = _own(
        "numbers",
        None,
        "lower and upper edges of background regions, pixels from the centre of the aperture",
        size=(2, 16),
    )
    bkg_clip: float | None = _own(
        "float", None, "background pixels further than this from the others are left out, sigma"
    )
    model_nod_pair: bool = _p("boolean", True, "optimal: fit the negative image of a nod too")
    optimize_psf_location: bool = _p("boolean", True, "optimal: fit the place of the target")
    log_increment: int = _p(
        "integer", 50, "messages while extracting (progress is shown instead)", _NO
    )
    save_profile: bool = _p("boolean", False, "write the spatial profile")
    save_scene_model: bool = _p("boolean", False, "write the flux model")
    save_residual_image: bool = _p("boolean", False, "write the residuals")
    center_xy: str | None = _p("numbers", None, "IFU centre", _NO, size=(2, 2))
    ifu_autocen: bool = _p("boolean", False, "IFU centring", _NO)
    bkg_sigma_clip: float = _p("float", 3.0, "IFU background clipping", _NO)
    ifu_rfcorr: bool = _p("boolean", True, "IFU fringe correction", _NO)
    ifu_set_srctype: str | None = _p(
        "option", None, "IFU source type", _NO, choices=("POINT", "EXTENDED")
    )
    ifu_rscale: float | None = _p("float", None, "IFU radius in FWHM", _NO)
    ifu_covar_scale: float = _p("float", 1.0, "IFU error scale", _NO)
    soss_atoca: bool = _p("boolean", True, "separate overlapping orders", _SOSS)
    soss_threshold: float = _p("float", 1e-2, "smallest weight of a pixel in the model", _SOSS)
    soss_n_os: int = _p("integer", 2, "oversampling of the wavelength grid", _SOSS)
    soss_wave_grid_in: str | None = _p("file", None, "wavelength grid to use", _SOSS)
    soss_wave_grid_out: str | None = _p("string", None, "wavelength grid to write", _SOSS)
    soss_estimate: str | None = _p("file", None, "first guess of the spectrum", _SOSS)
    soss_rtol: float = _p("float", 1e-4, "relative tolerance of the grid", _SOSS)
    soss_max_grid_size: int = _p("integer", 20000, "points of the grid", _SOSS)
    soss_tikfac: float | None = _p("float", None, "regularisation factor", _SOSS)
    soss_width: float = _p("float", 40.0, "aperture width, pixels", _SOSS)
    soss_bad_pix: str = _p(
        "option", "masking", "what to do with bad pixels", _SOSS, choices=("model", "masking")
    )
    soss_modelname: str | None = _p(
        "file", None, "beginning of the names of files of the models", _SOSS
    )
    soss_order_3: bool = _p("boolean", True, "extract the third order too", _SOSS)
    override_extract1d: str | None = _reference("extraction regions, JSON")
    override_apcorr: str | None = _reference("aperture correction")
    override_psf: str | None = _reference("PSF, optimal extraction only")
    override_pastasoss: str | None = _reference("SOSS traces", _SOSS)
    override_specprofile: str | None = _reference("SOSS profiles", _SOSS)
    override_speckernel: str | None = _reference("SOSS kernels", _SOSS)

    @property
    def needs_model(self) -> bool:
        """Whether the aperture or its weights come from the model of the exposure."""
        asked = self.extraction_type == "horne" or self.follow_trace or self.optimize_aperture
        return asked and not self.skip

    @property
    def region_edges(self) -> tuple[float, ...] | None:
        """Numbers of ``bkg_regions``."""
        return None if self.bkg_regions is None else tuple(map(float, self.bkg_regions.split()))


@dataclass(frozen=True, kw_only=True)
class Photom(StepParameters):
    """Flux calibration of SOSS spectra; other modes arrive calibrated."""

    step: ClassVar[str] = "photom"
    class_name: ClassVar[str] = "PhotomStep"

    skip: bool = _p("boolean", False, "leave this step out", _SOSS)
    inverse: bool = _p("boolean", False, "undo the calibration", _SOSS)
    source_type: str | None = _p("string", None, "source type to assume", _SOSS)
    apply_time_correction: bool = _p("boolean", True, "correct for lost sensitivity", _SOSS)
    override_photom: str | None = _reference("flux calibration", _SOSS)
    override_area: str | None = _reference("pixel areas", _SOSS)


@dataclass(frozen=True, kw_only=True)
class WhiteLight(StepParameters):
    """Sum of each spectrum over wavelength."""

    step: ClassVar[str] = "white_light"
    class_name: ClassVar[str] = "WhiteLightStep"

    min_wavelength: float | None = _p("float", None, "shortest wavelength in the sum, um")
    max_wavelength: float | None = _p("float", None, "longest wavelength in the sum, um")
    output_ext: str = _p("string", ".ecsv", "file type of the step's own table")
    suffix: str | None = _p("string", "whtlt", "suffix of the step's own table")
    override_wavelengthrange: str | None = _reference("wavelength ranges, NIRISS SOSS only")
    errors: bool = _own("boolean", False, "columns with errors, from those of the spectra")
    weighted: bool = _own(
        "boolean",
        False,
        "columns with the inverse-variance weighted mean of all columns' light curves, and its "
        "errors",
    )


@dataclass(frozen=True, kw_only=True)
class OwnTable(StepParameters):
    """A step that makes one table of an observation, which is a product."""

    added: ClassVar[bool] = True

    skip: bool = _own("boolean", True, "leave this step out")
    save_results: bool = _p("boolean", False, "of the step alone: write the table", _NO)
    output_file: str | None = _p("file", None, "of the step alone: name of the table", _NO)
    output_dir: str | None = _p("file", None, "of the step alone: folder of the table", _NO)
    output_ext: str = _p("string", ".ecsv", "file type of the table", _NO)
    output_use_model: bool = _p("boolean", False, "name the table as its input", _NO)
    output_use_index: bool = _p("boolean", True, "number tables", _NO)
    search_output_file: bool = _p("boolean", True, "name the table as the product", _NO)
    pre_hooks: tuple[Any, ...] = _p("hooks", (), "functions run before the step", _NOT_YET)
    post_hooks: tuple[Any, ...] = _p("hooks", (), "functions run after the step", _NOT_YET)


@dataclass(frozen=True, kw_only=True)
class LightCurveParameters(OwnTable):
    """Light curves of spectroscopic channels: the product `_speclc.ecsv`."""

    step: ClassVar[str] = "light_curves"
    class_name: ClassVar[str] = "LightCurvesStep"

    suffix: str | None = _p("string", "speclc", "of the step alone: suffix of the table", _NO)
    edges: str | None = _own(
        "numbers", None, "edges of the channels in rising order, um", size=(2, 10_000)
    )
    resolving_power: float | None = _own(
        "float",
        None,
        "width of the channels: wavelength over width; 100 if none of the three is given",
        minimum=1,
    )
    pixels_per_channel: int | None = _own("integer", None, "columns of each channel", minimum=1)
    min_wavelength: float | None = _own("float", None, "shortest wavelength of all channels, um")
    max_wavelength: float | None = _own("float", None, "longest wavelength of all channels, um")


@dataclass(frozen=True, kw_only=True)
class Regressors(OwnTable):
    """What may go with the light curve, on its time axis: the product `_regressors.ecsv`."""

    step: ClassVar[str] = "regressors"
    class_name: ClassVar[str] = "RegressorsStep"

    suffix: str | None = _p("string", "regressors", "of the step alone: suffix of the table", _NO)


_CLASSES: tuple[type[StepParameters], ...] = (
    OutlierDetection,
    TsoPhotometry,
    AdaptiveTraceModel,
    PixelReplace,
    Extract1d,
    Photom,
    WhiteLight,
    LightCurveParameters,
    Regressors,
)

STEPS: dict[str, type[StepParameters]] = {cls.step: cls for cls in _CLASSES}
"""The steps in the order in which they run."""
