"""Kernels that differ in numbers alone are made one, where there are many of them.

In: steps. Out: the same steps, in which constants, and where in a buffer a part begins, are parameters of loop nests
that are equal otherwise: the parts of a wide Concat or Split, outputs that differ in a constant. Each different kernel
is compiled by itself, which takes longer than everything else here. Where there are few, they keep their numbers, of
which a compiler makes use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ..kernel.ir import Kernel, Launch, LoopNest, Step, Store
from ..kernel.program import every_step, map_launches
from ..kernel.rebuild import map_parts
from ..scalar.dim import LEAST, Size, Symbol, part_of, substitute
from ..scalar.dtype import F32, F64, I32, I64, DType
from ..scalar.expr import Call, Const, Expr, Index, Load, rewrite

ALIKE = 16  # kernels that differ in numbers alone, up to which each has a text of its own

Number = Const | Size  # a constant, or the part of an index that does not depend on loops
Change = Callable[[Number], Any]  # what is in its place: an expression for a constant, a size for a part
Shared = tuple[Kernel, tuple[Size, ...]]  # the kernel instead, and its further sizes in terms of those that it had


def share(steps: Sequence[Step]) -> list[Step]:
    """The steps with as few different kernels as that takes."""
    launches = [step for step in every_step(steps) if isinstance(step, Launch) and not step.device]
    kernels = dict.fromkeys(x.kernel for x in launches if isinstance(x.kernel.body, LoopNest))
    families: dict[tuple[Kernel, int], dict[Kernel, list[Number]]] = {}
    for kernel in kernels if len(kernels) > ALIKE else ():
        numbers: list[Number] = []
        pattern = _with_numbers(kernel, partial(_left_out, numbers))
        families.setdefault((pattern, len(numbers)), {})[kernel] = numbers
    shared: dict[Kernel, Shared] = {}
    for family in families.values():
        if len(family) > ALIKE:
            shared |= _as_one(family)

    def of(launch: Launch) -> Launch:
        if launch.kernel not in shared or launch.device:
            return launch
        kernel, more = shared[launch.kernel]
        actual = dict(zip(launch.kernel.sizes, launch.sizes))
        return replace(launch, kernel=kernel, sizes=(*launch.sizes, *(substitute(size, actual) for size in more)))

    return map_launches(steps, of) if shared else list(steps)


def _as_one(family: dict[Kernel, list[Number]]) -> dict[Kernel, Shared]:
    """For each of a family its kernel with parameters, which is the same one for almost all. Each is made of itself: a
    number that stands at two places of a kernel is one, and may stand at two others in the next."""
    varying = [place for place, numbers in enumerate(zip(*family.values())) if len(set(map(_value, numbers))) > 1]
    return {kernel: _parametrised(kernel, numbers, varying) for kernel, numbers in family.items()}


def _parametrised(kernel: Kernel, numbers: list[Number], varying: Sequence[int]) -> Shared:
    """The kernel whose numbers at the `varying` places are parameters."""
    instead: list[Any] = [*numbers]
    formal: list[Symbol] = []
    for place in varying:
        symbol, number = Symbol(f"p{len(kernel.sizes) + len(formal)}", LEAST, None), numbers[place]
        instead[place] = _read(symbol, number.dtype) if isinstance(number, Const) else symbol
        formal.append(symbol)
    following = iter(instead)
    one = _with_numbers(kernel, lambda _: next(following))
    return replace(one, sizes=(*kernel.sizes, *formal)), tuple(_value(numbers[p]) for p in varying)


def _with_numbers(kernel: Kernel, change: Change) -> Kernel:
    """The kernel with `change` applied to its numbers, in an order that its form decides."""
    sizes = frozenset(kernel.sizes)

    def of(item: Any) -> Any:
        if isinstance(item, Expr):
            return rewrite(item, of_expression)
        if isinstance(item, Store):
            return replace(item, index=moved(item.index))
        return map_parts(item, of)

    def of_expression(e: Expr) -> Expr | None:
        if isinstance(e, Const) and _is_readable(e):
            made: Expr = change(e)
            return made
        if isinstance(e, Load):
            return Load(e.buffer, moved(e.index), e.dtype, e.mask, e.other)
        return None

    def moved(index: Size) -> Size:
        start = part_of(index, sizes)
        changed: Size = change(start)
        return index - start + changed

    return replace(kernel, body=of(kernel.body))


def _left_out(numbers: list[Number], number: Number) -> Const | int:
    numbers.append(number)
    return Const(0, number.dtype) if isinstance(number, Const) else 0


def _is_readable(constant: Const) -> bool:
    """Whether a parameter of 64 bits holds the constant."""
    if constant.dtype in (F32, F64):
        return True
    return not constant.dtype.is_float and -(1 << 63) <= int(constant.value) < 1 << 63


def _value(number: Number) -> Size:
    """What a parameter for it is: the number, or the bits of a float."""
    if not isinstance(number, Const):
        return number
    if number.dtype == F32:
        return int(np.array(number.value, np.float32).view(np.int32))
    if number.dtype == F64:
        return int(np.array(number.value, np.float64).view(np.int64))
    return int(number.value)


def _read(symbol: Symbol, dtype: DType) -> Expr:
    """The constant of which the symbol is the value."""
    if dtype == F64:
        return Call("bitcast", (Index(symbol),), F64)
    if dtype == F32:
        return Call("bitcast", (Call("cast", (Index(symbol),), I32),), F32)
    return Index(symbol) if dtype == I64 else Call("cast", (Index(symbol),), dtype)
