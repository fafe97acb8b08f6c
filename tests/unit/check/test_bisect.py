"""Faults that are planted at random places are found: the stage, the place, and a part that shows it by itself."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import intaglio
from intaglio.compiler import driver
from intaglio.compiler.check.bisect import Finding, bisect
from intaglio.compiler.check.verify import verify
from intaglio.compiler.cli.main import main
from intaglio.compiler.codegen.c.expr import PRIMARY, Functions
from intaglio.compiler.scalar.dtype import F32
from intaglio.runtime.errors import InvalidArgument

from .faults import KINDS, Patch, holders, own_cache, places

DATA = Path(__file__).resolve().parents[2] / "data"
MODELS = sorted(path.stem for path in DATA.glob("*.onnx"))
SECONDS = 120
ATTEMPTS = 6  # places to try: a fault has no effect where what follows does not see it


def with_folds(name: str, folder: Path) -> Path:
    """A model of the tests, whose weights are halves of themselves, twice: exporters leave such constants."""
    proto = onnx.load(DATA / f"{name}.onnx")
    folded = []
    for tensor in proto.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.size > 8:
            whole = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(array / 2, f"{whole} halved"))
            folded.append(helper.make_node("Mul", [f"{whole} halved", "two"], [whole], name=f"fold {whole}"))
    nodes = [*folded, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    proto.graph.initializer.append(numpy_helper.from_array(np.float32(2), "two"))
    onnx.save(proto, folder / f"{name}.onnx")
    return folder / f"{name}.onnx"


def found(kind: str, model: Path, rng: random.Random, output: Path | None = None) -> tuple[Any, Finding]:
    """A fault of that kind, at a random place where it has an effect, and what is found."""
    candidates = places(kind, model)
    if not candidates:
        pytest.skip(f"{model.stem} has no place for it")
    for _ in range(ATTEMPTS):
        place = rng.choice(candidates)
        with own_cache(), Patch.context() as patch:
            KINDS[kind].plant(patch, place)
            finding = bisect(model, seed=rng.randrange(100), output=output)
        if finding.stage:
            return place, finding
    pytest.skip(f"none of {ATTEMPTS} places has an effect")


def cases() -> list[Any]:
    """Each kind in each model; by default each kind once, in a small model that has a place for it."""
    rng = random.Random(7)
    made = []
    for kind in KINDS:
        chosen = rng.choice(["bert", "gpt2"] if kind == "reduction" else ["mlp", "lstm", "bert"])
        for name in MODELS:
            made.append(pytest.param(name, kind, marks=[] if name == chosen else pytest.mark.slow))
    return made


@pytest.mark.sample(4)
@pytest.mark.parametrize(("name", "kind"), cases())
def test_a_planted_fault_is_found(name: str, kind: str, tmp_path: Path) -> None:
    model = with_folds(name, tmp_path) if kind == "fold" else DATA / f"{name}.onnx"
    rng = random.Random(f"{name} {kind}")
    start = time.monotonic()
    place, finding = found(kind, model, rng, tmp_path / "found")
    assert time.monotonic() - start < SECONDS * ATTEMPTS and finding.seconds < SECONDS
    assert finding.stage in KINDS[kind].stages, finding
    if kind == "rule":
        assert finding.stage == place[0]
    if kind == "operator":
        assert finding.nodes == place
    if kind == "rule":  # passes may drop the name of its value; then that of a later one is told
        assert finding.nodes == place[1] or any(part.endswith(place[1][0]) for part in finding.part)
    if kind == "fusion":
        assert place[0][0] in finding.nodes
    if kind == "primitive":
        assert set(finding.nodes) & {name for origin in holders(place, model) for name in origin}
    assert finding.shown and 1 <= len(finding.part) <= 3, finding.part
    part = onnx.load(tmp_path / "found" / "model.onnx")
    assert len(part.graph.node) == len(finding.part)
    assert verify(tmp_path / "found" / "model.onnx", dict(np.load(tmp_path / "found" / "inputs.npz"))).agrees
    assert finding.difference


@pytest.mark.sample(1)
@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_wrong_where_nothing_is_planted(name: str) -> None:
    finding = bisect(DATA / f"{name}.onnx", seed=5)
    assert not finding.stage and not finding.part
    assert finding.steps and all(step.of_bound < 1 for step in finding.steps)


def test_what_loses_accuracy_is_told_though_it_is_not_wrong() -> None:
    """An error function that is right to six digits, in the kernels that have one."""
    apply = Functions.apply

    def coarse(self: Functions, node: Any, args: Any) -> Any:
        text = apply(self, node, args)
        return (f"({text[0]} * 1.000002f)", PRIMARY) if node.prim == "erf" and node.dtype == F32 else text

    with own_cache(), Patch.context() as patch:
        patch.setattr(Functions, "apply", coarse)
        steps = bisect(DATA / "bert.onnx").steps
    worst = max(steps, key=lambda step: step.growth)
    assert any("gelu" in node for node in worst.nodes), worst
    right = max(bisect(DATA / "bert.onnx").steps, key=lambda step: step.growth)
    assert worst.growth > 2 * right.growth


def quantised() -> bytes:
    """Eight layers, between which numbers are quantised."""
    rng = np.random.default_rng(0)
    nodes, weights, name = [], {"scale": np.float32(0.03), "zero": np.int8(0)}, "x"
    for i in range(8):
        weights[f"w{i}"] = (rng.standard_normal((32, 32)) / 4).astype(np.float32)
        nodes += [
            helper.make_node("QuantizeLinear", [name, "scale", "zero"], [f"q{i}"], name=f"quantise {i}"),
            helper.make_node("DequantizeLinear", [f"q{i}", "scale", "zero"], [f"d{i}"], name=f"dequantise {i}"),
            helper.make_node("MatMul", [f"d{i}", f"w{i}"], [f"m{i}"], name=f"product {i}"),
            helper.make_node("Tanh" if i == 5 else "Relu", [f"m{i}"], [f"r{i}"], name=f"activation {i}"),
        ]
        name = f"r{i}"
    value = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["n", 32]) for n in ("x", name)]
    constants = [numpy_helper.from_array(a, n) for n, a in weights.items()]
    graph = helper.make_graph(nodes, "g", value[:1], value[1:], constants)
    imports = [helper.make_opsetid("", 18)]
    return bytes(helper.make_model(graph, opset_imports=imports, ir_version=9).SerializeToString())


def test_a_fault_deep_in_a_quantised_model() -> None:
    assert not bisect(quantised()).stage
    with own_cache(), Patch.context() as patch:
        KINDS["primitive"].plant(patch, "tanh")
        finding = bisect(quantised())
    assert finding.stage == "print" and finding.operation == "map tanh" and "activation 5" in finding.nodes
    assert finding.part == ["Tanh activation 5"] and finding.shown


def test_memory_that_is_shared_too_early() -> None:
    """With values kept apart, everything is right: the plan of memory is at fault."""
    plan = driver.memory.arenas

    def overlapping(program: Any) -> Any:
        host, device = plan(program)
        slots = dict(host.slot)
        for buffer in slots:
            slots[buffer] = min(slots.values())
        return replace(host, slot=slots), device

    with own_cache(), Patch.context() as patch:
        patch.setattr(driver.memory, "arenas", overlapping)
        finding = bisect(DATA / "mlp.onnx")
    assert finding.stage == "memory" and finding.difference


@pytest.fixture
def wrong_sum() -> Iterator[None]:
    with own_cache(), Patch.context() as patch:
        KINDS["primitive"].plant(patch, "add")
        yield


@pytest.mark.parametrize("against", ["float64", "onnxruntime", "reference", "strict", "level=0"])
def test_against(against: str, wrong_sum: None) -> None:
    if against == "onnxruntime":
        pytest.importorskip("onnxruntime")
    finding = bisect(DATA / "mlp.onnx", against=against)
    assert finding.stage == "print" and "add" in finding.operation


def test_against_an_artifact(tmp_path: Path) -> None:
    model = tmp_path / "old.intaglio"
    with own_cache(), Patch.context() as patch:
        KINDS["primitive"].plant(patch, "add")
        assert main(["compile", str(DATA / "mlp.onnx"), "-o", str(model)]) == 0
    with pytest.raises(InvalidArgument, match="as it is compiled now is right"):
        bisect(DATA / "mlp.onnx", against=f"ours@{model}")
    with pytest.raises(InvalidArgument, match="cannot compare with 'nothing'"):
        bisect(DATA / "mlp.onnx", against="nothing")


def test_a_model_that_is_wrong_at_one_level_alone() -> None:
    """Level 0 has no pass at fault, and the values of the default level are searched; and the other way round."""
    with own_cache(), Patch.context() as patch:
        place = next(p for p in places("rule", DATA / "mlp.onnx") if p[0] == "affine")
        KINDS["rule"].plant(patch, place)
        options = intaglio.SessionOptions()
        options.graph_optimization_level = intaglio.GraphOptimizationLevel.ORT_DISABLE_ALL
        assert not bisect(DATA / "mlp.onnx", options=options).stage
        assert bisect(DATA / "mlp.onnx", options=options, against="level=99").stage == "affine"
        assert bisect(DATA / "mlp.onnx", against="level=0").stage == "affine"


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["bisect", str(DATA / "mlp.onnx"), "--dim", "batch=3"]) == 0
    assert "nothing is wrong" in capsys.readouterr().out
    with own_cache(), Patch.context() as patch:
        KINDS["packing"].plant(patch, "panels")
        assert main(["bisect", str(DATA / "mlp.onnx"), "-o", str(tmp_path / "found")]) == 1
        text = capsys.readouterr().out
        assert "wrong in   the schedule" in text and "compiled alone it is wrong" in text
        assert main(["bisect", str(DATA / "mlp.onnx"), "--json"]) == 1
        assert json.loads(capsys.readouterr().out)["stage"] == "schedule"
    script = subprocess.run([sys.executable, "repeat.py"], cwd=tmp_path / "found", capture_output=True, text=True)
    assert "intaglio agrees" in script.stdout, script.stderr  # in a process without the fault


def test_inputs_of_types_that_numpy_lacks(tmp_path: Path) -> None:
    kind = onnx.TensorProto.BFLOAT16
    value = [helper.make_tensor_value_info(n, kind, [4, 32]) for n in ("x", "y")]
    numbers = np.random.default_rng(0).standard_normal(32 * 32)
    weight = helper.make_tensor("w", kind, [32, 32], numbers)
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", value[:1], value[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    with own_cache(), Patch.context() as patch:
        KINDS["packing"].plant(patch, "panels")
        finding = bisect(model, output=tmp_path)
    assert finding.stage == "schedule" and finding.shown
    assert [Path(file).name for file in finding.written][1:3] == ["inputs.npz", "input0.pb"]
    script = subprocess.run([sys.executable, "repeat.py"], cwd=tmp_path, capture_output=True, text=True)
    assert "intaglio agrees" in script.stdout, script.stderr
