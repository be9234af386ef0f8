"""Data quality bits of JWST pixels: the table, the good-bits language, and decoding.

The bits are those of the public JWST documentation, "Data Quality Flags" in the section
"References: General" of https://jwst-pipeline.readthedocs.io.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tso3dask.errors import InputError
from tso3dask.ops.blocks import is_stored, to_native

__all__ = [
    "DO_NOT_USE",
    "FLAG_VALUES",
    "OUTLIER",
    "PIXEL_FLAGS",
    "Flag",
    "any_good",
    "decode",
    "interpret_good_bits",
]


@dataclass(frozen=True)
class Flag:
    """One bit of the pixel data quality word."""

    value: int
    name: str
    meaning: str


_TABLE = (
    ("DO_NOT_USE", "bad pixel, to be left out of every measurement"),
    ("SATURATED", "saturated during the exposure"),
    ("JUMP_DET", "a jump was found in the ramp"),
    ("DROPOUT", "data lost in transmission"),
    ("OUTLIER", "found discrepant by outlier detection"),
    ("PERSISTENCE", "high persistence"),
    ("AD_FLOOR", "below the floor of the A/D converter"),
    ("CHARGELOSS", "charge has migrated to neighbouring pixels"),
    ("RESERVED", "not in use"),
    ("NON_SCIENCE", "outside the science part of the detector"),
    ("DEAD", "dead pixel"),
    ("HOT", "hot pixel"),
    ("WARM", "warm pixel"),
    ("LOW_QE", "low quantum efficiency"),
    ("RC", "RC pixel (its signal decays like a discharging capacitor)"),
    ("TELEGRAPH", "telegraph pixel (switches between levels)"),
    ("NONLINEAR", "highly nonlinear response"),
    ("BAD_REF_PIXEL", "reference pixel that cannot be used"),
    ("NO_FLAT_FIELD", "no flat field value"),
    ("NO_GAIN_VALUE", "no gain value"),
    ("NO_LIN_CORR", "no linearity correction"),
    ("NO_SAT_CHECK", "saturation could not be checked"),
    ("UNRELIABLE_BIAS", "bias has a large variance"),
    ("UNRELIABLE_DARK", "dark current has a large variance"),
    ("UNRELIABLE_SLOPE", "slope has a large variance"),
    ("UNRELIABLE_FLAT", "flat field has a large variance"),
    ("OPEN", "open pixel (its charge moves to the neighbours)"),
    ("ADJ_OPEN", "next to an open pixel"),
    ("FLUX_ESTIMATED", "flux is an estimate, data were missing or bad"),
    ("MSA_FAILED_OPEN", "sees light of a shutter that failed open"),
    ("OTHER_BAD_PIXEL", "bad for some other reason"),
    ("REFERENCE_PIXEL", "reference pixel"),
)

PIXEL_FLAGS: tuple[Flag, ...] = tuple(
    Flag(1 << bit, name, meaning) for bit, (name, meaning) in enumerate(_TABLE)
)
"""All 32 bits, lowest first."""

FLAG_VALUES: dict[str, int] = {"GOOD": 0, **{flag.name: flag.value for flag in PIXEL_FLAGS}}
"""Bit value by name; ``GOOD`` is 0."""

DO_NOT_USE = FLAG_VALUES["DO_NOT_USE"]
OUTLIER = FLAG_VALUES["OUTLIER"]

_ALL_BITS = 0xFFFFFFFF


def interpret_good_bits(good_bits: str | int | None) -> int:
    """Mask of the bits that make a pixel bad.

    Parameters
    ----------
    good_bits : str, int or None
        The bits a pixel may have and still count as good. A string holds flag names or powers
        of two, separated by one of ``+``, ``|`` or ``,``, or one plain number; a leading ``~``
        turns the choice round: only the bits listed make a pixel bad (``"~DO_NOT_USE"``).
        None, an empty string, ``"None"`` and ``"INDEF"`` count every pixel as good.

    Returns
    -------
    int
        A pixel is bad where ``dq & mask`` is not zero; 0 means no pixel is bad.

    Raises
    ------
    InputError
        Not in that language, or an unknown flag name.

    Notes
    -----
    The language is that of `astropy.nddata.bitmask.interpret_bit_flags`, which reads it here.
    """
    from astropy.nddata.bitmask import interpret_bit_flags

    try:
        good = interpret_bit_flags(good_bits, flag_name_map=FLAG_VALUES)
    except KeyError as error:
        raise InputError(_unknown_flag(good_bits, str(error.args[0]))) from None
    except (TypeError, ValueError) as error:
        raise InputError(
            f"good_bits: cannot read {good_bits!r} ({error}); give names or powers of two such as "
            "'~DO_NOT_USE' or 'JUMP_DET+HOT' or '4, 8'"
        ) from None
    return 0 if good is None else ~int(good) & _ALL_BITS


def _unknown_flag(good_bits: str | int | None, name: str) -> str:
    if re.fullmatch(r"[+-]?\d+", name):
        return f"good_bits: {good_bits!r} mixes names and numbers; use one kind"
    near = difflib.get_close_matches(name.upper(), FLAG_VALUES, n=1, cutoff=0.0)
    return f"good_bits: no flag is called {name!r} in {good_bits!r}; nearest is {near[0]!r}"


def any_good(dq: npt.NDArray[np.uint32], bad_bits: int) -> bool:
    """Whether at least one pixel has none of the bad bits.

    Parameters
    ----------
    dq : (..., ) uint32, or as files have it
        Data quality words, any shape; usually one block of a segment at a time.
    bad_bits : int
        Mask from `interpret_good_bits`.

    Returns
    -------
    bool
        True as soon as one good pixel is seen, so on ordinary data this reads very little.
    """
    if bad_bits == 0 or dq.size == 0:
        return dq.size > 0
    bits = np.uint32(bad_bits)
    rows = dq.reshape(1, -1) if dq.ndim < 2 else dq.reshape(dq.shape[0] * dq.shape[1], -1)
    if is_stored(dq):
        return any(any_good(to_native(row.copy()), bad_bits) for row in rows)
    return any(bool(((row & bits) == 0).any()) for row in rows)


def decode(value: int) -> tuple[str, ...]:
    """Names of the flags set in a data quality word.

    Parameters
    ----------
    value : int
        A word of 32 bits, 0 to 2**32 - 1.

    Returns
    -------
    tuple of str
        Lowest bit first; ``("GOOD",)`` when no bit is set.

    Raises
    ------
    InputError
        If the value does not fit in 32 bits.
    """
    word = int(value)
    if not 0 <= word <= _ALL_BITS:
        raise InputError(f"dq: {value} is no word of 32 bits (0 to {_ALL_BITS})")
    return tuple(flag.name for flag in PIXEL_FLAGS if word & flag.value) or ("GOOD",)
