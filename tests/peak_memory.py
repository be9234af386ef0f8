"""Peak resident memory of a process that a test starts."""

from __future__ import annotations

PEAK = """
def peak():
    from pathlib import Path
    status = Path("/proc/self/status")
    if status.exists():  # of this program; what getrusage tells begins with the peak of its parent
        found = [line.split()[1] for line in status.open() if line.startswith("VmHWM")]
        return int(found[0]) * 1024
    import resource
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
"""
"""Code that defines ``peak``, which returns bytes."""
