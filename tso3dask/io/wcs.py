"""World coordinate systems out of ASDF extensions, one object for equal content."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from typing import Any

from tso3dask.io.asdf_start import unvalidated

__all__ = ["load_wcs", "wcs_key"]

_MAXIMUM = 64
_loaded: dict[str, Any] = {}


def wcs_key(content: bytes) -> str:
    """Digest of the stored WCS alone: its part of the tree and the binary blocks.

    Segments of one exposure differ in names and dates, but their WCS is the same text.

    Parameters
    ----------
    content : bytes
        Content of an ASDF extension.

    Returns
    -------
    str
        Hexadecimal digest.
    """
    end = content.find(b"\n...")
    tree, blocks = (content, b"") if end < 0 else (content[:end], content[end:])
    found = re.search(rb"\n  wcs:.*?(?=\n {0,2}[^\s-]|\Z)", tree, re.DOTALL)
    part = tree if found is None else found.group()
    blocks = blocks.split(b"#ASDF BLOCK INDEX")[0]
    return hashlib.sha1(part + blocks, usedforsecurity=False).hexdigest()


def load_wcs(content: bytes) -> Any:
    """Evaluate ``meta.wcs`` of an ASDF extension.

    Parameters
    ----------
    content : bytes
        Content of the extension.

    Returns
    -------
    gwcs.wcs.WCS or None
        None if the tree holds no WCS.
    """
    key = wcs_key(content)
    if key not in _loaded:
        if len(_loaded) >= _MAXIMUM:
            _loaded.pop(next(iter(_loaded)))
        _loaded[key] = _read(content)
    return _loaded[key]


def _read(content: bytes) -> Any:
    import asdf

    with warnings.catch_warnings(), unvalidated():
        warnings.simplefilter("ignore")
        with asdf.open(
            io.BytesIO(content), lazy_tree=True, lazy_load=False, memmap=False
        ) as opened:
            meta = opened.tree.get("meta", {})
            return meta.get("wcs") if "wcs" in meta else None
