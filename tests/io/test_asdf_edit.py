from __future__ import annotations

import io

import asdf
import numpy as np
import pytest

from tso3dask.errors import InputError
from tso3dask.io.asdf_edit import edit_asdf, read_scalars, split_asdf


def content(**more):
    tree = {
        "meta": {"filename": "a.fits", "exposure": {"nints": 4, "start": 59000.1}, "dither": {}},
        "cal_logs": {"spec2": ["one", "two: three"]},
        "arrays": [np.arange(40.0), {"inner": np.arange(60.0)[::2]}],
        "text": "µ: 'quoted'\n\n...\nnot the end",
        **more,
    }
    tree["again"] = tree["arrays"][0]
    stream = io.BytesIO()
    asdf.AsdfFile(tree).write_to(stream)
    return stream.getvalue()


def tree_of(data):
    with asdf.open(io.BytesIO(data), lazy_load=False, memmap=False) as opened:
        return asdf.treeutil.walk_and_modify(
            dict(opened.tree), lambda node: np.array(node) if hasattr(node, "shape") else node
        )


def test_an_edit_of_nothing_changes_nothing():
    data = content()
    assert edit_asdf(data) == data


def test_values_are_set_and_the_rest_is_kept():
    data = content()
    long = "x" * 500 + ".fits"
    new = edit_asdf(
        data,
        values={
            "meta.filename": long,
            "meta.asn.pool_name": "none",
            "meta.exposure.nints": 5,
            "meta.exposure.end": 1e-7,
            "meta.flag": True,
            "meta.dither.x": None,
            "arrays.1.more": [1, 2],
        },
        drop=["cal_logs.spec2", "nowhere.at.all"],
    )
    tree = tree_of(new)
    meta = tree["meta"]
    assert meta["filename"] == long
    assert meta["asn"] == {"pool_name": "none"}
    assert meta["exposure"] == {"nints": 5, "start": 59000.1, "end": 1e-7}
    assert meta["flag"] is True
    assert tree["arrays"][1]["more"] == [1, 2]
    assert tree["cal_logs"] == {}
    assert tree["text"] == "µ: 'quoted'\n\n...\nnot the end"
    np.testing.assert_array_equal(tree["arrays"][0], np.arange(40.0))
    np.testing.assert_array_equal(tree["arrays"][1]["inner"], np.arange(0, 60.0, 2))
    np.testing.assert_array_equal(tree["again"], np.arange(40.0))


def test_the_block_index_tells_the_new_places():
    new = edit_asdf(content(), values={"meta.longer": "y" * 1000})
    index = new[new.index(b"#ASDF BLOCK INDEX") :].decode().splitlines()
    offsets = [int(line[2:]) for line in index if line.startswith("- ")]
    assert len(offsets) == 2
    assert all(new[at : at + 4] == b"\xd3BLK" for at in offsets)
    # and an index that was wrong is put right
    broken = content()
    at = broken.index(b"- ", broken.index(b"#ASDF BLOCK INDEX"))
    broken = broken[: at + 2] + b"9" + broken[at + 3 :]
    assert edit_asdf(broken) == content()


def test_history_is_appended():
    once = edit_asdf(content(), history=["first: 1"], software=("tso3dask", "1.2"))
    twice = edit_asdf(once, history=["second"])
    entries = tree_of(twice)["history"]["entries"]
    assert [entry["description"] for entry in entries] == ["first: 1", "second"]
    assert entries[0]["software"][0]["name"] == "tso3dask"
    assert entries[0]["time"].year > 2000
    assert tree_of(twice)["history"]["extensions"]


def test_scalars_are_read_without_objects():
    data = content(
        meta={
            "a": {"b": 1, "c": [1, 2], "d": "2022-01-01", "e": None},
            "wcs": asdf.tagged.TaggedDict({"f": 1}, "tag:nowhere.org:object-1.0.0"),
        }
    )
    assert read_scalars(data) == {"meta.a.b": 1, "meta.a.d": "2022-01-01", "meta.a.e": None}
    assert read_scalars(data, "missing") == {}
    assert read_scalars(data, "")["meta.a.b"] == 1


def test_self_reference_is_refused():
    data = b"#ASDF 1.0.0\n%YAML 1.1\n--- \nmeta: &a\n  b: *a\n...\n"
    with pytest.raises(InputError, match="refer to themselves"):
        read_scalars(data)
    laughs = "".join(f"  l{i}: &l{i} {{a: *l{i - 1}, b: *l{i - 1}}}\n" for i in range(1, 40))
    data = f"#ASDF 1.0.0\n%YAML 1.1\n---\nmeta:\n  l0: &l0 {{x: 1}}\n{laughs}...\n".encode()
    with pytest.raises(InputError, match="refer to themselves"):
        read_scalars(data)
    assert edit_asdf(data, values={"meta.z": 1}).count(b"*") == data.count(b"*")


@pytest.mark.parametrize(
    "data",
    [b"", b"not asdf", b"#ASDF 1.0.0\n%YAML 1.1\n---\nmeta: {}\n", content()[1:]],
)
def test_foreign_content_is_refused(data):
    with pytest.raises(InputError, match=r"x\.fits.*ASDF"):
        split_asdf(data, "x.fits")


def test_broken_trees_are_refused():
    for text in ("a: [1, 2", "- 1\n- 2"):
        data = f"#ASDF 1.0.0\n%YAML 1.1\n---\n{text}\n...\n".encode()
        with pytest.raises(InputError, match=r"not YAML|not a mapping"):
            edit_asdf(data)


def test_nothing_in_a_tree_is_constructed():
    data = (
        b"#ASDF 1.0.0\n%YAML 1.1\n---\nmeta:\n  a: !!python/object/apply:os.abort []\n  b: 1\n...\n"
    )
    assert read_scalars(data) == {"meta.b": 1}
    assert b"os.abort" in edit_asdf(data, values={"meta.b": 2})
