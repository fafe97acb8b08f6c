"""Convolutions in Triton, dense, grouped and depthwise, against their meaning in float64, on random inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from unit.codegen.convolutions import SHAPES, Case, kernel, problem
from unit.codegen.triton import translated

from intaglio.compiler.kernel.packing import Packing
from intaglio.compiler.precision import Rounding
from intaglio.compiler.scalar.dtype import F16, F32, F64, I8, I32, DType

Run = Callable[..., None]


def packing_of(case: Case) -> Packing:
    return Packing("taps") if case.depthwise else Packing("whole", case.out_c, case.groups)


def _run(case: Case, run_triton: Run) -> None:
    case = case.filled()
    made = problem(case, packing_of(case))
    run_triton(made.kernel, made.buffers, made.sizes)
    made.check(made.buffers[-1])


def _text(case: Case, rounding: Rounding = "ieee") -> str:
    case = case.filled()
    return translated.source(kernel(case, packing_of(case))[0], rounding).text


_SLOW = ("many pixels", "depthwise long", "depthwise 7x7")  # thousands of steps of an interpreter
_SHAPES = {name: case for name, case in SHAPES.items() if name not in _SLOW} | {
    "more than one image in a block": Case((3, 3), 18, 20, (3, 3), batch=5),
    "several blocks of channels": Case((4, 3), 70, 40, (2, 2)),
    "no pads": Case((6, 5), 20, 24, (3, 3), pads=((0, 0), (0, 0))),
    "group of one channel": Case((5, 4), 1, 3, (3, 3), groups=5),
}


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", _SHAPES)
def test_every_shape(name: str, run_triton: Run) -> None:
    _run(_SHAPES[name], run_triton)


@pytest.mark.parametrize("name", ["3x3", "first layer, dilated", "grouped", "1d", "3d few channels", "depthwise tail"])
def test_input_expression(name: str, run_triton: Run) -> None:
    """Zeros of the border are not part of the expression's input, so they stay zero."""
    _run(replace(_SHAPES[name], scaled=True), run_triton)


@pytest.mark.parametrize("name", ["3x3", "first layer", "depthwise", "grouped"])
def test_constant_sizes(name: str, run_triton: Run) -> None:
    _run(replace(_SHAPES[name], symbolic=False), run_triton)


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    ("dtype", "x_type", "w_type"),
    [(F64, F64, F64), (I32, I32, I32), (I32, I8, I8), (I32, I8, I32), (F32, F16, F32), (F32, F16, F16)],
)
@pytest.mark.parametrize("name", ["1x1 strided", "grouped", "depthwise tail", "patches"])
def test_every_dtype(name: str, dtype: DType, x_type: DType, w_type: DType, run_triton: Run) -> None:
    _run(replace(_SHAPES[name], dtype=dtype, x_type=x_type, w_type=w_type), run_triton)


@pytest.mark.parametrize("shape", [(0, 5), (4, 5)])
def test_empty(shape: tuple[int, int], run_triton: Run) -> None:
    _run(Case(shape, 3, 5, (1, 1), batch=int(shape[0] == 0)), run_triton)


def test_tensor_cores_get_what_is_loaded() -> None:
    narrow = replace(_SHAPES["3x3"], x_type=F16, w_type=F16)
    assert "input_precision" not in _text(narrow) and ".to(tl.float32)" not in _text(narrow)
    assert 'input_precision="ieee"' in _text(_SHAPES["3x3"])
    assert 'input_precision="tf32"' in _text(_SHAPES["3x3"], rounding="tf32")
    assert "tl.dot" not in _text(replace(_SHAPES["3x3"], dtype=F64))


def test_what_is_inside_for_sure_is_not_checked() -> None:
    assert "inside" not in _text(Case((8, 8), 20, 24, (1, 1)))
    assert "inside" not in _text(Case((8, 8), 20, 24, (4, 4), (4, 4), pads=((0, 0), (0, 0))))
    one_sided = _text(Case((8, 8), 20, 24, (2, 2), pads=((1, 0), (0, 0))))
    assert "inside = (x0 >= 0)\n" in one_sided
