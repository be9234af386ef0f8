"""Numbers in messages: things counted, sizes, durations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import SupportsInt

__all__ = ["counted", "format_bytes", "format_seconds", "listed", "numbered"]


def counted(count: int, noun: str) -> str:
    """Return a number and a noun, as ``1 member`` and ``2 members``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def numbered(first: int, last: int, noun: str = "integration") -> str:
    """Return a range of numbered things, as ``integration 2`` and ``integrations 2-5``."""
    return f"{noun} {first}" if first == last else f"{noun}s {first}-{last}"


def listed(numbers: Iterable[SupportsInt], noun: str = "integration") -> str:
    """Return some numbered things, the first five of them, as ``integrations 1, 2, 7``."""
    found = [int(number) for number in numbers]
    shown = ", ".join(str(number) for number in found[:5]) + (" ..." if len(found) > 5 else "")
    return f"{noun} {shown}" if len(found) == 1 else f"{noun}s {shown}"


def format_bytes(count: float) -> str:
    """Return a size in words, as ``1.4 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000.0
    return f"{count:.3g} TB"


def format_seconds(seconds: float) -> str:
    """Return a duration in words, as ``42 s`` or ``1 h 05 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
