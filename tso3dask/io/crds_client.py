"""The crds package, asked for best references; imported only when something is asked of it.

CRDS is in use where its variables are set (CRDS_PATH, CRDS_SERVER_URL ...), as everybody sets them
for the field's pipelines. Rules in a cache resolve without a network; without CRDS_SERVER_URL
nothing is ever asked of a server.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tso3dask.errors import InputError

__all__ = [
    "CrdsError",
    "NoRuleError",
    "advice",
    "best_reference",
    "context_in_use",
    "is_configured",
]

JWST_VERSION = "3.0.0"
"""The pipeline whose rules are taken where CRDS_CONTEXT names none."""

_SERVER = "https://jwst-crds.stsci.edu"
_HOW_TO_CONFIGURE = (
    "set CRDS_PATH (folder of the cache) and CRDS_SERVER_URL (https://jwst-crds.stsci.edu) to let "
    "CRDS choose (package crds: pip install 'tso3dask[crds]')"
)
_WHERE = ("CRDS_SERVER_URL", "CRDS_PATH", "CRDS_PATH_SINGLE", "CRDS_MAPPATH", "CRDS_CONFIG_URI")
_SETTINGS = (*_WHERE, "CRDS_CONTEXT", "CRDS_REFPATH", "CRDS_CFGPATH", "CRDS_READONLY_CACHE")
_SERVERLESS = "https://crds-serverless-mode.stsci.edu"
_NO_RULE = ("No match", "Unknown reference type", " is not in [")
_FAILURES = (Exception, SystemExit)  # crds raises many kinds, and exits without a configuration
_seen: dict[str, str | None] = {}


class CrdsError(InputError):
    """CRDS cannot tell or cannot deliver."""


class NoRuleError(CrdsError):
    """The rules have no entry for a header or a reference type."""


def is_configured() -> bool:
    """Tell whether the user has set up CRDS, without importing it."""
    if any(os.environ.get(name, "none").lower() not in ("", "none") for name in _WHERE):
        return True
    return Path(os.environ.get("CRDS_DEFAULT_CACHE", "/grp/crds/cache")).is_dir()


def advice() -> str:
    """Tell which variables to set, or to look at, to get references from CRDS."""
    if not is_configured():
        return _HOW_TO_CONFIGURE
    if not os.environ.get("CRDS_SERVER_URL"):
        return f"set CRDS_SERVER_URL ({_SERVER}) to let CRDS fetch what its cache lacks"
    return "see to CRDS_SERVER_URL, CRDS_PATH and CRDS_CONTEXT"


def best_reference(header: Mapping[str, Any], kind: str) -> str | None:
    """Return the best reference for a header; a file that the cache lacks is fetched.

    Parameters
    ----------
    header : mapping
        Values by attribute of the data model, as ``meta.instrument.name``.
    kind : str
        Reference type, as ``extract1d`` or ``pars-extract1dstep``.

    Returns
    -------
    str or None
        The file in the cache; None if the rules say that none is needed.

    Raises
    ------
    NoRuleError
        If the rules have no entry.
    CrdsError
        If CRDS is not installed or not set up, or rules or the file are not to be had.
    """
    with _session() as crds:
        try:
            path = crds.getreferences(
                dict(header), reftypes=[kind], observatory="jwst", context=_context()
            )[kind]
        except _FAILURES as error:
            path = _without_configuration(header, kind)
            if path is None:
                raise _explained(error, header, kind) from error
    if "N/A" in path.upper():
        return None
    if not Path(path).is_file():
        raise CrdsError(f"{Path(path).name} is not in the cache ({path}) and could not be fetched")
    return str(path)


def context_in_use() -> tuple[str, str]:
    """Return the version of crds and the context whose rules it uses, as ``jwst_1234.pmap``."""
    with _session() as crds:
        try:
            context = _heavy().get_processing_mode("jwst", _context())[1]
        except _FAILURES as error:
            context = _named_context()
            if context is None:
                raise CrdsError(f"no context: {_one_line(error)}") from error
        return str(crds.__version__), str(context)


def _heavy() -> Any:
    from crds.core import heavy_client

    return heavy_client


@contextlib.contextmanager
def _session() -> Iterator[Any]:
    """Give the crds package, in step with the environment and silent."""
    if not is_configured():
        raise CrdsError(f"CRDS is not set up: {_HOW_TO_CONFIGURE}")
    os.environ.setdefault("CRDS_CLIENT_TIMEOUT_SECONDS", "60")
    try:
        import crds
    except ImportError:
        raise CrdsError("the package crds is not installed: pip install 'tso3dask[crds]'") from None
    _follow_environment(crds)
    logger = logging.getLogger("CRDS")
    before = logger.disabled
    with contextlib.ExitStack() as stack:
        if not logging.getLogger().isEnabledFor(logging.INFO):
            logger.disabled = True
            stack.callback(setattr, logger, "disabled", before)
            stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        yield crds


def _follow_environment(crds: Any) -> None:
    """Make crds forget what it found with variables that have changed since."""
    if "CRDS_CONFIG_URI" not in os.environ:  # crds relies on variables that it set when imported
        for item in vars(crds.config).values():
            if isinstance(item, crds.config.ConfigItem):
                item.get()
    now = {name: os.environ.get(name) for name in _SETTINGS if name != "CRDS_CONFIG_URI"}
    if _seen == now:
        return
    crds.utils.clear_function_caches()
    crds.config.CRDS_REF_SUBDIR_MODE = "None"
    crds.api.set_crds_server(os.environ.get("CRDS_SERVER_URL") or _SERVERLESS)
    _seen.clear()
    _seen.update(now)


def _context() -> str | None:
    """Return the context of the pipeline that numbers are compared with, or leave it to crds."""
    if os.environ.get("CRDS_CONTEXT") or not os.environ.get("CRDS_SERVER_URL"):
        return None
    return _build_context(os.environ["CRDS_SERVER_URL"])


@functools.lru_cache(maxsize=8)
def _build_context(server: str) -> str | None:
    from crds.client import api

    try:
        return str(api.S.get_build_context("jwst", JWST_VERSION))
    except Exception:  # no such call, no network: crds falls back to the latest context
        return None


def _named_context() -> str | None:
    name = os.environ.get("CRDS_CONTEXT", "")
    return name if name.endswith(".pmap") else None


def _without_configuration(header: Mapping[str, Any], kind: str) -> str | None:
    """Return a file by the rules of the context that CRDS_CONTEXT names, if the cache has both.

    crds itself wants to know a server's configuration first, which a cache may lack.
    """
    context = _named_context()
    if context is None:
        return None
    from crds.core import config

    try:
        found = _heavy().hv_best_references(context, dict(header), [kind])[kind]
        if found.upper() == "NOT FOUND N/A":
            return "N/A"
        path = config.locate_file(found, "jwst")
    except _FAILURES:
        return None
    return path if Path(path).is_file() else None


def _explained(error: BaseException, header: Mapping[str, Any], kind: str) -> CrdsError:
    """Turn what crds raised into one line."""
    text = _one_line(error)
    context = _attempt(lambda: context_in_use()[1])
    if any(words in text for words in _NO_RULE):
        by = _attempt(lambda: _parameters(context, header, kind))
        return NoRuleError(f"{context} has no {kind}" + (f" for {by}" if by else ""))
    name = _attempt(lambda: _recommended(header, kind))
    if name:
        return CrdsError(f"{context} chooses {name}, which is not in the cache: {text}")
    if context and not _attempt(lambda: _has_rules(context)):
        text = f"its rules are not in the cache, and no server gives them ({text})"
    names = [n for n in ("CRDS_CONTEXT", "CRDS_PATH", "CRDS_SERVER_URL") if os.environ.get(n)]
    settings = ", ".join(f"{name}={os.environ[name]}" for name in names)
    return CrdsError(f"CRDS does not resolve {kind} ({settings}): {text}")


def _parameters(context: str | None, header: Mapping[str, Any], kind: str) -> str:
    """Tell the header parameters that the rules of a type look at."""
    instrument = str(header["meta.instrument.name"])
    rules = _heavy().get_symbolic_mapping(context).get_imap(instrument).get_rmap(kind)
    matched, *_ = rules.parkey
    values = [(key, header.get(key.lower(), "missing")) for key in matched]
    return ", ".join(f"{key.lower().removeprefix('meta.')}={value}" for key, value in values)


def _recommended(header: Mapping[str, Any], kind: str) -> str | None:
    import crds

    name = crds.getrecommendations(
        dict(header), reftypes=[kind], observatory="jwst", context=_context()
    )[kind]
    return None if "NOT FOUND" in name else str(name)


def _has_rules(context: str) -> bool:
    from crds.core import config

    return Path(config.locate_mapping(context)).is_file()


def _attempt(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except _FAILURES:
        return None


def _one_line(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return "no server answers, and the cache has no configuration (config/jwst/server_config)"
    return " ".join(str(error).split()) or type(error).__name__
