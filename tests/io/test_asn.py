import json
from pathlib import Path

import pytest

from tso3dask.errors import InputError, RunError
from tso3dask.io.asn import read_association, write_association

DMS = "jw01366002001_04103_00001-seg00{}_nrca3_calints.fits"


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return [folder / name for name in names]


def tree(members, **more):
    rows = [m if isinstance(m, dict) else {"expname": m, "exptype": "science"} for m in members]
    return {
        "asn_id": "o002",
        "asn_pool": "jw01366_pool",
        "products": [{"name": "jw01366-o002_t001_nircam_f210m-sub160", "members": rows}],
        **more,
    }


def dump(folder, content, name="x_asn.json"):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_file_with_dms_names(tmp_path):
    files = make(tmp_path, *(DMS.format(k) for k in (2, 1, 3)))
    path = dump(tmp_path, tree([f.name for f in files]))
    asn = read_association(str(path))
    assert asn.members == tuple(files)
    assert asn.name == "jw01366-o002_t001_nircam_f210m-sub160"
    assert (asn.asn_id, asn.pool, asn.table_name) == ("o002", "jw01366_pool", "x_asn.json")
    assert asn.path == path
    assert asn.notes == ()


def test_only_science_members_of_the_first_product(tmp_path):
    make(tmp_path, "a_calints.fits", "sub/b_calints.fits")
    content = tree(
        [
            {"expname": "a_calints.fits", "exptype": "SCIENCE"},
            {"expname": "gone.fits", "exptype": "background"},
            "sub/../sub/b_calints.fits",
        ]
    )
    content["products"].append({"name": "other", "members": []})
    asn = read_association(dump(tmp_path, content))
    assert [m.name for m in asn.members] == ["a_calints.fits", "b_calints.fits"]
    assert "2 products" in asn.notes[0]
    assert "1 member not of type science is left out" in asn.notes[1]


@pytest.mark.parametrize("name", ["../x", "out/x", "/abs/x"])
def test_a_folder_in_the_product_name_is_noted(tmp_path, name):
    make(tmp_path, "a_calints.fits")
    content = tree(["a_calints.fits"])
    content["products"][0]["name"] = name
    asn = read_association(dump(tmp_path, content))
    assert asn.notes == (
        f"{tmp_path / 'x_asn.json'}: the product name '{name}' names a folder, which is dropped; "
        "see output_dir",
    )


def test_absolute_members_and_relative_association(tmp_path, monkeypatch):
    (far,) = make(tmp_path / "far", "a_calints.fits")
    make(tmp_path / "near", "b_calints.fits")
    dump(tmp_path / "near", tree([str(far), "b_calints.fits"]))
    monkeypatch.chdir(tmp_path)
    asn = read_association("near/x_asn.json")
    assert asn.members == (far, tmp_path / "near" / "b_calints.fits")


def test_dictionary_is_relative_to_the_working_directory(tmp_path, monkeypatch):
    make(tmp_path, "a_calints.fits")
    monkeypatch.chdir(tmp_path)
    asn = read_association(tree(["a_calints.fits"], asn_id=None))
    assert asn.members == (tmp_path / "a_calints.fits",)
    assert (asn.path, asn.asn_id, asn.table_name) == (None, None, None)


def test_plain_lists(tmp_path):
    files = make(tmp_path, DMS.format(1), DMS.format(2))
    asn = read_association(files)
    assert asn.name == "jw01366002001_04103_00001-seg001_nrca3"
    assert (asn.path, asn.asn_id, asn.pool) == (None, None, None)
    assert asn.table_name == asn.name
    assert asn.members == tuple(files)
    assert read_association(files[1]).members == (files[1],)
    path = dump(tmp_path, tree([DMS.format(1)]))
    assert read_association([path]).asn_id == "o002"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{'a': 1}", "not valid JSON.*line 1 column 2"),
        ("[]", "not an association"),
        ({"asn_id": "o001"}, "no 'products'"),
        ({"products": []}, "no 'products'"),
        ({"products": [{"members": []}]}, "no 'name'"),
        ({"products": [{"name": "x"}]}, "no 'members'"),
        (tree([]), "no member of exptype 'science'"),
        (tree([{"expname": "a_calints.fits", "exptype": "background"}]), "exptype 'science'"),
        (tree([{"exptype": "science"}]), "no 'expname'"),
        (tree(["gone1.fits", "gone2.fits"]), "missing .*gone1.fits, .*gone2.fits"),
        (tree(["a_calints.fits", "./a_calints.fits"]), "named twice"),
        (tree(["../a_calints.fits"]), "leads out of"),
        (tree(["s3://bucket/a_calints.fits"]), "download"),
        (tree(["a_calints.fits"], asn_id="../x"), "asn_id"),
        (tree(["a_calints.fits"], asn_id=3), "expected text"),
    ],
)
def test_bad_associations_get_one_line_with_their_name(tmp_path, content, words):
    make(tmp_path, "a_calints.fits")
    path = dump(tmp_path, content)
    with pytest.raises(InputError, match=words) as error:
        read_association(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_many_missing_members_are_counted(tmp_path):
    path = dump(tmp_path, tree([f"m{k}.fits" for k in range(30)]))
    with pytest.raises(InputError, match=r"m4.fits and 25 more"):
        read_association(path)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ([], "no input"),
        ("absent.json", "no such file"),
        ("absent.fits", "missing absent.fits"),
        (["a.json", "b_calints.fits"], "one association alone"),
        ([3], "path of a calints file"),
        (".", "is a folder"),
    ],
)
def test_bad_sources(source, words):
    with pytest.raises(InputError, match=words):
        read_association(source)


def test_link_to_one_file_counts_as_twice(tmp_path):
    (file,) = make(tmp_path, "a_calints.fits")
    (tmp_path / "b_calints.fits").symlink_to(file)
    with pytest.raises(InputError, match="twice"):
        read_association([file, tmp_path / "b_calints.fits"])


def test_written_associations_are_read_back(tmp_path):
    files = make(tmp_path, DMS.format(1), "sub/" + DMS.format(2))
    (far,) = make(tmp_path.parent / "elsewhere", DMS.format(3))
    path = tmp_path / "my_asn.json"
    asn = write_association([*files, far], path)
    assert asn.members == (*files, far)
    assert asn.name == "jw01366002001_04103_00001_nrca3"
    assert asn.asn_id == "a3001"
    content = json.loads(path.read_text())
    assert content["program"] == "01366"
    assert content["products"][0]["members"][1]["expname"] == "sub/" + DMS.format(2)
    with pytest.raises(InputError, match="exists already"):
        write_association(files, path)
    again = write_association(files, path, "mine", "o002", overwrite=True)
    assert (again.name, again.asn_id) == ("mine", "o002")
    with pytest.raises(InputError, match="must be named"):
        write_association(files, tmp_path / "asn.yaml")


def test_a_full_disk_leaves_the_association_that_was_there(tmp_path, monkeypatch):
    (tmp_path / "a_calints.fits").touch()
    path = tmp_path / "asn.json"
    write_association([tmp_path / "a_calints.fits"], path)
    before = path.read_bytes()

    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RunError, match=r"asn.json: cannot be written \(No space left"):
        write_association([tmp_path / "a_calints.fits"], path, "other", overwrite=True)
    assert path.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"a_calints.fits", "asn.json"}


def test_members_record_the_pool_of_a_file_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_calints.fits").touch()
    member = {"expname": "a_calints.fits", "exptype": "science"}
    tree = {"asn_id": "o001", "asn_pool": "p.csv", "products": [{"name": "a", "members": [member]}]}
    (tmp_path / "asn.json").write_text(json.dumps(tree))
    assert read_association(tree).pool == "p.csv"
    assert read_association(tree).member_pool is None
    assert read_association("asn.json").member_pool == "p.csv"
    assert read_association(read_association(tree)).pool == "p.csv"
