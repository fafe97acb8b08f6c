"""Which sizes become parameters of a kernel."""

from __future__ import annotations

from intaglio.compiler.codegen.triton.program import Device
from intaglio.compiler.kernel.ir import Launch, LoopNest, Param, Stage, Store
from intaglio.compiler.lower.build import make_launch
from intaglio.compiler.scalar.dim import LEAST, Size, Symbol, dim_max, dim_min, floor_div
from intaglio.compiler.scalar.dtype import F32, I64
from intaglio.compiler.scalar.expr import Index, Load
from intaglio.compiler.schedule.close import close

N, ANYTHING = Symbol("n"), Symbol("starts[0]", LEAST)


def copy(index: Size) -> Launch:
    """A copy that reads at o + index, as it is lowered."""
    o = Symbol("o", 0, N)
    stage = Stage(Load(0, o + index, F32), Store(1, o))
    return make_launch(LoopNest((o,), (stage,)), (Param(F32, 99, False), Param(F32, N, True)), (0, 1), ())


def refusal(launch: Launch) -> str | None:
    return Device().refusal(launch)


def test_what_comes_from_data_is_worked_out_before() -> None:
    start = dim_max(dim_min(ANYTHING, 10), -11)
    launch = close(copy(start))
    assert launch.sizes == (N, start)
    assert [s.lower for s in launch.kernel.sizes] == [0, -11]
    assert refusal(copy(start)) is None


def test_what_is_long_is_worked_out_before_though_nothing_bounds_it() -> None:
    m = Symbol("m")
    deep: Size = N - m
    for k in range(1, 6):
        deep = floor_div(dim_min(deep, 50 - k * N), k + 1) - m
    launch = close(copy(deep))
    lower = {size: s.lower for size, s in zip(launch.sizes, launch.kernel.sizes) if not isinstance(size, Symbol)}
    assert set(lower.values()) == {LEAST}


def test_devices_take_no_numbers_of_64_bits() -> None:
    o = Symbol("o", 0, N)
    stage = Stage(Index(ANYTHING + o), Store(0, o))
    launch = make_launch(LoopNest((o,), (stage,)), (Param(I64, N, True),), (0,), ())
    assert "32 bits" in (refusal(launch) or "")
    assert refusal(copy(ANYTHING)) is None  # an index has to be one of few elements
