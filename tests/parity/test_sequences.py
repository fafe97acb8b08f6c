"""Sequences, optionals and maps: as inputs, outputs, states of loops and results of branches, against onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import NodeProto, TensorProto, TypeProto, helper

import intaglio
from intaglio.compiler.driver import lower_model
from intaglio.compiler.options import Options
from intaglio.runtime.errors import InvalidArgument

from .test_strings import ML, Case, node, one, same, words

FLOAT, INT64, BOOL, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING
DOUBLE = TensorProto.DOUBLE
RNG = np.random.default_rng(0)


def tensor(kind: int, shape: Any = None) -> TypeProto:
    return helper.make_tensor_type_proto(kind, shape)


def sequence(kind: int = FLOAT, shape: Any = None) -> TypeProto:
    return helper.make_sequence_type_proto(tensor(kind, shape))


def floats(*shapes: tuple[int, ...]) -> list[Any]:
    return [RNG.standard_normal(shape).astype(np.float32) for shape in shapes]


def graph(nodes: list[NodeProto], inputs: dict[str, TypeProto], outputs: dict[str, TypeProto]) -> Any:
    return helper.make_graph(
        nodes, "inner", *([helper.make_value_info(n, t) for n, t in values.items()] for values in (inputs, outputs))
    )


def of(nodes: list[NodeProto], items: list[Any], *outputs: str, shape: Any = ("n", 3), **feeds: Any) -> Case:
    """A case of a sequence `s`."""
    kind = STRING if items and items[0].dtype == object else FLOAT
    constants = {name: value for name, value in feeds.items() if name.startswith("c_")}
    feeds = {name: value for name, value in feeds.items() if name not in constants}
    return Case(nodes, {"s": items, **feeds}, constants, outputs or ("y",), {"s": sequence(kind, shape)})


S = floats((2, 3), (1, 3), (4, 3))
TWO = floats((2, 3), (2, 3))
LOOP = {"i": tensor(INT64, []), "g": tensor(BOOL, [])}
CASES: dict[str, Case] = {
    "identity": of([node("Identity", "s")], S),
    "empty": of([node("Identity", "s")], []),
    "length": of([node("SequenceLength", "s")], S),
    "at": of([node("SequenceAt", "s p"), node("Relu", "y", "z")], S, "y", "z", p=np.array(1)),
    "at the end": of([node("SequenceAt", "s c_p"), node("Relu", "y", "z")], S, "y", "z", c_p=np.array(-1)),
    "at, of a constant length": Case(
        [node("SequenceConstruct", "a b", "s"), node("SequenceAt", "s p")],
        {"a": TWO[0], "b": TWO[1], "p": np.array(-2)},
    ),
    "insert": of([node("SequenceInsert", "s x")], S, x=S[0]),
    "insert at": of([node("SequenceInsert", "s x p")], S, x=S[0], p=np.array(1)),
    "insert into a constant length": Case(
        [node("SequenceConstruct", "a", "s"), node("SequenceInsert", "s b p")],
        {"a": TWO[0], "b": TWO[1], "p": np.array(0)},
    ),
    "erase": of([node("SequenceErase", "s")], S),
    "erase at": of([node("SequenceErase", "s p")], S, p=np.array(0)),
    "concat": of([node("ConcatFromSequence", "s", axis=0), node("Neg", "y", "z")], S, "y", "z"),
    "stack": of([node("ConcatFromSequence", "s", axis=-1, new_axis=1)], TWO, shape=(2, 3)),
    "split": one("SplitToSequence", np.arange(12.0).reshape(4, 3), np.array([1, 3]), axis=0),
    "split evenly": one("SplitToSequence", np.arange(12.0).reshape(4, 3), np.array(3), axis=0),
    "split in rows": one("SplitToSequence", np.arange(12.0).reshape(4, 3), axis=0, keepdims=0),
    "strings": of([node("SequenceInsert", "s x", "t"), node("SequenceAt", "t p")], [words(2, 3), words(1, 3)], "y", "t",
                  x=words(2, 3), p=np.array(2)),
    "strings from parts": Case(
        [node("SequenceConstruct", "a b"), node("ConcatFromSequence", "y", "z", axis=0)],
        {"a": words(2, 3), "b": words(1, 3)}, outputs=("y", "z"),
    ),
    "collected in a loop": Case(
        [node("SequenceEmpty", "", "e", dtype=FLOAT),
         node("Loop", "n go e", "y", body=graph(
             [node("Identity", "g", "h"), node("Cast", "i", "f", to=FLOAT), node("Mul", "x f", "m"),
              node("SequenceInsert", "q m", "r")],
             {**LOOP, "q": sequence()}, {"h": tensor(BOOL, []), "r": sequence()})),
         node("ConcatFromSequence", "y", "z", axis=0)],
        {"x": S[0], "n": np.array(4)}, {"go": np.array(True)}, ("y", "z"),
    ),
    "consumed in a loop": of(
        [node("SequenceLength", "s", "n"),
         node("Loop", "n c_go zero", "y", body=graph(
             [node("Identity", "g", "h"), node("SequenceAt", "s i", "m"),
              node("ReduceSum", "m c_axes", "t", keepdims=0), node("Add", "a t", "b")],
             {**LOOP, "a": tensor(FLOAT, [3])}, {"h": tensor(BOOL, []), "b": tensor(FLOAT, [3])}))],
        S, zero=np.zeros(3, np.float32), c_axes=np.array([0]), c_go=np.array(True),
    ),
    "a state that grows": Case(
        [node("Loop", "n go x", "y", body=graph(
            [node("Identity", "g", "h"), node("Concat", "a x", "b", axis=0)],
            {**LOOP, "a": tensor(FLOAT, None)}, {"h": tensor(BOOL, []), "b": tensor(FLOAT, None)}))],
        {"x": S[0], "n": np.array(700)}, {"go": np.array(True)},
    ),
    "rows whose size depends on data": Case(
        [node("ReduceSum", "k", "total", keepdims=0),
         node("Loop", "n go x", "y rows", body=graph(
            [node("Identity", "g", "h"), node("Unsqueeze", "total zero", "end"), node("Slice", "x zero end", "part"),
             node("Add", "a part", "b")],
            {**LOOP, "a": tensor(FLOAT, None)}, {"h": tensor(BOOL, []), "b": tensor(FLOAT, None),
                                                "part": tensor(FLOAT, None)}))],
        {"x": floats((1, 3))[0], "n": np.array(700), "k": np.array([2, -1])},
        {"go": np.array(True), "zero": np.array([0])}, ("y", "rows"),
    ),
    "chosen": of(
        [node("If", "c", "y", then_branch=graph([node("SequenceInsert", "s x", "t")], {}, {"t": sequence()}),
              else_branch=graph([node("SequenceErase", "s", "e")], {}, {"e": sequence()})),
         node("SequenceLength", "y", "z")],
        S, "y", "z", c=np.array(True), x=S[1],
    ),
    "chosen of constant lengths": Case(
        [node("If", "c", "y", then_branch=graph([node("SequenceConstruct", "a b", "t")], {}, {"t": sequence()}),
              else_branch=graph([node("SequenceConstruct", "a", "e")], {}, {"e": sequence()})),
         node("ConcatFromSequence", "y", "z", axis=0)],
        {"a": TWO[0], "b": TWO[1], "c": np.array(False)}, outputs=("y", "z"),
    ),
    "mapped": of(
        [node("SequenceMap", "s x", body=graph(
            [node("Add", "e f", "r")], {"e": tensor(FLOAT, ["n", 3]), "f": tensor(FLOAT, [3])},
            {"r": tensor(FLOAT, ["n", 3])}))],
        S, x=RNG.standard_normal(3).astype(np.float32),
    ),
    "maps of labels": one("ZipMap", RNG.random((4, 3), np.float32), classlabels_strings=["a", "b", "c"], domain=ML),
    "maps of numbers": one("ZipMap", RNG.random(3, np.float32), classlabels_int64s=[7, 8, 9], domain=ML),
}  # fmt: skip


def results(engine: Any, case: Case) -> Any:
    return engine.InferenceSession(case.model()).run(None, case.feeds)


@pytest.mark.parametrize("name", CASES)
def test_sequences(name: str) -> None:
    same(results(intaglio, CASES[name]), results(onnxruntime, CASES[name]))


@pytest.mark.parametrize("name", CASES)
def test_verified(name: str) -> None:
    lower_model(CASES[name].model(), Options(verify=True))


@pytest.mark.parametrize("name", ["at", "collected in a loop", "mapped", "strings"])
def test_compiled_ahead(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    intaglio.ModelCompiler(intaglio.SessionOptions(), case.model()).compile_to_file(str(tmp_path / "m.intaglio"))
    same(intaglio.InferenceSession(str(tmp_path / "m.intaglio")).run(None, case.feeds), results(onnxruntime, case))


def mapping(key: int, value: int) -> TypeProto:
    type = TypeProto()
    type.map_type.key_type = key
    type.map_type.value_type.CopyFrom(tensor(value, []))
    return type


@pytest.mark.parametrize(
    "key, value",
    [(INT64, FLOAT), (INT64, DOUBLE), (INT64, STRING), (STRING, FLOAT), (STRING, INT64), (STRING, DOUBLE)],
)
def test_vectors_of_maps(key: int, value: int) -> None:
    """onnxruntime takes maps to float only from Python."""
    keys: list[Any] = [3, 1, 7] if key == INT64 else ["c", "a", "g"]
    values: list[Any] = {STRING: ["x", "y", "z"], INT64: [1, 2, 3]}.get(value, [1.0, 2.5, 3.0])
    vocabulary: list[Any] = [1, 2, 3] if key == INT64 else ["a", "b", "c"]
    fed = dict(zip(keys, values))
    attrs: Any = {"int64_vocabulary" if key == INT64 else "string_vocabulary": vocabulary}
    case = Case([node("DictVectorizer", "m", domain=ML, **attrs)], {"m": fed}, types={"m": mapping(key, value)})
    (ours,) = results(intaglio, case)
    assert ours.dtype == (object if value == STRING else helper.tensor_dtype_to_np_dtype(value))
    assert ours.tolist() == [[fed.get(k, "" if value == STRING else 0) for k in vocabulary]]
    if value == FLOAT:
        same([ours], results(onnxruntime, case))


@pytest.mark.parametrize("form", [{}, {"map_form": "SPARSE", "max_map": 9}], ids=["dense", "sparse"])
@pytest.mark.parametrize("to", ["TO_FLOAT", "TO_INT64", "TO_STRING"])
def test_maps_become_tensors(form: dict[str, Any], to: str) -> None:
    fed = {3: 1.5, 1: 2.0, 7: 0.25}
    case = Case([node("CastMap", "m", domain=ML, cast_to=to, **form)], {"m": fed}, types={"m": mapping(INT64, FLOAT)})
    same(results(intaglio, case), results(onnxruntime, case))


def test_maps_to_strings_become_tensors() -> None:
    """onnxruntime does not take them from Python."""
    fed, types = {3: "1", 1: "2.5"}, {"m": mapping(INT64, STRING)}
    for to, wanted in (("TO_FLOAT", [[2.5, 1.0]]), ("TO_INT64", [[2, 1]]), ("TO_STRING", [["2.5", "1"]])):
        case = Case([node("CastMap", "m", domain=ML, cast_to=to)], {"m": fed}, types=types)
        assert results(intaglio, case)[0].tolist() == wanted


OPTIONALS: dict[str, tuple[TypeProto, list[Any]]] = {
    "tensor": (tensor(FLOAT, [2, 3]), [TWO[0], None]),
    "sequence": (sequence(FLOAT, [2, 3]), [TWO, None]),
}


@pytest.mark.parametrize("kind", OPTIONALS)
def test_optionals(kind: str) -> None:
    element, feeds = OPTIONALS[kind]
    nodes = [
        node("OptionalHasElement", "o", "has"),
        node("If", "has", "y",
             then_branch=graph([node("OptionalGetElement", "o", "t")], {}, {"t": element}),
             else_branch=graph([node("Identity", "other", "e")], {}, {"e": element})),
    ]  # fmt: skip
    other = TWO if kind == "sequence" else TWO[1]
    types = {"o": helper.make_optional_type_proto(element), "other": element}
    for fed in feeds:
        same(results(intaglio, Case(nodes, {"o": fed, "other": other}, {}, ("y", "has"), types)),
             results(onnxruntime, Case(nodes, {"o": fed, "other": other}, {}, ("y", "has"), types)))  # fmt: skip


def test_names_may_have_any_character() -> None:
    case = Case([helper.make_node("SequenceConstruct", ["a", "b"], ["s\x1f0"])], {"a": TWO[0], "b": TWO[1]})
    case.outputs = ["s\x1f0"]
    same(results(intaglio, case), [TWO])


@pytest.mark.parametrize(
    "fed, actual",
    [(TWO[0], "tensor(float)"), ([TWO[0].astype(np.float64)], "tensor(double)"), ({1: 2.0}, "map"), (3, "int")],
    ids=["a tensor", "other elements", "a map", "a number"],
)
def test_what_is_no_sequence(fed: Any, actual: str) -> None:
    session = intaglio.InferenceSession(CASES["identity"].model())
    with pytest.raises(InvalidArgument, match="Unexpected input data type") as caught:
        session.run(None, {"s": fed})
    assert actual in str(caught.value)


def test_positions_outside() -> None:
    for engine in (intaglio, onnxruntime):
        with pytest.raises(Exception, match=r"Invalid sequence index \(3\) specified for sequence of size \(3\)"):
            engine.InferenceSession(CASES["at"].model()).run(None, {"s": S, "p": np.array(3)})


def test_binding_and_values() -> None:
    """Sequences by OrtValues, and outputs that are bound."""
    session = intaglio.InferenceSession(CASES["insert"].model())
    feeds = CASES["insert"].feeds
    feeds = CASES["insert"].feeds
    fed = {"x": intaglio.OrtValue.ortvalue_from_numpy(feeds["x"]), "s": intaglio.OrtValue.of(S)}
    (value,) = session.run_with_ort_values(None, fed)
    assert value.is_tensor_sequence() and value.data_type() == "seq(tensor(float))"
    same(session.run(None, {**feeds, "s": value})[0][:-1], session.run(None, feeds)[0])
    binding = session.io_binding()
    for name, each in fed.items():
        binding.bind_ortvalue_input(name, each)
    binding.bind_output("y")
    session.run_with_iobinding(binding)
    assert binding.get_outputs()[0].is_tensor_sequence()
    types = [(x.name, x.type, x.shape) for x in session.get_inputs()]
    theirs = onnxruntime.InferenceSession(CASES["insert"].model())
    assert types == [(x.name, x.type, x.shape) for x in theirs.get_inputs()]
    assert [x.type for x in session.get_outputs()] == [x.type for x in theirs.get_outputs()]
