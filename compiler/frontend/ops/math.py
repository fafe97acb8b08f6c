"""ONNX operators that work element by element: arithmetic, comparison, logic, activations, casts.

In: values and attributes of a node. Out: values. Formulas are those of the ONNX operator specification.
"""

from __future__ import annotations

import math
from functools import reduce

from ...errors import Unsupported
from ...graph.ir import Value
from ...scalar.dtype import BOOL, BY_ONNX, F32, F64, I32, I64, STRING, U8, DType
from ...scalar.prims import TABLE
from ..registry import in_compute_type, onnx_op
from ..values import fold, scalar
from .text import formatted, parsed

# -- one primitive each ----------------------------------------------------------------------------------------------


def pointwise(prim: str, *xs: Value) -> Value:
    """Applies a primitive with broadcasting. Raises Unsupported for element types that it is not defined for."""
    if xs[-1].dtype.kind not in TABLE[prim].kinds:
        raise Unsupported(f"elements of type {xs[-1].dtype}")
    return xs[0].map(prim, *xs[1:])


def _register_unary(op: str, prim: str) -> None:
    @onnx_op(op)
    def build(x: Value, *, consumed_inputs: list[int] | None = None) -> Value:
        return pointwise(prim, x)


def _register_binary(op: str, prim: str, since: int = 7, swap: bool = False) -> None:
    @onnx_op(op, since=since)
    def build(a: Value, b: Value) -> Value:
        if prim == "div":
            b = _divisor(b, "Integer division by zero")
        return pointwise(prim, b, a) if swap else pointwise(prim, a, b)

    if since > 7:  # never had the broadcasting of opsets below 7
        return

    @onnx_op(op)
    def build_legacy(
        a: Value, b: Value, *, broadcast: int = 0, axis: int | None = None, consumed_inputs: list[int] | None = None
    ) -> Value:
        return build(a, _legacy_broadcast(a, b, broadcast, axis))


def _divisor(b: Value, text: str) -> Value:
    """A divisor, with a check that it is not 0 if it is an integer."""
    if not b.dtype.is_integer:
        return b
    data = fold(b)
    if data is None:
        return b.require(b.map("ne", b.const(0)), text)
    if not data.all():
        raise ValueError(text)
    return b


def _legacy_broadcast(a: Value, b: Value, broadcast: int, axis: int | None) -> Value:
    """b with its axes aligned to those of a from `axis` on (default: the last ones), as in opsets below 7."""
    if not broadcast or axis is None:
        return b
    return b.reshape(*b.shape, *[1] * (a.rank - a.axis(axis) - b.rank))


for _op, _prim in {
    "Abs": "abs", "Neg": "neg", "Exp": "exp", "Log": "log", "Sqrt": "sqrt", "Sin": "sin", "Cos": "cos", "Tan": "tan",
    "Asin": "asin", "Acos": "acos", "Atan": "atan", "Sinh": "sinh", "Cosh": "cosh", "Tanh": "tanh", "Asinh": "asinh",
    "Acosh": "acosh", "Atanh": "atanh", "Erf": "erf", "Sigmoid": "sigmoid", "Sign": "sign", "IsNaN": "isnan",
    "Ceil": "ceil", "Floor": "floor", "Round": "round", "Not": "not", "BitwiseNot": "bit_not",
}.items():  # fmt: skip
    _register_unary(_op, _prim)

for _op, _prim in {
    "Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "And": "and", "Or": "or", "Xor": "xor", "Equal": "eq",
    "Less": "lt",
}.items():  # fmt: skip
    _register_binary(_op, _prim)

for _op, _prim in {"BitwiseAnd": "bit_and", "BitwiseOr": "bit_or", "BitwiseXor": "bit_xor"}.items():
    _register_binary(_op, _prim, since=18)

_register_binary("LessOrEqual", "le", since=12)
_register_binary("GreaterOrEqual", "le", since=12, swap=True)
_register_binary("Greater", "lt", swap=True)


@onnx_op("Reciprocal")
def reciprocal(x: Value, *, consumed_inputs: list[int] | None = None) -> Value:
    return 1.0 / x


@onnx_op("Mod", since=10)
def mod(a: Value, b: Value, *, fmod: int = 0) -> Value:
    return pointwise("fmod" if fmod else "mod", a, _divisor(b, "Integer modulo by zero"))


@onnx_op("Pow", since=7)
@in_compute_type
def pow_(x: Value, y: Value) -> Value:
    exponent = fold(y)
    if exponent is not None and exponent.size == 1 and y.rank <= x.rank and exponent.reshape(-1)[0] in (2, 3):
        return x.square() if exponent.reshape(-1)[0] == 2 else x.square() * x
    if x.dtype == y.dtype:
        return pointwise("pow", x, y)
    if x.dtype.is_float:
        return pointwise("pow", x, y.cast(x.dtype))
    wide = F64 if y.dtype.is_float else I64
    return pointwise("pow", x.cast(wide), y.cast(wide)).cast(x.dtype)


@onnx_op("Pow")
def pow_legacy(x: Value, y: Value, *, broadcast: int = 0, axis: int | None = None) -> Value:
    return pow_(x, _legacy_broadcast(x, y, broadcast, axis))


@onnx_op("BitShift", since=11)
def bit_shift(x: Value, y: Value, *, direction: str) -> Value:
    if direction not in ("LEFT", "RIGHT"):
        raise ValueError(f"direction '{direction}' is neither LEFT nor RIGHT")
    return pointwise("shl" if direction == "LEFT" else "shr", x, y)


@onnx_op("IsInf", since=10)
def is_inf(x: Value, *, detect_negative: int = 1, detect_positive: int = 1) -> Value:
    infinite = x.map("isinf")
    if detect_negative and detect_positive:
        return infinite
    if detect_negative or detect_positive:
        return infinite.map("and", x < 0 if detect_negative else x > 0)
    return infinite.map("and", infinite.const(False))


@onnx_op("Where", since=9)
def where(condition: Value, x: Value, y: Value) -> Value:
    if x.dtype.kind not in TABLE["select"].kinds:
        raise Unsupported(f"elements of type {x.dtype}")
    return condition.select(x, y)


# -- any number of inputs --------------------------------------------------------------------------------------------


@onnx_op("Sum")
@in_compute_type
def sum_(*xs: Value, consumed_inputs: list[int] | None = None) -> Value:
    return reduce(lambda a, b: a + b, xs)


@onnx_op("Mean")
@in_compute_type
def mean(*xs: Value, consumed_inputs: list[int] | None = None) -> Value:
    return sum_(*xs) / len(xs)


@onnx_op("Max")
def max_(*xs: Value, consumed_inputs: list[int] | None = None) -> Value:
    return reduce(lambda a, b: pointwise("max", a, b), xs)


@onnx_op("Min")
def min_(*xs: Value, consumed_inputs: list[int] | None = None) -> Value:
    return reduce(lambda a, b: pointwise("min", a, b), xs)


# -- types -----------------------------------------------------------------------------------------------------------


def cast_to(x: Value, dtype: DType, saturate: int = 1, round_mode: str = "up") -> Value:
    """ONNX's Cast. Raises Unsupported for complex numbers."""
    if "c" in (x.dtype.kind, dtype.kind):
        raise Unsupported(f"casts from {x.dtype} to {dtype}")
    if x.dtype == dtype:
        return x
    if x.dtype == STRING:
        return parsed(x, dtype)
    if dtype == STRING:
        return formatted(x)
    if dtype.name == "f8e8m0":
        return _power_of_two(x, dtype, saturate, round_mode)
    if x.dtype.is_float and dtype.is_integer and dtype.name[1:] in ("2", "4"):
        return x.cast(I32).cast(dtype)  # wraps around, as narrow integers do
    narrow = dtype.name.startswith("f8")
    return x.map("cast" if saturate or not narrow else "cast_unsaturated", dtype=dtype)


def _power_of_two(x: Value, dtype: DType, saturate: int, round_mode: str) -> Value:
    """A cast to f8e8m0, which stores only the exponent of a power of two.

    0 and negative numbers become the least power, 2**-127, and numbers beyond the greatest power that power. Without
    `saturate`, numbers out of range become NaN, except for negative ones."""
    if round_mode not in ("up", "down", "nearest"):
        raise ValueError(f"there is no round_mode '{round_mode}'")
    # Scaled so that no power of two is a denormal in f64; then the code is its exponent less a constant.
    wide = x.cast(F64)
    scaled = wide.map("max", 0.0) * 2.0**64
    carry = {"up": (1 << 52) - 1, "down": 0, "nearest": 1 << 51}[round_mode]
    code = (scaled.map("bitcast", dtype=I64) + carry).map("shr", 52) - (1023 + 64 - 127)
    inside = code.map("max", 0).map("min", 254)
    if not saturate:
        outside = (wide >= 0.0).map("and", (code > 254).map("or", wide < 2.0**-127))
        inside = outside.select(255, inside)
    return wide.map("isnan").select(255, inside).cast(U8).map("bitcast", dtype=dtype)


@onnx_op("Cast", since=6)
def cast(x: Value, *, to: int, saturate: int = 1, round_mode: str = "up") -> Value:
    if to not in BY_ONNX:
        raise ValueError(f"there is no data type {to}")
    return cast_to(x, BY_ONNX[to], saturate, round_mode)


@onnx_op("Cast")
def cast_legacy(x: Value, *, to: str) -> Value:
    names = {"FLOAT": "float", "DOUBLE": "double"}
    name = f"tensor({names.get(to.upper(), to.lower())})"
    for dtype in BY_ONNX.values():
        if dtype.ort == name:
            return cast_to(x, dtype)
    raise ValueError(f"there is no data type {to}")


@onnx_op("CastLike", since=15)
def cast_like(x: Value, target: Value, *, saturate: int = 1, round_mode: str = "up") -> Value:
    return cast_to(x, target.dtype, saturate, round_mode)


@onnx_op("BitCast", since=26)
def bit_cast(x: Value, *, to: int) -> Value:
    dtype = BY_ONNX[to]
    if x.dtype == dtype:
        return x
    if (x.dtype, dtype) == (BOOL, U8):
        return x.cast(U8)
    if BOOL in (x.dtype, dtype) or "s" in (x.dtype.kind, dtype.kind) or x.dtype.bits != dtype.bits:
        raise Unsupported(f"reading {x.dtype} as {dtype}")
    return x.map("bitcast", dtype=dtype)


# -- activations -----------------------------------------------------------------------------------------------------


@onnx_op("Relu")
def relu(x: Value, *, consumed_inputs: list[int] | None = None) -> Value:
    return pointwise("max", x, x.const(0))


@onnx_op("LeakyRelu")
@in_compute_type
def leaky_relu(x: Value, *, alpha: float = 0.01, consumed_inputs: list[int] | None = None) -> Value:
    return (x < 0).select(x * alpha, x)


@onnx_op("PRelu", since=7)
def prelu(x: Value, slope: Value) -> Value:
    return (x < 0).select(x * slope, x)


@onnx_op("PRelu")
def prelu_legacy(x: Value, slope: Value, *, consumed_inputs: list[int] | None = None) -> Value:
    one = slope.shape == (1,)
    return prelu(x, slope if one or x.rank < 2 else slope.reshape(*slope.shape, *[1] * (x.rank - 1 - slope.rank)))


@onnx_op("ThresholdedRelu", since=10)
@in_compute_type
def thresholded_relu(x: Value, *, alpha: float = 1.0) -> Value:
    return (x > alpha).select(x, 0)


@onnx_op("Elu")
@in_compute_type
def elu(x: Value, *, alpha: float = 1.0, consumed_inputs: list[int] | None = None) -> Value:
    return (x < 0).select(x.map("expm1") * alpha, x)


@onnx_op("Celu", since=12)
@in_compute_type
def celu(x: Value, *, alpha: float = 1.0) -> Value:
    return x.map("max", 0) + ((x / alpha).map("expm1") * alpha).map("min", 0)


@onnx_op("Selu", since=6)
@in_compute_type
def selu(x: Value, *, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875) -> Value:
    return (x > 0).select(x, x.map("expm1") * alpha) * gamma


@onnx_op("Selu")
def selu_legacy(
    x: Value, *, alpha: float = 1.6732, gamma: float = 1.0507, consumed_inputs: list[int] | None = None
) -> Value:
    return selu(x, alpha=alpha, gamma=gamma)


@onnx_op("Gelu", since=20)
@in_compute_type
def gelu(x: Value, *, approximate: str = "none") -> Value:
    if approximate == "tanh":
        inner = (x + x.square() * x * 0.044715) * math.sqrt(2 / math.pi)
        return x * 0.5 * (inner.map("tanh") + 1.0)
    return x * 0.5 * ((x * math.sqrt(0.5)).map("erf") + 1.0)


@onnx_op("HardSigmoid")
@in_compute_type
def hard_sigmoid(x: Value, *, alpha: float = 0.2, beta: float = 0.5, consumed_inputs: list[int] | None = None) -> Value:
    return (x * alpha + beta).map("min", 1).map("max", 0)


@onnx_op("HardSwish", since=14)
@in_compute_type
def hard_swish(x: Value) -> Value:
    return x * hard_sigmoid(x, alpha=1 / 6, beta=0.5)


@onnx_op("Swish", since=24)
@in_compute_type
def swish(x: Value, *, alpha: float = 1.0) -> Value:
    return x * (x * alpha).map("sigmoid")


@onnx_op("Softplus")
@in_compute_type
def softplus(x: Value) -> Value:
    return x.map("max", 0) + (-x.map("abs")).exp().map("log1p")


@onnx_op("Softsign")
@in_compute_type
def softsign(x: Value) -> Value:
    return x / (x.map("abs") + 1.0)


@onnx_op("Mish", since=18)
@in_compute_type
def mish(x: Value) -> Value:
    return x * softplus(x).map("tanh")


@onnx_op("Shrink", since=9)
@in_compute_type
def shrink(x: Value, *, bias: float = 0.0, lambd: float = 0.5) -> Value:
    wide = x if x.dtype.is_float else x.cast(F32)
    out = (wide < -lambd).select(wide + bias, (wide > lambd).select(wide - bias, wide.const(0)))
    return out.cast(x.dtype)


@onnx_op("Clip", since=11)
def clip(x: Value, low: Value | None = None, high: Value | None = None) -> Value:
    if low is not None:
        x = pointwise("max", x, low.reshape())
    if high is not None:
        x = pointwise("min", x, high.reshape())
    return x


@onnx_op("Clip")
def clip_legacy(
    x: Value, *, min: float | None = None, max: float | None = None, consumed_inputs: list[int] | None = None
) -> Value:
    low = None if min is None else scalar(min, x.dtype)
    return clip(x, low, None if max is None else scalar(max, x.dtype))
