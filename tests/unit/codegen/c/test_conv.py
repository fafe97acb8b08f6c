"""Convolution kernels, dense, grouped and depthwise, against their meaning in float64, on random inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from unit.codegen.c.test_matmul import BYTES
from unit.codegen.convolutions import SHAPES, Array, Case, kernel, problem

from intaglio.compiler.codegen.c import conv
from intaglio.compiler.kernel.ir import Conv
from intaglio.compiler.kernel.packing import PLAIN, Packing
from intaglio.compiler.precision import Precision
from intaglio.compiler.scalar.dim import Symbol
from intaglio.compiler.scalar.dtype import F16, F32, F64, I8, I32, U8, DType
from intaglio.compiler.schedule.conv import ConvSchedule, DenseSchedule, WinogradSchedule, default, packing
from intaglio.compiler.schedule.tile import choose_nr
from intaglio.compiler.target import Target, target

Compile = Callable[..., Any]


def how(case: Case, cpu: Target, precision: Precision = "strict") -> tuple[Packing, ConvSchedule]:
    """The packing of the weights and the schedule, by default, but that the case says whether weights are transformed.
    They are chosen while sizes are known."""
    weights = Packing("winograd", choose_nr(case.out_c, case.dtype, cpu)) if case.winograd else PLAIN
    body = kernel(replace(case, symbolic=False), weights)[0].body
    assert isinstance(body, Conv)
    made = default(body, cpu, precision)
    return packing(body, made), made


def _run(
    case: Case,
    compile_kernel: Compile,
    splits: Sequence[int] = (1,),
    cpu: str = "native",
    compiler: str = "gcc",
    precision: Precision = "strict",
    emulated: bool = False,
) -> list[Array]:
    """The results for each number of runs, after a comparison with what it means."""
    case = case.filled()
    weights, schedule = how(case, target(cpu), precision)
    made = problem(case, weights)
    compiled = compile_kernel(conv, made.kernel, cpu, compiler, schedule=schedule, emulated=emulated)
    results = []
    for split in splits:
        buffers = made.fresh()
        compiled(buffers, made.sizes, split)
        made.check(buffers[-1])
        results.append(buffers[-1])
    return results


@pytest.mark.sample(9)
@pytest.mark.parametrize("name", SHAPES)
def test_every_shape(name: str, compile_kernel: Compile) -> None:
    _run(SHAPES[name], compile_kernel)


@pytest.mark.parametrize(
    "name", ["3x3", "first layer", "grouped", "1d", "3d", "depthwise", "depthwise tail", "dilated"]
)
def test_input_expression(name: str, compile_kernel: Compile) -> None:
    """Zeros of the border are not part of the expression's input, so they stay zero."""
    _run(replace(SHAPES[name], scaled=True), compile_kernel)


@pytest.mark.parametrize("name", ["3x3", "first layer", "depthwise", "grouped"])
def test_constant_sizes(name: str, compile_kernel: Compile) -> None:
    _run(replace(SHAPES[name], symbolic=False), compile_kernel)


@pytest.mark.parametrize("cpu", ["x86-64-v2", "x86-64-v3", "generic"])
@pytest.mark.parametrize("name", ["3x3", "first layer", "depthwise", "depthwise tail"])
def test_every_target(cpu: str, name: str, compile_kernel: Compile) -> None:
    _run(SHAPES[name], compile_kernel, cpu=cpu)


@pytest.mark.parametrize("name", ["3x3", "first layer", "depthwise", "depthwise 7x7"])
def test_other_compilers(name: str, compile_kernel: Compile) -> None:
    _run(SHAPES[name], compile_kernel, compiler="zig")


@pytest.mark.parametrize(("dtype", "x_type"), [(F64, F64), (I32, I32), (F32, F16)])
@pytest.mark.parametrize("name", ["3x3", "depthwise tail", "first layer"])
def test_every_dtype(name: str, dtype: DType, x_type: DType, compile_kernel: Compile) -> None:
    _run(replace(SHAPES[name], dtype=dtype, x_type=x_type), compile_kernel)


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", [name for name in SHAPES if "depthwise" not in name])
def test_parts(name: str, compile_kernel: Compile) -> None:
    """Products of bf16 parts on tiles, where the shape repays them, are as accurate as multiply-adds."""
    cpu = "sapphirerapids"
    _run(SHAPES[name], compile_kernel, cpu=cpu, precision="exact", emulated=True)
    with_tiles = (how(SHAPES[each].filled(), target(cpu), "exact")[1] for each in SHAPES)
    assert sum(isinstance(each, DenseSchedule) and bool(each.tile.products) for each in with_tiles) > 10


def _of_bytes(name: str, x_type: DType) -> Case:
    """With other numbers than zeros outside of the input."""
    return replace(SHAPES[name], x_type=x_type, w_type=I8, dtype=I32, fill=7 if x_type == U8 else -5)


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", SHAPES)
def test_bytes(name: str, compile_kernel: Compile) -> None:
    _run(_of_bytes(name, I8), compile_kernel, cpu="x86-64-v3+avxvnni")


@pytest.mark.sample(3)
@pytest.mark.parametrize("x_type", [U8, I8])
@pytest.mark.parametrize("name", [name for name in SHAPES if "depthwise" not in name])
def test_bytes_on_tiles(name: str, x_type: DType, compile_kernel: Compile) -> None:
    _run(_of_bytes(name, x_type), compile_kernel, cpu="sapphirerapids", precision="exact", emulated=True)


@pytest.mark.sample(6)
@pytest.mark.parametrize(("name", "x_type", "scaled"), [("3x3", I8, False), ("first layer", U8, True)])
@pytest.mark.parametrize("cpu", BYTES)
def test_bytes_by_every_unit(cpu: str, name: str, x_type: DType, scaled: bool, compile_kernel: Compile) -> None:
    _run(replace(_of_bytes(name, x_type), scaled=scaled), compile_kernel, cpu=cpu)


@pytest.mark.parametrize("name", ["many pixels", "grouped", "first layer", "depthwise", "3d"])
def test_same_bits_for_any_split(name: str, compile_kernel: Compile) -> None:
    case = SHAPES[name]
    first, *others = _run(case, compile_kernel, [1, 2, 5])
    for other in others:
        np.testing.assert_array_equal(first, other)


_WINOGRAD = {
    "even": Case((8, 12), 32, 64, (3, 3)),
    "odd": Case((9, 7), 16, 70, (3, 3)),
    "no pads": Case((9, 12), 48, 20, (3, 3), pads=((0, 0), (0, 0))),
    "wide pads": Case((5, 4), 16, 33, (3, 3), pads=((3, 2), (0, 3))),
    "one row": Case((1, 19), 32, 32, (3, 3)),
    "many tiles": Case((31, 30), 32, 140, (3, 3)),
}


@pytest.mark.parametrize("name", _WINOGRAD)
@pytest.mark.parametrize("scaled", [False, True])
def test_winograd(name: str, scaled: bool, compile_kernel: Compile) -> None:
    _run(replace(_WINOGRAD[name], winograd=True, scaled=scaled), compile_kernel)


def test_winograd_elsewhere(compile_kernel: Compile) -> None:
    case = replace(_WINOGRAD["odd"], winograd=True)
    _run(case, compile_kernel, compiler="zig")
    _run(case, compile_kernel, cpu="x86-64-v3")
    for other in ({"dtype": F64}, {"symbolic": False}):
        _run(replace(case, **other), compile_kernel)
    first, second = _run(replace(_WINOGRAD["many tiles"], winograd=True), compile_kernel, [1, 3])
    np.testing.assert_array_equal(first, second)


def test_winograd_is_chosen_for_large_products() -> None:
    def chosen(height: Symbol | None = None, precision: Precision = "exact", **changed: Any) -> bool:
        case = replace(Case((14, 14), 64, 64, (3, 3), symbolic=False), **changed).filled()
        body = kernel(case, Packing("plain"))[0].body
        assert isinstance(body, Conv)
        if height is not None:
            body = replace(body, out=(Symbol("y0", 0, height), body.out[1]))
        return isinstance(default(body, target("x86-64-v4"), precision), WinogradSchedule)

    assert chosen() and chosen(height=Symbol("h")) and not chosen(precision="strict")
    others: list[dict[str, Any]] = [
        {"taps": (3, 1)}, {"strides": (2, 2)}, {"dilations": (2, 2)}, {"groups": 2}, {"in_c": 3}, {"spatial": (3, 3)},
    ]  # fmt: skip
    assert not any(chosen(**changed) for changed in others)
