"""Transcendental functions of f32 by arithmetic, selects and bit operations: branch-free, so that loops vectorise, and
with one definition for every backend.

In: f32 expressions. Out: the f32 expression of the function. The error bounds stand in the rows of `prims.py` (`ulp`).
NaN gives NaN; infinities, zeros, overflow and denormal results are as in C's annex F, except that a zero result may
lose its sign unless the docstring says otherwise.

Reductions of the argument are the textbook ones (Cody and Waite, "Software Manual for the Elementary Functions", 1980;
Muller, "Elementary Functions", 2016). The coefficients are our own weighted minimax fits (Lawson's iteration on
Chebyshev nodes, rounded one by one with refitting); each names its interval and its error in bits.
"""

from __future__ import annotations

from collections.abc import Sequence

from .dtype import BOOL, F32, F64, I32, I64, DType
from .expr import Call, Const, Expr

_LN2_HI, _LN2_LO = 0.693115234375, 3.1946184945309415e-05  # 12 bits, so that small multiples are exact; the rest
_LOG2_E = 1.4426950408889634
_INF, _NAN = float("inf"), float("nan")
_PI_2_HI, _PI_2_LO = 1.5707963705062866, -4.371139000186241e-08
_LN2 = 0.6931471805599453


# Short names for primitives


def _f32(value: float) -> Const:
    return Const(value, F32)


def _f64(value: float) -> Const:
    return Const(value, F64)


def select(c: Expr, a: Expr | float, b: Expr | float) -> Expr:
    like = a if isinstance(a, Expr) else b
    assert isinstance(like, Expr)
    yes, no = (v if isinstance(v, Expr) else Const(v, like.dtype) for v in (a, b))
    return Call("select", (c, yes, no), like.dtype)


def _call(name: str, *args: Expr) -> Expr:
    return Call(name, args, args[-1].dtype)


def _equal(a: Expr, b: Expr | float) -> Expr:
    return Call("eq", (a, b if isinstance(b, Expr) else Const(b, a.dtype)), BOOL)


def _and(a: Expr, b: Expr) -> Expr:
    return Call("and", (a, b), BOOL)


def _or(a: Expr, b: Expr) -> Expr:
    return Call("or", (a, b), BOOL)


def _not(a: Expr) -> Expr:
    return Call("not", (a,), BOOL)


def _cast(x: Expr, dtype: DType) -> Expr:
    return Call("cast", (x,), dtype)


def _bits(x: Expr) -> Expr:
    """The bits of a float, as a signed integer of its width."""
    return Call("bitcast", (x,), I32 if x.dtype == F32 else I64)


def _float(bits: Expr) -> Expr:
    return Call("bitcast", (bits,), F32 if bits.dtype == I32 else F64)


def _integer(name: str, a: Expr, b: int) -> Expr:
    return Call(name, (a, Const(b, a.dtype)), a.dtype)


def at_most(x: Expr, high: float) -> Expr:
    """min(x, high); NaN stays NaN."""
    return select(x > high, high, x)


def at_least(x: Expr, low: float) -> Expr:
    return select(x < low, low, x)


def polynomial(x: Expr, coefficients: Sequence[float]) -> Expr:
    """coefficients[0] + coefficients[1] x + ..., by Horner's rule."""
    result: Expr = Const(coefficients[-1], x.dtype)
    for c in reversed(coefficients[:-1]):
        result = result * x + c
    return result


def with_sign_of(magnitude: Expr, x: Expr) -> Expr:
    """|magnitude| with the sign bit of x."""
    sign = _integer("bit_and", _bits(x), -(1 << 31))
    return _float(_call("bit_or", _integer("bit_and", _bits(magnitude), (1 << 31) - 1), sign))


def _nearest(x: Expr) -> tuple[Expr, Expr]:
    """x rounded to the nearest integer, as a float and as an integer; |x| < 2**22 in f32, 2**51 in f64.

    Adding 1.5 * 2**(bits of the fraction) leaves the integer in the low bits of the sum.
    """
    magic = 12582912.0 if x.dtype == F32 else 6755399441055744.0
    bits = 0x4B400000 if x.dtype == F32 else 0x4338000000000000
    shifted = x + magic
    return shifted - magic, _integer("sub", _bits(shifted), bits)


def _power_of_two(n: Expr) -> Expr:
    """2.0**n for the n of normal numbers."""
    mantissa, bias = (23, 127) if n.dtype == I32 else (52, 1023)
    return _float(_integer("shl", _integer("add", n, bias), mantissa))


# Exponentials


def _reduced(x: Expr) -> tuple[Expr, Expr]:
    """(r, n) with x = r + n ln 2 and |r| <= 0.348."""
    whole, n = _nearest(x * _LOG2_E)
    return x - whole * _LN2_HI - whole * _LN2_LO, n


def _exp_of_reduced(r: Expr) -> Expr:
    # (exp(r) - 1 - r) / r**2 on |r| <= 0.348: 28 bits of exp(r)
    p = polynomial(r, (0.49999994, 0.16666521, 0.041668292, 0.008368721, 0.0013818742))
    return r * r * p + r + 1.0


def exp2_roughly(x: Expr) -> Expr:
    """2**x to 23 bits, for |x| < 126: 2**n is added to the exponent of 2**(x - n)."""
    whole, n = _nearest(x)
    # 2**r on |r| <= 0.5
    p = polynomial(x - whole, (1.0000001, 0.69314724, 0.24021985, 0.05550277, 0.0096794935, 0.0013402278))
    return _float(_call("add", _bits(p), _integer("shl", n, 23)))


def exp_nonpositive(x: Expr) -> Expr:
    """exp(x) for x <= 0 with a relative error of (3 + 2 |x|) 2**-24, no more than x itself implies; 0 for denormals."""
    power = at_least(x, -88.0) * _LOG2_E
    magic = 12582912.0 + 127.0  # as in _nearest; and the bias of exponents, so that the low bits are one
    shifted = power + magic
    # 2**r on |r| <= 0.5: 28 bits
    two = (1.0, 0.693147203, 0.240226479, 0.0555033247, 0.00961843736, 0.00133988744, 0.000153533619)
    return polynomial(power - (shifted - magic), two) * _float(_integer("shl", _bits(shifted), 23))


def _exp_scaled(x: Expr, scale: int = 0) -> Expr:
    """2**scale * exp(x), for -2 <= scale <= 0; denormal results are correct, too."""
    x = at_most(at_least(x, -104.0), 90.0)
    r, n = _reduced(x)
    if scale:
        n = _integer("add", n, scale)
    half = _integer("shr", n, 1)  # in two steps, as 2**n alone may overflow or be denormal
    return _exp_of_reduced(r) * _power_of_two(half) * _power_of_two(_call("sub", n, half))


def exp(x: Expr) -> Expr:
    return _exp_scaled(x)


def _expm1_quarter(x: Expr) -> Expr:
    """(exp(x) - 1) / 4 for -87 <= x <= 89.5; a quarter, so that it does not overflow before its callers' results."""
    r, n = _reduced(x)
    # (exp(r) - 1 - r) / r**2 on |r| <= 0.348: 31 bits of exp(r) - 1
    p = polynomial(r, (0.5, 0.16666667, 0.041666485, 0.0083332, 0.0013933051, 0.00019950443))
    m1 = r * r * p + r
    scale = _power_of_two(_integer("sub", n, 2))
    return scale * m1 + (scale - 0.25)


def expm1(x: Expr) -> Expr:
    """Keeps the sign of zero."""
    y = _expm1_quarter(at_most(at_least(x, -30.0), 89.5)) * 4.0
    return select(_call("abs", x) < 1e-8, x, y)


def sigmoid(x: Expr) -> Expr:
    """1 / (1 + exp(-x)), from exp(-|x|), which does not overflow; in [0, 1]."""
    e = _exp_scaled(-_call("abs", x))
    return select(x < 0.0, e, 1.0) / (e + 1.0)


def tanh(x: Expr) -> Expr:
    """expm1(2|x|) / (expm1(2|x|) + 2), in [-1, 1]; keeps the sign of zero."""
    a = at_most(_call("abs", x), 10.0)
    q = _expm1_quarter(a + a)
    return select(a < 1e-4, x, with_sign_of(q / (q + 0.5), x))


def sinh(x: Expr) -> Expr:
    """Keeps the sign of zero."""
    a = _call("abs", x)
    h = _expm1_quarter(at_most(a, 89.5)) * 2.0
    g = at_most(h, 1e38)  # so that the quotient is not inf / inf
    return select(a < 1e-4, x, with_sign_of(h + g / (g * 2.0 + 1.0), x))


def cosh(x: Expr) -> Expr:
    h = _exp_scaled(_call("abs", x), -1)
    return h + 0.25 / h


# Logarithms


def log(x: Expr) -> Expr:
    denormal = x < 1.1754943508222875e-38
    bits = _bits(select(denormal, x * 8388608.0, x))
    e = _integer("shr", _integer("sub", bits, 0x3F2AAAAB), 23)
    m = _float(_call("sub", bits, _integer("shl", e, 23)))  # in [2/3, 4/3)
    n = _cast(e, F32) - select(denormal, _f32(23.0), 0.0)
    f = m - 1.0
    # (log(1 + f) - f + f**2 / 2) / f**3 on |f| <= 1/3: 27.5 bits of log(1 + f)
    p = polynomial(
        f,
        (0.33333224, -0.24999689, 0.20010033, -0.16685472, 0.14011076, -0.12115051, 0.13961747, -0.13191934),
    )
    y = f * f
    result = n * _LN2_HI + (f + (f * y * p + (n * _LN2_LO - y * 0.5)))
    return select(x > 0.0, select(x < _INF, result, x), select(_equal(x, 0.0), _f32(-_INF), _NAN))


def log1p(x: Expr) -> Expr:
    """log(u) + (x - (u - 1)) / u with u = 1 + x rounded (Kahan). Keeps the sign of zero."""
    u = x + 1.0
    logarithm = _call("log", u)
    y = select(_and(x > -1.0, x < _INF), logarithm + (x - (u - 1.0)) / u, logarithm)
    return select(_call("abs", x) < 1e-8, x, y)


def asinh(x: Expr) -> Expr:
    """Keeps the sign of zero."""
    a = _call("abs", x)
    large = a > 1e9
    w = select(large, a, a + a * a / (_call("sqrt", a * a + 1.0) + 1.0))
    y = _call("log1p", w) + select(large, _f32(_LN2), 0.0)
    return select(a < 1e-4, x, with_sign_of(y, x))


def acosh(x: Expr) -> Expr:
    t = x - 1.0
    large = x > 1e9
    w = select(large, x, t + _call("sqrt", t + t + t * t))
    y = _call("log1p", w) + select(large, _f32(_LN2), 0.0)
    return select(x < 1.0, _NAN, y)


def atanh(x: Expr) -> Expr:
    """Keeps the sign of zero."""
    a = _call("abs", x)
    y = _call("log1p", (a + a) / (1.0 - a)) * 0.5
    return select(a < 1e-4, x, with_sign_of(y, x))


# Powers


def pow(x: Expr, y: Expr) -> Expr:
    """exp2(y log2 |x|) in f64, rounded once: log2 to 2**-42, exp2 to 2**-34."""
    a, b = _cast(_call("abs", x), F64), _cast(y, F64)
    bits = _bits(a)
    e = _integer("shr", _integer("sub", bits, 0x3FE5555555555555), 52)
    m = _float(_call("sub", bits, _integer("shl", e, 52)))  # in [2/3, 4/3)
    s = (m - 1.0) / (m + 1.0)
    # (atanh(s) / s - 1) / s**2 over s**2 in [0, 0.0401]
    q = s * s
    p = polynomial(
        q, (0.3333333335543448, 0.19999992236976152, 0.14286598277307214, 0.11067357695966634, 0.10063505051913527)
    )
    logarithm: Expr = (s + s * q * p) * (2 * _LOG2_E) + _cast(e, F64)
    logarithm = select(_equal(a, 0.0), -_INF, select(a < _INF, logarithm, a))
    t = at_most(at_least(b * logarithm, -160.0), 130.0)
    whole, n = _nearest(t)
    # 2**f on |f| <= 0.5
    mantissa = polynomial(
        t - whole,
        (
            0.9999999999613786, 0.6931471807298071, 0.24022651201147807, 0.05550410350322564,
            0.009618026848750494, 0.0013333924061613674, 0.00015469422006902995, 1.5201810289725588e-05,
        ),
    )  # fmt: skip
    magnitude = _cast(mantissa * _power_of_two(n), F32)

    integral = _equal(_call("floor", y), y)
    odd = _and(integral, _not(_equal(_call("floor", y * 0.5), y * 0.5)))
    signed = select(_and(_bits(x) < 0, odd), -magnitude, magnitude)
    undefined = _and(_and(x < 0.0, x > -_INF), _not(integral))
    unit_base = _or(_equal(x, 1.0), _and(_equal(x, -1.0), _equal(_call("abs", y), _INF)))
    return select(_or(unit_base, _equal(y, 0.0)), _f32(1.0), select(undefined, _NAN, signed))


# Trigonometry


_1_2PI, _BITS = 0x28BE60DB9391054A7F09D5F47D4D377036D8A5664F10E410, 192  # 1 / (2 pi) * 2**192, rounded down
_STEP = 26  # bits that are skipped at a time


def _turns(skipped: int) -> tuple[float, float, float]:
    """1 / (2 pi) without its first `skipped` bits, as a sum of parts of 29, 29 and 53 bits.

    The product of an f32 and one of the first two parts is exact in f64."""
    ends = [skipped, skipped + 29, skipped + 58, skipped + 111]
    whole = [(_1_2PI >> (_BITS - end)) for end in ends]
    return tuple((b - (a << (q - p))) * 2.0**-q for a, b, p, q in zip(whole, whole[1:], ends, ends[1:]))  # type: ignore[return-value]


def _quadrant(x: Expr) -> tuple[Expr, Expr]:
    """(r, q) with x = r + q pi/2 and |r| <= pi/4, q known modulo 4; r is exact to f32 for all x.

    Payne and Hanek's reduction ("Radian reduction for trigonometric functions", 1983): x is multiplied by the bits of
    1 / (2 pi) that matter. The bits before them contribute an integer; those behind them contribute less than 2**-61,
    whereas r is never below 2**-30.
    """
    wide, size = _cast(x, F64), _call("abs", x)
    parts: list[Expr] = [_f64(part) for part in _turns(0)]
    for skipped in (_STEP, 2 * _STEP, 3 * _STEP):
        large = size >= _f32(2.0 ** (24 + skipped))
        parts = [select(large, _f64(part), before) for part, before in zip(_turns(skipped), parts)]
    high, low, rest = (wide * part for part in parts)
    high = high - _call("round", high)
    quarters, q = _nearest((low + (high + rest)) * 4.0)
    r = ((low - quarters * 0.25) + high) + rest
    return _cast(r * 6.283185307179586, F32), _cast(_integer("bit_and", q, 3), I32)


def _sin_cos(r: Expr) -> tuple[Expr, Expr]:
    """Sine and cosine on |r| <= 0.7862, to 32 and 33 bits."""
    y = r * r
    s = r + r * y * polynomial(y, (-0.16666667, 0.00833338, -0.00019853498, 2.8372472e-06))
    c = 1.0 - (y * 0.5 - y * y * polynomial(y, (0.041666646, -0.0013887301, 2.4430668e-05)))
    return s, c


def _wave(x: Expr, shift: int) -> Expr:
    r, q = _quadrant(x)
    if shift:
        q = _integer("add", q, shift)
    s, c = _sin_cos(r)
    odd = _equal(_integer("bit_and", q, 1), 1)
    sign = _integer("shl", _integer("bit_and", q, 2), 30)
    return _float(_call("bit_xor", _bits(select(odd, c, s)), sign))


def sin(x: Expr) -> Expr:
    """Keeps the sign of zero."""
    return select(_equal(x, 0.0), x, _wave(x, 0))


def cos(x: Expr) -> Expr:
    return _wave(x, 1)


def tan(x: Expr) -> Expr:
    """Keeps the sign of zero."""
    r, q = _quadrant(x)
    s, c = _sin_cos(r)
    odd = _equal(_integer("bit_and", q, 1), 1)
    return select(_equal(x, 0.0), x, select(odd, -c, s) / select(odd, s, c))


def _asin_core(x: Expr) -> tuple[Expr, Expr, Expr]:
    """(p, large, |x|): p = asin(|x|) for |x| <= 1/2, else asin(sqrt((1 - |x|) / 2))."""
    a = _call("abs", x)
    large = a > 0.5
    y = select(large, (1.0 - a) * 0.5, a * a)
    s = select(large, _call("sqrt", y), a)
    # (asin(s) / s - 1) / s**2 over s**2 in [0, 1/4]: 27.5 bits of asin(s)
    return s + s * y * polynomial(y, (0.16666754, 0.07495249, 0.045476656, 0.024148168, 0.0422197)), large, a


def asin(x: Expr) -> Expr:
    """Keeps the sign of zero."""
    p, large, _ = _asin_core(x)
    return with_sign_of(select(large, _PI_2_HI - (p * 2.0 - _PI_2_LO), p), x)


def acos(x: Expr) -> Expr:
    p, large, _ = _asin_core(x)
    negative = x < 0.0
    small = _PI_2_HI - (select(negative, -p, p) - _PI_2_LO)
    far = select(negative, 2.0 * _PI_2_HI - (p * 2.0 - 2.0 * _PI_2_LO), p * 2.0)
    return select(large, far, small)


def atan(x: Expr) -> Expr:
    """Keeps the sign of zero."""
    a = _call("abs", x)
    large = a > 1.0
    t = select(large, 1.0 / a, a)
    y = t * t
    # (atan(t) / t - 1) / t**2 over t**2 in [0, 1]: 26 bits of atan(t)
    p = polynomial(
        y,
        (-0.33333167, 0.19994147, -0.14214285, 0.10679223, -0.07581154, 0.04356009, -0.016585084, 0.002975537),
    )
    small = t + t * y * p
    return with_sign_of(select(large, _PI_2_HI - (small - _PI_2_LO), small), x)
