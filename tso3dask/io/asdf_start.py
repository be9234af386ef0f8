"""What asdf loads before its first file is open, made quicker.

All installed extensions announce what they read in documents of YAML, about fifty of them. asdf
parses these with PyYAML's own loader, although trees of files go through libyaml, which takes a
tenth of the time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["load_extensions", "unvalidated"]

_lock = threading.Lock()
_loaded = False


def load_extensions() -> None:
    """Load the installed asdf extensions, once per process."""
    global _loaded
    with _lock:
        if _loaded:
            return
        import asdf

        with _libyaml():
            # asking for them loads them
            _ = asdf.get_config().extensions
        _loaded = True


@contextmanager
def unvalidated() -> Iterator[None]:
    """Let trees be read here without comparing them with their schemas."""
    import asdf

    load_extensions()
    with asdf.config_context() as config:
        config.validate_on_read = False
        yield


@contextmanager
def _libyaml() -> Iterator[None]:
    """Let ``yaml.safe_load`` use libyaml, where PyYAML was built with it."""
    import yaml

    module: Any = yaml
    own = module.SafeLoader
    module.SafeLoader = getattr(module, "CSafeLoader", own)
    try:
        yield
    finally:
        module.SafeLoader = own
