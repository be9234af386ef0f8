"""Change metadata inside the ASDF extension of a product without building its objects.

The text tree is parsed to plain YAML nodes (nothing in it is constructed), the nodes in question
are replaced, and the tree is written again. Tags, scalar spellings and the binary blocks that
follow stay as they are, so that a WCS or an array in the tree is the same object afterwards.
"""

from __future__ import annotations

import datetime
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from tso3dask.errors import InputError

__all__ = ["edit_asdf", "history_node", "read_scalars", "split_asdf"]

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

_BLOCK_MAGIC = b"\xd3BLK"
_INDEX_MAGIC = b"#ASDF BLOCK INDEX"
_STREAMED = 1
_MAX_DEPTH = 30
_MAX_LEAVES = 100_000
_TREE_END = re.compile(rb"\r?\n\.\.\.\r?\n")
_TAG_LINE = re.compile(rb"^%TAG[ \t]+(\S+)[ \t]+(\S+)[ \t]*\r?$", re.MULTILINE)
_PLAIN_MAPPING = "tag:yaml.org,2002:map"
_PLAIN_SEQUENCE = "tag:yaml.org,2002:seq"
_CORE = "tag:stsci.edu:asdf/core/"


def split_asdf(content: bytes, name: str = "ASDF") -> tuple[bytes, bytes, bytes]:
    """Split the content of an ASDF file into preamble, YAML tree and what follows.

    Parameters
    ----------
    content : bytes
        A whole ASDF file, as held by the ASDF extension of a JWST product.
    name : str
        What to call it in an error.

    Returns
    -------
    preamble, tree, rest : bytes
        Comment lines before the tree; the tree from its first directive to the line that ends
        it; padding, blocks and block index.
    """
    end = _TREE_END.search(content)
    starts = [p for p in (content.find(b"%YAML"), content.find(b"---")) if p >= 0]
    if not content.startswith(b"#ASDF") or end is None or not starts:
        raise InputError(f"{name}: its ASDF extension is not an ASDF file with a tree")
    start = min(starts)
    return content[:start], content[start : end.end()], content[end.end() :]


def read_scalars(content: bytes, root: str = "meta", name: str = "ASDF") -> dict[str, Any]:
    """Return the plain scalars under one key of the tree, by dotted path.

    Sequences and everything with a private tag (a WCS, an array) are left out.

    Parameters
    ----------
    content : bytes
        A whole ASDF file.
    root : str
        Top-level key whose leaves are wanted; the whole tree if it is empty.
    name : str
        What to call the file in an error.

    Returns
    -------
    dict
        ``{"meta.exposure.nints": 4, ...}`` with str, int, float, bool or None.
    """
    tree = _compose(split_asdf(content, name)[1], name)
    found: dict[str, Any] = {}
    node = _child(tree, root) if root else tree
    if node is not None:
        _collect(node, root, found, yaml.SafeLoader(""), 0, name)
    return found


def edit_asdf(
    content: bytes,
    *,
    values: Mapping[str, Any] | None = None,
    drop: Iterable[str] = (),
    history: Sequence[str] = (),
    software: tuple[str, str] | None = None,
    name: str = "ASDF",
) -> bytes:
    """Return the content of an ASDF file with some of its metadata changed.

    Parameters
    ----------
    content : bytes
        A whole ASDF file.
    values : mapping, optional
        Dotted path to plain value (str, number, bool, None, list or dict of these). A number in
        a path is a place in a sequence; missing mappings on the way are made.
    drop : iterable of str
        Dotted paths to remove; a path that is not there is no error.
    history : sequence of str
        Descriptions to append to the history entries.
    software : (name, version), optional
        Recorded with the history entries.
    name : str
        What to call the file in an error.

    Returns
    -------
    bytes
        The same file with the tree rewritten and the block index moved; all else is kept.
    """
    preamble, text, rest = split_asdf(content, name)
    tree = _compose(text, name)
    for path in drop:
        _drop(tree, path.split("."))
    for path, value in (values or {}).items():
        _assign(tree, path.split("."), _plain(value))
    if history:
        _append_history(tree, [history_node(entry, software) for entry in history])
    new = preamble + _serialize(tree, text)
    return new + _move_index(rest, len(new))


def history_node(description: str, software: tuple[str, str] | None = None) -> yaml.Node:
    """Return a history entry of the ASDF core schema as a YAML node, with the present time."""
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0, tzinfo=None)
    pairs = [(_plain("description"), _plain(description))]
    if software is not None:
        product = _plain({"name": software[0], "version": software[1]})
        product.tag = _CORE + "software-1.0.0"
        pairs.append((_plain("software"), yaml.SequenceNode(_PLAIN_SEQUENCE, [product])))
    stamp = yaml.ScalarNode("tag:yaml.org,2002:timestamp", now.isoformat(" "))
    pairs.append((_plain("time"), stamp))
    return yaml.MappingNode(_CORE + "history_entry-1.0.0", pairs, flow_style=False)


def _compose(text: bytes, name: str) -> yaml.MappingNode:
    try:
        tree = yaml.compose(text, Loader=_LOADER)
    except (yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{name}: the tree of its ASDF extension is not YAML ({reason})"
        ) from error
    if not isinstance(tree, yaml.MappingNode):
        raise InputError(f"{name}: the tree of its ASDF extension is not a mapping")
    return tree


def _serialize(tree: yaml.Node, original: bytes) -> bytes:
    directives = original[: original.find(b"---")]
    handles = {k.decode(): v.decode() for k, v in _TAG_LINE.findall(directives)}
    return yaml.serialize(
        tree,
        Dumper=_DUMPER,
        explicit_start=True,
        explicit_end=True,
        version=(1, 1),
        tags=handles or {"!": "tag:stsci.edu:asdf/"},
        allow_unicode=True,
        encoding="utf-8",
    )


def _plain(value: Any) -> yaml.Node:
    """Return plain data as a node, in the compact style that ASDF trees use."""
    representer = yaml.representer.SafeRepresenter(default_flow_style=None, sort_keys=False)
    return representer.represent_data(value)


def _child(node: yaml.Node, key: str) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode):
        return node.value[int(key)] if key.isdigit() and int(key) < len(node.value) else None
    if isinstance(node, yaml.MappingNode):
        for k, v in node.value:
            if k.value == key:
                return v
    return None


def _put_child(node: yaml.MappingNode, key: str, value: yaml.Node) -> None:
    """Replace or insert one pair; a mapping whose keys are in order stays in order."""
    keys = [k.value for k, _ in node.value]
    if key in keys:
        at = keys.index(key)
        node.value[at] = (node.value[at][0], value)
        return
    at = len(keys)
    if keys == sorted(keys):
        at = sum(k < key for k in keys)
    node.value.insert(at, (_plain(key), value))


def _assign(tree: yaml.MappingNode, path: list[str], value: yaml.Node) -> None:
    node = tree
    for key in path[:-1]:
        below = _child(node, key)
        if not isinstance(below, (yaml.MappingNode, yaml.SequenceNode)):
            below = yaml.MappingNode(_PLAIN_MAPPING, [], flow_style=True)
            _put_child(node, key, below)
        node = below
    _put_child(node, path[-1], value)


def _drop(tree: yaml.MappingNode, path: list[str]) -> None:
    node: yaml.Node | None = tree
    for key in path[:-1]:
        node = _child(node, key) if node is not None else None
    if isinstance(node, yaml.MappingNode):
        node.value = [(k, v) for k, v in node.value if k.value != path[-1]]


def _append_history(tree: yaml.MappingNode, entries: list[yaml.Node]) -> None:
    history = _child(tree, "history")
    if isinstance(history, yaml.SequenceNode):  # layout of early ASDF files
        history.value.extend(entries)
        history.flow_style = False
        return
    if not isinstance(history, yaml.MappingNode):
        history = yaml.MappingNode(_PLAIN_MAPPING, [], flow_style=False)
        _put_child(tree, "history", history)
    present = _child(history, "entries")
    if isinstance(present, yaml.SequenceNode):
        present.value.extend(entries)
        present.flow_style = False
    else:
        node = yaml.SequenceNode(_PLAIN_SEQUENCE, entries, flow_style=False)
        _put_child(history, "entries", node)


def _collect(
    node: yaml.Node,
    path: str,
    found: dict[str, Any],
    loader: yaml.SafeLoader,
    depth: int,
    name: str,
) -> None:
    if depth > _MAX_DEPTH or len(found) > _MAX_LEAVES:
        raise InputError(f"{name}: the metadata of its ASDF extension refer to themselves")
    if isinstance(node, yaml.ScalarNode):
        if node.tag.startswith("tag:yaml.org,2002:"):
            found[path] = loader.construct_object(node)
    elif isinstance(node, yaml.MappingNode) and (not path or node.tag == _PLAIN_MAPPING):
        for key, value in node.value:
            below = f"{path}.{key.value}" if path else str(key.value)
            _collect(value, below, found, loader, depth + 1, name)


def _move_index(rest: bytes, start: int) -> bytes:
    """Return padding, blocks and index with the index telling the blocks' new places.

    `start` is the place of `rest` in the new file.
    """
    first = rest.find(_BLOCK_MAGIC)
    index = rest.find(_INDEX_MAGIC) if first < 0 else -1
    if first < 0:
        return rest[:index] if index >= 0 else rest
    offsets = []
    at = first
    while rest[at : at + 4] == _BLOCK_MAGIC:
        offsets.append(start + at)
        (header,) = struct.unpack_from(">H", rest, at + 4)
        flags, _compression, allocated = struct.unpack_from(">I4sQ", rest, at + 6)
        if flags & _STREAMED:
            return rest
        at += 6 + header + allocated
    if rest[at : at + len(_INDEX_MAGIC)] != _INDEX_MAGIC:
        return rest
    lines = "".join(f"- {offset}\n" for offset in offsets)
    return rest[:at] + f"#ASDF BLOCK INDEX\n%YAML 1.1\n---\n{lines}...\n".encode()
