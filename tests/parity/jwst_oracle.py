"""Run jwst's own stage-3 pipeline offline, as the answer to compare with."""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

_loader: list[Any] = []
"""The parser of schemas and the check of values, with a memory."""


@contextlib.contextmanager
def quick() -> Iterator[None]:
    """Spare what costs time and changes no result: schemas parsed anew, garbage collection."""
    from asdf import schema
    from stdatamodels import validate

    if not hasattr(schema, "_make_schema_loader") or not hasattr(validate, "_check_value"):
        yield
        return
    if not _loader:
        _loader.append(functools.cache(schema._make_schema_loader()))
        _loader.append(remembered(validate._check_value))
    with (
        mock.patch.object(schema, "_make_schema_loader", lambda: _loader[0]),
        mock.patch.object(validate, "_check_value", _loader[1]),
        mock.patch.object(gc, "collect", lambda *_: 0),
    ):
        yield


def remembered(check: Any) -> Any:
    """Give a check of values against schemas that is made once for equal text and numbers."""
    passed: set[Any] = set()

    def checked(value: Any, entry: Any, model: Any) -> None:
        if not isinstance(value, str | int | float):
            check(value, entry, model)
            return
        key = (repr(entry), type(value), value)
        if key not in passed:
            check(value, entry, model)
            passed.add(key)

    return checked


@contextlib.contextmanager
def offline() -> Iterator[Any]:
    """Give Tso3Pipeline in a state in which no reference server is asked for anything."""
    pytest.importorskip("jwst")
    from jwst.pipeline import Tso3Pipeline
    from stpipe import crds_client

    with (
        mock.patch.dict(os.environ, {"STPIPE_DISABLE_CRDS_STEPPARS": "true"}),
        mock.patch.object(Tso3Pipeline, "prefetch_references", False),
        mock.patch.object(crds_client, "get_context_used", lambda _: "jwst_0000.pmap"),
    ):
        yield Tso3Pipeline


@contextlib.contextmanager
def with_crds(environment: dict[str, str]) -> Iterator[Any]:
    """Give Tso3Pipeline as it is, with CRDS set up by some variables."""
    pytest.importorskip("jwst")
    from crds.core import config, utils
    from jwst.pipeline import Tso3Pipeline

    with mock.patch.dict(os.environ, environment), silent():
        utils.clear_function_caches()
        config.CRDS_REF_SUBDIR_MODE = "None"
        yield Tso3Pipeline


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Let no log line and no warning out."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def run_jwst(
    source: Path | str | list[str],
    output_dir: Path,
    steps: dict[str, dict[str, Any]],
    environment: dict[str, str] | None = None,
) -> dict[str, list[Path]]:
    """Run the pipeline on an association or a list of files; return its products by suffix.

    With an `environment` that sets up CRDS, references and parameters come from there.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    state = offline() if environment is None else with_crds(environment)
    with state as pipeline, silent(), quick():
        if not isinstance(source, list):
            source = str(source)
        pipeline.call(source, output_dir=str(output_dir), steps=steps, configure_log=False)
    products: dict[str, list[Path]] = {}
    for path in sorted(output_dir.iterdir()):
        products.setdefault(path.stem.rsplit("_", 1)[-1], []).append(path)
    return products
