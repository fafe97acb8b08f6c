"""Which integers of a kernel's body are sizes: what their types say."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import get_args

import pytest

from intaglio.compiler.kernel.ir import Body, Conv, Param, Stage, Store
from intaglio.compiler.kernel.packing import Packing
from intaglio.compiler.kernel.rebuild import map_sizes, sizes_of
from intaglio.compiler.lower.build import make_launch
from intaglio.compiler.scalar.dim import Size, Symbol
from intaglio.compiler.scalar.dtype import F32
from intaglio.compiler.scalar.expr import Acc, Load
from intaglio.compiler.schedule.close import close

N = Symbol("n", 0, 100)


@dataclass(frozen=True, slots=True)
class Inner:
    width: int
    length: Size


@dataclass(frozen=True, slots=True)
class New:
    """A body with fields of each kind that has integers."""

    lanes: int
    most: int | None
    tile: tuple[int, int]
    rows: Size
    limit: Size | None
    pads: tuple[Size, ...]
    axes: tuple[Symbol, ...]
    inner: Inner
    many: tuple[Inner, ...]
    value: Load
    stages: tuple[Stage, ...] = ()


BODY = New(100, 200, (300, 400), 500, 600, (700, 800), (N,), Inner(900, 1000), (Inner(1100, 1200),), Load(50, 60, F32))


def test_a_new_body() -> None:
    doubled = map_sizes(BODY, lambda x: x * 2)
    assert doubled == replace(
        BODY, rows=1000, limit=1200, pads=(1400, 1600), axes=(2 * N,), inner=Inner(900, 2000),
        many=(Inner(1100, 2400),), value=Load(50, 120, F32),
    )  # fmt: skip
    assert list(sizes_of(BODY)) == [500, 600, 700, 800, N, 100, 1000, 1200, 60]
    assert map_sizes(replace(BODY, limit=None), lambda x: x * 2).limit is None


# Fields that hold an integer which is no size: which of them, it says what is compiled, or where a parameter is.
PLAIN = {
    "Conv": {"taps", "strides", "dilations", "groups", "w"},
    "Recurrent": {"xw", "r", "rb", "peephole", "h0", "c0", "lengths", "y", "yh", "yc"},
    "Trees": {"roots", "nodes", "weights", "owners", "relations"},
}


@pytest.mark.parametrize("body", get_args(Body), ids=lambda body: body.__name__)
def test_what_is_no_size(body: type) -> None:
    """What is declared with `int`, and not with `Size`."""
    plain = {f.name for f in fields(body) if f.type in ("int", "tuple[int, ...]", "tuple[int, int]")}
    assert plain == PLAIN.get(body.__name__, set())


def test_plain_integers_are_no_parameters_of_a_closed_kernel() -> None:
    n, x, y, ic, c = (Symbol(name, 0, extent) for name, extent in zip(["n", "x", "y", "ic", "c"], (1, 40, 50, 60, 70)))
    body = Conv(
        n, (x,), ic, (y,), c, (17,), (18,), (19,), (20,), 21, Load(0, ic, F32), 1, F32,
        (Stage(Acc(F32), Store(2, c)),), Packing("panels", 22, 21),
    )  # fmt: skip
    launch = close(make_launch(body, (Param(F32, 1, False),) * 3, (0, 1, 2), ()))
    assert launch.sizes == (40, 60, 50, 70, 20)
    closed = launch.kernel.body
    assert isinstance(closed, Conv)
    assert (closed.taps, closed.strides, closed.dilations, closed.groups) == ((17,), (18,), (19,), 21)
    assert closed.packing == Packing("panels", 22, 21)
