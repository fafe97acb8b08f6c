"""Access patterns of the stages of a loop nest, which decide the form of its loops.

In: a Stage and one of its axes. Out: the steps of its indices along that axis, and what follows from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ...kernel.ir import Stage
from ...scalar.dim import Size, Symbol, linear_in, symbols
from ...scalar.expr import Call, Expr, Index, Load, Local, rewrite, walk

_ROUNDING = frozenset(("floor", "ceil", "round", "trunc"))


def loads(stage: Stage) -> list[Load | Local]:
    """The loads of a stage, including those of its lets."""
    roots = (stage.value, *(let.value for let in stage.lets))
    return [e for e in walk(*roots) if isinstance(e, (Load, Local))]


def indices(root: Expr) -> Iterator[Size]:
    """The indices in an expression."""
    for e in walk(root):
        if isinstance(e, (Index, Load, Local)):
            yield e.size if isinstance(e, Index) else e.index


def bound_along(stage: Stage, axis: Symbol) -> frozenset[Symbol]:
    """The lets whose values change along `axis`."""
    changing = {axis}
    for let in stage.lets:
        if any(symbols(x) & changing for x in indices(let.value)):
            changing.add(let.symbol)
    return frozenset(changing - {axis})


def is_unit(stage: Stage, index: Size, axis: Symbol) -> bool:
    """Whether `index` is constant or steps by one along `axis`."""
    return step(stage, index, axis) in (0, 1)


def step(stage: Stage, index: Size, axis: Symbol) -> Size | None:
    """How far `index` moves with each point of `axis`; None if that varies."""
    if symbols(index) & bound_along(stage, axis):
        return None
    parts = linear_in(index, axis)
    return parts[0] if parts is not None else None


def is_contiguous_store(stage: Stage, axis: Symbol) -> bool:
    """Whether the loop over `axis` writes neighbouring elements, each once; true if the stage has no store."""
    if stage.store is None:
        return True
    return (
        stage.store.combine is None
        and not symbols(stage.store.index) & {let.symbol for let in stage.lets}
        and step(stage, stage.store.index, axis) == 1
    )


def is_contiguous(stage: Stage, axis: Symbol) -> bool:
    """Whether the loop over `axis` can be vectorised, with loads and stores of neighbours."""
    stores = stage.reduce is not None or is_contiguous_store(stage, axis)
    return stores and all(is_unit(stage, load.index, axis) for load in loads(stage))


def is_transposed(stage: Stage, load: Load, along: Symbol, across: Symbol, apart: int) -> bool:
    """Whether a load walks memory along one axis, and falls into few cache sets along the other.

    It does so if its step along the other axis is a multiple of `apart` bytes, or not a known number.
    """
    distance = step(stage, load.index, across)
    if step(stage, load.index, along) != 1 or distance is None or distance == 0:
        return False
    return not isinstance(distance, int) or distance * load.dtype.itemsize % apart == 0


def is_columns(stage: Stage) -> bool:
    """Whether a reduction with axes is better vectorised across its last axis than along the reduced one."""
    if not stage.axes or any(r.extent is not None and stage.axes[-1] in symbols(r.extent) for r in stage.reduce_axes):
        return False
    across = any(step(stage, load.index, stage.axes[-1]) == 1 for load in loads(stage))
    along = any(step(stage, load.index, stage.reduce_axes[-1]) == 1 for load in loads(stage))
    return across or not along


def with_reciprocals(stage: Stage) -> Stage:
    """Replaces divisions by the result of a reduction, as x / sum for all x of a row, by multiplications.

    Not if a quotient is rounded to an integer, which would reveal the difference in the last place.
    """
    loops = (*stage.axes, *stage.reduce_axes)
    calls = [e for e in walk(stage.value) if isinstance(e, Call)]
    if not loops or any(e.prim in _ROUNDING or (e.dtype.is_integer and e.args[-1].dtype.is_float) for e in calls):
        return stage
    along = loops[-1]
    changing = bound_along(stage, along) | {along}

    def varies(x: Expr) -> bool:
        return any(symbols(i) & changing for i in indices(x))

    def rule(e: Expr) -> Expr | None:
        if not isinstance(e, Call) or e.prim != "div" or not e.dtype.is_float:
            return None
        a, b = e.args
        if varies(b) or not varies(a) or not any(isinstance(x, Local) for x in walk(b)):
            return None
        return a * (1.0 / b)

    return replace(stage, value=rewrite(stage.value, rule))
