"""Numba intrinsics that treat several neighbouring pixels as one vector.

They work on addresses, not arrays: callers have checked shapes and types before. All loads and
stores may be unaligned. LLVM turns the vectors into whatever registers the processor has, so the
code is right on any of them; `LANES` only picks a length that suits.

Arguments from `width`, `mode`, `stored` or `lanes` on must be compile-time constants (literals,
globals or closure values).

This module imports numba when it is imported: use `tso3dask.ops._kernels`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic as typed_intrinsic

from tso3dask.ops.median_network import median_program

__all__ = [
    "I64",
    "LANES",
    "Emitter",
    "Signature",
    "copy_words",
    "flag_lanes",
    "intrinsic",
    "key_value",
    "literals",
    "mask_lanes",
    "median_lanes",
    "ordered_key",
    "prefetch",
]

intrinsic: Any = typed_intrinsic  # its own annotations hide what a call takes

F32 = ir.FloatType()
F64 = ir.DoubleType()
I1 = ir.IntType(1)
I32 = ir.IntType(32)
I64 = ir.IntType(64)

_LARGEST = float(np.finfo(np.float32).max)


def _lanes() -> int:
    """Pixels per vector that suit the processor numba compiles for."""
    settings: Any = config
    if settings.CPU_NAME == "generic":
        return 4
    if settings.CPU_FEATURES is not None:
        features = str(settings.CPU_FEATURES)
        return 16 if "+avx512f" in features else 8 if "+avx2" in features else 4
    host = binding.get_host_cpu_features()
    return 16 if host.get("avx512f") else 8 if host.get("avx2") else 4


LANES: int = _lanes()


class Emitter:
    """Shorthand for vector instructions of a fixed number of lanes."""

    def __init__(self, builder: ir.IRBuilder, lanes: int) -> None:
        self.builder = builder
        self.lanes = lanes
        self.floats = ir.VectorType(F32, lanes)
        self.doubles = ir.VectorType(F64, lanes)
        self.words = ir.VectorType(I32, lanes)
        self.bits = ir.VectorType(I1, lanes)

    def constant(self, kind: ir.VectorType, value: float) -> ir.Constant:
        return ir.Constant(kind, [ir.Constant(kind.element, value)] * self.lanes)

    def splat(self, kind: ir.VectorType, value: ir.Value) -> ir.Value:
        first = self.builder.insert_element(ir.Constant(kind, ir.Undefined), value, I32(0))
        zeros = ir.Constant(self.words, [I32(0)] * self.lanes)
        return self.builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), zeros)

    def pointer(self, kind: ir.Type, address: ir.Value, offset: int = 0) -> ir.Value:
        moved = self.builder.add(address, I64(offset)) if offset else address
        return self.builder.inttoptr(moved, kind.as_pointer())

    def load(self, kind: ir.Type, address: ir.Value, offset: int = 0) -> ir.Value:
        return self.builder.load(self.pointer(kind, address, offset), align=4)

    def store(self, value: ir.Value, address: ir.Value, offset: int = 0) -> None:
        self.builder.store(value, self.pointer(value.type, address, offset), align=4)

    def swapped(self, value: ir.Value) -> ir.Value:
        """Turn round the bytes of each of the vector's words."""
        each = ir.VectorType(ir.IntType(8), 4 * self.lanes)
        order = [I32(4 * word + byte) for word in range(self.lanes) for byte in (3, 2, 1, 0)]
        places = ir.Constant(ir.VectorType(I32, 4 * self.lanes), order)
        pieces = self.builder.bitcast(value, each)
        turned = self.builder.shuffle_vector(pieces, ir.Constant(each, ir.Undefined), places)
        return self.builder.bitcast(turned, value.type)

    def load_pixels(self, kind: ir.Type, address: ir.Value, stored: int) -> ir.Value:
        """Load SCI, ERR or variances (float) or DQ (words), in native order or as in a file."""
        value = self.load(kind, address)
        if stored:
            value = self.swapped(value)
            if kind == self.words:
                value = self.builder.xor(value, self.constant(kind, 0x80000000))
        return value

    def store_pixels(self, value: ir.Value, address: ir.Value, stored: int) -> None:
        """Store what `load_pixels` loads."""
        if stored:
            if value.type == self.words:
                value = self.builder.xor(value, self.constant(self.words, 0x80000000))
            value = self.swapped(value)
        self.store(value, address)

    def minimum(self, one: ir.Value, two: ir.Value) -> ir.Value:
        """Return the smaller value; unspecified where one is NaN."""
        return self.builder.select(self.builder.fcmp_ordered("<", one, two), one, two)

    def maximum(self, one: ir.Value, two: ir.Value) -> ir.Value:
        """Return the larger value; unspecified where one is NaN."""
        return self.builder.select(self.builder.fcmp_ordered(">", one, two), one, two)

    def any_nan(self, values: list[ir.Value]) -> ir.Value:
        """Lanes where at least one of the vectors is NaN."""
        result = None
        for i in range(0, len(values), 2):
            pair = values[i : i + 2]
            nan = self.builder.fcmp_unordered("uno", pair[0], pair[-1])
            result = nan if result is None else self.builder.or_(result, nan)
        assert result is not None
        return result

    def nan_where(self, lanes: ir.Value, value: ir.Value) -> ir.Value:
        return self.builder.select(lanes, self.constant(value.type, float("nan")), value)

    def as_integer(self, lanes: ir.Value) -> ir.Value:
        """Bits of a vector of booleans as one 64-bit integer."""
        packed = self.builder.bitcast(lanes, ir.IntType(self.lanes))
        return self.builder.zext(packed, I64)


def literals(*values: Any) -> tuple[int, ...] | None:
    """Values of literal types, or None if one is not literal."""
    if not all(isinstance(value, types.IntegerLiteral) for value in values):
        return None
    return tuple(int(value.literal_value) for value in values)


Signature = tuple[Any, Callable[..., Any]] | None


@intrinsic
def copy_words(typingctx: Any, target: Any, source: Any, count: Any) -> Signature:
    """Copy `count` words of 4 bytes between addresses that do not overlap."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        to, origin = (builder.inttoptr(value, byte) for value in args[:2])
        cgutils.raw_memcpy(builder, to, origin, args[2], 4, align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@intrinsic
def prefetch(typingctx: Any, address: Any) -> Signature:
    """Ask for the cache line at an address, which may lie anywhere, to be read soon."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(function, [builder.inttoptr(args[0], byte), I32(0), I32(3), I32(1)])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def ordered_key(typingctx: Any, value: Any) -> Signature:
    """Return an unsigned integer that orders as the float does; the largest one for NaN."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], I32)
        flip = builder.or_(builder.ashr(bits, I32(31)), I32(0x80000000))
        nan = builder.fcmp_unordered("uno", args[0], args[0])
        return builder.select(nan, I32(0xFFFFFFFF), builder.xor(bits, flip))

    return types.uint32(types.float32), codegen


@intrinsic
def key_value(typingctx: Any, key: Any) -> Signature:
    """Return the float that an integer of `ordered_key` stands for."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
        sign = builder.sub(builder.lshr(args[0], I32(31)), I32(1))
        flip = builder.or_(sign, I32(0x80000000))
        return builder.bitcast(builder.xor(args[0], flip), F32)

    return types.float32(types.uint32), codegen


@intrinsic(prefer_literal=True)
def mask_lanes(
    typingctx: Any,
    sci: Any,
    dq: Any,
    target: Any,
    bad_bits: Any,
    stored: Any,
    lanes: Any,
) -> Signature:
    """Store `sci` at `target` in native order, with NaN where `dq` has one of the bad bits.

    If `stored`, both are as files have them: the bytes of each word turned round, DQ less 2**31.
    """
    literal = literals(stored, lanes)
    if literal is None:
        return None

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
        assert literal is not None
        turned, each = literal
        emit = Emitter(builder, each)
        word = emit.splat(emit.words, builder.trunc(args[3], I32))
        found = builder.and_(emit.load_pixels(emit.words, args[1], turned), word)
        bad = builder.icmp_unsigned("!=", found, emit.constant(emit.words, 0))
        sci = emit.load_pixels(emit.floats, args[0], turned)
        emit.store(emit.nan_where(bad, sci), args[2])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4, stored, lanes), codegen


@intrinsic(prefer_literal=True)
def median_lanes(
    typingctx: Any,
    ring: Any,
    phase: Any,
    medians: Any,
    apart: Any,
    width: Any,
    outputs: Any,
    pitch: Any,
    lanes: Any,
) -> Signature:
    """Store the medians of `outputs` consecutive windows of `width` rows.

    `ring` holds groups of `outputs` rows, `pitch` bytes from row to row; the first window begins
    with the first row of group `phase`, and after the last group comes the first. Medians are
    stored from `medians` on, `apart` bytes from row to row: float32, or float64 for even widths.
    """
    literal = literals(width, outputs, pitch, lanes)
    if literal is None:
        return None

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
        assert literal is not None
        size, together, step, each = literal
        program = median_program(size, together)
        emit = Emitter(builder, each)
        count = -(-program.rows // together)
        groups = []
        for k in range(count):
            index = builder.add(args[1], I64(k))
            wrapped = builder.sub(index, I64(count))
            past = builder.icmp_signed(">=", index, I64(count))
            index = builder.select(past, wrapped, index)
            groups.append(builder.add(args[0], builder.mul(index, I64(together * step))))
        values: list[ir.Value] = []
        row_value: dict[int, ir.Value] = {}
        for node in program.nodes:
            if node.kind == "row":
                group, row = divmod(node.left, together)
                values.append(emit.load(emit.floats, groups[group], row * step))
                row_value[node.left] = values[-1]
            else:
                combine = emit.minimum if node.kind == "min" else emit.maximum
                values.append(combine(values[node.left], values[node.right]))
        nan: dict[tuple[tuple[int, ...], ...], ir.Value] = {}
        for k, (low, high) in enumerate(program.results):
            held = program.additions[k]
            for level in range(1, len(held) + 1):
                if held[:level] in nan:
                    continue
                found = emit.any_nan([row_value[row] for row in held[level - 1]])
                if level > 1:
                    found = builder.or_(nan[held[: level - 1]], found)
                nan[held[:level]] = found
            place = builder.add(args[2], builder.mul(args[3], I64(k)))
            if size % 2:
                emit.store(emit.nan_where(nan[held], values[low]), place)
                continue
            total = builder.fadd(
                builder.fpext(values[low], emit.doubles), builder.fpext(values[high], emit.doubles)
            )
            middle = builder.fmul(total, emit.constant(emit.doubles, 0.5))
            emit.store(emit.nan_where(nan[held], middle), place)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4, width, outputs, pitch, lanes), codegen


def _difference(emit: Emitter, sci: ir.Value, median: ir.Value, mode: int) -> ir.Value:
    """Return |sci - median|: in float32 for mode 1, else in float64."""
    builder = emit.builder
    if mode == 1:
        kind, word, largest = emit.floats, I32, 0x7FFFFFFF
    else:
        kind, word, largest = emit.doubles, I64, 0x7FFFFFFFFFFFFFFF
        sci = builder.fpext(sci, emit.doubles)
        if mode == 2:
            median = builder.fpext(median, emit.doubles)
    integers = ir.VectorType(word, emit.lanes)
    bits = builder.bitcast(builder.fsub(sci, median), integers)
    return builder.bitcast(builder.and_(bits, emit.constant(integers, largest)), kind)


def _outliers(
    emit: Emitter, sci: ir.Value, err: ir.Value, median_at: ir.Value, snr: ir.Value, mode: int
) -> ir.Value:
    """Lanes where |sci - median| > snr * err, with NaN errors 0 and infinite ones the largest."""
    builder = emit.builder
    nan = builder.fcmp_unordered("uno", err, err)
    size = builder.select(nan, emit.constant(emit.floats, 0.0), err)
    size = emit.minimum(size, emit.constant(emit.floats, _LARGEST))
    size = emit.maximum(size, emit.constant(emit.floats, -_LARGEST))
    limit = builder.fmul(emit.splat(emit.floats, snr), size)
    median = emit.load(emit.doubles if mode == 3 else emit.floats, median_at)
    if mode != 1:
        limit = builder.fpext(limit, emit.doubles)
    return builder.fcmp_ordered(">", _difference(emit, sci, median, mode), limit)


@intrinsic(prefer_literal=True)
def flag_lanes(
    typingctx: Any,
    source: Any,
    target: Any,
    offset: Any,
    median: Any,
    snr: Any,
    full: Any,
    keep: Any,
    mode: Any,
    stored: Any,
    lanes: Any,
) -> Signature:
    """Flag outliers, make NaN and DO_NOT_USE agree, and count the outliers.

    `source` and `target` are tuples of addresses of SCI, DQ, ERR and three variances; `offset` in
    bytes is added to all. Unless `full`, ERR and variances are stored only where some lane is
    invalid (enough when they are changed in place). `keep` has a bit for each lane that counts.
    `mode` is 0 for no detection, 1 for float32 medians compared in float32, 2 for float32 and 3 for
    float64 medians compared in float64. If `stored`, `source` is as files have it, and `target`
    will be.
    """
    literal = literals(mode, stored, lanes)
    if literal is None or not isinstance(source, types.UniTuple):
        return None

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
        assert literal is not None
        mode, turned, each = literal
        emit = Emitter(builder, each)
        sources, targets = (
            [builder.add(base, args[2]) for base in cgutils.unpack_tuple(builder, value)]
            for value in args[:2]
        )
        floats = {k: emit.load_pixels(emit.floats, sources[k], turned) for k in (0, 2, 3, 4, 5)}
        dq = emit.load_pixels(emit.words, sources[1], turned)
        count: ir.Value = I64(0)
        if mode:
            found = _outliers(emit, floats[0], floats[2], args[3], args[4], mode)
            seventeen, none = emit.constant(emit.words, 17), emit.constant(emit.words, 0)
            dq = builder.or_(dq, builder.select(found, seventeen, none))
            counted = builder.and_(emit.as_integer(found), args[6])
            count = builder.ctpop(counted)
        one, none = emit.constant(emit.words, 1), emit.constant(emit.words, 0)
        unusable = builder.icmp_unsigned("!=", builder.and_(dq, one), none)
        invalid = builder.or_(unusable, emit.any_nan(list(floats.values())))
        dq = builder.or_(dq, builder.select(invalid, one, none))
        emit.store_pixels(dq, targets[1], turned)
        emit.store_pixels(emit.nan_where(invalid, floats[0]), targets[0], turned)
        some = builder.icmp_unsigned("!=", emit.as_integer(invalid), I64(0))
        always = builder.icmp_unsigned("!=", args[5], I64(0))
        with builder.if_then(builder.or_(some, always)):
            for k in (2, 3, 4, 5):
                emit.store_pixels(emit.nan_where(invalid, floats[k]), targets[k], turned)
        return count

    addresses = types.UniTuple(types.int64, 6)
    return types.int64(
        addresses,
        addresses,
        types.int64,
        types.int64,
        types.float32,
        types.int64,
        types.int64,
        mode,
        stored,
        lanes,
    ), codegen
