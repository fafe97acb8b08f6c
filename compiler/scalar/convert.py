"""Conversions between dtypes: their meaning in numpy, and narrow floats as bit operations.

In: arrays, or expressions. Out: the same in another dtype. Integers wrap around when narrowed. Floats become integers
by truncation that saturates; NaN becomes 0. Floats are rounded half to even; a number too large for an 8-bit (or 4-bit)
float becomes its greatest finite value (ONNX's `saturate`), or infinity or NaN under `cast_unsaturated`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .dim import LEAST, Dim, Size, decided, lower_bound, truth_eq, upper_bound
from .dtype import BOOL, F16, F32, F64, I16, I32, U8, U16, DType, from_numpy
from .expr import Call, Const, Expr, Var

Array = npt.NDArray[Any]
Expansion: TypeAlias = tuple[tuple[Var, ...], Expr]  # formal parameters and body


def cast(x: Array, dtype: DType) -> Array:
    """`x` converted to `dtype`. An object array of Size stays one.

    Raises TypeError for a conversion of Size to floats or narrow integers, or one that cannot be decided."""
    return _cast(x, dtype, saturate=True)


def cast_unsaturated(x: Array, dtype: DType) -> Array:
    """Like `cast`, but numbers too large for an 8-bit float become infinity, or NaN where the type has no infinity."""
    return _cast(x, dtype, saturate=False)


def _cast(x: Array, dtype: DType, saturate: bool) -> Array:
    if x.dtype == object:
        return _cast_sizes(x, dtype)
    target = dtype.to_numpy()
    if dtype.kind == "b":
        return np.asarray(_widened(x) != 0)
    source = _widened(x)
    if dtype.is_integer:
        return _to_integer(source, dtype) if source.dtype.kind == "f" else _wrapped(source, dtype)
    if dtype.is_float and dtype.bits < 32:  # by way of f32
        source = _to_odd_f32(source)
    return _to_float8(source, dtype, saturate) if dtype.bits == 8 else source.astype(target)


def _to_odd_f32(x: Array) -> Array:
    """Numbers as f32, such that rounding these to a narrower type is rounding the numbers (see `to_odd_f32`)."""
    near = np.asarray(x).astype(np.float32)
    if not _loses_digits(from_numpy(x.dtype)):
        return near
    back = near.astype(x.dtype) if x.dtype.kind == "f" else _to_integer(near, from_numpy(x.dtype))
    bits = near.view(np.int32)
    bits = bits - np.where(x < 0, back < x, back > x).astype(np.int32)
    return np.asarray(bits | (back != x).astype(np.int32)).view(np.float32)


def _loses_digits(dtype: DType) -> bool:
    """Whether some numbers of a dtype are no f32."""
    return dtype == F64 or (dtype.is_integer and dtype.bits >= 32)


def _widened(x: Array) -> Array:
    """Arrays of ml_dtypes as f32, i8 or u8, which numpy computes with."""
    name = x.dtype.name
    if x.dtype.kind in "fV" and x.dtype.itemsize < 4 and ("float" in name):
        return x.astype(np.float32)
    if "int" in name and name[-2:] in ("t2", "t4"):
        return x.astype(np.int8 if name.startswith("int") else np.uint8)
    return x


def _cast_sizes(x: Array, dtype: DType) -> Array:
    def one(value: Any) -> Any:
        if dtype.kind == "b":
            return decided(1 - truth_eq(value, 0))
        if dtype.bits < 32 or not dtype.is_integer:
            raise TypeError(f"a symbolic size as {dtype}")
        return value if isinstance(value, Dim) else int(value)

    return np.asarray(np.frompyfunc(one, 1, 1)(x), object).reshape(x.shape)


def integer_range(dtype: DType) -> tuple[int, int]:
    """Least and greatest value of an integer dtype."""
    bits = int(dtype.name[1:])
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if dtype.kind == "i" else (0, (1 << bits) - 1)


_COEFFICIENT = {32: 1 << 15, 64: 1 << 31}  # bits -> the product of a size and a smaller number is assumed to fit


def as_dtype(value: Size | bool, dtype: DType) -> Size | bool | None:
    """An integer as a value of `dtype`: numbers wrap around; None for a symbolic size that may not fit.

    Sizes without a known bound are assumed to be less than 2**16 in 32 bits, less than 2**32 in 64 bits, and not to fit
    in fewer."""
    if isinstance(value, (bool, np.bool_)) or dtype.kind == "b":
        return value
    low, high = integer_range(dtype)
    if not isinstance(value, Dim):
        return (int(value) - low) % (high - low + 1) + low
    least, greatest = lower_bound(value), upper_bound(value)
    if least is not None and least <= LEAST:
        least = None
    if least is None and dtype.kind == "u":
        return None
    if (least is not None and least < low) or (greatest is not None and greatest > high):
        return None
    if least is not None and greatest is not None:
        return value
    small = _COEFFICIENT.get(dtype.bits, 0)
    return value if all(abs(c) < small for c, _ in value.terms) else None


def _to_integer(x: Array, dtype: DType) -> Array:
    low, high = integer_range(dtype)
    whole = np.trunc(np.where(np.isnan(x), 0, x)).astype(np.float64)
    above, below = whole >= float(high) + (1.0 if high < 1 << 53 else 0.0), whole < float(low)
    holder = np.uint64 if dtype.name == "u64" else np.int64
    exact = np.where(above | below, 0, whole).astype(holder)
    return np.where(above, holder(high), np.where(below, holder(low), exact)).astype(dtype.to_numpy())


def _wrapped(x: Array, dtype: DType) -> Array:
    bits = int(dtype.name[1:])
    if bits >= 8:
        return x.astype(dtype.to_numpy())
    low = x.astype(np.int64) & ((1 << bits) - 1)
    if dtype.kind == "i":
        low = low - ((low >> (bits - 1)) << bits)
    return low.astype(np.int8 if dtype.kind == "i" else np.uint8).astype(dtype.to_numpy())


def _to_float8(x: Array, dtype: DType, saturate: bool) -> Array:
    import ml_dtypes

    target = dtype.to_numpy()
    result = x.astype(target)
    if dtype.name == "f8e8m0":  # powers of two, no sign: nothing to saturate
        return result
    if saturate:
        greatest = ml_dtypes.finfo(target).max  # type: ignore[no-untyped-call]
        back = result.astype(np.float32)
        overflow = (np.isinf(back) | np.isnan(back) | (np.abs(x) > float(greatest))) & ~np.isnan(x)
        result = np.where(overflow, np.copysign(float(greatest), x).astype(target), result)
    return np.asarray(result)


def narrow_cast(source: DType, target: DType, saturate: bool) -> Expansion:
    """A conversion from or to a narrow float by operations on bits; if neither side is f32, by way of f32."""
    formal = Var("x", source)
    if target == F32:
        return (formal,), _widen(formal)
    if source == F32:
        return (formal,), _narrow(formal, target, saturate)
    name = "cast" if saturate else "cast_unsaturated"
    return (formal,), Call(name, (to_odd_f32(formal),), target)


def to_odd_f32(x: Expr) -> Expr:
    """A number rounded to odd in f32: if it is no f32, the one of its two neighbours whose last bit is odd.

    Rounding that to a narrower float gives the correctly rounded number (Boldo and Melquiond, "When double rounding is
    odd", 2005)."""
    near = Call("cast", (x,), F32)
    if not _loses_digits(x.dtype):
        return near
    back, zero = Call("cast", (near,), x.dtype), Const(0.0 if x.dtype.is_float else 0, x.dtype)
    away: Expr = Call("lt", (x, back), BOOL)
    if x.dtype.kind != "u":
        away = _if_bool(Call("lt", (x, zero), BOOL), Call("lt", (back, x), BOOL), away)
    one, inexact = Call("cast", (away,), I32), Call("cast", (Call("ne", (back, x), BOOL),), I32)
    bits = Call("bit_or", (Call("sub", (_bits(near), one), I32), inexact), I32)
    return Call("bitcast", (bits,), F32)


# Narrow float -> the primitive that rounds an f32 to one of its numbers, as an f32.
ROUNDING = {"f16": "round_f16", "bf16": "round_bf16"}


def rounded(x: Expr, target: DType) -> Expr:
    """An f32 rounded half to even to f16 or bf16, as an f32: cheaper than narrowing and widening it."""
    f, bits = FORMATS[target.name], _bits(x)
    magnitude = _integer("bit_and", bits, 0x7FFFFFFF)
    shift = 23 - f.mantissa
    odd = _integer("bit_and", _integer("shr", magnitude, shift), 1)
    code: Expr = Call("add", (_integer("add", magnitude, (1 << (shift - 1)) - 1), odd), I32)
    code = _integer("bit_and", code, -(1 << shift))
    if f.bias != 127:
        absolute, unit = Call("bitcast", (magnitude,), F32), 2.0 ** (24 - f.bias - f.mantissa)
        code = _if(absolute < 2.0 ** (1 - f.bias), _bits((absolute + unit) - unit), code)
        greatest = (f.greatest << shift) + ((127 - f.bias) << 23)
        code = _if(Call("lt", (Const(greatest, I32), code), BOOL), Const(0x7F800000, I32), code)
    code = _if(_is_nan(magnitude), _integer("bit_or", magnitude, 0x7FC00000), code)
    signed = Call("bit_or", (code, _integer("bit_and", bits, -(1 << 31))), I32)
    return Call("bitcast", (signed,), F32)


def c_cast(source: DType, target: DType, saturate: bool) -> str | Expansion:
    """How C converts between two different dtypes: "cast" for a plain cast, an expression over `a` as in the C column
    of `prims`, or an expansion if one of them is a narrow float. Raises KeyError where there is no conversion.
    """
    if any(d.is_float and d.bits < 32 for d in (source, target)):
        return narrow_cast(source, target, saturate)
    if source.kind == "f" and target.is_integer:
        return _c_saturated(source, target)
    value = _c_low_bits("a", source)
    if target.kind == "b":
        return f"{value} != 0"
    narrowed = _c_low_bits(value, target)
    return "cast" if narrowed == "a" else f"({{T}}){narrowed}"


def _c_low_bits(text: str, dtype: DType) -> str:
    """The value in the low bits of a byte, for integers of fewer than 8 bits; the other bits are ignored."""
    bits = int(dtype.name[1:]) if dtype.is_integer else 8
    if bits >= 8:
        return text
    sign = 1 << (bits - 1)
    return f"((({text} & {2 * sign - 1}) ^ {sign}) - {sign})" if dtype.kind == "i" else f"({text} & {2 * sign - 1})"


def _c_saturated(source: DType, target: DType) -> str:
    """Float to integer, by comparisons with the ends of the range, which are small or powers of two, so exact."""
    low, high = integer_range(target)
    suffix = "f" if source.bits <= 32 else ""
    exact = low == 0 or high < 1 << (24 if source.bits <= 32 else 53)  # is low - 1 a float?
    inside = f"a > {float(low - 1)!r}{suffix}" if exact else f"a >= {float(low)!r}{suffix}"
    holder = "int32_t" if high < 1 << 31 else "uint64_t" if low == 0 else "int64_t"
    least = f"({low + 1} - 1)" if low < -(1 << 30) else str(low)
    greatest = f"{high}u" if high >= 1 << 63 else str(high)
    return f"a >= {float(high + 1)!r}{suffix} ? {greatest} : {inside} ? ({{T}})({holder})a : a < 0 ? {least} : 0"


# ---------------------------------------------------------------------------------------------------------------------
# Narrow floats, as the integers of their bits: C lacks most of them, and gcc 12 does not vectorise _Float16


@dataclass(frozen=True)
class Format:
    """The format of a narrow float: a sign, `exponent` bits with `bias`, `mantissa` bits; and some codes, without sign.

    greatest: the code of the greatest finite value; infinity, nan: None where the type has none. unsigned_zero: a
    "fnuz" type, whose only NaN is the code of -0.
    """

    exponent: int
    mantissa: int
    bias: int
    greatest: int
    infinity: int | None
    nan: int | None
    unsigned_zero: bool = False


FORMATS = {
    "f16": Format(5, 10, 15, 0x7BFF, 0x7C00, 0x7E00),
    "bf16": Format(8, 7, 127, 0x7F7F, 0x7F80, 0x7FC0),
    "f8e4m3fn": Format(4, 3, 7, 0x7E, None, 0x7F),
    "f8e5m2": Format(5, 2, 15, 0x7B, 0x7C, 0x7E),
    "f8e4m3fnuz": Format(4, 3, 8, 0x7F, None, None, unsigned_zero=True),
    "f8e5m2fnuz": Format(5, 2, 16, 0x7F, None, None, unsigned_zero=True),
    "f4e2m1": Format(2, 1, 1, 0x7, None, None),  # NaN becomes a zero of the other sign, as in ml_dtypes
}


def _integer(name: str, a: Expr, b: int) -> Expr:
    return Call(name, (a, Const(b, a.dtype)), a.dtype)


def _if(c: Expr, a: Expr, b: Expr) -> Expr:
    return Call("select", (c, a, b), b.dtype)


def _if_bool(c: Expr, a: Expr, b: Expr) -> Expr:
    return Call("or", (Call("and", (c, a), BOOL), Call("and", (Call("not", (c,), BOOL), b), BOOL)), BOOL)


def _bits(x: Expr) -> Expr:
    return Call("bitcast", (x,), I32)


def _widen(x: Expr) -> Expr:
    """A narrow float as an f32, exactly: a multiplication rebiases the exponent, and also normalises denormals."""
    if x.dtype == F16:
        return _widen_half(x)
    code = Call("cast", (Call("bitcast", (x,), U16 if x.dtype.bits == 16 else U8),), I32)
    if x.dtype.name == "f8e8m0":
        return _widen_exponent(code)
    f = FORMATS[x.dtype.name]
    if f.mantissa == 7:  # bf16 is the upper half of f32
        return Call("bitcast", (_integer("shl", code, 16),), F32)
    width = f.exponent + f.mantissa
    magnitude = _integer("bit_and", code, (1 << width) - 1)
    scaled = Call("bitcast", (_integer("shl", magnitude, 23 - f.mantissa),), F32) * 2.0 ** (127 - f.bias)
    wide = _bits(scaled)
    # Infinity and NaN have the greatest exponent in both formats, and keep their mantissa.
    special = f.infinity if f.infinity is not None else f.nan
    if special is not None:
        greatest = _integer("bit_or", wide, 0x7F800000)
        wide = _if(Call("le", (Const(special, I32), magnitude), BOOL), greatest, wide)
    sign = _integer("shl", _integer("shr", code, width), 31)
    signed: Expr = Call("bitcast", (Call("bit_or", (wide, sign), I32),), F32)
    if f.unsigned_zero:
        signed = _if(_is(code, 1 << width), Const(math.nan, F32), signed)
    return signed


def _widen_half(x: Expr) -> Expr:
    """The same for f16, whose sign needs no operations of its own: a shift of the code as a signed integer places it,
    and copies of it that are cleared."""
    code = Call("cast", (Call("bitcast", (x,), I16),), I32)
    placed = _integer("bit_and", _integer("shl", code, 13), 0x8FFFE000 - (1 << 32))
    wide = _bits(Call("bitcast", (placed,), F32) * 2.0**112)
    # Infinity and NaN, which became numbers from 2**16 on, have the greatest exponent, and keep their mantissa.
    is_special = Call("le", (Const(0x47800000, I32), _integer("bit_and", wide, 0x7FFFFFFF)), BOOL)
    return Call("bitcast", (_if(is_special, _integer("bit_or", wide, 0x7F800000), wide),), F32)


def _widen_exponent(code: Expr) -> Expr:
    """The f8e8m0 of a code as an f32: 2**(code - 127), which is denormal for 0; 255 is NaN."""
    power = _if(_is(code, 0), Const(1 << 22, I32), _integer("shl", code, 23))
    return Call("bitcast", (_if(_is(code, 255), Const(0x7FC00000, I32), power),), F32)


def _narrow_exponent(x: Expr) -> Expr:
    """The code of the nearest power of two, the greater of two; that of NaN if x is not positive."""
    bits = _bits(x)
    code: Expr = _integer("shr", _integer("add", bits, 1 << 22), 23)
    code = _if(_is(bits, 1 << 22), Const(0, I32), code)  # 2**-127, the least, is a denormal of f32
    return _if(Call("lt", (Const(0.0, F32), x), BOOL), _integer("min", code, 255), Const(255, I32))


def _is(x: Expr, value: int) -> Expr:
    return Call("eq", (x, Const(value, x.dtype)), BOOL)


def _is_nan(magnitude: Expr) -> Expr:
    """Whether the bits of an f32, but for its sign, are no number: compared as integers, as C compilers make branches,
    which they cannot vectorise, of several comparisons of a float with itself."""
    return Call("lt", (Const(0x7F800000, I32), magnitude), BOOL)


def _narrow(x: Expr, target: DType, saturate: bool) -> Expr:
    """An f32 rounded half to even to a narrow float.

    For normal numbers, half a unit (less one if the last bit kept is even) is added to the bits; for denormals, a power
    of two whose unit in the last place is theirs is added.
    """
    if target.name == "f8e8m0":
        return Call("bitcast", (Call("cast", (_narrow_exponent(x),), U8),), target)
    f, bits = FORMATS[target.name], _bits(x)
    magnitude = _integer("bit_and", bits, 0x7FFFFFFF)
    shift, width = 23 - f.mantissa, f.exponent + f.mantissa
    odd = _integer("bit_and", _integer("shr", magnitude, shift), 1)
    rounded = Call("add", (_integer("add", magnitude, (1 << (shift - 1)) - 1), odd), I32)
    code = _integer("sub", _integer("shr", rounded, shift), (127 - f.bias) << f.mantissa)
    if f.bias != 127:
        unit = 2.0 ** (24 - f.bias - f.mantissa)
        absolute = Call("bitcast", (magnitude,), F32)
        denormal = Call("sub", (_bits(absolute + unit), _bits(Const(unit, F32))), I32)
        code = _if(absolute < 2.0 ** (1 - f.bias), denormal, code)
    not_a_number = f.nan if f.nan is not None else 1 << width
    overflow = f.infinity if f.infinity is not None else not_a_number
    if (saturate and target.bits == 8) or target.name == "f4e2m1":
        overflow = f.greatest
    code = _if(Call("lt", (Const(f.greatest, I32), code), BOOL), Const(overflow, I32), code)
    code = _if(_is_nan(magnitude), Const(not_a_number, I32), code)
    sign = _integer("bit_and", _integer("shr", bits, 31 - width), 1 << width)
    if f.unsigned_zero:
        sign = _if(Call("or", (_is(code, 0), _is(code, 1 << width)), BOOL), Const(0, I32), sign)
    integer = U16 if target.bits == 16 else U8
    return Call("bitcast", (Call("cast", (Call("bit_xor", (code, sign), I32),), integer),), target)
