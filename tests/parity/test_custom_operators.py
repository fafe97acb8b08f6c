"""Operators that are Python functions; onnxruntime has no such thing, but models with them are its as well."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import intaglio
from intaglio.runtime.errors import Fail, InvalidArgument, NotImplemented

Array = np.ndarray[Any, Any]
DOMAIN = "my.domain"


def most_common(words: Array, *, least: int) -> tuple[Array, Array]:
    """The words that occur at least so many times, and how many times."""
    counts = [(word, n) for word, n in Counter(words.reshape(-1).tolist()).most_common() if n >= least]
    return np.array([word for word, _ in counts], object), np.array([n for _, n in counts], np.int64)


def options(**functions: Any) -> intaglio.SessionOptions:
    made = intaglio.SessionOptions()
    outputs = [("tensor(string)", 1), ("tensor(int64)", 1)]
    made.register_custom_op(
        DOMAIN, "MostCommon", functions.get("function", most_common), functions.get("outputs", outputs)
    )
    return made


def model() -> bytes:
    nodes = [
        helper.make_node("MostCommon", ["words"], ["common", "counts"], "the node", domain=DOMAIN, least=2),
        helper.make_node("Cast", ["counts"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["real", "factor"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("words", TensorProto.STRING, ["n", "m"]),
         helper.make_tensor_value_info("factor", TensorProto.FLOAT, [])],
        [helper.make_tensor_value_info("common", TensorProto.STRING, ["k"]),
         helper.make_tensor_value_info("y", TensorProto.FLOAT, ["k"])],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


FEED = {"words": np.array([["a", "b"], ["a", "c"], ["b", "a"]], object), "factor": np.array(0.5, np.float32)}


def check(session: intaglio.InferenceSession) -> None:
    common, y = session.run(None, FEED)
    assert common.tolist() == ["a", "b"] and y.tolist() == [1.5, 1.0]


def test_within_a_model(tmp_path: Path) -> None:
    check(intaglio.InferenceSession(model(), options()))
    intaglio.ModelCompiler(options(), model()).compile_to_file(str(tmp_path / "m.intaglio"))
    check(intaglio.InferenceSession(str(tmp_path / "m.intaglio"), options()))
    with pytest.raises(NotImplemented, match=r"not registered \(register_custom_op\): my.domain::MostCommon"):
        intaglio.InferenceSession(str(tmp_path / "m.intaglio"))


def test_another_function_is_another_result() -> None:
    """Of the same compiled model."""
    other = options(function=lambda words, least: (np.array(["x"], object), np.array([4])))
    assert intaglio.InferenceSession(model(), other).run(["y"], FEED)[0].tolist() == [2.0]
    check(intaglio.InferenceSession(model(), options()))


@pytest.mark.parametrize(
    "returned, text",
    [
        ((np.array(["x"], object), np.array([4.0])), "a result of float64, where int64 is needed"),
        ((np.array([["x"]], object), np.array([4])), "a result of the shape"),
    ],
    ids=["another type", "another rank"],
)
def test_results_that_were_not_promised(returned: Any, text: str) -> None:
    session = intaglio.InferenceSession(model(), options(function=lambda words, least: returned))
    with pytest.raises(Fail, match=text):
        session.run(None, FEED)


def test_an_exception_of_the_function() -> None:
    def wrong(words: Array, least: int) -> Any:
        raise KeyError("of the user")

    with pytest.raises(KeyError, match="of the user"):
        intaglio.InferenceSession(model(), options(function=wrong)).run(None, FEED)


def test_what_no_operator_returns() -> None:
    for outputs in ([("float", 1)], [("seq(tensor(float))", 1)], [("tensor(float)", -1)]):
        with pytest.raises(InvalidArgument, match="no tensor that an operator can return"):
            options(outputs=outputs)
