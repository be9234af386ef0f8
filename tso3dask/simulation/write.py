"""Writing segments whose pixels never are in memory all at once."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from .metadata import DATE
from .noise import Chunk

__all__ = ["ARRAYS", "write_segment"]

BLOCK = 2880
ARRAYS = ("sci", "err", "dq", "var_poisson", "var_rnoise", "var_flat")


def write_segment(path: Path, model: Any, nints: int, chunks: Iterable[tuple[int, Chunk]]) -> None:
    """Write a segment: its headers from `model`, its pixels chunk after chunk.

    Parameters
    ----------
    path : file to write.
    model : data model with one blank integration (see `metadata.build_model`), that has the
        file's name.
    nints : integrations of the segment.
    chunks : pairs of first integration (0-based in the segment) and pixels.
    """
    offsets = _write_frame(path, model, nints)
    with path.open("r+b") as file:
        for start, chunk in chunks:
            for name, offset in offsets.items():
                pixels = getattr(chunk, name)
                if name == "dq":
                    pixels = (pixels ^ np.uint32(2**31)).view(np.int32)
                file.seek(offset + start * pixels[0].size * 4)
                file.write(pixels.astype(pixels.dtype.newbyteorder(">")).data)


def _write_frame(path: Path, model: Any, nints: int) -> dict[str, int]:
    """Write all but the pixels of the cubes; return where those of each cube start."""
    from astropy.io import fits

    buffer = io.BytesIO()
    model.to_fits(buffer)
    content = buffer.getvalue()
    buffer.seek(0)
    offsets: dict[str, int] = {}
    with fits.open(buffer, memmap=False) as hdus, path.open("wb") as file:
        headers = [hdu.header for hdu in hdus]
        headers[0]["DATE"] = DATE
        for header in headers[1:]:
            if header["EXTNAME"].lower() in ARRAYS:
                header["NAXIS3"] = nints
        for hdu, header in zip(hdus, headers, strict=True):
            name = header.get("EXTNAME", "PRIMARY").lower()
            place = hdu.fileinfo()
            raw = content[place["datLoc"] : place["datLoc"] + place["datSpan"]]
            if name == "asdf":
                raw = _edit_asdf(raw[: header["NAXIS1"]], hdus, nints)
                header["NAXIS1"] = len(raw)
                header["TFORM1"] = f"{len(raw)}B"
            file.write(header.tostring().encode("ascii"))
            if name in ARRAYS:
                offsets[name] = file.tell()
                size = 4 * nints * header["NAXIS1"] * header["NAXIS2"]
                file.truncate(offsets[name] + _padded(size))
                file.seek(0, io.SEEK_END)
            else:
                file.write(raw)
                file.write(b"\0" * (_padded(len(raw)) - len(raw)))
    return offsets


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _edit_asdf(content: bytes, hdus: Any, nints: int) -> bytes:
    """Bring the tree in line with the final headers: shapes, date, header hash, block index."""
    from stdatamodels.fits_support import fits_hash

    end = content.index(b"\n...\n")
    tree, rest = content[:end].decode("utf-8"), content[end:]
    for name in ARRAYS:
        pattern = rf"(source: fits:{name.upper()},1\n(?:  .*\n)*?  shape: \[)1,"
        tree = re.sub(pattern, rf"\g<1>{nints},", tree)
    tree = re.sub(r"(\n  date: )'[^']*'", rf"\g<1>'{DATE}'", tree)
    tree = re.sub(r"(\n_fits_hash: )\S+", rf"\g<1>{fits_hash(hdus)}", tree)
    head = tree.encode("utf-8")
    shift = len(head) - end
    where = rest.rfind(b"#ASDF BLOCK INDEX")
    if where >= 0:
        index = re.sub(
            rb"(?m)^- (\d+)", lambda m: b"- %d" % (int(m.group(1)) + shift), rest[where:]
        )
        rest = rest[:where] + index
    return head + rest
