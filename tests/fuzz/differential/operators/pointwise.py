"""Operators that are done for each element by itself."""

from __future__ import annotations

import numpy as np
from onnx import helper

from ..world import BOOL, F32, FLOATS, INTS, World, since
from .table import generator, named

# The interval that operands are taken from, where the function is not defined everywhere.
INTERVALS = {
    "Acos": (-1, 1), "Asin": (-1, 1), "Atanh": (-0.9, 0.9), "Acosh": (1, 4), "Log": (0.1, 4), "Sqrt": (0, 4),
    "Reciprocal": (0.3, 3), "Tan": (-1.3, 1.3),
}  # fmt: skip

ATTRIBUTES = {
    "LeakyRelu": {"alpha": (0.01, 0.3, -0.5, 0.0)},
    "Elu": {"alpha": (0.5, 2.0)},
    "Celu": {"alpha": (0.5, 2.0)},
    "Selu": {"alpha": (1.0, 2.0), "gamma": (0.5, 2.0)},
    "HardSigmoid": {"alpha": (0.1, 0.5, 1.0), "beta": (0.0, 0.5, 0.7)},
    "ThresholdedRelu": {"alpha": (0.0, 0.5, 1.5)},
    "Shrink": {"lambd": (0.3, 1.0), "bias": (0.0, 0.2)},
    "Gelu": {"approximate": ("none", "tanh")},
    "Swish": {"alpha": (0.5, 1.0, 2.0)},
    "IsInf": {"detect_negative": (0, 1), "detect_positive": (0, 1)},
}

UNARY = [
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitwiseNot", "Ceil", "Celu", "Cos", "Cosh", "Elu",
    "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Log",
    "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh",
    "Softplus", "Softsign", "Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu",
]  # fmt: skip


@named(*UNARY)
def unary(w: World, op: str) -> None:
    attributes = {}
    for name, values in ATTRIBUTES.get(op, {}).items():
        attributes.update(w.some(0.6, **{name: w.rng.choice(values)}))
    low, high = INTERVALS.get(op, (-2, 2))
    if op in INTERVALS:
        x = w.tensor(w.types(op), fits=lambda a: bool(((a > low) & (a < high)).all())) if w.chance(0.5) else w.fresh(
            w.dtype(w.types(op)), w.shape(), low, high)  # fmt: skip
    else:
        x = w.tensor(w.types(op))
    w.emit(op, [x], **attributes)


def broadcast_shape(w: World, shape: list[int] | tuple[int, ...]) -> list[int]:
    """A shape that broadcasts with this one: parts of it, with ones."""
    other = [1 if w.chance(0.25) else d for d in shape]
    kind = w.rng.random()
    if kind < 0.3:
        return other[w.rng.randint(0, len(other)) :]
    if kind < 0.4 and len(shape) < 5 and int(np.prod(shape)) < 500:
        return [w.rng.choice((1, 2, 3)), *other]
    return list(shape) if kind < 0.6 else other


def pair(w: World, op: str) -> tuple[str, str]:
    a = w.tensor(w.types(op))
    x = w.array(a)
    if w.opset < 7:
        return a, w.shaped(x.dtype, x.shape)
    b = w.pick(lambda y: y.dtype == x.dtype and _broadcasts(x.shape, y.shape)) if w.chance(0.4) else None
    if b is None:
        b = w.shaped(x.dtype, broadcast_shape(w, x.shape))
    return (a, b) if w.chance(0.6) else (b, a)


def _broadcasts(*shapes: tuple[int, ...]) -> bool:
    try:
        return int(np.prod(np.broadcast_shapes(*shapes))) < 3000
    except ValueError:
        return False


@named("Add", "Sub", "Mul", "And", "Or", "Xor", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual",
       "BitwiseAnd", "BitwiseOr", "BitwiseXor", "PRelu")  # fmt: skip
def binary(w: World, op: str) -> None:
    if op == "PRelu":
        x = w.tensor(w.types(op))
        shape = w.array(x).shape
        slope = broadcast_shape(w, shape)
        w.emit(op, [x, w.shaped(w.array(x).dtype, slope[-len(shape) :] if shape else [])])
    else:
        w.emit(op, pair(w, op))


def nonzero(w: World, dtype: np.dtype, shape: list[int]) -> str:
    """A divisor."""
    array = w.random(dtype, shape, 0.5, 3)
    if dtype in INTS:
        array = np.maximum(array, 1).astype(dtype)
    if dtype.kind != "u" and w.chance(0.5):
        array = (array * w.numbers.choice([-1, 1], shape)).astype(dtype)
    return w.leaf(array)


@named("Div", "Mod")
def division(w: World, op: str) -> None:
    a = w.tensor(w.types(op))
    x = w.array(a)
    shape = broadcast_shape(w, x.shape)
    b = nonzero(w, x.dtype, shape)
    if x.dtype.kind == "i" and x.size and (x == np.iinfo(x.dtype).min).any():
        b = w.leaf(np.abs(w.array(b)))  # the least number by -1 is no number
    if op == "Div":
        w.emit(op, [a, b])
    else:
        w.emit(op, [a, b], fmod=1 if x.dtype in FLOATS or w.chance(0.3) else 0)


@generator("Pow")
def power(w: World) -> None:
    x_types = w.types("Pow")
    if w.chance(0.5):
        x = w.tensor(x_types)
        y_types = w.types("Pow", 1) if w.opset >= 12 else [w.array(x).dtype]
        exponent = np.asarray(w.rng.choice((0, 1, 2, 3, 0.5, -1)))
        w.emit("Pow", [x, w.leaf(exponent.astype(w.dtype(y_types)))])
    else:
        x = w.fresh(w.dtype(x_types), w.shape(), 0.5, 3)
        a = w.array(x)
        y = w.dtype(w.types("Pow", 1)) if w.opset >= 12 else a.dtype
        w.emit("Pow", [x, w.fresh(y, broadcast_shape(w, a.shape), 0, 1.5)])


@generator("BitShift")
def shift(w: World) -> None:
    x = w.tensor(w.types("BitShift"))
    a = w.array(x)
    by = w.leaf(w.numbers.integers(0, a.dtype.itemsize * 8, broadcast_shape(w, a.shape)).astype(a.dtype))
    w.emit("BitShift", [x, by], direction=w.rng.choice(("LEFT", "RIGHT")))


@named("Max", "Min", "Sum", "Mean")
def several(w: World, op: str) -> None:
    a = w.tensor(w.types(op))
    x = w.array(a)
    more = w.rng.randrange(4)
    shapes = [list(x.shape) if w.opset < 8 else broadcast_shape(w, x.shape) for _ in range(more)]
    names = [a, *(w.shaped(x.dtype, shape) for shape in shapes)]
    w.rng.shuffle(names)
    w.emit(op, names)


@generator("Where")
def where(w: World) -> None:
    a = w.tensor(w.types("Where", 1))
    x = w.array(a)
    names = [w.shaped(BOOL, broadcast_shape(w, x.shape)), a, w.shaped(x.dtype, broadcast_shape(w, x.shape))]
    if w.chance(0.4):
        names[1:] = names[:0:-1]
    w.emit("Where", names)


@generator("Clip")
def clip(w: World) -> None:
    x = w.tensor(w.types("Clip"))
    dtype = w.array(x).dtype
    low, high = sorted(w.rng.choice((-3, -1, 0, 1, 2, 5)) for _ in range(2))
    if w.opset < 11:
        w.emit("Clip", [x], **w.some(0.7, min=float(low), max=float(high)))
        return
    if dtype.kind == "u":
        low, high = abs(low), abs(low) + 3
    bounds = [w.leaf(np.asarray(v, dtype)) if w.chance(0.75) else "" for v in (low, high)]
    w.emit("Clip", [x, *bounds])


@generator("Cast")
def cast(w: World) -> None:
    x = w.tensor(w.types("Cast"))
    a = w.array(x)
    targets = w.types("Cast")
    if a.dtype in FLOATS and not np.isfinite(a.astype(float)).all():
        targets = [t for t in targets if t in FLOATS]
    to = w.floats if w.floats in targets and w.chance(0.4) else w.rng.choice(targets)
    if a.dtype in FLOATS and to in INTS and a.size:
        info = np.iinfo(to)
        if a.astype(float).min() <= max(info.min, -(2**31)) or a.astype(float).max() >= min(info.max, 2**31):
            return  # undefined in the standard
    w.emit("Cast", [x], to=int(helper.np_dtype_to_tensor_dtype(to)))


@generator("CastLike")
def cast_like(w: World) -> None:
    x, like = w.tensor(w.types("CastLike")), w.tensor(w.types("CastLike"))
    if w.array(x).dtype in FLOATS and w.array(like).dtype in INTS:
        x, like = like, x
    w.emit("CastLike", [x, like])


@generator("BitCast")
def bit_cast(w: World) -> None:
    x = w.tensor([*INTS, BOOL])
    dtype = w.array(x).dtype
    same = [t for t in (*INTS, *FLOATS) if t.itemsize == dtype.itemsize and t.kind in "iu"]
    w.emit("BitCast", [x], to=int(helper.np_dtype_to_tensor_dtype(w.rng.choice(same))))


@generator("Dropout")
def dropout(w: World) -> None:
    """As in inference: nothing is dropped."""
    x = w.tensor(w.types("Dropout"))
    outputs = w.rng.choice((1, 1, 2)) if w.opset >= 10 else 1
    if w.opset < 12:
        w.emit("Dropout", [x], outputs, ratio=w.rng.choice((0.1, 0.5)))
    else:
        w.emit("Dropout", [x, w.leaf(np.float32(0.3)) if w.chance(0.5) else ""], outputs)


@generator("BatchNormalization")
def batch_normalization(w: World) -> None:
    x = w.tensor(w.types("BatchNormalization"), low=2)
    a = w.array(x)
    n = a.shape[1]
    params = [w.shaped(a.dtype, [n]) for _ in range(3)]
    variance = w.fresh(a.dtype, [n], 0.2, 2)
    w.emit("BatchNormalization", [x, *params, variance], **w.some(0.4, epsilon=w.rng.choice((1e-5, 1e-2))))


@generator("QuantizeLinear")
def quantize(w: World) -> None:
    floats = [t for t in w.types("QuantizeLinear") if t in FLOATS]
    x = w.tensor(floats)
    a = w.array(x)
    shape, attributes = _granularity(w, a, "QuantizeLinear")
    scale = w.leaf(w.random(a.dtype, shape, 0.05, 0.5))
    zero_types = [t for t in w.types("QuantizeLinear", 2) if t in INTS]
    zero = w.leaf(w.random(w.dtype(zero_types), shape, 0, 5)) if w.chance(0.7) else ""
    w.emit("QuantizeLinear", [x, scale, zero], **attributes)


@generator("DequantizeLinear")
def dequantize(w: World) -> None:
    x = w.tensor([t for t in w.types("DequantizeLinear") if t in INTS])
    a = w.array(x)
    shape, attributes = _granularity(w, a, "DequantizeLinear")
    scales = [t for t in w.types("DequantizeLinear", 1) if t in FLOATS]
    scale = w.leaf(w.random(w.dtype(scales), shape, 0.05, 0.5))
    zero = w.leaf(w.random(a.dtype, shape, 0, 5)) if w.chance(0.6) and a.dtype != np.int32 else ""
    w.emit("DequantizeLinear", [x, scale, zero], **attributes)


def _granularity(w: World, a: np.ndarray, op: str) -> tuple[list[int], dict[str, int]]:
    """One scale, one for each index of an axis, or one for each block."""
    kind = w.rng.random()
    if a.ndim == 0 or kind < 0.4 or since(op, w.opset) < 13:
        return [], {}
    axis = w.rng.randrange(a.ndim)
    if kind < 0.75 or since(op, w.opset) < 21 or not a.size:
        return [a.shape[axis]], {"axis": axis}
    block = w.rng.randint(1, a.shape[axis])
    shape = list(a.shape)
    shape[axis] = -(-shape[axis] // block)
    return shape, {"axis": axis, "block_size": block}


@generator("DynamicQuantizeLinear")
def dynamic_quantize(w: World) -> None:
    w.emit("DynamicQuantizeLinear", [w.tensor([F32])], 3)
