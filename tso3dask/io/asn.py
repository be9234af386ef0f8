"""Associations: which files belong to one product, read from JSON, a dictionary or a list."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from tso3dask.errors import InputError
from tso3dask.io.atomic import write_text
from tso3dask.io.naming import default_product_name, split_suffix
from tso3dask.wording import counted

__all__ = ["Association", "dropped_folder", "read_association", "write_association"]

_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")
_ID = re.compile(r"^[A-Za-z0-9.-]+$")


@dataclass(frozen=True)
class Association:
    """The members of one product.

    Attributes
    ----------
    path : Path or None
        The association file; None for a dictionary or a plain list of files.
    name : str
        The product name.
    asn_id : str or None
        Identifier, as ``o001``; it becomes part of the crfints names.
    pool : str or None
        Name of the association pool.
    table_name : str or None
        File name of the association; for a plain list of files the product name, as the spectra
        of such a run record it (its crfints record none).
    members : tuple of Path
        The science members, in the order given.
    notes : tuple of str
        What a user should be told about the association.
    """

    path: Path | None
    name: str
    asn_id: str | None
    pool: str | None
    table_name: str | None
    members: tuple[Path, ...]
    notes: tuple[str, ...] = ()

    @property
    def member_pool(self) -> str | None:
        """Pool that the members record: none unless the association is a file."""
        return None if self.table_name is None else self.pool


def read_association(
    source: str
    | os.PathLike[str]
    | Mapping[str, Any]
    | Iterable[str | os.PathLike[str]]
    | Association,
) -> Association:
    """Read an association.

    Parameters
    ----------
    source : path, mapping, iterable of paths, or Association
        A level-3 association file in JSON; its content as a dictionary, with members under the
        working directory; one calints file; or a list of calints files.

    Raises
    ------
    InputError
        If it is no association, has no product or no science member, if a member is missing,
        named twice, not plainly under the association's folder or a remote address.

    Notes
    -----
    Only the first product and its members of type ``science`` are used. A member is a path
    relative to the association's folder, or an absolute one.
    """
    if isinstance(source, Association):
        return source
    if isinstance(source, Mapping):
        return _from_tree(source, None, Path.cwd())
    if not isinstance(source, (str, os.PathLike)):
        if not isinstance(source, Iterable):
            raise InputError(f"expected an association or calints files, got {source!r}")
        files = list(source)
        if len(files) == 1 and isinstance(files[0], (str, os.PathLike)):
            return read_association(files[0])
        return _from_files(files)
    path = Path(source).expanduser()
    if path.suffix.lower() in (".fits", ".fit"):
        return _from_files([path])
    tree = _load(path)
    return _from_tree(tree, path, path.absolute().parent)


def write_association(
    files: Sequence[str | os.PathLike[str]],
    path: str | os.PathLike[str],
    product_name: str | None = None,
    asn_id: str = "a3001",
    *,
    overwrite: bool = False,
) -> Association:
    """Write a level-3 association of calints files and return it.

    Parameters
    ----------
    files : sequence of paths
        The members; those under the folder of `path` are written relative to it.
    path : path
        The association to write, ``.json``.
    product_name : str, optional
        By default the first file's name without suffix and segment number.
    asn_id : str
        Identifier, as ``o001`` for an observation or ``a3001`` for a user's own association.
    overwrite : bool
        Replace an existing file.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() != ".json":
        raise InputError(f"{path}: an association must be named .json")
    if path.exists() and not overwrite:
        raise InputError(f"{path}: exists already; give --overwrite to replace it")
    if not _ID.match(asn_id):
        raise InputError(f"association id '{asn_id}': expected letters and digits, as a3001")
    members = _from_files(files).members
    folder = path.absolute().parent
    if not folder.is_dir():
        raise InputError(f"{path}: there is no folder {folder}")
    first = members[0].name
    if product_name is None:
        product_name = re.sub(r"-seg\d+", "", split_suffix(PurePath(first).stem)[0])
    program = re.match(r"jw(\d{5})", first)
    tree = {
        "asn_type": "tso3",
        "asn_rule": "DMS_Level3_Base",
        "version_id": None,
        "code_version": "tso3dask",
        "degraded_status": "No known degraded exposures in association.",
        "program": program.group(1) if program else "noprogram",
        "constraints": "No constraints",
        "asn_id": asn_id,
        "asn_pool": "none",
        "target": "none",
        "products": [
            {
                "name": product_name,
                "members": [
                    {"expname": _relative(member, folder), "exptype": "science"}
                    for member in members
                ],
            }
        ],
    }
    write_text(path, json.dumps(tree, indent=4) + "\n")
    return read_association(path)


def _relative(member: Path, folder: Path) -> str:
    full = Path(os.path.normpath(member.absolute()))
    base = Path(os.path.normpath(folder))
    return full.relative_to(base).as_posix() if full.is_relative_to(base) else str(full)


def _load(path: Path) -> Mapping[str, Any]:
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if path.is_dir():
        raise InputError(f"{path}: is a folder, expected an association (.json) or calints files")
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file, expected an association in JSON") from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}: not valid JSON: {error.msg} at line {error.lineno} column {error.colno}"
        ) from None
    if not isinstance(tree, Mapping):
        raise InputError(f"{path}: not an association: expected a dictionary with 'products'")
    return tree


def _from_files(files: Sequence[str | os.PathLike[str]]) -> Association:
    if not files:
        raise InputError("no input: give an association (.json) or calints files")
    for file in files:
        if not isinstance(file, (str, os.PathLike)):
            raise InputError(f"expected the path of a calints file, got {file!r}")
        if Path(file).suffix.lower() == ".json":
            raise InputError(f"{file}: give one association alone, or calints files")
        _refuse_url(str(file), "input")
    members = tuple(Path(file).expanduser() for file in files)
    _check_members(members, "input")
    name = default_product_name(members[0].name)
    return Association(None, name, None, None, name, members)


def _from_tree(tree: Mapping[str, Any], path: Path | None, folder: Path) -> Association:
    where = str(path) if path is not None else "association"
    products = tree.get("products")
    if not isinstance(products, Sequence) or isinstance(products, str) or not products:
        raise InputError(f"{where}: has no 'products', so it is not a level-3 association")
    product = products[0]
    name = product.get("name") if isinstance(product, Mapping) else None
    if not isinstance(name, str) or not PurePath(name).name:
        raise InputError(f"{where}: the first product has no 'name'")
    names = _science_members(product, where)
    members = tuple(_member_path(expname, folder, where) for expname in names)
    _check_members(members, where)
    asn_id = _text(tree, "asn_id", where)
    if asn_id is not None and not _ID.match(asn_id):
        raise InputError(f"{where}: asn_id '{asn_id}': expected letters and digits, as o001")
    notes = []
    if len(products) > 1:
        notes.append(f"{where}: {len(products)} products, only the first ({name}) is processed")
    notes += dropped_folder(name, where)
    left_out = len(product["members"]) - len(names)
    if left_out:
        verb = "is" if left_out == 1 else "are"
        notes.append(f"{where}: {counted(left_out, 'member')} not of type science {verb} left out")
    return Association(
        path=path,
        name=name,
        asn_id=asn_id,
        pool=_text(tree, "asn_pool", where),
        table_name=path.name if path is not None else None,
        members=members,
        notes=tuple(notes),
    )


def dropped_folder(name: str, where: str) -> list[str]:
    """Note on a product name of which the folder has no effect."""
    if not isinstance(name, str):
        raise InputError(f"{where}: the product name must be text, got {name!r}")
    if "/" not in name and "\\" not in name:
        return []
    return [f"{where}: the product name '{name}' names a folder, which is dropped; see output_dir"]


def _text(tree: Mapping[str, Any], key: str, where: str) -> str | None:
    value = tree.get(key)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{where}: '{key}': expected text, got {value!r}")
    return value or None


def _science_members(product: Mapping[str, Any], where: str) -> list[str]:
    members = product.get("members")
    if not isinstance(members, Sequence) or isinstance(members, str):
        raise InputError(f"{where}: product '{product['name']}' has no 'members'")
    names = []
    for member in members:
        expname = member.get("expname") if isinstance(member, Mapping) else None
        exptype = member.get("exptype") if isinstance(member, Mapping) else None
        if not isinstance(expname, str) or not expname.strip() or not isinstance(exptype, str):
            raise InputError(f"{where}: a member has no 'expname' or no 'exptype': {member!r}")
        if exptype.strip().lower() == "science":
            names.append(expname.strip())
    if not names:
        raise InputError(f"{where}: product '{product['name']}' has no member of exptype 'science'")
    return names


def _refuse_url(text: str, where: str) -> None:
    if _URL.match(text):
        raise InputError(f"{where}: {text}: remote files are not read; download it first")


def _member_path(expname: str, folder: Path, where: str) -> Path:
    _refuse_url(expname, where)
    if "\0" in expname:
        raise InputError(f"{where}: member {expname!r} is not a file name")
    if PurePath(expname).is_absolute():
        return Path(expname)
    relative = PurePath(os.path.normpath(expname))
    if ".." in relative.parts:
        raise InputError(
            f"{where}: member {expname} leads out of the association's folder; "
            "give its absolute path"
        )
    return folder / relative


def _check_members(members: tuple[Path, ...], where: str) -> None:
    missing = [str(member) for member in members if not member.is_file()]
    if missing:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if missing[5:] else "")
        raise InputError(f"{where}: missing {shown}")
    seen: dict[Path, Path] = {}
    for member in members:
        real = member.resolve()
        if real in seen:
            raise InputError(f"{where}: {member} is named twice")
        seen[real] = member
