"""Operators, and versions of operators, that ONNX has dropped and onnxruntime still runs.

In: values and attributes of a node. Out: values. Defined by onnxruntime's kernels; most end with opset 9.
"""

from __future__ import annotations

import numpy as np

from ...graph.ir import Value, constant
from ...scalar.dim import known_eq
from ..registry import onnx_op
from .math import thresholded_relu
from .norm import layer_normalization
from .shape import slice_

LAST = 9  # the last opset with experimental operators

onnx_op("LayerNormalization", since=1)(layer_normalization)
onnx_op("ThresholdedRelu", since=1)(thresholded_relu)


@onnx_op("Affine", until=LAST)
def affine(x: Value, *, alpha: float = 1.0, beta: float = 0.0) -> Value:
    return x * alpha + beta


@onnx_op("ScaledTanh", until=LAST)
def scaled_tanh(x: Value, *, alpha: float, beta: float) -> Value:
    return (x * beta).map("tanh") * alpha


@onnx_op("ParametricSoftplus", until=LAST)
def parametric_softplus(x: Value, *, alpha: float, beta: float) -> Value:
    y = x * beta
    return (y.map("max", 0) + (-y.map("abs")).exp().map("log1p")) * alpha


@onnx_op("Scale", until=LAST)
def scale_(x: Value, *, scale: float = 1.0) -> Value:
    return x * scale


@onnx_op("ImageScaler", until=LAST)
def image_scaler(x: Value, *, bias: list[float], scale: float = 1.0) -> Value:
    """x [N, C, H, W]; a bias for each channel."""
    if x.rank != 4:
        raise ValueError(f"Input is expected to have four dimensions corresponding to [N,C,H,W], not {x.rank}")
    if known_eq(x.shape[1], len(bias)) is False:
        raise ValueError(f"Bias size ({len(bias)}) does not match the number of channels ({x.shape[1]})")
    return x * scale + constant(np.asarray(bias, x.dtype.to_numpy())).reshape(-1, 1, 1)


@onnx_op("Crop", until=LAST)
def crop(x: Value, *, border: list[int], scale: list[int] | None = None) -> Value:
    """x [N, C, H, W] without `border` (left, top, right, bottom), or `scale` (height, width) from its left and top."""
    if x.rank != 4:
        raise ValueError(f"Input is expected to have four dimensions corresponding to [N,C,H,W], not {x.rank}")
    if len(border) != 4 or (scale is not None and len(scale) != 2):
        raise ValueError(f"Crop: a border of {border} and a scale of {scale}; 4 and 2 numbers are needed")
    if min(*border, *(scale or [0])) < 0:
        raise ValueError(f"Crop: a border of {border} and a scale of {scale}; none may be negative")
    left, top, right, bottom = border
    rest = x.narrow(2, top, x.shape[2] - top).narrow(3, left, x.shape[3] - left)
    height, width = scale or (rest.shape[2] - bottom, rest.shape[3] - right)
    return rest.narrow(2, 0, height).narrow(3, 0, width)


@onnx_op("DynamicSlice", until=LAST)
def dynamic_slice(x: Value, starts: Value, ends: Value, axes: Value | None = None) -> Value:
    return slice_(x, starts, ends, axes)


@onnx_op("MeanVarianceNormalization", since=1)
def mean_variance_normalization_1(x: Value, *, across_channels: int = 0, normalize_variance: int = 1) -> Value:
    """x [N, C, H, W], normalised over everything, or over each channel of all images."""
    if x.rank != 4:
        raise ValueError(f"Input is expected to have four dimensions corresponding to [N,C,H,W], not {x.rank}")
    axes = (0, 1, 2, 3) if across_channels else (0, 2, 3)
    centered = x - x.mean(axes, keepdims=True)
    return centered / centered.square().mean(axes, keepdims=True).sqrt() if normalize_variance else centered
