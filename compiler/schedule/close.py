"""Closing: kernels become functions of formal sizes, so that equal kernels of different layers are one object.

In: a launch whose kernel mentions the model's symbols. Out: one of a kernel that mentions formal sizes alone, p0, p1,
and so on, and what they stand for. The dynamic part of its schedule is closed with it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from ..kernel.ir import Kernel, Launch, LoopNest, Schedule
from ..kernel.rebuild import map_sizes, rebuild
from ..scalar.dim import LEAST, Dim, Size, Symbol, lower_bound, symbols

SIZE_LITERAL = 16  # in template kernels, integers above this are parameters, so that layers share one object


def close(launch: Launch, literal: bool = False) -> Launch:
    """Makes the kernel a function of formal sizes.

    The model's symbols become parameters; in template kernels, and unless `literal`, large constants do, too. Sizes
    computed from an unbounded run-time value become parameters as well: their lower bound is unknown."""
    kernel, sizes, how = _closed(launch.kernel, launch.schedule, literal)
    return replace(launch, kernel=kernel, sizes=sizes, schedule=how)


@lru_cache(1 << 10)  # layers are often alike
def _closed(kernel: Kernel, how: Schedule | None, literal: bool) -> tuple[Kernel, tuple[Size, ...], Schedule | None]:
    """The closed kernel, the actual values of its sizes, and its schedule in terms of them."""
    free = frozenset(kernel.sizes)
    formal: dict[Size, Symbol] = {}
    generalise = not isinstance(kernel.body, LoopNest) and not literal

    def parameter(actual: Size, lower: int) -> Symbol:
        if actual not in formal:
            formal[actual] = Symbol(f"p{len(formal)}", lower, None)
        return formal[actual]

    bound: dict[Symbol, Symbol] = {}
    seen: dict[Size, Size] = {}  # sizes are graphs: a shared part is changed once

    def change(size: Size) -> Size:
        if isinstance(size, int):
            if generalise and abs(size) > SIZE_LITERAL:
                return parameter(abs(size), 1) * (1 if size > 0 else -1)
            return size
        if isinstance(size, Symbol):
            if size.extent is None or size in free:
                return parameter(size, size.lower or 0)
            if size not in bound:
                bound[size] = Symbol(size.name, size.lower, change(size.extent))
            return bound[size]
        if size not in seen:
            fixed = all(s.extent is None or s in free for s in symbols(size))
            whole = fixed and (_is_heavy(size) or any(s.lower == LEAST for s in symbols(size)))
            low = lower_bound(size) if whole else None
            seen[size] = parameter(size, LEAST if low is None else low) if whole else rebuild(size, change)
        return seen[size]

    body, params = map_sizes(kernel.body, change), map_sizes(kernel.params, change)
    sizes = list(formal.items())

    def own_parameter(number: Size) -> Size:
        """A new parameter, even if an equal size has one."""
        sizes.append((number, Symbol(f"q{len(sizes)}", 1, None)))
        return sizes[-1][1]

    how = map_sizes(how, own_parameter)
    closed = replace(kernel, params=params, sizes=tuple(symbol for _, symbol in sizes), body=body)
    return closed, tuple(actual for actual, _ in sizes), how


def _is_heavy(size: Dim) -> bool:
    """Whether a size is better computed once per launch than inside the kernel."""
    atoms = [a for _, m in size.terms for a in m if not isinstance(a, Symbol)]
    return len(atoms) > 3 or any(a.rank > 4 for a in atoms)
