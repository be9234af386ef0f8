"""Compiled elimination of spectrum and detector columns with a moving front.

This module imports numba when it is imported: load it inside functions only. See
`tso3dask.ops.soss.frontal`.
"""

from __future__ import annotations

import numpy as np

from tso3dask.ops._jit import helper, jit
from tso3dask.ops.soss._sides_jit import SIDES, STRIDE, add_scaled

__all__ = ["eliminate", "solve_one", "solve_sides"]

PANEL = 8
"""Eliminated unknowns whose effect on the front is added at one time."""


@helper
def _update(front, shares, columns):  # type: ignore[no-untyped-def]
    """Take the effect of a panel of eliminated unknowns off the lower half of the front."""
    for i in range(len(front)):
        a, b, c, d = shares[0, i], shares[1, i], shares[2, i], shares[3, i]
        e, f, g, h = shares[4, i], shares[5, i], shares[6, i], shares[7, i]
        row = front[i, : i + 1]
        for k in range(i + 1):
            row[k] -= (
                a * columns[0, k]
                + b * columns[1, k]
                + c * columns[2, k]
                + d * columns[3, k]
                + e * columns[4, k]
                + f * columns[5, k]
                + g * columns[6, k]
                + h * columns[7, k]
            )


@jit
def eliminate(  # type: ignore[no-untyped-def]
    slots, pointers, places, values, diagonal, least, shares, pivots
):
    """Eliminate all unknowns; returns how many pivots were lost to rounding.

    Parameters
    ----------
    slots : (step,) place in the front of the unknown that is eliminated in each step.
    pointers, places, values : entries of the matrix that join the front in each step: places in
        the front and their values.
    diagonal : (step,) diagonal of the matrix.
    least : smallest share of what a pivot is a difference of that is not rounding.
    shares, pivots : (step, place) and (step,) out: shares of the unknown in those in the front.
    """
    size = shares.shape[1]
    front = np.zeros((size, size))
    largest = np.zeros(size)
    columns, recent = np.zeros((PANEL, size)), np.zeros((PANEL, size))
    gone = np.zeros(PANEL, np.int64)
    waiting, lost = 0, 0
    for step in range(len(slots)):
        slot = slots[step]
        column = columns[waiting]
        column[: slot + 1] = front[slot, : slot + 1]
        for i in range(slot + 1, size):
            column[i] = front[i, slot]
        for j in range(waiting):
            share, before = recent[j, slot], columns[j]
            if share != 0.0:
                for i in range(size):
                    column[i] -= share * before[i]
        for j in range(waiting):
            column[gone[j]] = 0.0
        for p in range(pointers[step], pointers[step + 1]):
            column[places[p]] += values[p]
        pivot = column[slot] + diagonal[step]
        scale = max(abs(diagonal[step]), largest[slot])
        sign = 1.0 if diagonal[step] > 0.0 else -1.0
        if not pivot * sign > least * scale:
            lost += 1
            pivot = sign * max(abs(pivot), least * scale, 1e-300)
        column[slot] = 0.0
        for i in range(size):
            share = column[i] / pivot
            shares[step, i] = share
            recent[waiting, i] = share
            largest[i] = max(largest[i], abs(share * column[i]))
        largest[slot] = 0.0
        pivots[step] = pivot
        gone[waiting] = slot
        waiting += 1
        if waiting == PANEL:
            _update(front, recent, columns)
            for j in range(PANEL):
                front[gone[j], : gone[j] + 1] = 0.0
                front[gone[j] :, gone[j]] = 0.0
            waiting = 0
    return lost


@jit
def place(pointers, others, slots, places):  # type: ignore[no-untyped-def]
    """Give each unknown a place in the front for as long as it is there; returns their number.

    An unknown is known by the step that it is eliminated in. Its place is free again at the end of
    the panel in which that happens.

    Parameters
    ----------
    pointers, others : unknowns that each step has entries with, none eliminated before.
    slots, places : (step,) and as `others`, out: places of the unknowns.
    """
    steps = len(slots)
    slots[:] = -1
    free = np.zeros(steps, np.bool_)
    size = 0
    for step in range(steps):
        begin, end = pointers[step], pointers[step + 1]
        for p in range(begin - 1, end):
            unknown = step if p < begin else others[p]
            if slots[unknown] < 0:
                slot = 0
                while slot < size and not free[slot]:
                    slot += 1
                size = max(size, slot + 1)
                free[slot] = False
                slots[unknown] = slot
            if p >= begin:
                places[p] = slots[unknown]
        if step % PANEL == PANEL - 1:
            for j in range(step + 1 - PANEL, step + 1):
                free[slots[j]] = True
    return size


@jit
def solve_one(slots, shares, pivots, right):  # type: ignore[no-untyped-def]
    """Solve for one right-hand side (step,) in place."""
    size = shares.shape[1]
    held = np.zeros(size)
    for step in range(len(slots)):
        slot, part = slots[step], shares[step]
        value = right[step] + held[slot]
        held[slot] = 0.0
        for i in range(size):
            held[i] -= part[i] * value
        right[step] = value / pivots[step]
    held[:] = 0.0
    for step in range(len(slots) - 1, -1, -1):
        part = shares[step]
        value = right[step]
        for i in range(size):
            value -= part[i] * held[i]
        held[slots[step]] = value
        right[step] = value


@jit
def solve_sides(slots, shares, pivots, right):  # type: ignore[no-untyped-def]
    """Solve for SIDES right-hand sides (step, side) in place."""
    size = shares.shape[1]
    held = np.zeros((size, SIDES))
    to_held, to_right = held.ctypes.data, right.ctypes.data
    for step in range(len(slots)):
        slot, part = slots[step], shares[step]
        row = right[step]
        for s in range(SIDES):
            row[s] += held[slot, s]
            held[slot, s] = 0.0
        for i in range(size):
            add_scaled(to_held + STRIDE * i, to_right + STRIDE * step, -part[i])
        for s in range(SIDES):
            row[s] /= pivots[step]
    held[:] = 0.0
    for step in range(len(slots) - 1, -1, -1):
        slot, part = slots[step], shares[step]
        for i in range(size):
            add_scaled(to_right + STRIDE * step, to_held + STRIDE * i, -part[i])
        for s in range(SIDES):
            held[slot, s] = right[step, s]
