"""Random inputs make sense to the model: indices lie in their tables, masks and positions are such, sizes fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, ValueInfoProto, helper, numpy_helper

import intaglio
from intaglio.compiler.frontend.importer import import_model
from intaglio.compiler.frontend.load import load_model
from intaglio.compiler.graph.ir import Graph
from intaglio.compiler.inputs import fitting_inputs, ranges_of

I32, I64, F32 = TensorProto.INT32, TensorProto.INT64, TensorProto.FLOAT


def model(nodes: Sequence[Any], inputs: Mapping[str, tuple[int, list[Any]]], **constants: Any) -> bytes:
    infos = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()]
    weights = [numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items()]
    outputs = [ValueInfoProto(name=name) for name in nodes[-1].output]
    graph = helper.make_graph(nodes, "g", infos, outputs, weights)
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    )


def imported(proto: bytes) -> Graph:
    return import_model(load_model(proto))


def fed(proto: bytes, **options: Any) -> dict[str, Any]:
    """Inputs that were made up, and taken."""
    session = intaglio.InferenceSession(proto)
    feeds = fitting_inputs(imported(proto), session.get_inputs(), options.pop("dims", {}), **options)
    session.run(None, feeds)
    return feeds


def table(rows: int) -> Any:
    return np.zeros((rows, 4), np.float32)


def test_indices_lie_in_their_table() -> None:
    node = helper.make_node("Gather", ["table", "ids"], ["y"])
    ids = fed(model([node], {"ids": (I64, ["n", "m"])}, table=table(9)), dims={"n": 50, "m": 9})["ids"]
    assert (ids.min(), ids.max()) == (0, 8)


def test_of_two_tables_the_smaller_one_counts_and_casts_and_offsets_are_seen_through() -> None:
    proto = model(
        [
            helper.make_node("Cast", ["ids"], ["wide"], to=I64),
            helper.make_node("Add", ["wide", "two"], ["moved"]),
            helper.make_node("Gather", ["large", "moved"], ["a"]),
            helper.make_node("Reshape", ["wide", "shape"], ["flat"]),
            helper.make_node("Gather", ["small", "flat"], ["b"]),
            helper.make_node("Add", ["a", "b"], ["y"]),
        ],
        {"ids": (I32, [60])}, two=np.int64(2), shape=np.array([-1]), large=table(30), small=table(7),
    )  # fmt: skip
    assert ranges_of(imported(proto), {}) == {"ids": (0, 7)}
    assert set(fed(proto)["ids"]) == set(range(7))


def test_a_table_whose_size_is_symbolic() -> None:
    node = helper.make_node("Gather", ["x", "ids"], ["y"])
    proto = model([node], {"x": (F32, ["rows", 2]), "ids": (I64, [40])})
    assert fed(proto, dims={"rows": 6})["ids"].max() == 5


def test_a_mask_is_padding_and_positions_count_up() -> None:
    proto = model(
        [
            helper.make_node("Gather", ["table", "position_ids"], ["a"]),
            helper.make_node("Cast", ["attention_mask"], ["m"], to=F32),
            helper.make_node("Unsqueeze", ["m", "last"], ["column"]),
            helper.make_node("Mul", ["a", "column"], ["y"]),
        ],
        {"position_ids": (I64, ["b", "s"]), "attention_mask": (I64, ["b", "s"])}, table=table(6), last=np.array([-1]),
    )  # fmt: skip
    feeds = fed(proto, dims={"b": 20, "s": 8})
    assert feeds["position_ids"].tolist() == [[0, 1, 2, 3, 4, 5, 5, 5]] * 20
    mask = feeds["attention_mask"]
    assert (mask[:, 0] == 1).all() and (np.diff(mask) <= 0).all() and 0 < mask.mean() < 1


def test_lengths_are_no_longer_than_the_sequence() -> None:
    weights = {"w": np.zeros((1, 3, 2), np.float32), "r": np.zeros((1, 3, 3), np.float32)}
    node = helper.make_node("RNN", ["x", "w", "r", "", "lengths"], ["y"], hidden_size=3)
    feeds = fed(model([node], {"x": (F32, [4, 50, 2]), "lengths": (I32, [50])}, **weights))
    assert (feeds["lengths"].min(), feeds["lengths"].max()) == (1, 4)


def test_sizes_fit_each_other_and_what_is_given() -> None:
    nodes = [helper.make_node("Concat", ["a", "b"], ["c"], axis=0), helper.make_node("Add", ["c", "d"], ["y"])]
    proto = model(nodes, {"a": (F32, ["n"]), "b": (F32, ["m"]), "d": (F32, ["k"])})
    feeds = fed(proto, given={"d": np.zeros(7, np.float32)})
    assert len(feeds["a"]) + len(feeds["b"]) == 7 == len(feeds["d"])
    convolution = helper.make_node("Conv", ["x", "w"], ["y"])
    shape = fed(model([convolution], {"x": (F32, [1, 1, "h", "w"])}, w=np.ones((1, 1, 9, 9), np.float32)))["x"].shape
    assert min(shape[2:]) >= 9


def test_metadata_has_the_last_word() -> None:
    node = helper.make_node("Gather", ["table", "ids"], ["y"])
    proto = model([node], {"ids": (I64, [50])}, table=table(9))
    session = intaglio.InferenceSession(proto)
    feeds = fitting_inputs(imported(proto), session.get_inputs(), {}, {"range.ids": "3:5"})
    assert set(feeds["ids"]) == {3, 4}
