"""What users give to pipelines and steps: files, associations, and open data models."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from tso3dask.errors import InputError
from tso3dask.io.asn import Association
from tso3dask.io.naming import default_product_name

__all__ = ["file_of", "is_model", "metadata_of", "path_of", "pipeline_source"]


def is_model(given: Any) -> bool:
    """Tell whether something is an open data model."""
    return hasattr(given, "meta") and hasattr(given, "save")


def metadata_of(given: Any, input_dir: str | None = None) -> dict[str, Any]:
    """Metadata of a file or an open data model by dotted path, for CRDS."""
    if is_model(given) and not hasattr(given, "asn_table"):
        return dict(given.get_crds_parameters())
    from astropy.io import fits

    from tso3dask.io.blend import header_attributes

    path = path_of(given, input_dir)
    try:
        with fits.open(path) as hdus:
            sci = hdus["SCI"].header if "SCI" in hdus else fits.Header()
            return header_attributes(hdus[0].header, sci)
    except OSError as error:
        raise InputError(f"{path}: not readable as FITS ({error})") from None


@contextlib.contextmanager
def pipeline_source(given: Any) -> Iterator[Any]:
    """Turn any input of the pipeline into one that a plan can be made of.

    Parameters
    ----------
    given : path, mapping, data model, or iterable of paths or data models
        Among these a container of open models with ``asn_table``.

    Yields
    ------
    path, mapping, list of paths or Association
        Open models have been saved to files that are gone afterwards.

    Raises
    ------
    InputError
        If it is nothing of this kind.
    """
    if isinstance(given, (str, os.PathLike, Mapping)):
        yield given
        return
    if is_model(given) and not hasattr(given, "asn_table"):
        items = [given]
    elif isinstance(given, Iterable):
        items = list(given)
    else:
        raise InputError(f"expected an association, files or open data models, got {given!r}")
    if not any(is_model(item) for item in items):
        yield items
        return
    with tempfile.TemporaryDirectory(prefix="tso3dask-") as folder:
        paths = [
            _saved(item, Path(folder), f"model{number}.fits") if is_model(item) else Path(item)
            for number, item in enumerate(items, 1)
        ]
        yield _association(given, tuple(paths))


def _association(container: Any, members: tuple[Path, ...]) -> Association:
    """Association of members that were open, with what their container knows of it."""
    name = default_product_name(members[0].name)
    table = getattr(container, "asn_table", None) or {}
    asn_id = table.get("asn_id")
    if asn_id is None:
        return Association(None, name, None, None, name, members)
    products = table.get("products") or [{}]
    return Association(
        path=None,
        name=products[0].get("name") or name,
        asn_id=asn_id,
        pool=table.get("asn_pool"),
        table_name=getattr(container, "asn_table_name", None),
        members=members,
    )


@contextlib.contextmanager
def file_of(given: Any, folder: Path, input_dir: str | None = None) -> Iterator[Path]:
    """Give the file of a step's input: the file itself, or an open model saved to `folder`.

    Parameters
    ----------
    given : path or data model
        One file or one open model.
    folder : Path
        Where a model is saved.
    input_dir : str, optional
        Folder of file names that name none.
    """
    if is_model(given) and not hasattr(given, "asn_table"):
        path = _saved(given, folder, "model.fits")
        yield path
        path.unlink(missing_ok=True)
    else:
        yield path_of(given, input_dir)


def path_of(given: Any, input_dir: str | None = None) -> Path:
    """Path of the one file that a step is given.

    Raises
    ------
    InputError
        If it is an association, or no path.
    """
    if not isinstance(given, (str, os.PathLike)):
        raise InputError(
            f"a step alone takes one file or one open data model, got {type(given).__name__}; "
            "call it for each, or use Tso3Pipeline"
        )
    path = Path(given).expanduser()
    if path.suffix.lower() == ".json":
        raise InputError(f"{path}: a step alone takes one file or open model, no association")
    return Path(input_dir) / path if input_dir and path.parent == Path() else path


def _saved(model: Any, folder: Path, default: str) -> Path:
    """Save a model under its own name without changing it."""
    filename, date, kind = model.meta.filename, model.meta.date, model.meta.model_type
    path = (folder / PurePath(str(filename or default)).name).with_suffix(".fits")
    if path.exists():
        raise InputError(f"two of the open models are called {path.name}; set meta.filename")
    try:
        model.save(str(path))
    finally:
        model.meta.filename, model.meta.date, model.meta.model_type = filename, date, kind
    return path
