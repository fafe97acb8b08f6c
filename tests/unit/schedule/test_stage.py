"""The stage: what is packed, ordered and closed, and what may differ without another kernel."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import intaglio
from intaglio.compiler import schedule as stage
from intaglio.compiler.codegen.c.kernels import source
from intaglio.compiler.graph.interp import evaluate, random_feeds
from intaglio.compiler.graph.ir import Graph, Value, constant, input_value
from intaglio.compiler.kernel import interp
from intaglio.compiler.kernel.ir import Body, Conv, Launch, Matmul, Schedule
from intaglio.compiler.kernel.operands import packed_operands
from intaglio.compiler.kernel.program import Program
from intaglio.compiler.kernel.verify_program import verify_program
from intaglio.compiler.lower.groups import lower
from intaglio.compiler.precision import Precision
from intaglio.compiler.scalar import dim
from intaglio.compiler.scalar.dim import Symbol
from intaglio.compiler.scalar.dtype import F32, I64
from intaglio.compiler.schedule import conv, executed, matmul, schedule
from intaglio.compiler.schedule.close import close
from intaglio.compiler.target import Target, target

V4 = target("x86-64-v4")
B = Symbol("b")


def weights(*shape: int) -> Value:
    return constant(np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32))


def product() -> Graph:
    x = input_value("x", (B, 100), F32)
    return Graph([x], [x.matmul(weights(100, 200))], ["y"])


def convolution(taps: int, in_c: int, out_c: int, groups: int) -> Graph:
    x = input_value("x", (B, 28, 28, in_c), F32)
    attrs: dict[str, Any] = {"strides": (1, 1), "dilations": (1, 1), "pads_low": (0, 0), "pads_high": (0, 0)}
    (y,) = x.emit("conv", [x, weights(taps, taps, in_c // groups, out_c)], **attrs, groups=groups, acc=F32)
    return Graph([x], [y], ["y"])


SUBJECTS = {
    "matmul": product(),
    "1x1": convolution(1, 32, 40, 1),
    "winograd": convolution(3, 64, 64, 1),
    "grouped": convolution(3, 64, 64, 4),
    "depthwise": convolution(3, 64, 64, 64),
}


def scheduled(launch: Launch) -> Launch:
    return executed(launch, stage.default(launch.kernel.body, V4))


def launch_of(program: Program) -> Launch:
    (found,) = [x for x in program.launches if isinstance(x.kernel.body, (Matmul, Conv))]
    return found


@pytest.mark.parametrize("name", SUBJECTS)
def test_dynamic_parts_are_parameters(name: str) -> None:
    """Whatever the numbers, kernel and text are the same; the sizes of the launch tell them."""
    chosen = scheduled(launch_of(lower(SUBJECTS[name])))
    how = chosen.schedule
    assert how is not None
    dynamic = [f.name for f in fields(how) if f.type == "Size"]  # type: ignore[arg-type]
    assert dynamic
    other = replace(how, **{f: getattr(how, f) + 1 for f in dynamic})  # type: ignore[type-var]
    one, two = (close(replace(chosen, schedule=each)) for each in (how, other))
    assert (one.kernel, one.schedule) == (two.kernel, two.schedule) and one.sizes != two.sizes
    assert source(one.kernel, one.schedule).text == source(two.kernel, two.schedule).text
    numbers = dict(zip(two.kernel.sizes, two.sizes))
    assert [numbers[getattr(two.schedule, f)] for f in dynamic] == [getattr(other, f) for f in dynamic]


@pytest.mark.parametrize(("name", "form"), [
    ("matmul", "panels"), ("1x1", "panels"), ("winograd", "winograd"), ("grouped", "panels"), ("depthwise", "taps"),
])  # fmt: skip
def test_weights_are_packed_here(name: str, form: str) -> None:
    program = lower(SUBJECTS[name])
    (before,) = packed_operands(launch_of(program).kernel.body)
    assert before.packing.form == "plain"
    verify_program(program)
    verify_program(schedule(program, V4))
    (after,) = packed_operands(launch_of(program).kernel.body)
    assert after.packing.form == form
    assert [weight.packing for weight in program.weights] == [after.packing]


def test_a_weight_is_packed_once() -> None:
    """Two products with the same weights."""
    x, w = input_value("x", (B, 64), F32), weights(64, 64)
    y = x.matmul(w).exp().matmul(w)
    program = schedule(lower(Graph([x], [y], ["y"])), V4)
    verify_program(program)
    assert len(program.weights) == 1


MODELS = {
    "matmul": """(float[n, 37] x) => (float[n, 50] y) <float[37, 50] w> { y = MatMul (x, w) }""",
    "conv": """(float[n, 32, 9, 11] x) => (float[n, 40, 9, 11] y) <float[40, 32, 3, 3] w>
        { y = Conv <pads = [1, 1, 1, 1]> (x, w) }""",
    "grouped": """(float[n, 8, 9, 11] x) => (float[n, 12, 4, 5] y) <float[12, 4, 3, 3] w>
        { y = Conv <group = 2, strides = [2, 2]> (x, w) }""",
    "depthwise": """(float[n, 24, 9, 11] x) => (float[n, 24, 9, 11] y) <float[24, 1, 3, 3] w>
        { y = Conv <group = 24, pads = [1, 1, 1, 1]> (x, w) }""",
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", MODELS)
def test_any_schedule_can_be_forced_on_a_model(
    name: str, seed: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Other widths of panels, and other algorithms, with the weights packed as they want them."""
    made = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["" : 17]> agraph {MODELS[name]}""")
    rng, forced = np.random.default_rng(seed), []
    shape = [d.dim_value for d in made.graph.value_info[0].type.tensor_type.shape.dim]
    made.graph.initializer.append(onnx.numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), "w"))

    def one_of_all(body: Body, cpu: Target, precision: Precision = "exact") -> Schedule | None:
        if not isinstance(body, (Matmul, Conv)):
            return by_rules(body, cpu, precision)
        space = list(matmul.space(body, cpu) if isinstance(body, Matmul) else conv.space(body, cpu, precision))
        forced.append(space[np.random.default_rng(seed).integers(len(space))])
        return forced[-1]

    by_rules = stage.default
    monkeypatch.setattr(stage, "default", one_of_all)
    monkeypatch.setenv("INTAGLIO_VERIFY", "2")
    monkeypatch.setenv("INTAGLIO_CACHE_DIR", str(tmp_path))
    x = rng.standard_normal([3 if d.dim_param else d.dim_value for d in made.graph.input[0].type.tensor_type.shape.dim])
    x = x.astype(np.float32)
    (got,) = intaglio.InferenceSession(made.SerializeToString()).run(None, {"x": x})
    (wanted,) = onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": x})
    assert forced
    np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-4, err_msg=str(forced))


@pytest.mark.parametrize("combine", [None, "add"])
@pytest.mark.parametrize("rows", [0, 1, 2])
@pytest.mark.parametrize("updates", [0, 1, 3])
@pytest.mark.parametrize("columns", [0, 1, 5])
def test_scatters_of_few_and_of_none(combine: str | None, rows: int, updates: int, columns: int) -> None:
    """Loops over one are none, and what is in those over nothing is not read: places stay known all the same."""
    if updates and not rows:
        return  # there is no place for them
    x, u = input_value("x", (rows, columns), F32), input_value("u", (updates, columns), F32)
    where = input_value("i", (updates,), I64)
    (y,) = x.emit("scatter", [x, u, where], axes=(0,), combine=combine)
    graph, rng = Graph([x, u, where], [y], ["y"]), np.random.default_rng(0)
    feeds = [rng.standard_normal((n, columns)).astype(np.float32) for n in (rows, updates)]
    feeds.append(rng.integers(0, max(rows, 1), updates))
    program = schedule(lower(graph), V4)
    verify_program(program)
    (launch,) = program.launches
    source(launch.kernel, launch.schedule)
    kinds = [program.buffers[b].kind for b in launch.buffers]
    numbers = [program.buffers[b].number for b in launch.buffers]
    made = np.zeros(rows * columns, np.float32)
    arrays = [made if kind == "output" else feeds[n].reshape(-1) for kind, n in zip(kinds, numbers)]
    interp.run(launch.kernel, arrays, [int(s) for s in launch.sizes])  # type: ignore[arg-type]
    np.testing.assert_array_equal(made.reshape(rows, columns), evaluate(graph, feeds)[0])


@pytest.mark.parametrize("arranged", [False, True], ids=["lowered", "scheduled"])
@pytest.mark.parametrize("name", SUBJECTS)
def test_kernels_mean_the_same_before_and_after(name: str, arranged: bool) -> None:
    """However their weights lie."""
    graph = SUBJECTS[name]
    program = lower(graph)
    if arranged:
        schedule(program, V4)
    launch, feeds = launch_of(program), random_feeds(graph, {B: 2}, 0)
    (weight,), (wanted,) = program.weights, evaluate(graph, feeds)
    assert weight.value.data is not None
    y = np.zeros(wanted.size, np.float32)
    of_kind = {"input": feeds[0].reshape(-1), "weight": weight.laid_out(weight.value.data).reshape(-1), "output": y}
    arrays = [of_kind[program.buffers[b].kind] for b in launch.buffers]
    interp.run(launch.kernel, arrays, [dim.evaluate(size, {B: 2}) for size in launch.sizes])
    np.testing.assert_allclose(y.reshape(wanted.shape), wanted, rtol=1e-4, atol=1e-4)
