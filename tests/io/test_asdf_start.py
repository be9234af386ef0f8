"""Extensions of asdf are the same ones, however their documents are parsed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml

from tso3dask.io import asdf_start

LIST = """
import json, asdf, yaml
{before}
found = [
    [e.extension_uri, sorted(t.tag_uri for t in e.tags), len(e.converters)]
    for e in asdf.get_config().extensions
]
print(json.dumps([found, yaml.SafeLoader.__name__]))
"""


def listed(before):
    code = LIST.format(before=before)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def test_same_extensions_as_asdf_loads_itself():
    pytest.importorskip("asdf")
    ours = "from tso3dask.io.asdf_start import load_extensions; load_extensions()"
    own, quick = listed(""), listed(ours)
    assert len(own[0]) > 5
    assert quick == own


def test_loader_is_restored_after_an_error():
    before = yaml.SafeLoader
    with pytest.raises(RuntimeError), asdf_start._libyaml():
        if hasattr(yaml, "CSafeLoader"):
            assert yaml.SafeLoader is yaml.CSafeLoader
        raise RuntimeError
    assert yaml.SafeLoader is before


def test_validation_is_off_within_alone():
    asdf = pytest.importorskip("asdf")
    with asdf.config_context() as config:
        config.validate_on_read = True  # asdf 5's default, not asdf 6's
        with asdf_start.unvalidated():
            assert asdf.get_config().validate_on_read is False
        assert asdf.get_config().validate_on_read is True
