"""ONNX signal processing: Fourier transforms, windows, mel filters.

In: values and attributes of a node. Out: values. A Fourier transform is a product with the matrix of roots of unity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...errors import Unsupported
from ...graph.ir import Value
from ...scalar.dim import Size, dim_max, dim_min, known_eq, prod
from ...scalar.dtype import BY_ONNX, F64, I64
from .. import dynamic
from ..registry import onnx_op
from ..values import concat, demanded, scalar, shape_arg


def _line(size: Size) -> Value:
    return scalar(0, I64).emit("iota", [], shape=(size,), axis=0, dtype=I64)[0]


def _roots(rows: Size, columns: Size, length: Size) -> tuple[Value, Value]:
    """cos and sin of 2 pi r c / length, as matrices [rows, columns]; r c is reduced modulo length to stay exact."""
    turns = (_line(rows).unsqueeze(1) * _line(columns)).map("mod", scalar(0, I64).const_size(length))
    angle = turns.cast(F64) * (2 * math.pi) / scalar(0.0, F64).const_size(length)
    return angle.map("cos"), angle.map("sin")


def _fitted(x: Value, axis: int, length: Size) -> Value:
    """x cropped or padded with zeros to a length."""
    dim = x.shape[axis]
    if known_eq(dim, length):
        return x
    x = x.narrow(axis, 0, dim_min(dim, length))
    high = [dim_max(length - dim, 0) if a == axis else 0 for a in range(x.rank)]
    return x.pad([0] * x.rank, high)


def fourier(x: Value, axis: int, length: Size | None, inverse: bool, onesided: bool) -> Value:
    """The Fourier transform along `axis` of x [..., 1 or 2] (real, or real and imaginary parts); sums are in f64."""
    if x.rank == 2:
        return fourier(x.unsqueeze(0), axis + 1, length, inverse, onesided).squeeze(0)
    dtype, x, dim = x.dtype, x.cast(F64), x.shape[axis]
    if length is None:
        length = 2 * (dim - 1) if inverse and onesided else dim
    x = demanded(x, dim_min(length, 1), 1, "the length of a Fourier transform must be greater than zero")
    half = length // 2 + 1
    x = _fitted(x, axis, half if inverse and onesided else length)
    if x.shape[-1] not in (1, 2):
        raise Unsupported(f"whether its input is complex: the last dim is {x.shape[-1]}")
    parts = [x.narrow(-1, i, 1).squeeze(-1).moveaxis(axis, -1) for i in range(int(x.shape[-1]))]  # type: ignore[arg-type]
    rows, columns = x.shape[axis], half if onesided and not inverse else length
    cos, sin = _roots(rows, columns, length)
    if inverse:
        sin = -sin
        scale = 1.0 / x.const_size(length)
        if onesided:  # each frequency but 0 and the middle of an even length also stands for its conjugate
            k = _line(rows)
            alone = k.map("eq", 0).map("or", (k * 2).map("eq", k.const_size(length)))
            parts = [p * alone.select(x.const(1.0), x.const(2.0)) for p in parts]
        parts = [p * scale for p in parts]
    real = parts[0].matmul(cos)
    if len(parts) == 2:
        real = real + parts[1].matmul(sin)
    results = [real]
    if not (inverse and onesided):
        imaginary = -parts[0].matmul(sin)
        results.append(imaginary if len(parts) == 1 else imaginary + parts[1].matmul(cos))
    return concat([r.moveaxis(-1, axis).unsqueeze(-1).cast(dtype) for r in results], -1)


@onnx_op("DFT", since=20)
def dft(
    x: Value, dft_length: Value | None = None, axis: Value | None = None, *, inverse: int = 0, onesided: int = 0
) -> Value:
    length = None if dft_length is None else shape_arg(dft_length, "dft_length")[0]
    where = -2 if axis is None else shape_arg(axis)[0]
    if isinstance(where, int):
        return fourier(x, x.axis(where), length, bool(inverse), bool(onesided))
    *member, last = dynamic.members([where], x.rank)
    x = demanded(dynamic.in_range(x, [where], x.rank), last, 0, "DFT along the real and imaginary parts")

    def of(sizes: Sequence[Size]) -> Size:
        """The size that belongs to the axis, which is known only when the model runs."""
        return sum((m * size for m, size in zip(member, sizes)), start=0)

    outer = of([prod(x.shape[:a]) for a in range(x.rank)])
    inner = of([prod(x.shape[a + 1 : -1]) for a in range(x.rank)])
    y = fourier(x.reshape(outer, of(x.shape), inner, x.shape[-1]), 1, length, bool(inverse), bool(onesided))
    return y.reshape(*(d + m * (y.shape[1] - d) for m, d in zip(member, x.shape)), y.shape[-1])


@onnx_op("DFT", since=17)
def dft_17(x: Value, dft_length: Value | None = None, *, axis: int = 1, inverse: int = 0, onesided: int = 0) -> Value:
    length = None if dft_length is None else shape_arg(dft_length, "dft_length")[0]
    return fourier(x, x.axis(axis), length, bool(inverse), bool(onesided))


@onnx_op("STFT", since=17)
def stft(
    signal: Value, frame_step: Value, window: Value | None = None, frame_length: Value | None = None, *,
    onesided: int = 1,
) -> Value:  # fmt: skip
    """signal [B, L, 1 or 2] -> [B, frames, frequencies, 2]."""
    step = shape_arg(frame_step, "frame_step")[0]
    signal = demanded(signal, dim_min(step, 1), 1, "frame_step must be greater than zero")
    length = signal.shape[1]
    if frame_length is not None:
        length = shape_arg(frame_length, "frame_length")[0]
    elif window is not None:
        length = window.shape[0]
    frames = (signal.shape[1] - length) // step + 1
    at = _line(frames).unsqueeze(1)
    x = signal.take(at * at.const_size(step) + _line(length), 1)  # [B, frames, length, 1 or 2]
    if window is not None:
        x = x * window.unsqueeze(-1)
    return fourier(x, 2, None, False, bool(onesided))


def _register_window(op: str, terms: tuple[float, ...]) -> None:
    @onnx_op(op, since=17)
    def window(size: Value, *, output_datatype: int = 1, periodic: int = 1) -> Value:
        """The sum over k of terms[k] cos(2 pi k n / N), where N is the size, less 1 if the window is symmetric."""
        count = shape_arg(size, "size")[0]
        dtype = BY_ONNX[output_datatype]
        one = scalar(1.0, F64)
        turn = _line(count).cast(F64) * (2 * math.pi) / one.const_size(count if periodic else count - 1)
        y = turn * 0.0 + terms[0]
        for k, term in enumerate(terms[1:], 1):
            y = y + (turn * float(k)).map("cos") * term
        return y.cast(dtype)


_register_window("HannWindow", (0.5, -0.5))
_register_window("HammingWindow", (25 / 46, -21 / 46))
_register_window("BlackmanWindow", (0.42, -0.5, 0.08))


@onnx_op("MelWeightMatrix", since=17)
def mel_weight_matrix(
    bins: Value, dft_length: Value, sample_rate: Value, low: Value, high: Value, *, output_datatype: int = 1
) -> Value:
    """Triangular filters whose centers are equidistant in mel = 2595 log10(1 + f / 700)."""
    count, length = shape_arg(bins, "num_mel_bins")[0], shape_arg(dft_length, "dft_length")[0]
    scale = 2595 / math.log(10)

    def mel(hertz: Value) -> Value:
        return (hertz.reshape().cast(F64) / 700.0).map("log1p") * scale

    step = (mel(high) - mel(low)) / scalar(0.0, F64).const_size(count + 2)
    edges = _line(count + 2).cast(F64) * step + mel(low)
    hertz = (edges / scale).map("expm1") * 700.0
    places = (hertz * scalar(0.0, F64).const_size(length + 1) / sample_rate.reshape().cast(F64)).map("floor")
    left, center, right = (places.narrow(0, i, count) for i in range(3))
    j = _line(length // 2 + 1).cast(F64).unsqueeze(1)
    rising = (j >= left).map("and", j <= center).select((j - left) / (center - left).map("max", 1.0), 0)
    rising = j.map("eq", center).select(1.0, rising)
    falling = (j >= center).map("and", j < right)
    return falling.select((right - j) / (right - center).map("max", 1.0), rising).cast(BY_ONNX[output_datatype])
