"""A small CRDS cache in a folder: rules and files, from which crds resolves without a server."""

from __future__ import annotations

import hashlib
import pprint
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["PARKEYS", "CrdsCache", "write_parameters"]

EXP_TYPE, DETECTOR = "META.EXPOSURE.TYPE", "META.INSTRUMENT.DETECTOR"
FILTER, GRATING = "META.INSTRUMENT.FILTER", "META.INSTRUMENT.GRATING"

PARKEYS: dict[str, tuple[str, ...]] = {
    "gain": (DETECTOR, "META.SUBARRAY.NAME"),
    "readnoise": (DETECTOR,),
    "extract1d": (EXP_TYPE, DETECTOR),
    "apcorr": (EXP_TYPE, GRATING),
    "psf": (EXP_TYPE, GRATING),
    "wavelengthrange": (EXP_TYPE,),
    "pastasoss": (EXP_TYPE,),
    "specprofile": (EXP_TYPE,),
    "speckernel": (EXP_TYPE,),
    "photom": (EXP_TYPE,),
    "area": (EXP_TYPE,),
    "pars-tso3pipeline": (EXP_TYPE,),
    "pars-outlierdetectionstep": (EXP_TYPE, FILTER),
    "pars-tsophotometrystep": (EXP_TYPE, "META.VISIT.TSOVISIT"),
    "pars-adaptivetracemodelstep": (EXP_TYPE,),
    "pars-pixelreplacestep": (EXP_TYPE,),
    "pars-extract1dstep": (EXP_TYPE, DETECTOR),
    "pars-photomstep": (EXP_TYPE,),
    "pars-whitelightstep": (EXP_TYPE, FILTER),
}
"""Header parameters that the rules of a reference type match."""

_TIME = ("META.OBSERVATION.DATE", "META.OBSERVATION.TIME")
_INSTRUMENTS = ("MIRI", "NIRCAM", "NIRISS", "NIRSPEC")


@dataclass
class CrdsCache:
    """Rules of one context and the files that they name.

    Attributes
    ----------
    folder : Path
        What CRDS_PATH is set to.
    context : str
        Name of the pipeline mapping.
    rules : dict
        For an instrument and a reference type the cases: values of the type's header parameters,
        and the name of a file or ``N/A``. Types without cases are not applicable.
    """

    folder: Path
    context: str = "jwst_0001.pmap"
    rules: dict[tuple[str, str], list[tuple[tuple[str, ...], str]]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which crds uses the cache."""
        return {"CRDS_PATH": str(self.folder), "CRDS_CONTEXT": self.context}

    @property
    def information(self) -> dict[str, Any]:
        """What a server says of itself; a cache keeps it."""
        return {
            "observatory": "jwst",
            "status": "server",
            "connected": True,
            "latest_context": self.context,
            "operational_context": self.context,
            "edit_context": self.context,
            "bad_files_list": [],
            "bad_files": "",
            "force_remote_mode": False,
            "last_synced": "2026-01-01 00:00:00",
            "mappings": [self.context],
        }

    def reference(self, instrument: str, name: str) -> Path:
        """Return where a file of an instrument is kept."""
        return self.folder / "references" / "jwst" / instrument.lower() / name

    def mapping(self, name: str) -> Path:
        """Return where rules are kept."""
        return self.folder / "mappings" / "jwst" / name

    def add(
        self,
        instrument: str,
        kind: str,
        file: Path | str,
        *values: str,
        name: str | None = None,
        after: str = "2000-01-01 00:00:00",
    ) -> str:
        """Add a file, or ``N/A``, for some values of the header parameters; return its name.

        Rules are written anew by `write`.
        """
        values = values or ("ANY",) * len(PARKEYS[kind])
        key = (instrument.upper(), kind)
        if isinstance(file, Path):
            count = sum(len(cases) for cases in self.rules.values()) + 1
            name = name or f"jwst_{instrument.lower()}_{kind}_{count:04d}{file.suffix}"
            target = self.reference(instrument, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        else:
            name = file
        self.rules.setdefault(key, []).append((values, name, after))
        return name

    def write(self) -> CrdsCache:
        """Write rules and configuration."""
        self.mapping("").mkdir(parents=True, exist_ok=True)
        number = self.context.removesuffix(".pmap").rpartition("_")[2]
        instruments = {}
        for instrument in _INSTRUMENTS:
            low = instrument.lower()
            kinds = {}
            for kind in PARKEYS:
                cases = self.rules.get((instrument, kind), [])
                name = f"jwst_{low}_{kind}_{number}.rmap"
                kinds[kind.upper()] = name if cases else "N/A"
                if cases:
                    self._put(name, self._rmap(instrument, kind, name, cases))
            name = f"jwst_{low}_{number}.imap"
            header = {"instrument": instrument, "mapping": "INSTRUMENT", "name": name}
            self._put(name, _mapping({**header, "parkey": ("REFTYPE",)}, repr(kinds)))
            instruments[instrument] = name
        header = {"mapping": "PIPELINE", "name": self.context, "parkey": ("META.INSTRUMENT.NAME",)}
        self._put(self.context, _mapping(header, repr(instruments)))
        config = self.folder / "config" / "jwst"
        config.mkdir(parents=True, exist_ok=True)
        (config / "server_config").write_text(pprint.pformat(self.information))
        (config / "ref_cache_subdir_mode").write_text("instrument")
        return self

    def _put(self, name: str, text: str) -> None:
        self.mapping(name).write_text(text)

    def _rmap(self, instrument: str, kind: str, name: str, cases: Sequence[Any]) -> str:
        header = {
            "classes": ("Match", "UseAfter"),
            "filekind": kind.upper(),
            "instrument": instrument,
            "mapping": "REFERENCE",
            "name": name,
            "parkey": (PARKEYS[kind], _TIME),
        }
        matches: dict[Any, dict[str, str]] = {}
        for values, file, after in cases:
            matches.setdefault(values if len(values) > 1 else values[0], {})[after] = file
        lines = ["Match({"]
        for values, files in matches.items():
            lines.append(f"    {values!r} : UseAfter({{")
            lines += [f"        {after!r} : {file!r}," for after, file in sorted(files.items())]
            lines.append("    }),")
        return _mapping(header, "\n".join([*lines, "})"]))


def _mapping(header: Mapping[str, Any], selector: str) -> str:
    """Return the text of a mapping with its checksum."""
    lines = ["header = {", "    'derived_from' : 'made for tests',", "    'observatory' : 'JWST',"]
    lines += [f"    {key!r} : {value!r}," for key, value in header.items()]
    tail = ["}", "", f"selector = {selector}", ""]
    digest = hashlib.sha1("\n".join([*lines, *tail]).encode()).hexdigest()
    return "\n".join([*lines, f"    'sha1sum' : {digest!r},", *tail])


_CLASSES = {
    "tso3_pipeline": "jwst.pipeline.calwebb_tso3.Tso3Pipeline",
    "outlier_detection": "jwst.outlier_detection.outlier_detection_step.OutlierDetectionStep",
    "tso_photometry": "jwst.tso_photometry.tso_photometry_step.TSOPhotometryStep",
    "extract_1d": "jwst.extract_1d.extract_1d_step.Extract1dStep",
    "white_light": "jwst.white_light.white_light_step.WhiteLightStep",
}


def write_parameters(path: Path, **steps: Mapping[str, Any]) -> Path:
    """Write a parameter file: of one step, or of the pipeline if it is ``tso3_pipeline``.

    For the pipeline the value is a dictionary of steps.
    """
    import asdf

    ((name, values),) = steps.items()
    tree: dict[str, Any] = {
        "meta": {
            "author": "tests", "date": "2026-01-01T00:00:00", "description": "parameters",
            "instrument": {"name": "ANY"}, "origin": "tests", "pedigree": "GROUND",
            "reftype": "pars", "telescope": "JWST", "useafter": "2000-01-01T00:00:00",
        },
        "class": _CLASSES[name],
        "name": name,
    }  # fmt: skip
    if name == "tso3_pipeline":
        tree["parameters"] = {}
        tree["steps"] = [
            {"class": _CLASSES[step], "name": step, "parameters": dict(parameters)}
            for step, parameters in values.items()
        ]
    else:
        tree["parameters"] = dict(values)
    asdf.AsdfFile(tree).write_to(path)
    return path
