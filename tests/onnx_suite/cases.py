"""The 2,033 cases of onnx's own backend suite: models, inputs and expected outputs, all from the onnx package.

In: nothing. Out: `Case`s by name. It must never download: the nine large models come from the package, too, with
constants instead of their weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import onnx
from onnx import numpy_helper
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

KINDS = ("node", "simple", "real", "pytorch-converted", "pytorch-operator")
DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"

Values = list[Any]  # of arrays; lists for sequences, None for empty optionals


@dataclass(frozen=True)
class Case:
    """One case. operator: what it is a test of, "" for the kinds other than "node"."""

    name: str
    kind: str
    operator: str
    rtol: float
    atol: float
    source: TestCase

    def model(self) -> bytes:
        if self.source.model is not None:
            return bytes(self.source.model.SerializeToString())
        return self._path().read_bytes()

    def _path(self) -> Path:
        if self.kind == "real":
            return DATA / "light" / f"light_{self.source.model_name}.onnx"
        assert self.source.model_dir is not None
        return Path(self.source.model_dir, "model.onnx")

    def data(self) -> list[tuple[Values, Values]]:
        """Pairs of inputs (those without initializers, in order) and expected outputs."""
        if self.source.data_sets is not None:
            return [(_arrays(inputs), _arrays(outputs)) for inputs, outputs in self.source.data_sets]
        graph = onnx.load_from_string(self.model()).graph
        if self.kind == "real":  # as onnx's runner: a ramp for the input, and the output that is in the package
            initializers = {tensor.name for tensor in graph.initializer}
            fed = [entry for entry in graph.input if entry.name not in initializers]
            path = self._path()
            files = [path.with_name(f"{path.stem}_output_{i}.pb") for i in range(len(graph.output))]
            return [([Runner.generate_dummy_data(entry) for entry in fed], _read(files, graph.output))]
        folders = sorted(self._path().parent.glob("test_data_set_*"))
        return [
            (_read(_numbered(folder, "input"), graph.input), _read(_numbered(folder, "output"), graph.output))
            for folder in folders
        ]


@cache
def load() -> dict[str, Case]:
    """All cases by name, in alphabetical order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the arithmetic of the expected values overflows here and there
        found = {case.name: (kind, case) for kind in KINDS for case in load_model_tests(kind=kind)}
    return {name: _case(*found[name], found.get(name.split("_expanded")[0])) for name in sorted(found)}


def _case(kind: str, case: TestCase, unexpanded: tuple[str, TestCase] | None) -> Case:
    """`unexpanded`: the case whose operator is spelled out as a function body in this one; mostly the case itself."""
    operator = ""
    if kind == "node":
        model = (unexpanded[1] if unexpanded else case).model
        assert model is not None
        node = model.graph.node[-1]
        operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
    return Case(case.name, kind, operator, case.rtol, case.atol, case)


def _arrays(values: Sequence[Any]) -> Values:
    return [numpy_helper.to_array(each) if isinstance(each, onnx.TensorProto) else each for each in values]


def _numbered(folder: Path, what: str) -> list[Path]:
    return [folder / f"{what}_{i}.pb" for i in range(len(list(folder.glob(f"{what}_*.pb"))))]


def _read(files: Sequence[Path], declared: Sequence[onnx.ValueInfoProto]) -> Values:
    """Serialised tensors, sequences and optionals, as their declarations say."""
    values: Values = []
    for file, entry in zip(files, declared):
        if entry.type.HasField("sequence_type"):
            values.append(numpy_helper.to_list(onnx.SequenceProto.FromString(file.read_bytes())))
        elif entry.type.HasField("optional_type"):
            values.append(numpy_helper.to_optional(onnx.OptionalProto.FromString(file.read_bytes())))
        else:
            values.append(numpy_helper.to_array(onnx.TensorProto.FromString(file.read_bytes())))
    return values
