"""Sums that the fit of a background needs, in vectors of neighbouring columns.

This module imports numba when it is imported: load it inside functions only.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from tso3dask.ops._vector_jit import I64, Emitter, Signature, intrinsic, literals

__all__ = ["moment_lanes"]


@intrinsic(prefer_literal=True)
def moment_lanes(
    typingctx: Any,
    source: Any,
    offset: Any,
    target: Any,
    pitch: Any,
    y: Any,
    order: Any,
    lanes: Any,
) -> Signature:
    """Add one row of pixels to the sums that a background fit needs, for `lanes` columns.

    `source` is a tuple of addresses of SCI, of the values to be fitted, of three variances and of
    marks (0 or 1, float32) of pixels inside; `offset` in bytes is added to all. `target` is the
    address of float64 sums, `pitch` bytes apart: the count, and sums of y, y^2, the values, the
    values times y, and of each variance times 1, y and y^2. Those with y are for `order` 1 alone.
    """
    literal = literals(order, lanes)
    if literal is None or not isinstance(source, types.UniTuple):
        return None

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
        assert literal is not None
        emit = Emitter(builder, literal[1])
        places = [builder.add(p, args[1]) for p in cgutils.unpack_tuple(builder, args[0])]
        sci, value, *variances, inside = (emit.load(emit.floats, place) for place in places)
        summed = builder.fadd(builder.fadd(variances[0], variances[1]), variances[2])
        used = builder.fcmp_unordered("!=", inside, emit.constant(emit.floats, 0.0))
        for one in (sci, value, summed):
            used = builder.and_(used, _finite(emit, one))

        def add(row: int, terms: ir.Value) -> None:
            place = builder.add(args[2], builder.mul(args[3], I64(row)))
            emit.store(builder.fadd(emit.load(emit.doubles, place), terms), place)

        def wide(one: ir.Value) -> ir.Value:
            zero = emit.constant(emit.floats, 0.0)
            return builder.fpext(builder.select(used, one, zero), emit.doubles)

        ones = builder.select(
            used, emit.constant(emit.doubles, 1.0), emit.constant(emit.doubles, 0.0)
        )
        first = emit.splat(emit.doubles, args[4])
        second = builder.fmul(first, first)
        add(0, ones)
        add(3, wide(value))
        for k, one in enumerate(variances):
            add(5 + k, wide(one))
        if literal[0]:
            add(1, builder.fmul(ones, first))
            add(2, builder.fmul(ones, second))
            add(4, builder.fmul(wide(value), first))
            for k, one in enumerate(variances):
                add(8 + k, builder.fmul(wide(one), first))
                add(11 + k, builder.fmul(wide(one), second))
        return context.get_dummy_value()

    places = types.UniTuple(types.int64, 6)
    return types.void(
        places, types.int64, types.int64, types.int64, types.float64, order, lanes
    ), codegen


def _finite(emit: Emitter, value: ir.Value) -> ir.Value:
    """Lanes that are neither NaN nor infinite."""
    bits = emit.builder.bitcast(value, emit.words)
    size = emit.builder.and_(bits, emit.constant(emit.words, 0x7FFFFFFF))
    return emit.builder.icmp_unsigned("<", size, emit.constant(emit.words, 0x7F800000))
