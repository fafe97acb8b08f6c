"""One node on three engines: the graph that we make of it, run in numpy; onnxruntime; and ONNX's reference.

A case is a node with arrays for its inputs. Each input is a constant, an input of the shape of its array, or an input
whose dims are all symbols; that must not matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx.reference
import onnxruntime
from onnx import helper, numpy_helper

from intaglio.compiler.frontend.importer import import_model
from intaglio.compiler.frontend.load import load_model
from intaglio.compiler.graph import interp
from intaglio.compiler.graph.conditions import Condition, conditions
from intaglio.compiler.scalar import dim

Array = np.ndarray[Any, Any]
Result = "list[Array] | str"  # or what is wrong
CONSTANT, FIXED, SYMBOLIC = "constant", "fixed", "symbolic"


@dataclass
class Case:
    """inputs: in the node's order, None where omitted; kinds: of each of them, SYMBOLIC by default."""

    op: str
    inputs: Sequence[Array | None]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    opset: int = 21
    kinds: Sequence[str] = ()
    outputs: int = 1
    domain: str = ""

    def __str__(self) -> str:
        given = [None if v is None else f"{v.dtype}{list(v.shape)}" for v in self.inputs]
        small = [v.tolist() for v in self.inputs[1:] if v is not None and v.size < 9]
        return f"{self.op}-{self.opset} {given} {small} {dict(self.attrs)} {list(self.kinds)}"

    def kind(self, i: int) -> str:
        return self.kinds[i] if i < len(self.kinds) else SYMBOLIC

    def model(self) -> onnx.ModelProto:
        names = ["" if v is None else f"x{i}" for i, v in enumerate(self.inputs)]
        node = helper.make_node(
            self.op, names, [f"y{i}" for i in range(self.outputs)], "node", domain=self.domain, **self.attrs
        )
        given, constants = [], []
        for i, v in enumerate(self.inputs):
            if v is None:
                continue
            if self.kind(i) == CONSTANT:
                constants.append(numpy_helper.from_array(v, f"x{i}"))
                continue
            shape = v.shape if self.kind(i) == FIXED else [f"d{i}_{a}" for a in range(v.ndim)]
            given.append(helper.make_tensor_value_info(f"x{i}", helper.np_dtype_to_tensor_dtype(v.dtype), shape))
        graph = helper.make_graph([node], "g", given, [onnx.ValueInfoProto(name=n) for n in node.output], constants)
        opsets = [helper.make_opsetid("", self.opset)]
        opsets += [helper.make_opsetid(self.domain, 1)] if self.domain else []
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    def feeds(self) -> dict[str, Array]:
        return {f"x{i}": v for i, v in enumerate(self.inputs) if v is not None and self.kind(i) != CONSTANT}


def holds(c: Condition, known: Mapping[dim.Symbol, int]) -> bool:
    left, right, of = (dim.evaluate(size, known) for size in (c.left, c.right, c.of))
    return of <= 0 or (left <= right if c.at_most else left == right or (c.or_one and left == 1))


def ours(case: Case) -> list[Array] | str:
    """By the graph's meaning in numpy, after the checks that come before a run."""
    feeds = case.feeds()
    try:
        graph = import_model(load_model(case.model().SerializeToString()))
        arrays = [feeds[v.name] for v in graph.inputs]
        known = interp.bind(graph.inputs, [a.shape for a in arrays])
        for value, array in zip(graph.inputs, arrays):
            if value.content is not None:
                known.update(zip(value.content.reshape(-1), map(int, array.reshape(-1))))
        for c in conditions(graph):
            if c.symbols <= known.keys() and not holds(c, known):
                return c.text
        with np.errstate(all="ignore"):
            return interp.evaluate(graph, arrays)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def onnxruntimes(case: Case) -> list[Array] | str:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    try:
        session = onnxruntime.InferenceSession(case.model().SerializeToString(), options, ["CPUExecutionProvider"])
        made: list[Array] = session.run(None, case.feeds())
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return made


def references(case: Case) -> list[Array] | str:
    try:
        with np.errstate(all="ignore"):
            return [np.asarray(v) for v in onnx.reference.ReferenceEvaluator(case.model()).run(None, case.feeds())]
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def difference(made: list[Array] | str, wanted: list[Array] | str, tolerance: float = 1e-4) -> str:
    """ "" where both are alike, or both fail; else what is not."""
    if isinstance(made, str) or isinstance(wanted, str):
        alike = isinstance(made, str) and isinstance(wanted, str)
        return "" if alike else f"here {str(made)[:300]}, there {str(wanted)[:300]}"
    for a, b in zip(made, wanted, strict=True):
        if a.dtype != b.dtype or a.shape != b.shape:
            return f"here {a.dtype}{a.shape}, there {b.dtype}{b.shape}"
        wide = np.float64 if a.dtype.kind in "fV" else a.dtype
        if not np.allclose(a.astype(wide), b.astype(wide), tolerance, tolerance, equal_nan=True) or (
            a.dtype.kind in "iub" and (a != b).any()
        ):
            return f"here {a.ravel()[:12]}, there {b.ravel()[:12]}"
    return ""
