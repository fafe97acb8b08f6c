"""kernel.ir.Conv -> the context of templates/triton/conv.py.j2: a matrix product whose operands are read in place.

In: a Kernel whose body is a Conv, its weights group by group. Out: Triton source, and the number of programs in the
kernel's sizes.

A block of K lies within one tap, so that each of its rows has one position in the input; if the schedule is `flat`, as
for few channels, it runs across taps. Depthwise convolutions multiply tiles of pixels by channels, tap by tap.
"""

from __future__ import annotations

from ...kernel.ir import Conv, Kernel
from ...kernel.packing import READ_ON_DEVICE
from ...scalar.dim import Size, Symbol, ceil_div, extent, floor_div, known_le, mod, prod
from ...scalar.expr import Expr, Load, as_type
from ...schedule.device import conv as product
from ...schedule.device.conv import ConvSchedule
from ...schedule.device.product import factors
from . import gemm
from .expr import NONE, Printer, Value
from .holes import Axis, epilogue, tile
from .tiles import Source, printer

_ROWS, _COLUMNS = frozenset((0,)), frozenset((1,))
# Symbols for variables of the template, beside those of the body. _INSIDE is an axis of values that vary with the
# position in the input, since its mask says which positions are inside.
_PIXEL, _INSIDE, _GROUP, _CHANNEL, _WEIGHT, _COLUMN = (Symbol(f"conv{i}", 0) for i in range(6))


def tasks(body: Conv, schedule: ConvSchedule) -> Size:
    """The number of programs."""
    return product.groups(body) * schedule.blocks.programs(product.pixels(body), product.columns(body))


def refusal(kernel: Kernel, schedule: ConvSchedule) -> str | None:
    """Why the kernel cannot be printed; None if it can."""
    body = kernel.body
    assert isinstance(body, Conv)
    return None if body.packing.form in READ_ON_DEVICE else f"weights packed as {body.packing} in Triton"


def source(kernel: Kernel, name: str, schedule: ConvSchedule) -> Source:
    """The kernel's source."""
    body = kernel.body
    assert isinstance(body, Conv)
    out, depthwise, blocks, flat = printer(kernel), product.is_depthwise(body), schedule.blocks, schedule.flat
    count, in_c = prod(body.taps), product.channels_of_group(body)
    pixels, columns = product.pixels(body), product.columns(body)
    group: Size = _GROUP if product.groups(body) > 1 else 0
    x: Expr = body.x
    w: Expr = Load(body.w, (group * count * in_c + _WEIGHT) * columns + _COLUMN, kernel.params[body.w].dtype)
    dot = blocks.form == "dot"
    x, w = factors(x, w, body.acc) if dot else (as_type(x, body.acc), as_type(w, body.acc))
    tap_depth = 1 if depthwise else in_c if flat else ceil_div(in_c, blocks.depth) * blocks.depth
    start, tap = Symbol("start", 0, count * tap_depth), Symbol("tap", 0, count)

    positions = _positions(body, tap)
    conditions = _conditions(out, body)
    outputs = {body.n: "image"} | {s: f"y{i}" for i, s in enumerate(body.out)}
    along = _COLUMNS if flat else NONE  # axes of a tile of the input along which taps, hence positions, vary
    inside = frozenset((2 if dot or depthwise else 1,)) if conditions else NONE
    out.names |= {s: Value(text, _ROWS) for s, text in outputs.items()}
    out.names |= {s: Value(f"x{i}", _ROWS | along | inside) for i, s in enumerate(body.spatial)}
    out.names |= {start: Value("start"), tap: Value("tap", along), _GROUP: Value("group"), _CHANNEL: Value("i")}
    out.names |= {body.channel: Value("channel"), _WEIGHT: Value("weight"), _COLUMN: Value("columns")}

    row = Axis(_PIXEL, "rows", gemm.mask(out, "rows", pixels, blocks.rows))
    column = Axis(_COLUMN, "columns", gemm.mask(out, "columns", columns, blocks.columns))
    c = Axis(body.c, out.size(group * columns + _COLUMN), column.mask)
    x_axes, w_axes = [row], [column]
    if depthwise:
        x_axes.append(Axis(body.channel, "columns", column.mask))
    elif dot:
        (of_x, of_w), limit = (("k", "weight"), count * in_c) if flat else (("i", "i_row"), in_c)
        x_axes.append(Axis(body.channel, "channel", gemm.mask(out, of_x, limit, blocks.depth)))
        w_axes.insert(0, Axis(_WEIGHT, "weight", gemm.mask(out, of_w, limit, blocks.depth)))
    if conditions:
        x_axes.append(Axis(_INSIDE, "x0", "inside"))
    return gemm.source(
        "triton/conv.py.j2", kernel, name, out, blocks, body.acc, pixels, columns, count * tap_depth,
        [("group", body.groups)] if product.groups(body) > 1 else [],
        tile(out, x, tuple(x_axes), (blocks.rows, blocks.columns if depthwise else blocks.depth)),
        tile(out, w, tuple(w_axes), (blocks.depth, blocks.columns)),
        gemm.precision(x.dtype, blocks.rounding),
        epilogue(out, kernel, body.epilogue, (row, c)),
        outputs=[(text, out.size(extent(s))) for s, text in outputs.items()],
        flat=flat,
        depthwise=depthwise,
        in_c=out.size(in_c),
        tap=out.size(floor_div(start, tap_depth)),
        within_tap=out.size(mod(start, tap_depth)),
        channel=out.size(group * in_c + _CHANNEL),
        positions=[(f"x{i}", out.size(position)) for i, position in enumerate(positions)],
        conditions=conditions,
    )  # fmt: skip


def _positions(body: Conv, tap: Symbol) -> list[Size]:
    """The positions in the input, by axis, of the output's pixels at `tap`."""
    positions: list[Size] = []
    rest: Size = tap
    for i in reversed(range(len(body.taps))):
        along = mod(rest, body.taps[i]) if i else rest
        rest = floor_div(rest, body.taps[i])
        positions.append(body.out[i] * body.strides[i] + along * body.dilations[i] - body.pads[i])
    return positions[::-1]


def _conditions(out: Printer, body: Conv) -> list[str]:
    """Texts that are true where a position is inside the input, without those that always are."""
    conditions = []
    for i, symbol in enumerate(body.spatial):
        size, pad = extent(symbol), body.pads[i]
        last = (extent(body.out[i]) - 1) * body.strides[i] + (body.taps[i] - 1) * body.dilations[i] - pad
        if known_le(pad, 0) is not True:
            conditions.append(f"(x{i} >= 0)")
        if known_le(last, size - 1) is not True:
            conditions.append(f"(x{i} < {out.size(size)})")
    return conditions
