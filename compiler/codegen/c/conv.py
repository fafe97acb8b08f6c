"""kernel.ir.Conv -> C: picks the template, dense (and grouped), Winograd or depthwise.

In: a Kernel whose body is a Conv, a Target. Out: C source; `Size`s in the kernel's own symbols.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from ...kernel.ir import Conv, Kernel
from ...scalar.dim import Size
from ...scalar.dtype import DType
from ...target import Target
from . import conv_dense, conv_depthwise, conv_winograd, gemm

# Fewer channels make short products; fewer pixels too few rows for weights that are 16/9 of their size to be worth it.
_WINOGRAD_CHANNELS, _WINOGRAD_PIXELS = 32, 49
_MODULES: dict[str, ModuleType] = {"panels": conv_dense, "winograd": conv_winograd, "taps": conv_depthwise}


def choose_nr(facts: Mapping[str, Any], target: Target) -> int:
    """The panel width for the weights of a dense or grouped convolution; facts: oc, groups, dtype (of the input)."""
    dtype: DType = facts["dtype"]
    return gemm.choose_nr(facts["oc"] // facts["groups"], dtype.compute, target)


def choose_winograd(facts: Mapping[str, Any], target: Target) -> bool:
    """Whether F(2x2, 3x3) is to be used; facts: taps, strides, dilations, groups, ic, oc, dtype, and out, its sizes.

    It is faster where products are large enough to repay the transformations, and tiles cover little beyond the output.
    """
    dtype: DType = facts["dtype"]
    lanes = target.lanes(dtype.compute.itemsize)
    if tuple(facts["taps"]) != (3, 3) or {*facts["strides"], *facts["dilations"], facts["groups"]} != {1}:
        return False
    if not dtype.is_float or facts["ic"] % lanes or min(facts["ic"], facts["oc"]) < _WINOGRAD_CHANNELS:
        return False
    height, width = facts["out"]
    if not (isinstance(height, int) and isinstance(width, int)):
        return True
    covered = 4 * -(-height // 2) * -(-width // 2)
    return height * width >= _WINOGRAD_PIXELS and covered <= 1.4 * height * width


def tasks(body: Conv, target: Target) -> Size:
    """The number of tasks, in the kernel's sizes."""
    size: Size = _module(body).tasks(body, target)
    return size


def scratch_bytes(body: Conv, target: Target) -> Size:
    """Bytes of scratch a thread needs, in the kernel's sizes."""
    size: Size = _module(body).scratch_bytes(body, target)
    return size


def source(kernel: Kernel, name: str, target: Target) -> str:
    """The C source of the kernel, whose one function is called `name`."""
    assert isinstance(kernel.body, Conv)
    text: str = _module(kernel.body).source(kernel, name, target)
    return text


def _module(body: Conv) -> ModuleType:
    return _MODULES[body.packing.form]
