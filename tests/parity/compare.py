"""Compare all products of two runs, ours and jwst's, and say in words what differs.

Strict by default: the order of extensions, keywords, columns and meta entries counts as well as
their values. What may differ is listed in `stated`, each with its reason; anything else is a
finding. Beside the findings a comparison keeps one record per quantity (largest difference and
tolerance), so that a table of them can be made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

__all__ = ["Comparison", "Record", "compare_folders"]

EXACT = 0.0
TOLERANCE = 1e-6
"""Largest difference of a number, relative to the larger of its size and its own error."""

KINDS = ("crfints", "x1dints", "phot", "whtlt")
NOT_PRODUCTS = re.compile(r".*_tso3dask\.(json|png)$|^\..*")
"""Files beside the products: the record of the run and the quick-look figure."""


@dataclass
class Record:
    """Largest difference of one quantity over all files and extensions of a product.

    ``largest`` is relative to max(|jwst|, its error) where ``tolerance`` is above 0; for exact
    quantities it is the number of values that differ.
    """

    case: str
    product: str
    quantity: str
    largest: float
    tolerance: float
    values: int


@dataclass
class Comparison:
    """What was found in one case."""

    case: str
    findings: list[str] = field(default_factory=list)
    records: dict[tuple[str, str], Record] = field(default_factory=dict)

    def find(self, where: str, text: str) -> None:
        """Add a finding."""
        self.findings.append(f"{where}: {text}")

    def same(self, where: str, ours: object, theirs: object) -> bool:
        """Expect two plain values to be equal, type included."""
        if type(ours) is type(theirs) and ours == theirs:
            return True
        if isinstance(ours, float) and isinstance(theirs, float) and ours != ours != theirs:
            return True
        self.find(where, f"{short(ours)} instead of {short(theirs)}")
        return False

    def number(self, where: str, ours: float, theirs: float, tolerance: float) -> None:
        """Expect two numbers of a header to be equal to a relative tolerance, types included."""
        if type(ours) is not type(theirs) or not abs(ours - theirs) <= tolerance * abs(theirs):
            self.find(where, f"{ours!r} instead of {theirs!r}")

    def same_names(self, where: str, ours: Iterable[str], theirs: Iterable[str]) -> bool:
        """Expect two lists of names to be equal, order included."""
        ours, theirs = list(ours), list(theirs)
        if ours == theirs:
            return True
        missing = [n for n in theirs if n not in ours]
        extra = [n for n in ours if n not in theirs]
        if missing:
            self.find(where, f"missing {missing}")
        if extra:
            self.find(where, f"extra {extra}")
        if not missing and not extra:
            place = next(
                (i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b),
                min(len(ours), len(theirs)),
            )
            self.find(
                where,
                f"other order or number from place {place}: {ours[place : place + 3]} instead of "
                f"{theirs[place : place + 3]}",
            )
        return False

    def values(
        self,
        product: str,
        where: str,
        quantity: str,
        ours: np.ndarray,
        theirs: np.ndarray,
        tolerance: float = EXACT,
        error: np.ndarray | None = None,
    ) -> None:
        """Expect two arrays to be equal: type, shape, NaN pattern and values."""
        ours, theirs = np.asarray(ours), np.asarray(theirs)
        where = f"{where} {quantity}"
        if ours.dtype.newbyteorder("=") != theirs.dtype.newbyteorder("="):
            self.find(where, f"dtype {ours.dtype} instead of {theirs.dtype}")
        if ours.shape != theirs.shape:
            self.find(where, f"shape {ours.shape} instead of {theirs.shape}")
            return
        if theirs.dtype.kind not in "fc":
            tolerance = EXACT
            different = np.asarray(ours != theirs)
            self._worst(where, "values differ", different, ours, theirs)
            self._record(product, quantity, float(np.count_nonzero(different)), EXACT, theirs.size)
            return
        one, other = ours.astype(np.float64), theirs.astype(np.float64)
        pattern = np.isnan(one) != np.isnan(other)
        self._worst(where, "values are NaN on one side alone", pattern, ours, theirs)
        distance = self._distance(one, other, error)
        if tolerance == EXACT:
            different = distance > 0
            self._worst(where, "values differ", different, ours, theirs)
            largest = float(np.count_nonzero(different | pattern))
        else:
            text = f"values differ by more than {tolerance:g}"
            self._worst(where, text, distance > tolerance, ours, theirs, distance)
            largest = np.inf if pattern.any() else float(distance.max(initial=0.0))
        self._record(product, quantity, largest, tolerance, theirs.size)

    @staticmethod
    def _distance(one: np.ndarray, other: np.ndarray, error: np.ndarray | None) -> np.ndarray:
        """Differences relative to max(|other|, error); 0 where one is NaN, inf for x against 0."""
        scale = np.abs(other)
        if error is not None:
            scale = np.fmax(scale, np.abs(np.asarray(error, np.float64)))
        with np.errstate(all="ignore"):
            apart = np.abs(one - other)
            distance = np.where(apart == 0, 0.0, apart / scale)
        distance[np.isnan(distance)] = np.inf  # infinite on one side, or with opposite signs
        distance[(one == other) | np.isnan(one) | np.isnan(other)] = 0.0
        return distance

    def _worst(
        self,
        where: str,
        text: str,
        mask: np.ndarray,
        ours: np.ndarray,
        theirs: np.ndarray,
        distance: np.ndarray | None = None,
    ) -> None:
        count = np.count_nonzero(mask)
        if not count:
            return
        flat = np.flatnonzero(mask)[0] if distance is None else np.argmax(distance)
        place = tuple(int(i) for i in np.unravel_index(flat, mask.shape))
        most = "" if distance is None else f", most {distance[place]:.3g}"
        self.find(
            where,
            f"{count} of {mask.size} {text}{most}; at {list(place)} {ours[place]!r} instead of "
            f"{theirs[place]!r}",
        )

    def _record(
        self, product: str, quantity: str, largest: float, tolerance: float, size: int
    ) -> None:
        key = (product, quantity)
        old = self.records.get(key)
        if old is None:
            self.records[key] = Record(self.case, product, quantity, largest, tolerance, size)
        else:
            old.largest = max(old.largest, largest) if tolerance else old.largest + largest
            old.values += size

    def unexplained(self, deviations: Mapping[str, str]) -> list[str]:
        """Findings that no deviation covers, and deviations that did not show.

        Parameters
        ----------
        deviations : mapping
            Reason by regular expression, searched for in the findings.
        """
        used = {pattern: False for pattern in deviations}
        left = []
        for finding in self.findings:
            hits = [p for p in deviations if re.search(p, finding)]
            used.update(dict.fromkeys(hits, True))
            if not hits:
                left.append(finding)
        unseen = [f"stated difference did not show: {p}" for p, seen in used.items() if not seen]
        return left + unseen


def short(value: object) -> str:
    """Describe a value in a line."""
    text = repr(value)
    return text if len(text) < 100 else f"{text[:60]} ... {text[-30:]} ({len(text)} characters)"


def products(folder: Path) -> dict[str, Path]:
    """Products in a folder by name."""
    return {p.name: p for p in sorted(folder.iterdir()) if not NOT_PRODUCTS.match(p.name)}


def compare_folders(
    ours: Path,
    theirs: Path,
    case: str = "",
    kinds: Iterable[str] = KINDS,
    models: bool = True,
) -> Comparison:
    """Compare the products of two runs.

    Headers, trees and data of every file are compared; of the crfints the last is opened as a data
    model too, which takes most of the time.

    Parameters
    ----------
    ours, theirs : Path
        Folders of products.
    case : str
        Name for the records.
    kinds : iterable of str
        Kinds to compare, by file suffix.
    models : bool
        Whether to open data models.
    """
    from compare_ecsv import compare_tables
    from compare_fits import compare_fits, label_of
    from compare_models import compare_models, compare_trees

    result = Comparison(case)
    kinds = tuple(kinds)
    left, right = (
        {n: p for n, p in products(f).items() if p.stem.rsplit("_", 1)[-1] in kinds or f == ours}
        for f in (ours, theirs)
    )
    if not set(KINDS) <= set(kinds):
        left = {n: p for n, p in left.items() if p.stem.rsplit("_", 1)[-1] in kinds}
    result.same_names("products", sorted(left), sorted(right))
    names = sorted(left.keys() & right.keys())
    # A model is made of the headers and the tree, which are compared for all files.
    crfints = [n for n in names if n.endswith("_crfints.fits")]
    opened = set(names) - set(crfints[:-1]) if models else set()
    for name in names:
        kind = Path(name).stem.rsplit("_", 1)[-1]
        pair = left[name], right[name]
        if not name.endswith(".fits"):
            compare_tables(result, kind, *pair)
        else:
            compare_fits(result, kind, *pair)
            compare_trees(result, label_of(kind, pair[1]), *pair)
            if name in opened:
                compare_models(result, kind, *pair)
    return result
