"""Run jwst's own stage-3 pipeline offline, as the answer to compare with."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest


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


def run_jwst(
    asn: Path, output_dir: Path, steps: dict[str, dict[str, Any]]
) -> dict[str, list[Path]]:
    """Run the pipeline; return its products by suffix (crfints, x1dints, whtlt, phot)."""
    output_dir.mkdir(parents=True, exist_ok=True)
    with offline() as pipeline:
        pipeline.call(str(asn), output_dir=str(output_dir), steps=steps)
    products: dict[str, list[Path]] = {}
    for path in sorted(output_dir.iterdir()):
        products.setdefault(path.stem.rsplit("_", 1)[-1], []).append(path)
    return products
