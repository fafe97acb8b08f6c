"""Models are cut where it is asked for, run as parts of what they were, and end as small as the predicate allows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import intaglio
from intaglio.compiler.check.reduce import Cutter, Part, reduce
from intaglio.compiler.frontend.load import load_model

F32 = TensorProto.FLOAT
LENGTH = 24


def chain() -> bytes:
    """x, then operators n0, n1, ..., of which every third adds a constant that is folded."""
    nodes, name = [], "x"
    for i in range(LENGTH):
        if i % 3 == 0:
            nodes.append(helper.make_node("Neg", ["c"], [f"k{i}"], name=f"constant {i}"))
            nodes.append(helper.make_node("Add", [name, f"k{i}"], [f"v{i}"], name=f"n{i}"))
        else:
            nodes.append(helper.make_node("Tanh", [name], [f"v{i}"], name=f"n{i}"))
        name = f"v{i}"
    value = [helper.make_tensor_value_info(n, F32, ["n", 3]) for n in ("x", name)]
    c = numpy_helper.from_array(np.float32([1, 2, 3]), "c")
    graph = helper.make_graph(nodes, "g", value[:1], value[1:], [c])
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    )


def cutter(symbolic: bool = False) -> Cutter:
    model = chain()
    names = [name for node in onnx.load_from_string(model).graph.node for name in node.output]
    x = np.ones((2, 3), np.float32)
    values = dict(zip(names, intaglio.InferenceSession(model).run(names, {"x": x})))
    fixed = {name for name in names if name.startswith("k")}
    return Cutter(load_model(model), {**values, "x": x}, fixed, symbolic)


def has(*names: str) -> Callable[[Part], bool]:
    return lambda part: set(names) <= {node.name for node in part.nodes}


@pytest.mark.parametrize("wanted", [["n7"], ["n3", "n4"], ["n2", "n20"], ["n0", "n11", "n23"]])
@pytest.mark.parametrize("suspect", [[], ["n3"], ["n22"]])
def test_what_is_needed_stays_and_nothing_else(wanted: Sequence[str], suspect: Sequence[str]) -> None:
    cut = cutter()
    suspects = [node for node in cut.nodes if node.name in suspect]
    part = reduce(cut, suspects, has(*wanted), time.monotonic() + 30)
    assert part is not None and {node.name for node in part.nodes} == set(wanted)


def test_a_part_computes_what_it_computed_in_the_whole() -> None:
    cut = cutter()
    part = cut.part([node for node in cut.nodes if node.name in ("n4", "n5", "n6", "n12")])
    assert part is not None and set(part.feeds) == {"v3", "v11"}
    session = intaglio.InferenceSession(part.model)
    assert [each.name for each in session.get_outputs()] == ["v6", "v12"]
    for got, name in zip(session.run(None, part.feeds), ("v6", "v12")):
        assert np.array_equal(got, cut.values[name])
    assert {t.name for t in onnx.load_from_string(part.model).graph.initializer} == {"k6", "k12"}


def test_sizes_are_numbers_or_those_of_the_model() -> None:
    shapes = []
    for symbolic in (False, True):
        cut = cutter(symbolic)
        part = cut.part(cut.nodes)
        assert part is not None
        shapes.append(intaglio.InferenceSession(part.model).get_inputs()[0].shape)
    assert shapes == [[2, 3], ["n", 3]]


def test_a_fault_that_does_not_show_has_no_part() -> None:
    assert reduce(cutter(), [], lambda part: False, time.monotonic() + 30) is None


def test_a_deadline_ends_the_search() -> None:
    part = reduce(cutter(), [], has("n7"), time.monotonic())
    assert part is not None and len(part.nodes) == len(cutter().nodes)
