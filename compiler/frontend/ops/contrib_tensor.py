"""onnxruntime's own operators on tensors of any kind (domain com.microsoft): forms of the standard's, distances, sums.

In: values and attributes of a node. Out: values. Defined by onnxruntime's docs/ContribOperators.md.
"""

from __future__ import annotations

from ...errors import Unsupported
from ...graph.ir import Value
from ...scalar.dtype import I32, U16, U32
from ..registry import onnx_op
from .contrib import DOMAIN
from .index import gather_nd
from .matmul import product
from .select import unique
from .shape import identity, pad, range_, trilu, unsqueeze

onnx_op("SampleOp", domain=DOMAIN)(identity)


@onnx_op("Trilu", domain=DOMAIN)
def trilu_(x: Value, k: Value | None = None, *, upper: int = 1) -> Value:
    return trilu(x, k, upper=upper)


@onnx_op("ExpandDims", domain=DOMAIN)
def expand_dims(x: Value, axis: Value) -> Value:
    return unsqueeze(x, axis.reshape(1))


@onnx_op("GatherND", domain=DOMAIN)
def gather_nd_(x: Value, indices: Value) -> Value:
    return gather_nd(x, indices)


@onnx_op("Pad", domain=DOMAIN)
def pad_(x: Value, pads: Value, value: Value | None = None, *, mode: str = "constant") -> Value:
    """pads: [2 * rank], or [1, 2 * rank]."""
    pads = pads.ensure_shape(*[1] * (pads.rank - 1), 2 * x.rank, text="pads are two for each axis")
    return pad(x, pads.reshape(-1), value, mode=mode)


@onnx_op("Range", domain=DOMAIN)
def range__(start: Value, limit: Value, delta: Value | None = None) -> Value:
    """Each is a scalar, or has one element."""
    if delta is None:
        delta = start.const(1)
    first, last, step = (v if v.rank == 0 else v.ensure_shape(1, text="Range of one number each").reshape()
                         for v in (start, limit, delta))  # fmt: skip
    return range_(first, last, step)


@onnx_op("Unique", domain=DOMAIN)
def unique_(x: Value) -> tuple[Value, ...]:
    """The distinct elements of a vector in order of appearance, the inverse indices, and the counts."""
    if x.rank != 1:
        raise ValueError("Input tensor to Unique op should be 1D")
    y, _, which, counts = unique(x, sorted=0)
    return y, which, counts


@onnx_op("MatMulInteger16", domain=DOMAIN)
def matmul_integer_16(a: Value, b: Value) -> Value:
    """The product in 32 bits, without a sign where neither operand has one."""
    return product(a, b, U32 if a.dtype == b.dtype == U16 else I32)


@onnx_op("CDist", domain=DOMAIN)
def cdist(a: Value, b: Value, *, metric: str = "sqeuclidean") -> Value:
    """a [M, K], b [N, K]: the distance of each row of a to each row of b, [M, N], as |a|^2 - 2 a b + |b|^2."""
    if metric not in ("euclidean", "sqeuclidean"):
        raise Unsupported(f"the metric '{metric}'")
    if a.rank != 2 or b.rank != 2:
        raise ValueError(f"distances of rows in tensors of rank {a.rank} and {b.rank}")
    squares = a.square().sum(1).unsqueeze(1) + b.square().sum(1)
    distances = (squares - product(a, b.permute(1, 0)) * 2.0).map("max", 0.0)
    return distances.sqrt() if metric == "euclidean" else distances
