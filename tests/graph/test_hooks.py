"""Hooks: functions of a user between the steps."""

from __future__ import annotations

import functools
import pickle
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import tso3dask as tso3
from tso3dask.config import parse_steps
from tso3dask.errors import InputError
from tso3dask.io.tables import read_table

calls: list[str] = []


def unchanged(dataset):
    return dataset


def nothing(dataset):
    calls.append("nothing")


def brighter(dataset):
    """Twice the data and errors, lazily."""
    doubled = {name: dataset[name] * np.float32(2) for name in ("sci", "err")}
    return dataset.assign({n: v.assign_attrs(dataset[n].attrs) for n, v in doubled.items()})


def copied(dataset):
    """The same values in arrays that are not any more the pixels of a file."""
    same = {n: dataset[n] + np.zeros((), dataset[n].dtype) for n in dataset.data_vars}
    return dataset.assign({n: v.assign_attrs(dataset[n].attrs) for n, v in same.items()})


def content(folder):
    """Pixels and columns of all products, without the headers, which have the time."""
    found = {}
    for path in sorted(Path(folder).iterdir()):
        if path.suffix == ".fits":
            with fits.open(path, memmap=False) as hdus:
                for hdu in hdus[1:]:
                    if hdu.name in ("ASDF", "HDRTAB"):
                        continue
                    found[path.name, hdu.name, hdu.ver] = hdu.data.tobytes()
        elif path.suffix == ".ecsv":
            found[path.name] = path.read_text()
    return found


def run(observation, folder, hooks, **more):
    steps = {step: dict(values) for step, values in observation.steps.items()}
    for name, functions in hooks.items():
        step, when = name.split(".")
        steps.setdefault(step, {})[when] = functions
    for step, values in more.items():
        steps.setdefault(step, {}).update(values)
    plan = tso3.plan(observation.asn, steps, chunk_integrations=7)
    return plan, plan.run(folder)


EVERYWHERE = {
    "images": ("outlier_detection", "tso_photometry"),
    "spectra": ("outlier_detection", "pixel_replace", "extract_1d", "white_light"),
}


@pytest.mark.parametrize("hook", [unchanged, nothing, copied])
@pytest.mark.parametrize("kind", ["images", "spectra"])
def test_hooks_that_change_nothing(kind, hook, request, tmp_path):
    observation = request.getfixturevalue(kind)
    _, plain = run(observation, tmp_path / "plain", {})
    hooks = {f"{s}.{w}": [hook] for s in EVERYWHERE[kind] for w in ("pre_hooks", "post_hooks")}
    if hook is copied:
        hooks = {name: h for name, h in hooks.items() if not name.startswith("white_light.post")}
    plan, result = run(observation, tmp_path / "hooked", hooks)
    assert content(tmp_path / "hooked") == content(tmp_path / "plain")
    assert result.outliers == plain.outliers
    assert f"test_hooks.{hook.__name__}" in repr(plan)
    assert f"test_hooks.{hook.__name__}" in plan._repr_html_()


def test_a_step_works_on_what_a_hook_returned(spectra, tmp_path):
    _, _ = run(spectra, tmp_path / "plain", {})
    plan, _ = run(spectra, tmp_path / "before", {"extract_1d.pre_hooks": [brighter]})
    name = plan.names.x1dints
    one, two = (fits.getdata(tmp_path / f / name, "EXTRACT1D") for f in ("plain", "before"))
    np.testing.assert_allclose(two["FLUX"], 2 * one["FLUX"], rtol=1e-6)
    crfints = plan.names.crfints[0]
    for folder in ("plain", "before"):  # written before that hook
        np.testing.assert_array_equal(
            fits.getdata(tmp_path / "plain" / crfints, "SCI"),
            fits.getdata(tmp_path / folder / crfints, "SCI"),
        )
    lazily = plan.x1dints.leaves[0].to_dataset().flux.values
    np.testing.assert_array_equal(lazily, two["FLUX"])


def test_order_and_products_of_pixel_hooks(spectra, tmp_path):
    plan, _ = run(
        spectra,
        tmp_path,
        {"outlier_detection.post_hooks": [brighter, brighter]},
        outlier_detection={"save_results": True},
    )
    flagged = tso3.plan(spectra.asn, spectra.steps).crfints.leaves[0].to_dataset().sci.values
    first = plan.products["outlier_detection"][0]
    for name in (plan.names.crfints[0], first):
        np.testing.assert_array_equal(fits.getdata(tmp_path / name, "SCI"), 4 * flagged)
    np.testing.assert_array_equal(plan.crfints.leaves[0].to_dataset().sci.values, 4 * flagged)


def test_spectra_in_the_file_of_their_step(spectra, tmp_path):
    plan, _ = run(
        spectra,
        tmp_path,
        {"outlier_detection.post_hooks": [brighter]},
        extract_1d={**spectra.steps["extract_1d"], "save_results": True},
    )
    one, two = (
        fits.getdata(tmp_path / plan.products[kind][0], "EXTRACT1D", 1)["FLUX"]
        for kind in ("x1dints", "extract_1d")
    )
    np.testing.assert_array_equal(one, two)


def test_file_of_replaced_pixels(spectra, tmp_path):
    """As the hooks after the step leave them; crfints are as before it."""
    on = {"pixel_replace": {"skip": False, "save_results": True}}
    plain, _ = run(spectra, tmp_path / "plain", {}, **on)
    plan, _ = run(spectra, tmp_path / "hooked", {"pixel_replace.pre_hooks": [copied]}, **on)
    assert content(tmp_path / "plain") == content(tmp_path / "hooked")
    run(spectra, tmp_path / "brighter", {"pixel_replace.post_hooks": [brighter]}, **on)
    for kind, factor in (("pixel_replace", 2), ("crfints", 1)):
        for name in plan.products[kind]:
            one, two = (
                fits.getdata(tmp_path / folder / name, "SCI") for folder in ("plain", "brighter")
            )
            assert np.isfinite(one).any()
            np.testing.assert_array_equal(two, one * np.float32(factor))
    assert plain.products == plan.products


def test_files_that_cannot_be_made_with_hooks_are_refused(spectra):
    steps = {**spectra.steps, "outlier_detection": {"post_hooks": [unchanged]}}
    steps["outlier_detection"]["save_intermediate_results"] = True
    with pytest.raises(tso3.errors.NotYetError, match="median files are not written yet"):
        tso3.plan(spectra.asn, steps)


def twice_the_flux(table):
    name = next(n for n in table if n.startswith(("whitelight_flux", "net_aperture_sum")))
    return table.assign({name: (table[name] * 2).assign_attrs(table[name].attrs)})


@pytest.mark.parametrize(
    ("kind", "step", "product"),
    [("spectra", "white_light", "whtlt"), ("images", "tso_photometry", "phot")],
)
def test_hooks_on_tables(kind, step, product, request, tmp_path):
    observation = request.getfixturevalue(kind)
    run(observation, tmp_path / "plain", {})
    plan, _ = run(observation, tmp_path / "twice", {f"{step}.post_hooks": [twice_the_flux]})
    name = plan.products[product][0]
    one, two = (read_table(tmp_path / f / name) for f in ("plain", "twice"))
    assert one.colnames == two.colnames
    assert one.meta == two.meta
    changed = [n for n in one.colnames if not np.array_equal(one[n], two[n], equal_nan=True)]
    assert len(changed) == 1
    np.testing.assert_array_equal(two[changed[0]], 2 * one[changed[0]])
    lazily = getattr(plan, product)[changed[0]].values
    np.testing.assert_array_equal(lazily, np.asarray(two[changed[0]]))


BAD = {
    "returned ndarray": lambda d: d.sci.values,
    "without 'err'": lambda d: d.drop_vars("err"),
    "has sizes": lambda d: d.isel(x=slice(3)),
    "has dims": lambda d: d.assign(sci=d.sci.isel(x=0)),
    r"attrs\['path'\]": lambda d: d.drop_attrs(),
    "failed (ZeroDivisionError": lambda d: 1 / 0,
    "expected numbers": lambda d: d.assign(sci=d.sci.astype(str)),
}


@pytest.mark.parametrize("text", BAD)
def test_what_cannot_be_used_is_refused_before_pixels_are_read(text, spectra, monkeypatch):
    from tso3dask.io.pixels import ArraySpec

    read = ArraySpec.read

    def small(self, *args, **more):
        assert self.name == "wavelength" or "ndarray" in text, f"{self.name} was read"
        return read(self, *args, **more)

    monkeypatch.setattr(ArraySpec, "read", small)
    steps = {**spectra.steps, "outlier_detection": {"post_hooks": [BAD[text]]}}
    with pytest.raises(InputError) as caught:
        tso3.plan(spectra.asn, steps)
    assert text.replace("\\", "") in str(caught.value)
    assert "outlier_detection.post_hooks" in str(caught.value)


def test_parameters_with_hooks(tmp_path):
    one = parse_steps({"extract_1d": {"post_hooks": [unchanged, "numpy.asarray"]}})
    assert hash(one) == hash(pickle.loads(pickle.dumps(one)))
    assert one.to_dict()["extract_1d"]["post_hooks"] == [
        f"{unchanged.__module__}.unchanged",
        "numpy.asarray",
    ]
    other = parse_steps({"extract_1d": {"post_hooks": [unchanged]}})
    assert one.token() != other.token()
    assert other.token() == parse_steps({"extract_1d": {"post_hooks": unchanged}}).token()


def test_names_of_results_tell_hooks_apart(spectra):
    def token(*hooks):
        steps = {**spectra.steps, "extract_1d": {**spectra.steps["extract_1d"]}}
        steps["extract_1d"]["post_hooks"] = hooks
        return tso3.plan(spectra.asn, steps).token

    def scaled(dataset, factor):
        return dataset.assign(flux=(dataset.flux * factor).assign_attrs(dataset.flux.attrs))

    hooks = [functools.partial(scaled, factor=f) for f in (3, 4)]
    tokens = [token(), token(hooks[0]), token(hooks[1]), token(*hooks), token(*hooks[::-1])]
    assert len(set(tokens)) == 5
    assert token(hooks[0]) == token(functools.partial(scaled, factor=3))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("no_such_module.f", "no_such_module cannot be imported"),
        ("numpy.no_such_function", "numpy has no 'no_such_function'"),
        ("numpy.pi", "is not a function"),
        ("alone", "dotted name"),
        ("os.system('x')", "dotted name"),
        ([3], "expected functions or their dotted names"),
    ],
)
def test_names_that_lead_to_no_function(given, text):
    with pytest.raises(InputError, match=r"outlier_detection\.post_hooks") as caught:
        parse_steps({"outlier_detection": {"post_hooks": given}})
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
