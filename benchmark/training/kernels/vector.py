"""SIMD values for numba: float32 vectors of any multiple of 4 lanes, and the exact operations on them.

Every operation here is one that IEEE 754 defines to the last bit, lane by lane: addition, multiplication, division,
square root, the fused multiply-add, comparisons. LLVM turns a vector into as many registers of the processor at hand
as it needs, so the code is fast on any width and its results are the same bits on all of them. Two things would break
that and are not used: sums in an order that depends on the width (`total` and `totals` have one fixed tree), and
contraction of a product and a sum into one operation where that happens to exist (a fused multiply-add is always
written as one; on processors without it the C library computes the same value, slowly).

Functions that are generic in the number of lanes take `like`, any vector, for its type alone; `zeros(8)` makes one.
Indices count floats, and are not checked: callers own the arrays. This module is numba's and LLVM's language, hence
untyped for mypy; nothing outside `kernels` imports it.
"""

# mypy: ignore-errors
from __future__ import annotations

import platform

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

F32, I32 = ir.FloatType(), ir.IntType(32)
PIECE = 16  # lanes of one LLVM vector; a value is as many of these as fit, and a smaller one for the rest


def _pieces(lanes):
    """Lane counts of the LLVM vectors that make up a value."""
    return [PIECE] * (lanes // PIECE) + [rest for rest in (lanes % PIECE & 8, lanes % 8) if rest]


class Vector(types.Type):
    """The type of a value of `lanes` float32."""

    def __init__(self, lanes):
        super().__init__(name=f"float32x{lanes}")
        self.lanes = lanes


@register_model(Vector)
class _Model(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        parts = ir.LiteralStructType([ir.VectorType(F32, n) for n in _pieces(fe_type.lanes)])
        super().__init__(manager, fe_type, parts)


def _split(builder, value):
    return [builder.extract_value(value, i) for i in range(len(value.type.elements))]


def _join(builder, parts):
    value = ir.Constant(ir.LiteralStructType([part.type for part in parts]), ir.Undefined)
    for i, part in enumerate(parts):
        value = builder.insert_value(value, part, i)
    return value


def _same(*vectors):
    first = vectors[0]
    ok = isinstance(first, Vector) and all(isinstance(v, Vector) and v.lanes == first.lanes for v in vectors)
    return first if ok else None


def _call(builder, name, kind, args):
    suffix = f"v{kind.count}f32"
    signature = ir.FunctionType(kind, [kind] * len(args))
    function = cgutils.get_or_insert_function(builder.module, signature, f"llvm.{name}.{suffix}")
    return builder.call(function, args)


def _shuffle(builder, x, y, lanes):
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes)))


def _undefined(x):
    return ir.Constant(x.type, ir.Undefined)


def _spread(builder, scalar, lanes):
    single = builder.insert_element(ir.Constant(ir.VectorType(F32, lanes), ir.Undefined), scalar, I32(0))
    return _shuffle(builder, single, _undefined(single), [0] * lanes)


def _lanewise(operation, arity):
    """An intrinsic that maps `operation(builder, *parts)` over the LLVM vectors of its arguments."""

    def generate(_context, builder, _signature, args):
        columns = zip(*(_split(builder, arg) for arg in args), strict=True)
        return _join(builder, [operation(builder, *parts) for parts in columns])

    if arity == 1:

        @intrinsic
        def function(_typing, x):
            kind = _same(x)
            return None if kind is None else (kind(x), generate)
    elif arity == 2:

        @intrinsic
        def function(_typing, x, y):
            kind = _same(x, y)
            return None if kind is None else (kind(x, y), generate)
    else:

        @intrinsic
        def function(_typing, x, y, z):
            kind = _same(x, y, z)
            return None if kind is None else (kind(x, y, z), generate)

    return function


def _constant(part, number):
    return ir.Constant(part.type, [number] * part.type.count)


def _power_of_two(builder, t):
    """Bits of an integer n, left in the low mantissa bits of t by adding 1.5 * 2**23, moved to the exponent: 2**n."""
    whole = ir.VectorType(I32, t.type.count)
    n = builder.shl(builder.bitcast(t, whole), ir.Constant(whole, [23] * t.type.count))
    return builder.bitcast(builder.add(n, ir.Constant(whole, [127 << 23] * t.type.count)), t.type)


def _zero_unless_positive(builder, h, x):
    # "h <= 0" is false for nan, so what has become nan stays nan and is noticed.
    return builder.select(builder.fcmp_ordered("<=", h, _constant(h, 0.0)), _constant(x, 0.0), x)


def _larger_or_nan(builder, x, y):
    return builder.select(builder.or_(builder.fcmp_ordered(">", y, x), builder.fcmp_unordered("uno", y, y)), y, x)


def _where_equal(builder, x, y, z):
    return builder.select(builder.fcmp_ordered("==", x, y), z, _constant(z, 0.0))


def _unless_equal(builder, x, y, z):
    return builder.select(builder.fcmp_ordered("==", x, y), _constant(z, 0.0), z)


add = _lanewise(lambda b, x, y: b.fadd(x, y), 2)
sub = _lanewise(lambda b, x, y: b.fsub(x, y), 2)
mul = _lanewise(lambda b, x, y: b.fmul(x, y), 2)
div = _lanewise(lambda b, x, y: b.fdiv(x, y), 2)
sqrt = _lanewise(lambda b, x: _call(b, "sqrt", x.type, [x]), 1)
fma = _lanewise(lambda b, x, y, z: _call(b, "fma", x.type, [x, y, z]), 3)  # x * y + z, rounded once
larger = _lanewise(lambda b, x, y: b.select(b.fcmp_ordered(">", y, x), y, x), 2)  # y if y > x, else x
larger_or_nan = _lanewise(_larger_or_nan, 2)  # y if y > x or y is nan, else x: any nan stays
where_equal = _lanewise(_where_equal, 3)  # z where x = y, else 0
unless_equal = _lanewise(_unless_equal, 3)  # 0 where x = y, else z
at_least = _lanewise(lambda b, x, y: b.select(b.fcmp_ordered("<", x, y), y, x), 2)  # y if x < y, else x: nan stays
relu = _lanewise(lambda b, x: _zero_unless_positive(b, x, x), 1)  # nan stays nan
where_positive = _lanewise(_zero_unless_positive, 2)  # x where h > 0 (or is nan), else 0
power_of_two = _lanewise(_power_of_two, 1)


def _pointer(context, builder, kind, array, index):
    return builder.gep(context.make_array(kind)(context, builder, array).data, [index])


@intrinsic(prefer_literal=True)
def zeros(_typing, lanes):
    """A vector of zeros; the number of lanes is written out."""
    if not isinstance(lanes, types.IntegerLiteral):
        return None
    kind = Vector(lanes.literal_value)

    def generate(context, _builder, _signature, _args):
        return ir.Constant(context.get_value_type(kind), None)

    return kind(lanes), generate


@intrinsic
def scalar(_typing, array, index):
    """array[index], without a check and without Python's meaning of negative indices."""

    def generate(context, builder, signature, args):
        return builder.load(_pointer(context, builder, signature.args[0], *args))

    return array.dtype(array, types.intp), generate


@intrinsic
def load(_typing, like, array, index):
    """Consecutive floats from array[index] on."""
    kind = _same(like)
    if kind is None:
        return None

    def generate(context, builder, signature, args):
        parts, at = [], 0
        for lanes in _pieces(kind.lanes):
            pointer = _pointer(context, builder, signature.args[1], args[1], builder.add(args[2], args[2].type(at)))
            part = builder.load(builder.bitcast(pointer, ir.VectorType(F32, lanes).as_pointer()))
            part.align = 4
            parts.append(part)
            at += lanes
        return _join(builder, parts)

    return kind(like, array, types.intp), generate


@intrinsic
def store(_typing, array, index, vector):
    """Write a vector to array[index] and on."""
    kind = _same(vector)
    if kind is None:
        return None

    def generate(context, builder, signature, args):
        at = 0
        for part in _split(builder, args[2]):
            index = builder.add(args[1], args[1].type(at))
            pointer = _pointer(context, builder, signature.args[0], args[0], index)
            builder.store(part, builder.bitcast(pointer, part.type.as_pointer())).align = 4
            at += part.type.count
        return context.get_dummy_value()

    return types.void(array, types.intp, kind), generate


@intrinsic
def spread(_typing, like, number):
    """A vector of one number."""
    kind = _same(like)
    if kind is None:
        return None

    def generate(_context, builder, _signature, args):
        return _join(builder, [_spread(builder, args[1], lanes) for lanes in _pieces(kind.lanes)])

    return kind(like, types.float32), generate


@intrinsic
def fmas(_typing, number, x, y):
    """number * x + y, rounded once."""
    kind = _same(x, y)
    if kind is None:
        return None

    def generate(_context, builder, _signature, args):
        columns = zip(_split(builder, args[1]), _split(builder, args[2]), strict=True)
        spread_ = {n: _spread(builder, args[0], n) for n in set(_pieces(kind.lanes))}
        return _join(builder, [_call(builder, "fma", x.type, [spread_[x.type.count], x, y]) for x, y in columns])

    return kind(types.float32, x, y), generate


@intrinsic
def total(_typing, x):
    """The sum of 8 lanes: ((x0+x4)+(x2+x6)) + ((x1+x5)+(x3+x7)), halves added until one is left."""
    if not isinstance(x, Vector) or x.lanes != 8:
        return None

    def generate(_context, builder, _signature, args):
        (v,) = _split(builder, args[0])
        for half in (4, 2, 1):
            low = _shuffle(builder, v, _undefined(v), range(half))
            high = _shuffle(builder, v, _undefined(v), range(half, 2 * half))
            v = builder.fadd(low, high)
        return builder.extract_element(v, I32(0))

    return types.float32(x), generate


def _crossed(builder, x, y, width):
    """Of two vectors of 8 lanes, or their halves: lanes whose bit `width` is clear come from x, the others from y;
    each is the sum of the two lanes of its vector that differ in that bit."""
    n = x.type.count
    low = [(n if i & width else 0) + (i & ~width) for i in range(n)]
    high = [(n if i & width else 0) + (i | width) for i in range(n)]
    return builder.fadd(_shuffle(builder, x, y, low), _shuffle(builder, x, y, high))


def _transposed_totals(builder, vectors):
    """`total` of 8 vectors of 8 lanes at once, in its own order of sums: 14 shuffles instead of 56."""
    for width in (4, 2, 1):
        half = len(vectors) // 2
        vectors = [_crossed(builder, vectors[i], vectors[i + half], width) for i in range(half)]
    return vectors[0]


@intrinsic
def totals8(_typing, a, b, c, d, e, f, g, h):
    """(total(a), ..., total(h)), each vector of 8 lanes."""
    kind = _same(a, b, c, d, e, f, g, h)
    if kind is None or kind.lanes != 8:
        return None

    def generate(_context, builder, _signature, args):
        return _join(builder, [_transposed_totals(builder, [_split(builder, arg)[0] for arg in args])])

    return kind(a, b, c, d, e, f, g, h), generate


@intrinsic
def totals4(_typing, a, b, c, d):
    """(total(a), ..., total(d)) as a vector of 4 lanes, each argument one of 8."""
    kind = _same(a, b, c, d)
    if kind is None or kind.lanes != 8:
        return None

    def generate(_context, builder, _signature, args):
        vectors = [_split(builder, arg)[0] for arg in args]
        quarters = []
        for v in vectors:  # the first sum of `total`, before anything is crossed: 4 lanes are left of each
            low = _shuffle(builder, v, _undefined(v), range(4))
            quarters.append(builder.fadd(low, _shuffle(builder, v, _undefined(v), range(4, 8))))
        for width in (2, 1):
            half = len(quarters) // 2
            quarters = [_crossed(builder, quarters[i], quarters[i + half], width) for i in range(half)]
        return _join(builder, quarters)

    return Vector(4)(a, b, c, d), generate


_LOW = ([0, 8, 1, 9, 4, 12, 5, 13], [0, 1, 8, 9, 4, 5, 12, 13], [0, 1, 2, 3, 8, 9, 10, 11])
_HIGH = ([2, 10, 3, 11, 6, 14, 7, 15], [2, 3, 10, 11, 6, 7, 14, 15], [4, 5, 6, 7, 12, 13, 14, 15])


def _transposed(builder, rows):
    """The columns of 8 vectors of 8 lanes: 24 shuffles, each of which one instruction of AVX does."""
    for stage, apart in enumerate((1, 2, 4)):
        found = list(rows)
        for i in range(8):
            if not i & apart:
                pair = rows[i], rows[i + apart]
                found[i] = _shuffle(builder, *pair, _LOW[stage])
                found[i + apart] = _shuffle(builder, *pair, _HIGH[stage])
        rows = found
    return [rows[i] for i in (0, 2, 1, 3, 4, 6, 5, 7)]


def _square(read):
    """An intrinsic (to, at, stride, source, places, offset, count, mean, deviation) that writes
    to[at + j * stride + i] = read of source[places[i] + offset + j] for i, j of 0 to 7, and 0 for i from `count` on.

    `places`: 8 intp. `read(builder, pointer, (mean, deviation))`: 8 floats from a pointer into `source`.
    """

    def generate(context, builder, signature, args):
        kind, numbers = ir.VectorType(F32, 8), args[7:]
        rows = []
        for i in range(8):
            index = builder.add(builder.extract_value(args[4], i), args[5])
            rows.append(read(builder, _pointer(context, builder, signature.args[3], args[3], index), numbers))
        whole = ir.VectorType(args[6].type, 8)
        single = builder.insert_element(ir.Constant(whole, ir.Undefined), args[6], I32(0))
        limit = _shuffle(builder, single, _undefined(single), [0] * 8)
        kept = builder.icmp_signed("<", ir.Constant(whole, list(range(8))), limit)
        for j, column in enumerate(_transposed(builder, rows)):
            index = builder.add(args[1], builder.mul(args[2], args[2].type(j)))
            place = _pointer(context, builder, signature.args[0], args[0], index)
            value = builder.select(kept, column, ir.Constant(kind, None))
            builder.store(value, builder.bitcast(place, kind.as_pointer())).align = 4
        return context.get_dummy_value()

    @intrinsic
    def function(_typing, to, at, stride, source, places, offset, count, mean, deviation):
        intp, number = types.intp, types.float32
        eight = types.UniTuple(intp, 8)
        return types.void(to, intp, intp, source, eight, intp, intp, number, number), generate

    return function


def _floats(builder, pointer, _numbers):
    row = builder.load(builder.bitcast(pointer, ir.VectorType(F32, 8).as_pointer()))
    row.align = 4
    return row


def _of_255(builder, pointer, _numbers):
    """Bytes over 255, correctly rounded: the product with 1 / 255, once corrected by what is left over."""
    row = builder.load(builder.bitcast(pointer, ir.VectorType(ir.IntType(8), 8).as_pointer()))
    row.align = 1
    x = builder.uitofp(builder.zext(row, ir.VectorType(I32, 8)), ir.VectorType(F32, 8))
    inverse = _constant(x, _INVERSE)
    near = builder.fmul(x, inverse)
    left = _call(builder, "fma", x.type, [near, _constant(x, -255.0), x])
    return _call(builder, "fma", x.type, [left, inverse, near])


def _standardised(builder, pointer, numbers):
    mean, deviation = (_spread(builder, number, 8) for number in numbers)
    return builder.fdiv(builder.fsub(_of_255(builder, pointer, ()), mean), deviation)


_INVERSE = float.fromhex("0x1.010102p-8")  # 1 / 255 in float32
square_of_floats = _square(_floats)
square_of_bytes = _square(_of_255)  # each over 255
square_of_standardised = _square(_standardised)  # (each over 255, less the mean) over the deviation


@intrinsic
def touch(_typing, array, index):
    """Bring the cache line of array[index] near: a load of which nothing is used, marked so that it stays.

    Prefetches were dropped where the page of the line had to be looked up, which is so for most examples of a batch.
    """

    def generate(context, builder, signature, args):
        byte = ir.IntType(8)
        place = builder.bitcast(_pointer(context, builder, signature.args[0], *args), byte.as_pointer())
        builder.load_atomic(place, "monotonic", 1)
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@intrinsic
def bits(_typing, x):
    """The bits of a float64 as an int64."""
    return types.int64(types.float64), lambda _c, builder, _s, args: builder.bitcast(args[0], ir.IntType(64))


@intrinsic
def from_bits(_typing, n):
    """The float64 of these bits."""
    return types.float64(types.int64), lambda _c, builder, _s, args: builder.bitcast(args[0], ir.DoubleType())


X86 = platform.machine().lower() in ("x86_64", "amd64")
_STANDARD = 0x1F80 | 0x8040  # MXCSR: no traps, round to nearest even; subnormal results and operands are zero


def _control_word(builder, name, pointer):
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer()])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.sse.{name}")
    builder.call(function, [builder.bitcast(pointer, ir.IntType(8).as_pointer())])


@intrinsic
def enter_float_mode(_typing):
    """Round to nearest, subnormals as zero, whatever the caller has set; gives what `leave_float_mode` needs."""

    def generate(_context, builder, _signature, _args):
        place = cgutils.alloca_once(builder, I32)
        if not X86:
            return I32(0)
        _control_word(builder, "stmxcsr", place)
        before = builder.load(place)
        builder.store(I32(_STANDARD), place)
        _control_word(builder, "ldmxcsr", place)
        return before

    return types.int32(), generate


@intrinsic
def leave_float_mode(_typing, before):
    """The caller's floating-point mode again."""

    def generate(context, builder, _signature, args):
        if X86:
            place = cgutils.alloca_once(builder, I32)
            builder.store(args[0], place)
            _control_word(builder, "ldmxcsr", place)
        return context.get_dummy_value()

    return types.void(types.int32), generate
