"""Helpers of all printers of Triton: the source of a kernel, its parameters, and loops over tiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ...kernel.ir import Kernel
from ...scalar.dim import Symbol, extent, known_eq, prod, upper_bound
from ...schedule.device.tile import tile_length
from .expr import Functions, Printer, Value, buffer_type


@dataclass(frozen=True)
class Source:
    """One kernel's Triton source, and the options of its compilation.

    arguments: types of the parameters, as in triton.compile's signatures; warps, stages: options of triton.compile.
    """

    text: str
    arguments: tuple[str, ...]
    warps: int
    stages: int


def printer(kernel: Kernel) -> Printer:
    """A printer that knows the kernel's sizes and buffers: n0, n1, ... and b0, b1, ..."""
    names = {s: Value(f"n{i}") for i, s in enumerate(kernel.sizes)}
    return Printer(Functions(), names, [f"b{i}" for i in range(len(kernel.params))])


def parameters(kernel: Kernel) -> str:
    """The names of the parameters of the kernel's function."""
    return ", ".join([*(f"b{i}" for i in range(len(kernel.params))), *(f"n{i}" for i in range(len(kernel.sizes)))])


def arguments(kernel: Kernel) -> tuple[str, ...]:
    """The types of the parameters of the kernel's function."""
    return (*("*" + buffer_type(p.dtype) for p in kernel.params), *("i32" for _ in kernel.sizes))


@contextmanager
def tiles(out: Printer, axis: int, loops: Sequence[Symbol], most: int) -> Iterator[int]:
    """Lines for all points of `loops`, the last one fastest, in tiles along an axis; yields the length of a tile.

    Inside, the loop variables are bound to the positions of the tile, and its mask is set if it may overhang. There is
    no loop if one tile is known to be enough.
    """
    total = prod(extent(s) for s in loops)
    length = tile_length(total, most)
    bound = upper_bound(total)
    shape = "[None, :]" if axis else "[:, None]"
    lane = out.name(f"tl.arange(0, {length}){shape}", frozenset((axis,)))
    out.lanes[axis] = lane.text

    def bind(position: str) -> None:
        rest = position
        for s in reversed(loops[1:]):
            size = out.size(extent(s))
            out.names[s] = out.name(f"{rest} % {size}", frozenset((axis,)))
            rest = out.name(f"{rest} // {size}", frozenset((axis,))).text
        if loops:
            out.names[loops[0]] = Value(rest, frozenset((axis,)))

    masks = dict(out.masks)
    once = bound is not None and bound <= length
    whole = known_eq(total if once else total % length, length if once else 0) is True
    out.masks.pop(axis, None)
    if once:
        if not whole:
            out.masks[axis] = out.name(f"{lane.text} < {out.size(total)}", frozenset((axis,))).text
        bind(lane.text)
        yield length
    else:
        start = out.fresh()
        with out.block(f"for {start} in range(0, {out.size(total)}, {length}):"):
            position = out.name(f"{start} + {lane.text}", frozenset((axis,)))
            if not whole:
                out.masks[axis] = out.name(f"{position.text} < {out.size(total)}", frozenset((axis,))).text
            bind(position.text)
            yield length
    out.masks = masks
