"""Sharing: many kernels that differ in numbers alone become one.

In: steps. Out: the same steps, where loop nests that differ only in constants and in offsets into buffers have these as
parameters: the parts of a wide Concat or Split, or outputs that differ in a constant. Each distinct kernel is compiled,
which takes longer than everything else here. Where there are few, they keep their numbers, which help the C compiler.
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

ALIKE = 16  # kernels that differ in numbers alone, up to which they stay distinct

Number = Const | Size  # a constant, or the part of an index that does not depend on loops
Change = Callable[[Number], Any]  # the replacement of a number: an expression for a constant, a size for a part
Shared = tuple[Kernel, tuple[Size, ...]]  # the shared kernel, and its additional sizes in terms of the original's


def share(steps: Sequence[Step]) -> list[Step]:
    """The steps with shared kernels."""
    launches = [step for step in every_step(steps) if isinstance(step, Launch) and not step.device]
    kernels = dict.fromkeys(x.kernel for x in launches if isinstance(x.kernel.body, LoopNest))
    families: dict[tuple[Kernel, int], dict[Kernel, list[Number]]] = {}
    for kernel in kernels if len(kernels) > ALIKE else ():
        numbers: list[Number] = []
        pattern = _with_numbers(kernel, partial(_take_out, numbers))
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
    """Each kernel of a family with parameters for its numbers; these kernels are equal for almost all of the family.

    Each kernel is rewritten by itself, since places with equal numbers may share one expression in it, but not in the
    next."""
    varying = [place for place, numbers in enumerate(zip(*family.values())) if len(set(map(_value, numbers))) > 1]
    return {kernel: _parametrised(kernel, numbers, varying) for kernel, numbers in family.items()}


def _parametrised(kernel: Kernel, numbers: list[Number], varying: Sequence[int]) -> Shared:
    """The kernel with parameters for its numbers at the `varying` places."""
    replacements: list[Any] = [*numbers]
    formal: list[Symbol] = []
    for place in varying:
        symbol, number = Symbol(f"p{len(kernel.sizes) + len(formal)}", LEAST, None), numbers[place]
        replacements[place] = _read(symbol, number.dtype) if isinstance(number, Const) else symbol
        formal.append(symbol)
    following = iter(replacements)
    general = _with_numbers(kernel, lambda _: next(following))
    return replace(general, sizes=(*kernel.sizes, *formal)), tuple(_value(numbers[p]) for p in varying)


def _with_numbers(kernel: Kernel, change: Change) -> Kernel:
    """The kernel with `change` applied to its numbers, in an order that its structure determines."""
    sizes = frozenset(kernel.sizes)

    def of(item: Any) -> Any:
        if isinstance(item, Expr):
            return rewrite(item, of_expression)
        if isinstance(item, Store):
            return replace(item, index=of_index(item.index))
        return map_parts(item, of)

    def of_expression(e: Expr) -> Expr | None:
        if isinstance(e, Const) and _is_readable(e):
            replacement: Expr = change(e)
            return replacement
        if isinstance(e, Load):
            return Load(e.buffer, of_index(e.index), e.dtype, e.mask, e.other)
        return None

    def of_index(index: Size) -> Size:
        start = part_of(index, sizes)
        replacement: Size = change(start)
        return index - start + replacement

    return replace(kernel, body=of(kernel.body))


def _take_out(numbers: list[Number], number: Number) -> Const | int:
    """Appends a number to `numbers`, and returns a zero of its kind."""
    numbers.append(number)
    return Const(0, number.dtype) if isinstance(number, Const) else 0


def _is_readable(constant: Const) -> bool:
    """Whether a parameter of 64 bits can hold the constant."""
    if constant.dtype in (F32, F64):
        return True
    return not constant.dtype.is_float and -(1 << 63) <= int(constant.value) < 1 << 63


def _value(number: Number) -> Size:
    """The value of a parameter for a number: itself, or the bits of a float."""
    if not isinstance(number, Const):
        return number
    if number.dtype == F32:
        return int(np.array(number.value, np.float32).view(np.int32))
    if number.dtype == F64:
        return int(np.array(number.value, np.float64).view(np.int64))
    return int(number.value)


def _read(symbol: Symbol, dtype: DType) -> Expr:
    """The constant whose `_value` is the symbol."""
    if dtype == F64:
        return Call("bitcast", (Index(symbol),), F64)
    if dtype == F32:
        return Call("bitcast", (Call("cast", (Index(symbol),), I32),), F32)
    return Index(symbol) if dtype == I64 else Call("cast", (Index(symbol),), dtype)
