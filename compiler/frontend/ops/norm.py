"""ONNX normalisation operators.

In: values and attributes of a node. Out: values. Narrow floats are computed in f32 (`stash_type`) up to the result.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import Unsupported
from ...graph.ir import Value
from ...scalar.dtype import BY_ONNX, DType
from ..registry import in_compute_type, onnx_op

ONE_WAY = "scale and bias broadcast to the input, and not it to them"


def _stash(x: Value, stash_type: int) -> DType:
    dtype = BY_ONNX.get(stash_type)
    if dtype is None or not dtype.is_float:
        raise ValueError(f"stash_type {stash_type} is no floating point type")
    return (dtype if dtype.bits >= x.dtype.bits else x.dtype).compute


def _per_channel(v: Value, rank: int) -> Value:
    """[C] -> [C, 1, ...], to broadcast with [N, C, ...] of `rank`."""
    return v.reshape(*v.shape, *[1] * (rank - 1 - v.rank)) if rank > 1 else v


def standardized(x: Value, axes: Sequence[int], epsilon: float) -> tuple[Value, Value, Value]:
    """(x - mean) / sqrt(var + epsilon) over `axes`, the mean, and 1 / sqrt(var + epsilon)."""
    mean = x.mean(axes, keepdims=True)
    centered = x - mean
    deviation = (centered.square().mean(axes, keepdims=True) + epsilon).sqrt()
    return centered / deviation, mean, 1.0 / deviation


@onnx_op("BatchNormalization", since=9)
def batch_normalization(
    x: Value, scale: Value, bias: Value, mean: Value, var: Value, *, epsilon: float = 1e-5, momentum: float = 0.9,
    training_mode: int = 0, n_outputs: int = 1, opset_version: int = 14,
) -> tuple[Value, ...]:  # fmt: skip
    """Before opset 14, further outputs ask for training; the last two are the batch's mean and 1 / deviation."""
    channels = x.shape[1] if x.rank > 1 else 1
    text = "the statistics have an element for each channel"
    scale, bias, mean, var = (v.ensure_shape(channels, text=text) for v in (scale, bias, mean, var))
    running: tuple[Value, ...] = ()
    if training_mode or (n_outputs > 1 and opset_version < 14):
        axes = [a for a in range(x.rank) if a != 1]
        wide = x.cast(x.dtype.compute)
        mean_now = wide.mean(axes, keepdims=True)
        spread = (wide - mean_now).square().mean(axes).cast(var.dtype)
        mean_now = mean_now.squeeze(*axes).cast(mean.dtype)
        running = (mean * momentum + mean_now * (1 - momentum), var * momentum + spread * (1 - momentum))
        running += mean_now, 1.0 / (spread + epsilon).sqrt()
        mean, var = mean_now, spread
    elif n_outputs > 1:
        raise Unsupported("the outputs of training without training_mode")
    dtype = max(var.dtype, scale.dtype, x.dtype, key=lambda d: d.bits).compute
    gain = scale.cast(dtype) / (var.cast(dtype) + epsilon).sqrt()
    shift = bias.cast(dtype) - mean.cast(dtype) * gain
    y = x.cast(dtype) * _per_channel(gain, x.rank) + _per_channel(shift, x.rank)
    return (y.cast(x.dtype), *running)


@onnx_op("BatchNormalization")
def batch_normalization_legacy(
    x: Value, scale: Value, bias: Value, mean: Value, var: Value, *, epsilon: float = 1e-5, momentum: float = 0.9,
    spatial: int = 1, is_test: int = 0, consumed_inputs: list[int] | None = None, n_outputs: int = 1,
    opset_version: int = 7,
) -> tuple[Value, ...]:  # fmt: skip
    if opset_version < 7 and not is_test:
        raise Unsupported("training")
    if not spatial:  # statistics of each position
        if n_outputs > 1:
            raise Unsupported("training")
        text = "the statistics have an element for each channel and position"
        scale, bias, mean, var = (v.ensure_shape(*x.shape[1:], text=text) for v in (scale, bias, mean, var))
        return ((x - mean) / (var + epsilon).sqrt() * scale + bias,)
    return batch_normalization(
        x, scale, bias, mean, var, epsilon=epsilon, momentum=momentum, n_outputs=n_outputs, opset_version=opset_version
    )


@onnx_op("LayerNormalization", since=17)
def layer_normalization(
    x: Value, scale: Value, bias: Value | None = None, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> tuple[Value, ...]:
    axes, wide = range(x.axis(axis), x.rank), _stash(x, stash_type)
    y, mean, inverse = standardized(x.cast(wide), axes, epsilon)
    y = y * scale.cast(wide)
    if bias is not None:
        y = y + bias.cast(wide)
    y = y.ensure_shape(*x.shape, text=ONE_WAY)
    stored = BY_ONNX[stash_type]
    return y.cast(x.dtype), mean.cast(stored), inverse.cast(stored)


@onnx_op("RMSNormalization", since=23)
def rms_normalization(x: Value, scale: Value, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1) -> Value:
    if scale.rank > x.rank:
        raise ValueError(f"a scale of rank {scale.rank} for an input of rank {x.rank}")
    axes = range(x.axis(axis), x.rank)
    wide = x.cast(_stash(x, stash_type))
    y = wide / (wide.square().mean(axes, keepdims=True) + epsilon).sqrt()
    dtype = max(y.dtype, scale.dtype, key=lambda d: d.bits)
    return (y.cast(dtype) * scale.cast(dtype)).ensure_shape(*x.shape, text=ONE_WAY).cast(scale.dtype)


def _grouped(x: Value, groups: int, epsilon: float) -> Value:
    """x [N, C, ...] standardized over each group of channels and everything spatial: [N, groups, ...]."""
    return standardized(x.reshape(x.shape[0], groups, -1), [2], epsilon)[0]


@onnx_op("GroupNormalization", since=21)
def group_normalization(
    x: Value, scale: Value, bias: Value, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1
) -> Value:
    dtype = _stash(x, stash_type)
    scale, bias = (v.ensure_shape(x.shape[1], text="scale and bias are per channel") for v in (scale, bias))
    y = _grouped(x.cast(dtype), num_groups, epsilon).reshape(*x.shape)
    return (y * _per_channel(scale.cast(dtype), x.rank) + _per_channel(bias.cast(dtype), x.rank)).cast(x.dtype)


@onnx_op("GroupNormalization", since=18)
@in_compute_type
def group_normalization_18(x: Value, scale: Value, bias: Value, *, num_groups: int, epsilon: float = 1e-5) -> Value:
    """Scale and bias per group."""
    scale, bias = (v.ensure_shape(num_groups, text="scale and bias are per group") for v in (scale, bias))
    y = _grouped(x, num_groups, epsilon)
    return (y * scale.unsqueeze(-1) + bias.unsqueeze(-1)).reshape(*x.shape)


@onnx_op("InstanceNormalization")
@in_compute_type
def instance_normalization(
    x: Value, scale: Value, bias: Value, *, epsilon: float = 1e-5, consumed_inputs: list[int] | None = None
) -> Value:
    scale, bias = (v.ensure_shape(x.shape[1], text="scale and bias are per channel") for v in (scale, bias))
    y = standardized(x, range(2, x.rank), epsilon)[0]
    return y * _per_channel(scale, x.rank) + _per_channel(bias, x.rank)


@onnx_op("LRN")
@in_compute_type
def lrn(x: Value, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Value:
    low = [(size - 1) // 2 if a == 1 else 0 for a in range(x.rank)]
    high = [size // 2 if a == 1 else 0 for a in range(x.rank)]
    total = x.square().pad(low, high).window([1], [size], [1], [1]).sum(-1)
    return x / (total * (alpha / size) + bias).map("pow", beta)


@onnx_op("MeanVarianceNormalization", since=9)
@in_compute_type
def mean_variance_normalization(x: Value, *, axes: Sequence[int] = (0, 2, 3)) -> Value:
    centered = x - x.mean(axes, keepdims=True)
    return centered / (centered.square().mean(axes, keepdims=True).sqrt() + 1e-9)
