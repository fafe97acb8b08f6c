"""Tree ensembles of all forms: what we make of them, in C, against a walk of each row, and against onnxruntime."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import onnx
import pytest
from forests import COMPARE, MODES, Form, listed, split, walked
from onnx import helper, numpy_helper

import intaglio
from intaglio.compiler.frontend.importer import import_model
from intaglio.compiler.frontend.load import load_model
from intaglio.compiler.graph import interp

ort = pytest.importorskip("onnxruntime")
Array = np.ndarray[Any, Any]
ALL = tuple(COMPARE)
FORMS = {
    "one node": Form(trees=1, depth=1),
    "leaves alone": Form(trees=3, depth=0),
    "one tree": Form(trees=1, depth=9),
    "many small trees": Form(trees=700, depth=2),
    "unbalanced": Form(trees=3, depth=24, deep=0.45),
    "less": Form(modes=["BRANCH_LT"], missing=0.5),
    "greater": Form(modes=["BRANCH_GT"], missing=0.5),
    "greater or equal": Form(modes=["BRANCH_GTE"], missing=0.5),
    "equal": Form(modes=["BRANCH_EQ"], missing=0.5),
    "not equal": Form(modes=["BRANCH_NEQ"], missing=0.5),
    "values among limits": Form(trees=20, modes=["BRANCH_LEQ", "BRANCH_EQ"], missing=0.3),
    "all modes": Form(trees=20, modes=ALL, missing=0.3, targets=3),
    "chains": Form(trees=20, depth=3, chains=0.6, missing=0.3),
    "targets that differ": Form(trees=20, targets=7),
    "all targets": Form(trees=9, targets=3, weights=[3]),
    "some targets": Form(trees=9, targets=5, weights=[1, 2, 5]),
    "no weights": Form(trees=4, targets=3, weights=[0, 1]),
    "many features": Form(trees=4, features=3000),
    "many targets": Form(trees=30, targets=70_000),
}


def model(op: str, attrs: dict[str, Any], dtype: Any, features: int, outputs: int = 1) -> bytes:
    """A model of one node, of a symbolic number of rows."""
    made = {name: numpy_helper.from_array(v) if isinstance(v, np.ndarray) else v for name, v in attrs.items()}
    node = helper.make_node(op, ["x"], [f"y{i}" for i in range(outputs)], "node", domain="ai.onnx.ml", **made)
    x = helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), ["rows", features])
    graph = helper.make_graph([node], "g", [x], [onnx.ValueInfoProto(name=name) for name in node.output])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 5 if op == "TreeEnsemble" else 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


def by_onnxruntime(data: bytes, x: Array) -> Array:
    return ort.InferenceSession(data).run(None, {"x": x})[0]  # type: ignore[no-any-return]


def close(made: Array, wanted: Array, tolerance: float = 1e-6) -> None:
    np.testing.assert_allclose(made, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.sample(9)
@pytest.mark.parametrize("name", FORMS)
def test_a_regressor_means_its_walk(name: str) -> None:
    form, rng = FORMS[name], random.Random(0)
    forest, x = form.forest(rng), form.rows(rng, 19)
    tidy, data = (
        model("TreeEnsembleRegressor", lists | {"n_targets": form.targets}, np.float32, form.features)
        for lists in (listed(forest, "target"), listed(forest, "target", rng))
    )
    wanted = walked(forest, x, form.targets)
    close(by_onnxruntime(tidy, x), wanted, 1e-4)  # which wants roots to be first, and sums in f32
    session = intaglio.InferenceSession(data)
    (made,) = session.run(None, {"x": x})
    assert made.dtype == np.float32
    close(made, wanted)
    for count in (0, 1, 3):
        close(session.run(None, {"x": x[:count]})[0], wanted[:count])
    close(interp.evaluate(import_model(load_model(data)), [x])[0], wanted)


@pytest.mark.parametrize("kind", ["AVERAGE", "MIN", "MAX"])
@pytest.mark.parametrize("form", [Form(trees=8), Form(trees=8, targets=3, weights=[1, 2])], ids=["one", "three"])
def test_what_leaves_are_combined_to(kind: str, form: Form) -> None:
    rng = random.Random(0)
    forest, x = form.forest(rng), form.rows(rng, 33)
    attrs = listed(forest, "target") | {"n_targets": form.targets, "aggregate_function": kind}
    data = model("TreeEnsembleRegressor", attrs, np.float32, form.features)
    wanted = walked(forest, x, form.targets, kind)
    close(by_onnxruntime(data, x), wanted, 1e-5)
    close(intaglio.InferenceSession(data).run(None, {"x": x})[0], wanted)


def test_weights_of_one_leaf_for_one_target_count_all() -> None:
    form, rng = Form(trees=6, targets=2, weights=[1, 3, 4], again=True), random.Random(0)
    forest, x = form.forest(rng), form.rows(rng, 9)
    data = model("TreeEnsembleRegressor", listed(forest, "target") | {"n_targets": 2}, np.float32, 4)
    close(intaglio.InferenceSession(data).run(None, {"x": x})[0], walked(forest, x, 2))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["AVERAGE", "SUM", "MIN", "MAX"])
def test_the_newer_form_with_sets(kind: str, dtype: Any) -> None:
    form, rng = Form(trees=9, depth=4, modes=MODES, targets=2, missing=0.3), random.Random(0)
    forest, x = form.forest(rng), form.rows(rng, 40, dtype)
    attrs = split(forest, dtype) | {
        "n_targets": 2, "aggregate_function": ["AVERAGE", "SUM", "MIN", "MAX"].index(kind)
    }  # fmt: skip
    data = model("TreeEnsemble", attrs, dtype, form.features)
    wanted = walked(forest, x, 2, kind)
    close(by_onnxruntime(data, x), wanted, 1e-5)
    (made,) = intaglio.InferenceSession(data).run(None, {"x": x})
    assert made.dtype == dtype
    close(made, wanted)


def test_half_precision() -> None:
    form, rng = Form(trees=9, modes=MODES, missing=0.3), random.Random(0)
    forest, x = form.forest(rng), form.rows(rng, 40, np.float16)
    data = model("TreeEnsemble", split(forest, np.float16) | {"n_targets": 1}, np.float16, form.features)
    (made,) = intaglio.InferenceSession(data).run(None, {"x": x})
    assert made.dtype == np.float16
    np.testing.assert_allclose(made, walked(forest, x, 1), rtol=2e-3, atol=1e-2)


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.int32])
def test_other_types_of_rows(dtype: Any) -> None:
    form, rng = Form(trees=9, modes=ALL, targets=3, weights=[3]), random.Random(0)
    forest, x = form.forest(rng), form.rows(rng, 40, dtype)
    attrs = listed(forest, "class") | {"classlabels_int64s": [3, 4, 6]}
    data = model("TreeEnsembleClassifier", attrs, dtype, form.features, outputs=2)
    session = intaglio.InferenceSession(data)
    for made, wanted in zip(session.run(None, {"x": x}), ort.InferenceSession(data).run(None, {"x": x})):
        assert made.dtype == wanted.dtype
        np.testing.assert_allclose(made, wanted, rtol=1e-6, atol=1e-6)


def test_sums_are_those_of_f64_and_the_same_for_any_number_of_threads() -> None:
    """Also where a row is shared out, as there are so many trees."""
    form, rng = Form(trees=9000, depth=3), random.Random(0)
    forest, x = form.forest(rng), form.rows(rng, 5)
    data = model("TreeEnsembleRegressor", listed(forest, "target") | {"n_targets": 1}, np.float32, form.features)
    made = []
    for threads in (1, 2, 4):
        options = intaglio.SessionOptions()
        options.intra_op_num_threads = threads
        made.append(intaglio.InferenceSession(data, options).run(None, {"x": x})[0])
    assert made[0].tobytes() == made[1].tobytes() == made[2].tobytes()
    for tree in forest:
        for node in tree:
            node.weights = [(target, float(np.float32(weight))) for target, weight in node.weights]
    np.testing.assert_array_equal(made[0], walked(forest, x, 1).astype(np.float32))
