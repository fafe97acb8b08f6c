"""Random models of ONNX's operators compute what onnxruntime and onnx's reference evaluator do, to a rounding that is
measured. `python -m tests.fuzz.differential` runs more of them; a failure names the command that repeats it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from intaglio.compiler.frontend import importer  # noqa: F401  (registers the operators)
from intaglio.compiler.frontend.registry import REGISTRY
from tests.fuzz.differential import judge, reduce, subject
from tests.fuzz.differential.operators import GENERATORS, LEFT_OUT
from tests.fuzz.differential.world import F32, Case

ROOT = Path(__file__).parents[2]
SEEDS = [seed for seed in range(61) if seed != 50]  # recurrences in directions whose number is named
EACH = 12  # models of one test


@pytest.mark.sample(2)
@pytest.mark.parametrize("first", range(0, len(SEEDS), EACH))
def test_models(first: int, tmp_path: Path) -> None:
    """In a process of its own, as workers are forked of it."""
    seeds = [str(seed) for seed in SEEDS[first : first + EACH]]
    command = [sys.executable, "-m", "tests.fuzz.differential", "--seed", *seeds, "-j", "1",
               "--folder", str(tmp_path), "--of-each", "0"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, env={**os.environ}, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(seeds)} done" in done.stdout


def test_every_operator_is_generated() -> None:
    """Of those in the standard, beside which onnxruntime has some of its own."""
    ours = {name for domain, name in REGISTRY if domain == "" and onnx.defs.has(name)}
    assert ours == GENERATORS.keys() | LEFT_OUT.keys()
    assert not GENERATORS.keys() & LEFT_OUT.keys()


def _case(*nodes: object, **arrays: np.ndarray) -> Case:
    values = judge.evaluate(list(nodes), arrays, 17)  # type: ignore[arg-type]
    return Case(0, 17, list(nodes), arrays, frozenset(), [nodes[-1].output[0]], values)  # type: ignore[attr-defined, arg-type]


def test_wrong_numbers_are_seen() -> None:
    """A bit off is right, more is wrong; and so are other shapes and types."""
    x = np.random.default_rng(0).standard_normal((3, 50), np.float32)
    case = _case(helper.make_node("Softmax", ["x"], ["y"]), x=x)
    value = case.values["y"]
    y = value.array
    assert value.check(y) == "" and value.check(np.nextafter(y, F32.type(1))) == ""
    assert "elements" in value.check(y + F32.type(1e-5))
    assert "dtype" in value.check(y.astype(np.float64)) and "shape" in value.check(y.T)
    y = y.copy()
    y[1, 2] = np.nan
    assert "[1, 2]" in value.check(y)


@pytest.mark.parametrize("nodes, why", [
    ([helper.make_node("Sub", ["x", "z"], ["d"])], "ill-conditioned"),
    ([helper.make_node("Exp", ["b"], ["y"])], "near the largest"),
    ([helper.make_node("Softmax", ["x"], ["s"]), helper.make_node("Mul", ["s", "n"], ["m"]),
      helper.make_node("Cast", ["m"], ["y"], to=7)], "a step"),
])  # fmt: skip
def test_numbers_that_measure_nothing_are_rejected(nodes: list[object], why: str) -> None:
    x = np.random.default_rng(0).uniform(0.5, 1, (1, 1)).astype(np.float32)
    arrays = {"x": x, "b": np.full((2,), 88.5, np.float32), "n": np.float32(3).reshape(1, 1)}
    first = [helper.make_node("Tan", ["x"], ["t"]), helper.make_node("Atan", ["t"], ["z"])]
    with pytest.raises(judge.Rejected, match=why):
        judge.evaluate([*first, *nodes], arrays, 17)  # type: ignore[list-item]


def test_cases_are_reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the node that is wrong, with operands of one element."""

    def run(case: Case) -> subject.Outcome:
        wrong = any(node.op_type == "Tanh" for node in case.nodes)
        return subject.Outcome(0, subject.WRONG if wrong else subject.PASSED, "wrong", "")

    monkeypatch.setattr(subject, "judged", run)
    x = np.random.default_rng(0).standard_normal((3, 5), np.float32)
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Tanh", ["r"], ["t"]),
        helper.make_node("Add", ["t", "x"], ["a"]), helper.make_node("Transpose", ["a"], ["y"]),
    ]  # fmt: skip
    case = _case(*nodes, x=x)
    small, outcome = reduce.reduce(case, run(case))
    assert [node.op_type for node in small.nodes] == ["Tanh"] and outcome.status == subject.WRONG
    assert [array.shape for array in small.arrays.values()] == [(1, 1)]
