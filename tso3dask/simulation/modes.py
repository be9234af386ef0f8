"""The observing modes the simulator knows: what differs between them, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError

__all__ = ["MODES", "Dispersion", "Mode", "get_mode"]


@dataclass(frozen=True)
class Dispersion:
    """One spectral order on one detector, in coordinates that scale with the array.

    Along the dispersion ``s`` runs from 0 to 1 over the illuminated pixels; across it positions
    are fractions of the array's size.

    Parameters
    ----------
    order : spectral order.
    waves : wavelength in um at the first and the last illuminated pixel.
    bend : curvature of the wavelength solution (-1 < bend < 1); 0 is linear.
    lit : first and last illuminated pixel as fractions of the array.
    centre : polynomial coefficients (constant first) in ``s`` of the trace's centre, as fractions
        of the array's size across the dispersion.
    sigma : width of the profile in pixels, at the two ends.
    tilt : shift along the dispersion per pixel across it (slit tilt), pixels.
    brightness : relative to the first order.
    """

    order: int
    waves: tuple[float, float]
    bend: float = 0.0
    lit: tuple[float, float] = (0.0, 1.0)
    centre: tuple[float, ...] = (0.5,)
    sigma: tuple[float, float] = (1.0, 1.2)
    tilt: float = 0.0
    brightness: float = 1.0


@dataclass(frozen=True)
class Mode:
    """Everything that makes one observing mode; see the entries of ``MODES``.

    Notes
    -----
    `dispersions` is keyed by detector and empty for imaging. `peak_rate` is the count rate of the
    star in DN/s, integrated over the PSF (imaging) or over a column at the peak of the spectrum.
    `jy_per_dn` converts the count rate of a pixel to flux density. `reference_pixels` are widths of
    the frame of reference pixels (left, right, bottom, top) of the full-size array. `stripes` is
    the number of stripes that stage 1 put together to an integration, 0 if it was read at once.
    `extra` holds further metadata; `variants` the fields that change with another subarray.
    """

    name: str
    title: str
    exp_type: str
    instrument: str
    detectors: tuple[str, ...]
    filter: str
    subarray: str
    shape: tuple[int, int]
    pupil: str | None = None
    grating: str | None = None
    channel: str | None = None
    module: str | None = None
    slit: str | None = None
    model: str = "SlitModel"
    dispaxis: int | None = None
    dispersions: dict[str, tuple[Dispersion, ...]] = field(default_factory=dict)
    corner: tuple[int, int] = (1, 1)
    optics: str = ""
    program: str = "09000"
    nints: int = 60
    photom: bool = True
    area: bool = False
    wavelength: bool = True
    gain: float = 1.8
    read_noise: float = 12.0
    frame_time: float = 0.05
    ngroups: int = 10
    readpatt: str = "RAPID"
    pixel_scale: float = 0.063
    psf_sigma: float = 0.9
    peak_rate: float = 2.0e5
    background: float = 20.0
    jy_per_dn: float = 1.0e-6
    reference_pixels: tuple[int, int, int, int] = (0, 0, 0, 0)
    stripes: int = 0
    v2v3: tuple[float, float] = (86.0, -493.0)
    extra: dict[str, Any] = field(default_factory=dict)
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def imaging(self) -> bool:
        """Whether photometry follows, not spectral extraction."""
        return self.dispaxis is None

    @property
    def pixel_area(self) -> float:
        """Solid angle of a pixel in steradian."""
        return (self.pixel_scale / 206264.80624709636) ** 2


_NRS: dict[str, Any] = {
    "instrument": "NIRSPEC",
    "exp_type": "NRS_BRIGHTOBJ",
    "slit": "S1600A1",
    "dispaxis": 1,
    "pixel_scale": 0.1,
    "readpatt": "NRSRAPID",
    "gain": 1.0,
    "read_noise": 12.0,
    "v2v3": (321.5, -473.7),
}


def _soss_orders(rows: int, first_row: int = 0) -> tuple[Dispersion, ...]:
    """Three orders of the SOSS grism as seen in `rows` rows from `first_row` of SUBSTRIP256."""

    def across(*poly: float) -> tuple[float, ...]:
        return tuple(c / rows for c in (poly[0] - first_row, *poly[1:]))

    end = 2047.0
    return (
        Dispersion(
            1,
            (2.83, 0.847),
            lit=(4 / end, 2043 / end),
            centre=across(80.6, -37.4, -165.2, 190.6),
            sigma=(6.6, 6.2),
        ),
        Dispersion(
            2,
            (1.41, 0.56),
            lit=(4 / end, 1800 / end),
            centre=across(91.4, 122.0, -490.0, 520.0),
            sigma=(6.4, 6.0),
            brightness=0.25,
        ),
        Dispersion(
            3,
            (0.956, 0.60),
            lit=(4 / end, 1100 / end),
            centre=across(143.0, 21.0, 5.0, 75.0),
            sigma=(6.4, 6.2),
            brightness=0.02,
        ),
    )


_SUBSTRIP256: dict[str, Any] = {
    "shape": (256, 2048),
    "corner": (1, 1793),
    "dispersions": {"NIS": _soss_orders(256)},
    "optics": "niriss_clear-gr700xd-substrip256",
    "frame_time": 5.494,
    "reference_pixels": (4, 4, 0, 4),
}

MODES: dict[str, Mode] = {
    mode.name: mode
    for mode in (
        Mode(
            name="nrc_tsimage",
            title="NIRCam short-wavelength imaging time series, SUB64P",
            exp_type="NRC_TSIMAGE",
            instrument="NIRCAM",
            detectors=("NRCB1",),
            filter="F210M",
            pupil="CLEAR",
            channel="SHORT",
            module="B",
            subarray="SUB64P",
            shape=(64, 64),
            model="CubeModel",
            corner=(1985, 1985),
            optics="nircam_f210m-clear-sub64p",
            program="09001",
            nints=120,
            area=True,
            wavelength=False,
            frame_time=0.05016,
            ngroups=20,
            pixel_scale=0.031,
            psf_sigma=1.0,
            peak_rate=2.5e5,
            background=3.0,
            jy_per_dn=4.0e-7,
            v2v3=(-82.9, -458.3),
        ),
        Mode(
            name="mir_image",
            title="MIRI imaging time series, SUB64",
            exp_type="MIR_IMAGE",
            instrument="MIRI",
            detectors=("MIRIMAGE",),
            filter="F1500W",
            subarray="SUB64",
            shape=(64, 72),
            model="CubeModel",
            corner=(1, 779),
            optics="miri_f1500w-sub64",
            program="09002",
            nints=120,
            area=True,
            wavelength=False,
            gain=3.1,
            read_noise=30.0,
            frame_time=0.085,
            ngroups=60,
            readpatt="FASTR1",
            pixel_scale=0.11,
            psf_sigma=1.9,
            peak_rate=8.0e4,
            background=180.0,
            jy_per_dn=3.0e-7,
            v2v3=(-429.0, -397.0),
            extra={"meta.visit.tsovisit": True},
        ),
        Mode(
            name="mir_lrs-slitless",
            title="MIRI low-resolution slitless spectroscopy",
            exp_type="MIR_LRS-SLITLESS",
            instrument="MIRI",
            detectors=("MIRIMAGE",),
            filter="P750L",
            subarray="SLITLESSPRISM",
            shape=(416, 72),
            corner=(1, 529),
            optics="miri_p750l-slitlessprism",
            program="09003",
            nints=24,
            dispaxis=2,
            dispersions={
                "MIRIMAGE": (
                    Dispersion(
                        1,
                        (13.99, 5.02),
                        bend=-0.6,
                        lit=(7 / 415, 394 / 415),
                        centre=(36.3 / 72, 0.8 / 72),
                        sigma=(2.2, 1.2),
                    ),
                )
            },
            gain=3.1,
            read_noise=30.0,
            frame_time=0.15904,
            ngroups=30,
            readpatt="FASTR1",
            pixel_scale=0.11,
            peak_rate=1.2e4,
            background=15.0,
            jy_per_dn=1.2e-5,
            v2v3=(-378.83, -344.94),
            extra={"meta.visit.tsovisit": True},
        ),
        Mode(
            name="nrc_tsgrism",
            title="NIRCam grism time series, F322W2, SUBGRISM256",
            exp_type="NRC_TSGRISM",
            instrument="NIRCAM",
            detectors=("NRCALONG",),
            filter="F322W2",
            pupil="GRISMR",
            channel="LONG",
            module="A",
            subarray="SUBGRISM256",
            shape=(256, 2048),
            optics="nircam_f322w2-grismr-subgrism256",
            program="09004",
            nints=8,
            photom=False,
            dispaxis=1,
            dispersions={
                "NRCALONG": (
                    Dispersion(
                        1,
                        (2.38, 4.05),
                        bend=0.01,
                        lit=(20 / 2047, 1730 / 2047),
                        centre=(34.0 / 256, 1.2 / 256, -0.7 / 256),
                        sigma=(0.85, 1.1),
                    ),
                )
            },
            frame_time=1.34666,
            ngroups=12,
            peak_rate=4.0e3,
            background=1.5,
            jy_per_dn=2.0e-5,
            reference_pixels=(4, 4, 4, 0),
            v2v3=(89.0, -555.0),
        ),
        Mode(
            name="nrs_prism",
            title="NIRSpec bright-object time series, PRISM, SUB512",
            detectors=("NRS1",),
            filter="CLEAR",
            grating="PRISM",
            subarray="SUB512",
            shape=(32, 512),
            corner=(525, 897),
            optics="nirspec_clear-prism-s1600a1-sub512",
            program="09005",
            nints=60,
            dispersions={
                "NRS1": (
                    Dispersion(
                        1,
                        (0.55, 5.35),
                        bend=0.35,
                        lit=(16 / 511, 498 / 511),
                        centre=(15.6 / 32, -0.7 / 32, 0.9 / 32),
                        sigma=(0.75, 1.2),
                        tilt=-0.045,
                    ),
                )
            },
            frame_time=0.22616,
            ngroups=8,
            peak_rate=9.0e3,
            background=3.0,
            jy_per_dn=1.0e-5,
            **_NRS,
        ),
        Mode(
            name="nrs_g395h",
            title="NIRSpec bright-object time series, G395H, NRS1 and NRS2, SUB2048",
            detectors=("NRS1", "NRS2"),
            filter="F290LP",
            grating="G395H",
            subarray="SUB2048",
            shape=(32, 2048),
            corner=(1, 897),
            optics="nirspec_f290lp-g395h-s1600a1-sub2048",
            program="09006",
            nints=16,
            dispersions={
                "NRS1": (
                    Dispersion(
                        1,
                        (2.72, 3.72),
                        bend=0.015,
                        lit=(490 / 2047, 2040 / 2047),
                        centre=(12.4 / 32, 5.2 / 32, -3.1 / 32),
                        sigma=(0.7, 0.8),
                        tilt=0.03,
                    ),
                ),
                "NRS2": (
                    Dispersion(
                        1,
                        (3.82, 5.17),
                        bend=0.02,
                        lit=(8 / 2047, 1990 / 2047),
                        centre=(15.6 / 32, 2.3 / 32, -4.4 / 32),
                        sigma=(0.8, 0.95),
                        tilt=0.03,
                    ),
                ),
            },
            frame_time=0.9,
            ngroups=14,
            peak_rate=3.0e3,
            background=0.5,
            jy_per_dn=3.0e-5,
            reference_pixels=(4, 4, 0, 0),
            **_NRS,
        ),
        Mode(
            name="nis_soss",
            title="NIRISS single-object slitless spectroscopy, SUBSTRIP96 (or SUBSTRIP256)",
            exp_type="NIS_SOSS",
            instrument="NIRISS",
            detectors=("NIS",),
            filter="CLEAR",
            pupil="GR700XD",
            subarray="SUBSTRIP96",
            shape=(96, 2048),
            model="CubeModel",
            corner=(1, 1803),
            optics="niriss_clear-gr700xd-substrip96",
            program="09007",
            nints=16,
            photom=False,
            wavelength=False,
            dispaxis=1,
            dispersions={"NIS": _soss_orders(96, first_row=10)},
            gain=1.6,
            frame_time=2.214,
            ngroups=6,
            readpatt="NISRAPID",
            pixel_scale=0.0656,
            peak_rate=2.0e4,
            background=0.5,
            jy_per_dn=5.0e-6,
            reference_pixels=(4, 4, 0, 0),
            v2v3=(-290.0, -697.0),
            extra={
                "meta.visit.tsovisit": True,
                "meta.instrument.pupil_position": 245.778671,
                "meta.instrument.filter_position": 353.0,
            },
            variants={
                "SUBSTRIP256": _SUBSTRIP256,
                **{
                    f"SUB{columns}STRIPE_SOSS": {
                        **_SUBSTRIP256,
                        "optics": f"niriss_clear-gr700xd-sub{columns}stripe_soss",
                        "stripes": 2040 // columns,
                    }
                    for columns in (17, 60, 204, 680)
                },
            },
        ),
    )
}


def get_mode(name: str) -> Mode:
    """Return the mode of that name, or raise `InputError` naming the known ones."""
    try:
        return MODES[name.lower()]
    except (KeyError, AttributeError):
        raise InputError(
            f"simulate: unknown mode {name!r}; expected one of {', '.join(MODES)}"
        ) from None
