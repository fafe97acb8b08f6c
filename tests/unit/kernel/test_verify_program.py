"""Programs that are broken in each way, and what they are told; those that lowering makes pass."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import onnx.numpy_helper
import onnx.parser
import pytest

from intaglio.compiler.driver import lower_model
from intaglio.compiler.graph.conditions import Condition, Requirement
from intaglio.compiler.kernel.ir import Bind, Branch, Check, Conv, Copy, Launch, Loop, Matmul, Step
from intaglio.compiler.kernel.packing import Packing
from intaglio.compiler.kernel.program import Buffer, Program, every_step
from intaglio.compiler.kernel.verify_program import verify_program
from intaglio.compiler.options import Options
from intaglio.compiler.scalar.dim import Symbol
from intaglio.compiler.scalar.dtype import BOOL, F16, F64, I64, DType

T = TypeVar("T", bound=Step)
MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
agraph (float[n, 8] x, int64 trips, bool go) => (float[n, 8] last, float[k, n, 8] rows, float[n, 8] chosen, float[m, 8] some)
<float[8] bias = {1, 2, 3, 4, 5, 6, 7, 8}>
{
    [begin] start = Add (x, bias)
    [turns] last, rows = Loop (trips, go, start) <body = step (int64 i, bool more, float[n, 8] s) => (bool again, float[n, 8] t, float[n, 8] row) {
        again = Identity (more)
        [curve] t = Tanh (s)
        [wave] row = Sin (t)
    }>
    [choice] chosen = If (go) <
        then_branch = yes () => (float[n, 8] a) { [up] a = Exp (start) },
        else_branch = no () => (float[n, 8] b) { [down] b = Neg (start) }
    >
    found = NonZero (x)
    zero = Constant <value = int64[1] {0}> ()
    lines = Gather (found, zero)
    flat = Squeeze (lines, zero)
    [picked] some = Gather (x, flat)
}
"""  # noqa: E501


def program(target: str = "native") -> Program:
    made = lower_model(onnx.parser.parse_model(MODEL).SerializeToString(), Options(target=target)).program
    assert made is not None
    return made


def one(steps: Any, kind: type[T]) -> T:
    return next(s for s in every_step(steps) if isinstance(s, kind))


def rebuilt(steps: tuple[Step, ...] | list[Step], old: Step, *new: Step) -> list[Step]:
    """The steps with others in the place of one, wherever it is."""
    out: list[Step] = []
    for step in steps:
        if step is old:
            out += new
        elif isinstance(step, Branch):
            then, otherwise = (tuple(rebuilt(part, old, *new)) for part in (step.then, step.otherwise))
            out.append(replace(step, then=then, otherwise=otherwise))
        elif isinstance(step, Loop):
            out.append(replace(step, body=tuple(rebuilt(step.body, old, *new))))
        else:
            out.append(step)
    return out


def changed(kind: type[T], change: Callable[[Program, T], Step | list[Step]]) -> Callable[[Program], None]:
    """Changes the first step of that kind."""

    def apply(p: Program) -> None:
        old = one(p.steps, kind)
        new = change(p, old)
        p.steps = rebuilt(p.steps, old, *(new if isinstance(new, list) else [new]))

    return apply


def resized(number: Callable[[Program], int], /, **facts: Any) -> Callable[[Program], None]:
    def apply(p: Program) -> None:
        p.buffers[number(p)] = replace(p.buffers[number(p)], **facts)

    return apply


def without(origin: str) -> Callable[[Program], None]:
    """Drops the launches of an ONNX node."""

    def apply(p: Program) -> None:
        found = [s for s in every_step(p.steps) if isinstance(s, Launch) and origin in s.origin]
        assert found
        for step in found:
            p.steps = rebuilt(p.steps, step)

    return apply


def launch_of(p: Program, origin: str) -> Launch:
    return next(s for s in every_step(p.steps) if isinstance(s, Launch) and origin in s.origin)


def output_of_begin(p: Program) -> int:
    return launch_of(p, "begin").buffers[-1]


def kind_of(kind: str) -> Callable[[Program], int]:
    return lambda p: next(i for i, b in enumerate(p.buffers) if b.kind == kind)


def fresh(p: Program, dtype: DType) -> int:
    """A scalar that nothing writes."""
    p.buffers.append(Buffer("arena", len(p.buffers), dtype, 1))
    return len(p.buffers) - 1


UNKNOWN = Symbol("unknown")
OF_DATA = Requirement("text", "node")
BROKEN: dict[str, tuple[Callable[[Program], None], str]] = {
    "launch: no such buffer": (
        changed(Launch, lambda p, s: replace(s, buffers=(999, *s.buffers[1:]))), "there is no buffer 999"),
    "launch: fewer buffers": (
        changed(Launch, lambda p, s: replace(s, buffers=s.buffers[1:])), "another number of buffers"),
    "launch: fewer sizes": (changed(Launch, lambda p, s: replace(s, sizes=(*s.sizes, 1))), "another number of sizes"),
    "launch: unknown size": (
        changed(Launch, lambda p, s: replace(s, sizes=tuple(UNKNOWN for _ in s.sizes))), "unknown has symbols without"),
    "launch: dtype": (resized(output_of_begin, dtype=F64), "a buffer of f64 for a parameter of f32"),
    "launch: too small": (resized(output_of_begin, size=0), "of 0 elements for a parameter of"),
    "launch: in the wrong memory": (
        changed(Launch, lambda p, s: replace(s, device=True)), "is not in the memory of the accelerator"),
    "launch: writes an input": (
        changed(Launch, lambda p, s: replace(s, buffers=(*s.buffers[:-1], 0))), "writes buffer 0, of kind input"),
    "launch: reads too early": (without("begin"), "which has no contents there"),
    "bind: no scalar": (resized(lambda p: one(p.steps, Bind).buffer, size=2), r"is i64\[2\], no i64 scalar"),
    "bind: another dtype": (
        changed(Bind, lambda p, s: replace(s, buffer=output_of_begin(p))), r"is f32\[.*\], no i64 scalar"),
    "bind: no such buffer": (changed(Bind, lambda p, s: replace(s, buffer=-5)), "there is no buffer -5"),
    "bind: twice": (changed(Bind, lambda p, s: [s, s]), "it has a value already"),
    "bind: left out": (changed(Bind, lambda p, s: []), "symbols without values"),
    "check: of data": (
        changed(Launch, lambda p, s: [s, Check(p.check(OF_DATA))]), "is of data: kernels tell that"),
    "check: of what is not known": (
        changed(Launch, lambda p, s: [Check(p.check(Condition(UNKNOWN, 1, "text"))), s]),
        "unknown has symbols without"),
    "launch: another number of faults": (
        changed(Launch, lambda p, s: replace(s, faults=(0,))), "another number of faults"),
    "launch: no such fault": (
        changed(Launch, lambda p, s: replace(s, kernel=replace(s.kernel, faults=1), faults=(99,))),
        "99 is no check of data"),
    "launch: a fault that is of sizes": (
        changed(Launch, lambda p, s: replace(
            s, kernel=replace(s.kernel, faults=1), faults=(p.check(Condition(1, 1, "text")),))),
        "is no check of data"),
    "launch: the size of its buffer": (
        resized(output_of_begin, size=UNKNOWN), "the size of buffer .* unknown has symbols without"),
    "buffer: of no kind": (resized(output_of_begin, kind="register"), "is of no kind that there is, 'register'"),
    "buffer: no such weight": (resized(kind_of("weight"), number=99), "there is no weight 99"),
    "buffer: no such output": (resized(kind_of("output"), number=-1), "there is no output -1"),
    "buffer: the accelerator's of its own": (resized(output_of_begin, device=True), "the accelerator's are copies"),
    "bind: reads too early": (
        changed(Bind, lambda p, s: replace(s, buffer=fresh(p, I64))), "reads buffer .*, which has no contents"),
    "branch: reads too early": (
        changed(Branch, lambda p, s: replace(s, condition=fresh(p, BOOL))), "reads buffer .*, which has no contents"),
    "loop: reads too early": (
        changed(Loop, lambda p, s: replace(s, condition=fresh(p, BOOL))), "reads buffer .*, which has no contents"),
    "loop: in itself": (
        changed(Loop, lambda p, s: replace(s, body=(replace(s, body=()), *s.body))), "it has a value already"),
    "check: none": (changed(Launch, lambda p, s: [s, Check(99)]), "there is no such condition"),
    "branch: no bool": (
        changed(Branch, lambda p, s: replace(s, condition=output_of_begin(p))), "no bool scalar"),
    "branch: no such buffer": (changed(Branch, lambda p, s: replace(s, condition=99)), "there is no buffer 99"),
    "branch: one way does not write": (
        changed(Branch, lambda p, s: replace(s, otherwise=())), "output 2: reads buffer"),
    "loop: no counter": (
        changed(Loop, lambda p, s: replace(s, count=output_of_begin(p))), r"no i64 scalar"),
    "loop: no bool": (changed(Loop, lambda p, s: replace(s, condition=output_of_begin(p))), "no bool scalar"),
    "loop: unknown trips": (changed(Loop, lambda p, s: replace(s, trips=UNKNOWN)), "unknown has symbols without"),
    "loop: no such rows": (changed(Loop, lambda p, s: replace(s, rows=(99,))), "there is no buffer 99"),
    "loop: its number outside": (
        changed(Loop, lambda p, s: [s, replace(launch_of(p, "begin"), sizes=(s.symbol,))]), "symbols without values"),
    "loop: reads what nothing has written": (without("turns/curve"), "which has no contents there"),
    "output: unwritten": (without("picked"), "output 3: reads buffer"),
    "copy: on one side": (
        changed(Launch, lambda p, s: [s, Copy(s.buffers[-1], s.buffers[0])]), "both are in one memory"),
}  # fmt: skip


def test_a_program_as_it_is_lowered() -> None:
    made = program()
    assert {type(s) for s in every_step(made.steps)} >= {Launch, Bind, Branch, Loop}
    verify_program(made)
    verify_program(program("gpu:interpreter"))


@pytest.mark.parametrize("name", BROKEN)
def test_broken(name: str) -> None:
    change, message = BROKEN[name]
    made = program()
    change(made)
    with pytest.raises(AssertionError) as raised:
        verify_program(made)
    assert re.search(message, str(raised.value)), str(raised.value)


def twins(p: Program) -> dict[int, int]:
    return {b.twin: i for i, b in enumerate(p.buffers) if b.twin is not None}


def scalar(p: Program, dtype: DType) -> int:
    """A scalar in the accelerator's memory."""
    p.buffers.append(Buffer("arena", len(p.buffers), dtype, 1, device=True, twin=fresh(p, dtype)))
    return len(p.buffers) - 1


def twin(p: Program) -> int:
    return one(p.steps, Copy).target


ON_DEVICE: dict[str, tuple[Callable[[Program], None], str]] = {
    "buffer: a copy of a copy": (lambda p: resized(twin, twin=twin(p))(p), "which is no buffer of the host"),
    "buffer: a copy of nothing": (resized(twin, twin=None), "the accelerator's are copies"),
    "bind: of the accelerator's": (
        changed(Bind, lambda p, s: replace(s, buffer=scalar(p, I64))), "is not in the memory of the host"),
    "branch: by one of the accelerator's": (
        changed(Branch, lambda p, s: replace(s, condition=scalar(p, BOOL))), "is not in the memory of the host"),
    "loop: while one of the accelerator's": (
        changed(Loop, lambda p, s: replace(s, condition=scalar(p, BOOL))), "is not in the memory of the host"),
    "copy: left out": (changed(Copy, lambda p, s: []), "which has no contents there"),
    "copy: no such buffer": (changed(Copy, lambda p, s: replace(s, source=999)), "there is no buffer 999"),
    "copy: of nothing": (
        changed(Launch, lambda p, s: [s, *(Copy(b, t) for b, t in twins(p).items() if t == s.buffers[-1])]),
        "which has no contents there"),
    "copy: to an input": (changed(Copy, lambda p, s: Copy(s.target, s.source)), "writes buffer 0, of kind input"),
    "copy: no twins": (
        changed(Copy, lambda p, s: replace(s, source=next(
            i for i, b in enumerate(p.buffers) if b.kind == "output" and i != s.source))), "they are no twins"),
    "copy: dtype": (resized(twin, dtype=F64), "f64"),
    "copy: size": (resized(twin, size=3), r"is not f32\[3\]|is not i64\[3\]|is not bool\[3\]"),
    "launch: the host's buffer": (
        changed(Launch, lambda p, s: replace(s, device=not s.device)), "is not in the memory of the"),
}  # fmt: skip


@pytest.mark.parametrize("name", ON_DEVICE)
def test_broken_on_two_sides(name: str) -> None:
    change, message = ON_DEVICE[name]
    made = program("gpu:interpreter")
    change(made)
    with pytest.raises(AssertionError) as raised:
        verify_program(made)
    assert re.search(message, str(raised.value)), str(raised.value)


PRODUCTS = """
<ir_version: 8, opset_import: ["" : 17]>
agraph (float[1, 16, 9, 9] x, float[5, 24] a) => (float[1, 20, 7, 7] y, float[5, 20] c) { y = Conv (x, w)
    c = MatMul (a, b) }
"""


def products(target: str) -> Program:
    """A convolution and a product of matrices with constants."""
    model = onnx.parser.parse_model(PRODUCTS)
    for name, shape in (("w", (20, 16, 3, 3)), ("b", (24, 20))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), name))
    made = lower_model(model.SerializeToString(), Options(target=target)).program
    assert made is not None
    verify_program(made)
    return made


def repacked(body: type[Conv] | type[Matmul], packing: Packing | None, of_weight: bool) -> Callable[[Program], None]:
    """Another packing in a kernel, and in its weight as well."""

    def apply(p: Program) -> None:
        old = next(s for s in p.launches if isinstance(s.kernel.body, body))
        assert isinstance(old.kernel.body, (Conv, Matmul))
        new = replace(old.kernel, body=replace(old.kernel.body, packing=packing))
        p.steps = rebuilt(p.steps, old, replace(old, kernel=new))
        (weight,) = (p.buffers[b] for b in old.buffers if p.buffers[b].kind == "weight")
        if of_weight:
            p.weights[weight.number] = replace(p.weights[weight.number], packing=packing)

    return apply


def narrowed(p: Program) -> None:
    """Weights of a convolution that are stored in 16 bits."""
    old = next(s for s in p.launches if isinstance(s.kernel.body, Conv))
    (at,) = (i for i, b in enumerate(old.buffers) if p.buffers[b].kind == "weight")
    p.buffers[old.buffers[at]] = replace(p.buffers[old.buffers[at]], dtype=F16)
    params = tuple(replace(x, dtype=F16) if i == at else x for i, x in enumerate(old.kernel.params))
    p.steps = rebuilt(p.steps, old, replace(old, kernel=replace(old.kernel, params=params)))


WHOLE, PANELS = Packing("whole", 20), Packing("panels", 32)
PACKED: dict[str, tuple[str, Callable[[Program], None], str]] = {
    "conv: the device's on the host": (
        "x86-64-v4", repacked(Conv, WHOLE, True), "packed as whole of 20, which the host does not read"),
    "conv: the host's on the device": (
        "gpu:interpreter", repacked(Conv, PANELS, True), "packed as panels of 32, which the accelerator does not read"),
    "conv: transformed on the device": (
        "gpu:interpreter", repacked(Conv, Packing("winograd", 32), True), "which the accelerator does not read"),
    "matmul: the host's on the device": (
        "gpu:interpreter", repacked(Matmul, PANELS, True), "which the accelerator does not read"),
    "conv: others than the weight's": (
        "x86-64-v4", repacked(Conv, Packing("panels", 16), False), "packed as panels of 32 as panels of 16"),
    "matmul: others than the weight's": (
        "x86-64-v4", repacked(Matmul, Packing("panels", 16), False), "packed as panels of 32 as panels of 16"),
    "conv: narrow on the host": ("x86-64-v4", narrowed, "weights of f16 on the host, which reads them as f32"),
}  # fmt: skip


@pytest.mark.parametrize("name", PACKED)
def test_broken_packings(name: str) -> None:
    target, change, message = PACKED[name]
    made = products(target)
    change(made)
    with pytest.raises(AssertionError) as raised:
        verify_program(made)
    assert message in str(raised.value)


def test_narrow_weights_on_the_device() -> None:
    made = products("gpu:interpreter")
    narrowed(made)
    verify_program(made)


def test_what_the_other_memory_has_written_is_stale() -> None:
    """A launch of the host on a copied buffer, and then one of the device on its copy."""
    made = program("gpu:interpreter")
    copy = next(s for s in made.steps if isinstance(s, Copy) and made.buffers[s.target].device)
    at = made.steps.index(copy)
    user = next(s for s in made.steps[at:] if isinstance(s, Launch) and s.device and copy.target in s.buffers)
    made.buffers[copy.source] = replace(made.buffers[copy.source], kind="arena")
    written = replace(user.kernel.params[user.buffers.index(copy.target)], written=True)
    kernel = replace(user.kernel, params=tuple(
        replace(p, written=False) if i != user.buffers.index(copy.target) else written
        for i, p in enumerate(user.kernel.params)
    ))  # fmt: skip
    again = replace(user, kernel=kernel, device=False, buffers=tuple(
        b if made.buffers[b].twin is None else made.buffers[b].twin for b in user.buffers
    ))  # fmt: skip
    made.steps.insert(at + 1, again)
    with pytest.raises(AssertionError):
        verify_program(made)
