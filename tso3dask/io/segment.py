"""One segment file (calints or crfints): headers, layout and times, never its pixels."""

from __future__ import annotations

import hashlib
import os
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.io.fits.verify import VerifyError

from tso3dask.errors import InputError
from tso3dask.io.pixels import ArraySpec
from tso3dask.schema import CUBES, EXTENSIONS

__all__ = ["REPLACED_IN_TIME", "HDUInfo", "Segment", "open_segment"]

REPLACED_IN_TIME = "pixel_replace with algorithm='temporal'"
"""HISTORY of files whose bad pixels were replaced by what other times show."""

_BLOCK = 2880
_STORED = {-32: ">f4", -64: ">f8", 8: "u1", 16: ">i2", 32: ">i4"}


_IN_TREE = {
    "BUNIT": ("meta.bunit_data",),
    "DISPAXIS": ("meta.wcsinfo.dispersion_direction",),
    "EFFINTTM": ("meta.exposure.integration_time",),
    "INTSTART": ("meta.exposure.integration_start",),
    "NINTS": ("meta.exposure.nints",),
    "PIXAR_SR": ("meta.photometry.pixelarea_steradians",),
    "SLTNAME": ("name",),
    "SPORDER": ("meta.wcsinfo.spectral_order",),
    "SRCTYPE": ("source_type", "meta.target.source_type"),
    "SRCXPOS": ("source_xpos",),
    "SRCYPOS": ("source_ypos",),
    "S_PHOTOM": ("meta.cal_step.photom",),
    "TSOVISIT": ("meta.visit.tsovisit",),
    "XREF_SCI": ("meta.wcsinfo.siaf_xref_sci",),
    "YREF_SCI": ("meta.wcsinfo.siaf_yref_sci",),
}
"""Paths in the metadata tree of keywords that numbers depend on (JWST data model schemas)."""


@dataclass(frozen=True)
class HDUInfo:
    """Place of one HDU in its file.

    Attributes
    ----------
    name : str
        EXTNAME, ``PRIMARY`` for the first.
    ver : int
        EXTVER.
    header_offset, data_offset : int
        Byte offsets of the header and of the data.
    data_size : int
        Bytes of the data with their padding to 2880.
    """

    name: str
    ver: int
    header_offset: int
    data_offset: int
    data_size: int


@dataclass(frozen=True, eq=False)
class Segment:
    """Everything about a segment file except its pixels.

    Attributes
    ----------
    path : Path
        The file.
    size, mtime_ns : int
        Its size and modification time when it was opened.
    hdus : tuple of HDUInfo
        Layout in file order.
    headers : tuple of astropy.io.fits.Header
        One for each HDU.
    arrays : dict of str to ArraySpec
        Images by dataset name.
    int_times : ndarray or None
        Structured INT_TIMES table in native byte order; None if the file has none.
    """

    path: Path
    size: int
    mtime_ns: int
    hdus: tuple[HDUInfo, ...]
    headers: tuple[fits.Header, ...]
    arrays: dict[str, ArraySpec]
    int_times: np.ndarray | None

    @property
    def primary(self) -> fits.Header:
        """Primary header."""
        return self.headers[0]

    @cached_property
    def sci_header(self) -> fits.Header:
        """Header of the SCI extension."""
        return self.headers[self.index("SCI")]

    @cached_property
    def int_times_stripe(self) -> np.ndarray | None:
        """Structured INT_TIMES_STRIPE table, native byte order; None if the file has none."""
        if not self.has("INT_TIMES_STRIPE"):
            return None
        with fits.open(self.path, memmap=True) as opened:
            return _native_table(opened[self.index("INT_TIMES_STRIPE")].data)

    def index(self, name: str) -> int:
        """Position of the first HDU called ``name``; KeyError if there is none."""
        for i, hdu in enumerate(self.hdus):
            if hdu.name == name:
                return i
        raise KeyError(name)

    def has(self, name: str) -> bool:
        """Tell whether the file has an HDU called ``name``."""
        return any(hdu.name == name for hdu in self.hdus)

    def get(self, keyword: str, default: Any = None) -> Any:
        """Value of a keyword from the primary header, the SCI header, or the metadata tree.

        Data models read headers over the tree of the ASDF extension, so that what a header has
        lost is still there; the same holds here for the keywords that numbers depend on.
        """
        for header in (self.primary, self.sci_header):
            value = header.get(keyword)
            if value is not None and not isinstance(value, fits.card.Undefined):
                return value
        for path in _IN_TREE.get(keyword, ()):
            value = self._scalar(path)
            if value is not None:
                return value
        return default

    def _scalar(self, path: str) -> Any:
        """Value at a dotted path of the metadata tree; None if there is none."""
        content = self.asdf_bytes()
        if content is None or path.rpartition(".")[2].encode() + b":" not in content:
            return None
        if path not in self._scalars:
            from tso3dask.io.asdf_edit import read_scalars

            self._scalars.update(read_scalars(content, path.partition(".")[0], str(self.path)))
            self._scalars.setdefault(path, None)
        return self._scalars[path]

    @cached_property
    def _scalars(self) -> dict[str, Any]:
        return {}

    @property
    def replaced_in_time(self) -> bool:
        """Whether HISTORY tells that bad pixels were replaced by what other times show."""
        return any(REPLACED_IN_TIME in str(line) for line in self.primary.get("HISTORY", ()))

    def text(self, keyword: str, default: str = "") -> str:
        """Value of a keyword as stripped upper-case text."""
        return str(self.get(keyword, default)).strip().upper()

    @property
    def exp_type(self) -> str:
        """EXP_TYPE, upper case."""
        return self.text("EXP_TYPE")

    @property
    def instrument(self) -> str:
        """INSTRUME, upper case."""
        return self.text("INSTRUME")

    @property
    def detector(self) -> str:
        """DETECTOR, upper case."""
        return self.text("DETECTOR")

    @property
    def model_type(self) -> str:
        """Data model class named by the file."""
        return str(self.get("DATAMODL", "CubeModel"))

    @property
    def nints(self) -> int:
        """Integrations in this segment."""
        return self.arrays["sci"].shape[0]

    @property
    def ny(self) -> int:
        """Rows of each image."""
        return self.arrays["sci"].shape[1]

    @property
    def nx(self) -> int:
        """Columns of each image."""
        return self.arrays["sci"].shape[2]

    @property
    def int_start(self) -> int:
        """Number of the first integration in its exposure, 1-based (INTSTART, else 1)."""
        return int(self.get("INTSTART", 1))

    @property
    def int_end(self) -> int:
        """Number of the last integration in its exposure (from the segment's own length)."""
        return self.int_start + self.nints - 1

    @property
    def cubes(self) -> tuple[str, ...]:
        """Names of the per-integration arrays that the file has."""
        return tuple(name for name in CUBES if name in self.arrays)

    @property
    def bytes_per_integration(self) -> int:
        """Stored bytes of all cubes for one integration."""
        return sum(self.arrays[name].row_bytes for name in self.cubes)

    @cached_property
    def identity(self) -> str:
        """Digest of path, size, time and headers: changes when the file does."""
        digest = hashlib.sha1(usedforsecurity=False)
        digest.update(f"{self.path.resolve()}|{self.size}|{self.mtime_ns}".encode())
        for header in self.headers:
            digest.update(header.tostring().encode("latin-1"))
        return digest.hexdigest()

    def raw(self, index: int) -> bytes:
        """Data bytes of one HDU, with padding. For small extensions only."""
        hdu = self.hdus[index]
        with self.path.open("rb") as handle:
            handle.seek(hdu.data_offset)
            return handle.read(hdu.data_size)

    def asdf_bytes(self) -> bytes | None:
        """Content of the ASDF extension, or None if the file has none."""
        return self._asdf

    @cached_property
    def _asdf(self) -> bytes | None:
        if not self.has("ASDF"):
            return None
        index = self.index("ASDF")
        header = self.headers[index]
        return self.raw(index)[: header["NAXIS1"] * header["NAXIS2"]]

    def wcs(self) -> Any:
        """World coordinate system of the images (a gwcs object), or None.

        It is read from the ASDF extension with stdatamodels' transforms when first asked for and
        shared between segments whose stored WCS is the same.
        """
        from tso3dask.io.wcs import load_wcs

        content = self.asdf_bytes()
        return None if content is None else load_wcs(content)

    def wavelength_image(self) -> np.ndarray | None:
        """Return the (y, x) WAVELENGTH image in micrometres, or None."""
        spec = self.arrays.get("wavelength")
        if spec is None:
            return None
        return spec.read()


def open_segment(path: str | os.PathLike[str]) -> Segment:
    """Read the headers and the INT_TIMES table of a calints or crfints file.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    Segment

    Raises
    ------
    InputError
        If the file is missing, not FITS, cut short, or its images do not fit together.
    """
    path = Path(path)
    try:
        stat = path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror}); check the name") from None
    if path.is_dir():
        raise InputError(f"{path}: is a folder, expected a FITS file")
    hdus, headers, int_times = _read_layout(path, stat.st_size)
    arrays = _arrays(path, hdus, headers)
    return Segment(path, stat.st_size, stat.st_mtime_ns, hdus, headers, arrays, int_times)


def _read_layout(
    path: Path, size: int
) -> tuple[tuple[HDUInfo, ...], tuple[fits.Header, ...], np.ndarray | None]:
    with path.open("rb") as handle:
        magic = handle.read(9)
    if magic[:2] == b"\x1f\x8b":
        raise InputError(f"{path}: is gzip-compressed; decompress it first (gunzip {path.name})")
    if magic != b"SIMPLE  =":
        raise InputError(f"{path}: is not a FITS file (it does not begin with 'SIMPLE  =')")
    hdus: list[HDUInfo] = []
    headers: list[fits.Header] = []
    int_times = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(path, memmap=True, lazy_load_hdus=False) as opened:
                for hdu in opened:
                    place = hdu.fileinfo()
                    name = "PRIMARY" if not hdus else hdu.name
                    begin, span = place["datLoc"], place["datSpan"]
                    hdus.append(HDUInfo(name, hdu.ver, place["hdrLoc"], begin, span))
                    headers.append(hdu.header.copy())
                    _check_complete(path, size, hdus[-1])
                    if name == "INT_TIMES":
                        int_times = _native_table(hdu.data)
    except (OSError, VerifyError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: its FITS headers cannot be read ({error})") from error
    _check_end(path, size, hdus[-1])
    _check_count(path, headers[0], hdus)
    return tuple(hdus), tuple(headers), int_times


def _check_end(path: Path, size: int, last: HDUInfo) -> None:
    """Refuse a file that goes on after its last HDU: a header is cut off or damaged there."""
    end = last.data_offset + last.data_size
    if size <= end:
        return
    with path.open("rb") as handle:
        handle.seek(end)
        rest = handle.read(_BLOCK)
    if rest.strip(b"\0 "):
        raise InputError(
            f"{path}: truncated or damaged: {size - end} bytes after {last.name} are not a whole "
            "extension; fetch it again"
        )


def _check_count(path: Path, primary: fits.Header, hdus: list[HDUInfo]) -> None:
    """Refuse a file cut between two extensions, where the header says how many there were.

    Files of the pipeline end with the ASDF extension; where it is there, somebody took others out.
    """
    told = primary.get("NEXTEND")
    if isinstance(told, int) and told > len(hdus) - 1 and hdus[-1].name != "ASDF":
        raise InputError(
            f"{path}: truncated: NEXTEND tells of {told} extensions, the file ends after "
            f"{len(hdus) - 1} ({hdus[-1].name}); fetch it again"
        )


def _check_complete(path: Path, size: int, hdu: HDUInfo) -> None:
    """Refuse a file that ends before its last extension, or in the zeros that fill its block."""
    end = hdu.data_offset + hdu.data_size
    if end > size:
        raise InputError(
            f"{path}: truncated: {hdu.name} should end at byte {end}, the file has {size}; fetch "
            "it again"
        )


def _native_table(table: Any) -> np.ndarray:
    raw = np.asarray(table)
    native = np.dtype([(n, raw.dtype[n].newbyteorder("=")) for n in raw.dtype.names or ()])
    return raw.astype(native)


def _arrays(
    path: Path, hdus: tuple[HDUInfo, ...], headers: tuple[fits.Header, ...]
) -> dict[str, ArraySpec]:
    arrays: dict[str, ArraySpec] = {}
    for hdu, header in zip(hdus, headers, strict=True):
        name = EXTENSIONS.get(hdu.name)
        if name is None or name in arrays or not header.get("NAXIS"):
            continue
        if header.get("XTENSION", "").strip() != "IMAGE":
            raise InputError(f"{path}: {hdu.name} is a {header.get('XTENSION')}, expected an image")
        shape = tuple(header[f"NAXIS{i}"] for i in range(header["NAXIS"], 0, -1))
        bzero = header.get("BZERO", 0)
        if header.get("BSCALE", 1) != 1 or bzero not in (0, 2**31):
            raise InputError(
                f"{path}: {hdu.name} has BSCALE {header.get('BSCALE', 1)} and BZERO {bzero}; "
                "expected plain pixels, or BZERO 2147483648 for unsigned integers"
            )
        stored = _STORED.get(header["BITPIX"])
        if stored is None or (name == "dq") != (stored[-2] in "iu"):
            raise InputError(
                f"{path}: {hdu.name} has BITPIX {header['BITPIX']}; expected "
                f"{'32' if name == 'dq' else '-32'}"
            )
        arrays[name] = ArraySpec(name, str(path), hdu.data_offset, stored, int(bzero), shape)
    _check_shapes(path, arrays)
    return arrays


def _check_shapes(path: Path, arrays: dict[str, ArraySpec]) -> None:
    sci = arrays.get("sci")
    if sci is None:
        raise InputError(f"{path}: has no SCI image; expected a calints or crfints file")
    if len(sci.shape) != 3:
        raise InputError(
            f"{path}: SCI is {len(sci.shape)}-D {_text(sci.shape)}; expected (integration, y, x): "
            "2-D rate images have no time series, give the _calints file"
        )
    if 0 in sci.shape:
        raise InputError(f"{path}: SCI is empty {_text(sci.shape)}")
    if "err" not in arrays:
        raise InputError(f"{path}: has no ERR image; outlier detection and extraction need it")
    for name, spec in arrays.items():
        expected = sci.shape if name in CUBES else sci.shape[1:]
        if spec.shape != expected:
            raise InputError(
                f"{path}: {name.upper()} is {_text(spec.shape)}, SCI is {_text(sci.shape)}; "
                f"expected {_text(expected)}"
            )


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
