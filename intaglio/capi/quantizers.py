"""The quantizers of weights that onnxruntime's toolkits take from its native module, with its results.

In: a matrix of K rows and N columns, float32 or float16. Out: codes, scales and zero points, written into arrays of the
caller's. A block is `block_size` values of one column (bnb4: of the flattened matrix).
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

# Codes of bitsandbytes' 4-bit floats by the place of |x| between these bounds (FP4), and bounds between codes (NF4).
_FP4_BOUNDS = np.array([0.00260417, 0.0859375, 0.20833333, 0.29166667, 0.4166667, 0.583333, 0.8333333], np.float32)
_FP4_CODES = np.array([0, 1, 6, 7, 4, 5, 2, 3], np.uint8)
_NF4_BOUNDS = np.array([
    -0.8480964004993439, -0.6106329262256622, -0.4599952697753906, -0.33967943489551544, -0.23460740596055984,
    -0.13791173323988914, -0.045525018125772476, 0.03979014977812767, 0.1202552504837513, 0.2035212516784668,
    0.2920137718319893, 0.3893125355243683, 0.5016634166240692, 0.6427869200706482, 0.8614784181118011,
], np.float32)  # fmt: skip


def _rounded(x: Array) -> Array:
    """To the nearest, halves away from zero."""
    rounded: Array = np.copysign(np.floor(np.abs(x) + np.float32(0.5)), x)
    return rounded


def _quantized(
    source: Array, bits: int, block_size: int, rows: int, symmetric: bool, round_first: bool = False
) -> tuple[Array, Array, Array]:
    """Codes [N, blocks, block_size], 0 beyond the last row; scales [N, blocks] and zero points [N, blocks]."""
    columns, blocks = source.shape[1], -(-rows // block_size)
    top, middle = (1 << bits) - 1, 1 << (bits - 1)
    x = np.zeros((blocks * block_size, columns), np.float32)
    x[:rows] = source[:rows]
    x = x.T.reshape(columns, blocks, block_size)
    inside = (np.arange(blocks * block_size) < rows).reshape(1, blocks, block_size)
    low, high = np.where(inside, x, np.inf).min(-1), np.where(inside, x, -np.inf).max(-1)
    if symmetric:
        scale = np.where(np.abs(high) > np.abs(low), high, low) / np.float32(-middle)
        zero = np.full(scale.shape, middle, np.float32)
    else:
        low, high = np.minimum(low, 0), np.maximum(high, 0)
        scale = (high - low) / np.float32(top)
        zero = np.clip(_rounded(np.where(scale != 0, -low / np.where(scale == 0, 1, scale), low)), 0, top)
    scale = scale.astype(source.dtype)
    factor = np.divide(1, scale.astype(np.float32), out=np.zeros(scale.shape, np.float32), where=scale != 0)
    scaled, offset = (x * factor[..., None]).astype(np.float32), zero[..., None].astype(np.float32)
    codes = np.clip(_rounded(scaled) + offset if round_first else _rounded(scaled + offset), 0, top)
    return np.where(inside, codes, 0).astype(np.uint8), scale, zero.astype(np.uint8)


def _packed(codes: Array, bits: int, filler: int = 0) -> Array:
    """Along the last axis, the first code lowest in each byte; missing ones are `filler`."""
    each = 8 // bits
    missing = -codes.shape[-1] % each
    codes = np.pad(codes, [(0, 0)] * (codes.ndim - 1) + [(0, missing)], constant_values=filler)
    codes = codes.reshape(*codes.shape[:-1], -1, each) << (bits * np.arange(each, dtype=np.uint8))
    packed: Array = np.bitwise_or.reduce(codes, axis=-1).astype(np.uint8)
    return packed


def _by_blocks(
    bits: int, target: Array, source: Array, scales: Array, zero_points: Array, block_size: int, rows: int,
    symmetric: bool,
) -> None:  # fmt: skip
    """For the operator MatMulNBits. Zero points of symmetric weights are not written."""
    codes, scale, zero = _quantized(source, bits, block_size, rows, symmetric)
    target.reshape(-1)[:] = _packed(codes, bits).reshape(-1)
    scales.reshape(-1)[:] = scale.reshape(-1)
    if not symmetric:
        zero_points.reshape(-1)[:] = _packed(zero, bits, filler=1 << (bits - 1)).reshape(-1)


def quantize_matmul_2bits(
    dst: Array, src: Array, scale: Array, zero_points: Array, block_size: int, N: int, K: int, is_symmetric: bool
) -> None:
    """For the operator MatMulNBits: dst [N, blocks, block_size / 4]."""
    _by_blocks(2, dst, src, scale, zero_points, block_size, K, is_symmetric)


def quantize_matmul_4bits(
    dst: Array, src: Array, scale: Array, zero_points: Array, block_size: int, N: int, K: int, is_symmetric: bool
) -> None:
    """For the operator MatMulNBits: dst [N, blocks, block_size / 2]."""
    _by_blocks(4, dst, src, scale, zero_points, block_size, K, is_symmetric)


def quantize_matmul_8bits(
    dst: Array, src: Array, scale: Array, zero_points: Array, block_size: int, N: int, K: int, is_symmetric: bool
) -> None:
    """For the operator MatMulNBits: dst [N, blocks, block_size]."""
    _by_blocks(8, dst, src, scale, zero_points, block_size, K, is_symmetric)


def quantize_qdq_matmul_4bits(
    dst: Array, src: Array, scale: Array, zero_points: Array, block_size: int, N: int, K: int, is_symmetric: bool
) -> bool:
    """For DequantizeLinear: dst [K, N / 2], scale [blocks, N]. Returns whether the codes are signed: symmetric ones."""
    codes, scales, zero = _quantized(src, 4, block_size, K, is_symmetric, round_first=True)
    values = codes.reshape(codes.shape[0], -1)[:, :K].T.reshape(-1)
    zeros = zero.T.reshape(-1)
    if is_symmetric:
        values, zeros = (values - 8) & 15, zeros - 8
    dst.reshape(-1)[:] = _packed(values, 4)
    scale.reshape(-1)[:] = scales.T.reshape(-1)
    zero_points.reshape(-1)[:] = _packed(zeros, 4)
    return is_symmetric


def quantize_matmul_bnb4(
    dst: Array, src: Array, absmax: Array, block_size: int, quant_type: int, N: int, K: int
) -> None:
    """For the operator MatMulBnb4: two codes a byte, the first one high. quant_type: 0 FP4, 1 NF4."""
    flat = src.reshape(-1).astype(np.float32)
    x: Array = np.pad(flat, (0, -len(flat) % block_size)).reshape(-1, block_size)
    largest = np.abs(x).max(-1)
    absmax.reshape(-1)[:] = largest
    x = x * np.divide(1, largest, out=np.zeros_like(largest), where=largest != 0)[:, None]
    if quant_type == 0:
        codes = _FP4_CODES[np.searchsorted(_FP4_BOUNDS, np.abs(x), "left")] | np.where(x < 0, 8, 0).astype(np.uint8)
    else:
        codes = np.searchsorted(_NF4_BOUNDS, x, "left").astype(np.uint8)
    codes = codes.reshape(-1)[: src.size + src.size % 2]
    dst.reshape(-1)[:] = codes[0::2] << 4 | codes[1::2]
