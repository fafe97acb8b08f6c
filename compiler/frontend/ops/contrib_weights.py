"""onnxruntime's operators on weights that are quantised in blocks (domain com.microsoft).

In: values and attributes of a node. Out: values. Defined by onnxruntime's docs/ContribOperators.md. A block is a run of
elements of one axis that share a scale, and a zero point; elements of fewer than 8 bits lie in bytes.
"""

from __future__ import annotations

import numpy as np

from ...errors import Unsupported
from ...graph.ir import Value, constant
from ...scalar.dim import Size, ceil_div
from ...scalar.dtype import F32, I32, I64, U8
from ..registry import onnx_op
from ..values import concat, scalar
from .contrib import DOMAIN
from .index import checked_index
from .matmul import product
from .quant import blockwise, dequantized


def check_block_size(size: int) -> None:
    """Raises ValueError for blocks that onnxruntime does not have."""
    if size < 16 or size & (size - 1):
        raise ValueError(f"blocks of {size}: they have 16 elements or more, and a power of two of them")


def unpacked(x: Value, bits: int) -> Value:
    """u8 [..., M] -> u8 [..., M * 8 / bits], lowest bits first."""
    if bits == 8:
        return x
    parts = [x.map("shr", shift).map("bit_and", (1 << bits) - 1).unsqueeze(-1) for shift in range(0, 8, bits)]
    return concat(parts, -1).reshape(*x.shape[:-1], x.shape[-1] * (8 // bits))


def zero_points(zeros: Value | None, scales: Value, bits: int) -> Value:
    """The zero points of blocks [..., B] in the type of their scales: half the range, numbers, or packed in bytes."""
    if zeros is None:
        return scalar(1 << (bits - 1), scales.dtype)
    *lead, blocks = scales.shape
    if zeros.dtype != U8:
        return zeros.reshape(*lead, blocks)
    wide = unpacked(zeros.reshape(*lead, ceil_div(blocks * bits, 8)), bits)
    return wide.narrow(-1, 0, blocks).cast(I32).cast(scales.dtype)


@onnx_op("MatMulNBits", domain=DOMAIN)
def matmul_nbits(
    a: Value, b: Value, scales: Value, zeros: Value | None = None, groups: Value | None = None,
    bias: Value | None = None, *, K: int, N: int, block_size: int, bits: int = 4, accuracy_level: int = 0,
    weight_prepacked: int = 0,
) -> Value:  # fmt: skip
    """b [N, blocks, block_size * bits / 8]; groups (g_idx) [K]: the block of each element, in place of its own."""
    if bits not in (2, 4, 8) or weight_prepacked:
        raise Unsupported(f"bits={bits}, or prepacked weights")
    check_block_size(block_size)
    blocks = ceil_div(K, block_size)
    b = b.ensure_shape(N, blocks, block_size * bits // 8, text="weights in blocks of bytes")
    weights = unpacked(b.reshape(N, -1), bits)
    scales = scales.reshape(N, blocks)
    zero = zero_points(zeros, scales, bits)
    if groups is None:
        weights = weights.reshape(N, blocks, block_size).cast(I32).cast(scales.dtype)
        zero = zero if zeros is None else zero.unsqueeze(-1)
        real = ((weights - zero) * scales.unsqueeze(-1)).reshape(N, blocks * block_size).narrow(1, 0, K)
    else:
        groups = groups.reshape(-1).narrow(0, 0, K)
        at = checked_index(groups, blocks, "g_idx is out of range")
        zero = zero if zeros is None else zero.take(at, 1)
        real = (weights.narrow(1, 0, K).cast(I32).cast(scales.dtype) - zero) * scales.take(at, 1)
    y = product(a, real.cast(a.dtype).permute(1, 0))
    return y if bias is None else y + bias


# The numbers that 4 bits stand for: https://arxiv.org/abs/2305.14314 (NF4), bitsandbytes (FP4).
NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
FP4 = (0.0, 0.005208333333, 2 / 3, 1.0, 1 / 3, 0.5, 1 / 6, 0.25)
FOUR_BITS = (FP4 + tuple(-v for v in FP4), NF4)


@onnx_op("MatMulBnb4", domain=DOMAIN)
def matmul_bnb4(
    a: Value, b: Value, scales: Value, *, K: int, N: int, block_size: int, quant_type: int, training_mode: int = 0,
    transB: int = 1,
) -> Value:  # fmt: skip
    """b: the weights [N, K], flattened, in blocks, two in a byte with the first in the high bits; scales: of blocks."""
    if quant_type not in (0, 1):
        raise ValueError(f"quant_type {quant_type} is neither 0 (FP4) nor 1 (NF4)")
    check_block_size(block_size)
    count = N * K
    b = b.ensure_shape(ceil_div(count, 2), text="two weights in a byte")
    scales = scales.ensure_shape(ceil_div(count, block_size), text="a scale for each block")
    codes = concat([b.map("shr", 4).unsqueeze(-1), b.map("bit_and", 15).unsqueeze(-1)], -1).reshape(-1)
    real = constant(np.asarray(FOUR_BITS[quant_type], np.float32)).take(codes.narrow(0, 0, count).cast(I64), 0)
    real = (real * blockwise(scales, real, 0, block_size).cast(F32)).reshape(N, K).cast(a.dtype)
    return product(a, real.permute(1, 0) if transB else real)


@onnx_op("GatherBlockQuantized", domain=DOMAIN)
def gather_block_quantized(
    x: Value, indices: Value, scales: Value, zeros: Value | None = None, *, bits: int = 4, block_size: int = 128,
    gather_axis: int = 0, quantize_axis: int = 1,
) -> Value:  # fmt: skip
    """Slices of quantised x along an axis, as Gather has them, in the type of their scales; 0 for indices out of range.

    Elements of u8 are packed along the last axis; those of floats have no zero points, and one block if block_size is
    0."""
    if x.dtype.name not in ("u8", "u4", "i4") and not (x.dtype.is_float and x.dtype.bits <= 8):
        raise ValueError(f"elements of type {x.dtype}")
    if (zeros is not None and zeros.dtype != x.dtype) or not (scales.dtype.is_float and scales.dtype.bits in (16, 32)):
        raise ValueError(f"scales of type {scales.dtype}, zero points of {zeros and zeros.dtype} for {x.dtype}")
    if indices.dtype not in (I32, I64):
        raise ValueError(f"indices of type {indices.dtype}, not int32 or int64")
    at, along, packed = x.axis(gather_axis), x.axis(quantize_axis), x.dtype == U8
    if packed and (at or along != x.rank - 1 or not along):
        raise ValueError(f"gather_axis {at} and quantize_axis {along} for bytes; they must be the first and the last")
    if bits not in ((2, 4, 8) if packed else (4,)) and x.dtype.is_integer:
        raise ValueError(f"{bits} bits in elements of {x.dtype}")
    if zeros is not None and not x.dtype.is_integer:
        raise ValueError(f"zero points for elements of {x.dtype}")
    if x.dtype.is_integer or block_size:
        check_block_size(block_size)
    shape: list[Size] = [*x.shape[:-1], x.shape[-1] * (8 // bits if packed else 1)]
    shape[along] = ceil_div(shape[along], block_size) if block_size else 1
    if not x.dtype.is_integer:  # a scale may be shared along the other axes
        of_blocks = (own if a == along else d for a, (d, own) in enumerate(zip(scales.shape, shape)))
        scales = scales.ensure_shape(*of_blocks, text="data and scales do not match shapes").broadcast(*shape)
    scales = scales.ensure_shape(*shape, text="data and scales do not match shapes")
    if zeros is not None:
        of_zeros = [*shape[:-1], ceil_div(shape[-1] * bits, 8)] if packed else shape
        zeros = zeros.ensure_shape(*of_zeros, text="scales and zero points do not match shapes")

    dim = x.shape[at]
    index = indices.cast(I64).wrap_index(dim)
    inside = (index >= 0).map("and", index < index.const_size(dim))
    index = inside.select(index, 0)
    rows = unpacked(x.take(index, at), bits) if packed else x.take(index, at)
    block = index if at != along else index.map("div", block_size) if block_size else index.map("min", 0)
    scale = scales.take(block, at)
    zero = None if zeros is None else zeros.take(block, at)
    if packed:
        zero = zero_points(zero, scale, bits).cast(I32)
    if at != along:
        axis = along + index.rank - 1 if along > at else along
        if block_size:
            scale = blockwise(scale, rows, axis, block_size)
        if zero is not None and zero.rank:
            zero = blockwise(zero, rows, axis, block_size)
    y = dequantized(rows, scale, zero)
    return inside.reshape(*inside.shape, *[1] * (x.rank - 1 - at)).select(y, 0)
