"""What to simulate: checked arguments, and the tables that follow from them alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import InputError
from ..values import whole_number
from .lightcurve import transit_shape
from .modes import Mode, get_mode
from .soss import is_soss_frame

__all__ = ["INT_TIMES_DTYPE", "Recipe", "Timeline", "make_recipe", "rng_for"]

INT_TIMES_CHOICES = ("segment", "exposure", "empty", "absent")
INT_TIMES_DTYPE = np.dtype(
    [("integration_number", "i4")]
    + [
        (f"int_{when}_{scale}", "f8")
        for scale in ("MJD_UTC", "BJD_TDB")
        for when in ("start", "mid", "end")
    ]
)
START_MJD = 59791.25
TDB_MINUS_UTC = 69.184
TRANSIT_FRACTION = 0.45


def rng_for(seed: int, *key: int) -> np.random.Generator:
    """Random numbers that depend on `seed` and on what they are for, and on nothing else."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=key)))


@dataclass(frozen=True)
class Recipe:
    """One observation to simulate; every field checked. Made by `make_recipe`."""

    mode: Mode
    shape: tuple[int, int]
    nints: int
    segments: tuple[int, ...]
    exposures: int
    seed: int
    depth: float
    cr_rate: float
    lost_rate: float
    jitter: float
    background: float
    hot_fraction: float
    dead_fraction: float
    photom: bool
    var_flat: bool
    wavelength: bool
    area: bool
    srctype: str
    int_times: str
    model: str

    @property
    def unit(self) -> str:
        """Unit of the science pixels as the pipeline's stage 2 leaves it."""
        if not self.photom:
            return "DN/s"
        if self.mode.instrument == "NIRSPEC" and self.srctype == "POINT":
            return "MJy"
        return "MJy/sr"

    @property
    def integration_time(self) -> float:
        """Time on source of one integration, s."""
        return self.mode.frame_time * self.mode.ngroups

    @property
    def starts(self) -> tuple[int, ...]:
        """First integration (0-based) of every segment."""
        return tuple(int(i) for i in np.cumsum((0, *self.segments[:-1])))

    def timeline(self) -> Timeline:
        """Work out times, transit and pointing of every integration of every exposure."""
        total = self.nints * self.exposures
        cadence = self.mode.frame_time * (self.mode.ngroups + 1)
        number = np.arange(total)
        exposure = number // self.nints
        start = START_MJD + (number * cadence + exposure * 60.0) / 86400.0
        end = start + self.integration_time / 86400.0
        mid = 0.5 * (start + end)
        times = np.zeros(total, INT_TIMES_DTYPE)
        times["integration_number"] = number % self.nints + 1
        for when, mjd in (("start", start), ("mid", mid), ("end", end)):
            times[f"int_{when}_MJD_UTC"] = mjd
            light_travel = 310.0 * np.cos(2 * np.pi * (mjd - 59730.0) / 365.25)
            times[f"int_{when}_BJD_TDB"] = mjd + (TDB_MINUS_UTC + light_travel) / 86400.0
        span = end[-1] - start[0]
        phase = (mid - 0.5 * (start[0] + end[-1])) / (TRANSIT_FRACTION * span)
        noise = rng_for(self.seed, 0).standard_normal((2, total))
        drift = np.sin(np.linspace(0, 3 * np.pi, total) + np.array([[0.3], [1.9]]))
        wobble = self.jitter * (0.8 * noise + 0.6 * drift)
        return Timeline(times, exposure, transit_shape(phase, self.depth), wobble[0], wobble[1])


@dataclass(frozen=True)
class Timeline:
    """One entry per integration of the observation, exposure after exposure.

    Parameters
    ----------
    times : INT_TIMES rows.
    exposure : number of the exposure, from 0.
    transit : drop of the transit, 0 outside and 1 at its middle.
    jitter_x, jitter_y : shift of the star, pixels.
    """

    times: np.ndarray
    exposure: np.ndarray
    transit: np.ndarray
    jitter_x: np.ndarray
    jitter_y: np.ndarray


def _number(name: str, value: float, low: float, high: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"simulate: {name} must be a number, got {value!r}") from None
    if not low <= number <= high:
        raise InputError(f"simulate: {name} must be between {low:g} and {high:g}, got {value!r}")
    return number


def _count(name: str, value: Any, low: int = 1, high: int | None = None) -> int:
    number = whole_number(f"simulate: {name}", value, low)
    if high is not None and number > high:
        raise InputError(f"simulate: {name} must be at most {high}, got {value!r}")
    return number


def _size(shape: tuple[int, int]) -> tuple[int, int]:
    try:
        ny, nx = shape
    except (TypeError, ValueError):
        raise InputError(f"simulate: shape must be (ny, nx), got {shape!r}") from None
    return _count("ny", ny, 8, 2048), _count("nx", nx, 8, 2048)


def _sizes(segments: Any) -> int | tuple[int, ...]:
    """Check that segments are a number of them, or a sequence of their sizes."""
    if isinstance(segments, (int, np.integer)):
        return _count("segments", segments)
    if isinstance(segments, (str, bytes)) or not np.iterable(segments):
        raise InputError(
            "simulate: segments must be a number of segments or a list of their sizes, as "
            f"[50, 50, 20], got {segments!r}"
        )
    return tuple(_count("segments", size) for size in segments)


def _segments(value: int | tuple[int, ...], nints: int) -> tuple[int, ...]:
    if isinstance(value, int):
        count = value
        if count > nints:
            raise InputError(
                f"simulate: {count} segments need at least as many integrations, got {nints}"
            )
        size = -(-nints // count)
        sizes = [min(size, nints - i * size) for i in range(count)]
        if min(sizes) < 1:
            sizes = [len(part) for part in np.array_split(np.arange(nints), count)]
    else:
        sizes = list(value)
        if sum(sizes) != nints:
            raise InputError(
                f"simulate: segments add up to {sum(sizes)} integrations, nints is {nints}"
            )
    return tuple(sizes)


def _choice(name: str, value: str, known: Sequence[str]) -> str:
    if value not in known:
        raise InputError(f"simulate: {name} must be one of {', '.join(known)}; got {value!r}")
    return value


def _variant(mode: Mode, subarray: str | None, pupil: str | None) -> Mode:
    if subarray is not None and subarray != mode.subarray:
        if subarray not in mode.variants:
            known = ", ".join((mode.subarray, *mode.variants))
            raise InputError(f"simulate: {mode.name} knows subarray {known}; got {subarray!r}")
        mode = replace(mode, subarray=subarray, **mode.variants[subarray])
    if pupil is not None and pupil != mode.pupil:
        if not mode.imaging or pupil not in ("CLEAR", "WLP8"):
            raise InputError(f"simulate: {mode.name} cannot take pupil {pupil!r}")
        optics = mode.optics.replace("clear", pupil.lower())
        mode = replace(mode, pupil=pupil, optics=optics)
    return mode


def make_recipe(
    mode: str,
    *,
    nints: int | None = None,
    segments: int | Sequence[int] = 2,
    exposures: int = 1,
    seed: int = 0,
    depth: float = 0.01,
    cr_rate: float = 1e-4,
    lost_rate: float = 2e-5,
    jitter: float = 0.01,
    background: float | None = None,
    hot_fraction: float = 1e-3,
    dead_fraction: float = 5e-4,
    photom: bool | None = None,
    var_flat: bool = True,
    wavelength: bool | None = None,
    area: bool | None = None,
    srctype: str = "POINT",
    int_times: str = "segment",
    model: str | None = None,
    subarray: str | None = None,
    pupil: str | None = None,
    shape: tuple[int, int] | None = None,
) -> Recipe:
    """Check the arguments of `simulate` and fill in the mode's defaults.

    Raises
    ------
    InputError : an argument that cannot be meant; one line naming it.
    """
    chosen = get_mode(mode)
    size = chosen.shape if shape is None else _size(shape)
    if chosen.exp_type == "NIS_SOSS" and subarray is None and size[0] == 256:
        subarray = "SUBSTRIP256"
    chosen = _variant(chosen, subarray, pupil)
    if shape is None:
        size = chosen.shape
    elif chosen.exp_type == "NIS_SOSS" and is_soss_frame(size) and size[0] != chosen.shape[0]:
        raise InputError(
            f"simulate: subarray {chosen.subarray} has {chosen.shape[0]} rows, shape has "
            f"{size[0]}; give the subarray that fits, or no shape"
        )
    parts = _sizes(segments)
    if nints is None:
        nints = chosen.nints if isinstance(parts, int) else sum(parts)
    nints = _count("nints", nints)
    return Recipe(
        mode=chosen,
        shape=size,
        nints=nints,
        segments=_segments(parts, nints),
        exposures=_count("exposures", exposures),
        seed=_count("seed", seed, 0),
        depth=_number("depth", depth, 0.0, 0.2),
        cr_rate=_number("cr_rate", cr_rate, 0.0, 0.1),
        lost_rate=_number("lost_rate", lost_rate, 0.0, 0.1),
        jitter=_number("jitter", jitter, 0.0, 2.0),
        background=_number(
            "background", chosen.background if background is None else background, 0.0, 1e6
        ),
        hot_fraction=_number("hot_fraction", hot_fraction, 0.0, 0.5),
        dead_fraction=_number("dead_fraction", dead_fraction, 0.0, 0.5),
        photom=chosen.photom if photom is None else bool(photom),
        var_flat=bool(var_flat),
        wavelength=chosen.wavelength if wavelength is None else bool(wavelength),
        area=chosen.area if area is None else bool(area),
        srctype=_choice("srctype", srctype, ("POINT", "EXTENDED")),
        int_times=_choice("int_times", int_times, INT_TIMES_CHOICES),
        model=_choice("model", model or chosen.model, ("SlitModel", "CubeModel")),
    )
