"""Numba intrinsic that works on SIDES right-hand sides as one vector.

It works on addresses, not arrays: callers have checked shapes and types before. This module
imports numba when it is imported: load it inside functions only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic as typed_intrinsic

__all__ = ["SIDES", "STRIDE", "add_scaled"]

SIDES = 16  # tso3dask.ops.soss.runs.SIDES
STRIDE = 8 * SIDES  # bytes from one row of sides to the next

intrinsic: Any = typed_intrinsic  # its own annotations hide what a call takes


@intrinsic
def add_scaled(
    typingctx: Any, target: Any, source: Any, factor: Any
) -> tuple[Any, Callable[..., Any]]:
    """Add a factor times SIDES doubles at one address to those at another."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
        kind = ir.VectorType(ir.DoubleType(), SIDES)
        to, origin = (builder.inttoptr(value, kind.as_pointer()) for value in args[:2])
        undefined = ir.Constant(kind, ir.Undefined)
        first = builder.insert_element(undefined, args[2], ir.IntType(32)(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), SIDES), [ir.IntType(32)(0)] * SIDES)
        factors = builder.shuffle_vector(first, undefined, zeros)
        share = builder.fmul(factors, builder.load(origin, align=8))
        builder.store(builder.fadd(builder.load(to, align=8), share), to, align=8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.float64), codegen
