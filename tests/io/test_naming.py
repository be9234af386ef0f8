from pathlib import Path

import pytest

from tso3dask.errors import InputError
from tso3dask.io.naming import (
    crfints_name,
    default_product_name,
    product_file,
    product_names,
    split_suffix,
)


@pytest.mark.parametrize(
    ("member", "asn_id", "name"),
    [
        ("jw1_1-seg001_nrca3_calints.fits", "o002", "jw1_1-seg001_nrca3_o002_crfints.fits"),
        ("jw1_1-seg001_nrca3_o002_crfints.fits", "o002", "jw1_1-seg001_nrca3_o002_crfints.fits"),
        ("jw1_1_calints.fits", None, "jw1_1_crfints.fits"),
        ("drift_041.v2_calints.fits", "a3001", "drift_041.v2_a3001_crfints.fits"),
        ("mine.fits", "a3001", "mine_a3001_crfints.fits"),
        ("mine-calints.fits", "a3001", "mine_a3001-crfints.fits"),
    ],
)
def test_crfints_names(member, asn_id, name):
    assert crfints_name(member, asn_id) == name


@pytest.mark.parametrize(
    ("product", "name"),
    [
        ("jw01366-o002_t001_nircam_f210m-sub160", "jw01366-o002_t001_nircam_f210m-sub160_x1dints"),
        ("a.b.c", "a.b_x1dints"),
        ("../up/x", "x_x1dints"),
        ("x/y/a.b.c_cal", "a.b_x1dints"),
        ("my-snr", "my-x1dints"),
        ("q_photom", "q_x1dints"),
        ("star_whitelightstep", "star_x1dints"),
        ("_cal", "_cal_x1dints"),
    ],
)
def test_product_names_are_cut_and_lose_a_known_suffix(product, name):
    assert product_file(product, "x1dints", "fits") == f"{name}.fits"


def test_split_suffix_takes_the_longest():
    assert split_suffix("a_residual_fringe") == ("a", "_")
    assert split_suffix("a_b") == ("a_b", "_")
    assert split_suffix("") == ("", "_")


def test_default_product_name():
    assert default_product_name("jw1_1-seg001_nrca3_calints.fits") == "jw1_1-seg001_nrca3"
    assert default_product_name("star.v2_calints.fits") == "star"


def test_names_of_a_run(tmp_path):
    members = (tmp_path / "a_calints.fits", tmp_path / "b_calints.fits")
    names = product_names("p", members, "o001", tmp_path)
    assert names.crfints == ("a_o001_crfints.fits", "b_o001_crfints.fits")
    assert (names.phot, names.x1dints, names.whtlt) == (
        "p_phot.ecsv",
        "p_x1dints.fits",
        "p_whtlt.ecsv",
    )
    assert names.quicklook == "p_quicklook.png"


def test_two_members_of_one_name_are_refused():
    with pytest.raises(InputError, match=r"x/a_calints.fits and y/a_calints.fits would both"):
        product_names("p", (Path("x/a_calints.fits"), Path("y/a_calints.fits")))


def test_a_product_never_replaces_an_input(tmp_path):
    member = tmp_path / "a_o001_crfints.fits"
    with pytest.raises(InputError, match="would replace the input"):
        product_names("p", (member,), "o001", tmp_path)
    product_names("p", (member,), "o001", tmp_path / "out")
