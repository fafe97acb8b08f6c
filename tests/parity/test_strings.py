"""Strings, in every operator that takes them, against onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx.defs
import onnxruntime
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

import intaglio
from intaglio.compiler.cli.main import main
from intaglio.runtime.errors import Fail, NotImplemented

Array = np.ndarray[Any, Any]
WORDS = ["", "a", "b", "ab", "Ab", "grün", "naïve é", "日本", "two words", "  spaced ", "1.5", "-3", "zz", "\U0001f600"]
ML, MS = "ai.onnx.ml", "com.microsoft"


def words(*shape: int, seed: int = 0, of: Sequence[str] = WORDS) -> Array:
    return np.random.default_rng(seed).choice(np.array(of, object), shape)


def constant(name: str, value: Any) -> onnx.TensorProto:
    array = np.asarray(value)
    if array.dtype.kind in "OU":
        return helper.make_tensor(name, TensorProto.STRING, array.shape, [str(x) for x in array.reshape(-1)])
    return numpy_helper.from_array(array, name)


@dataclass
class Case:
    """Nodes that make y (and others) of the fed inputs; `named`: inputs of which all axes have names."""

    nodes: list[NodeProto]
    feeds: dict[str, Any]
    constants: dict[str, Any] = field(default_factory=dict)
    outputs: Sequence[str] = ("y",)
    types: dict[str, onnx.TypeProto] = field(default_factory=dict)

    def model(self, named: bool = False) -> bytes:
        inputs = []
        for name, value in self.feeds.items():
            if name in self.types:
                inputs.append(helper.make_value_info(name, self.types[name]))
                continue
            kind = TensorProto.STRING if value.dtype.kind in "OU" else helper.np_dtype_to_tensor_dtype(value.dtype)
            strings = kind == TensorProto.STRING
            shape = [f"{name}{i}" if named and strings and n != 1 else n for i, n in enumerate(value.shape)]
            inputs.append(helper.make_tensor_value_info(name, kind, shape))
        outputs = [onnx.ValueInfoProto(name=name) for name in self.outputs]
        graph = helper.make_graph(
            self.nodes, "g", inputs, outputs, [constant(name, value) for name, value in self.constants.items()]
        )
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid(ML, 3), helper.make_opsetid(MS, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


def node(op: str, inputs: str, outputs: str = "y", **attrs: Any) -> NodeProto:
    return helper.make_node(op, inputs.split(), outputs.split(), **attrs)


def one(op: str, *fed: Array, outputs: str = "y", constants: dict[str, Any] | None = None, **attrs: Any) -> Case:
    """One node of what is fed, then constants."""
    feeds = {f"x{i}": value for i, value in enumerate(fed)}
    constants = constants or {}
    inputs = " ".join([*feeds, *constants])
    return Case([node(op, inputs, outputs, **attrs)], feeds, constants, outputs.split())


X = words(3, 4)
LABELS = ["no", "yes", "maybe"]
CASES: dict[str, Case] = {
    "Cast": one("Cast", words(5, of=["1", "-2", "3.5", "1e3", "inf"]), to=TensorProto.FLOAT),
    "Cast of integers": one("Cast", words(5, of=["1", "-2", "12345678901"]), to=TensorProto.INT64),
    "Cast to strings": one("Cast", np.array([1.5, -0.1, 3, 1e20, np.nan, np.inf], np.float32), to=TensorProto.STRING),
    "Cast of i64": one("Cast", np.array([[1, -5, 1 << 40]]), to=TensorProto.STRING),
    "Cast of f64": one("Cast", np.array([0.1, 1 / 3, 1e300]), to=TensorProto.STRING),
    "Compress": one("Compress", X, constants={"c": np.array([True, False, True])}, axis=0),
    "Concat": one("Concat", X, words(2, 4, seed=1), constants={"c": words(1, 4, seed=2)}, axis=0),
    "Constant": Case(
        [node("Constant", "", "c", value_strings=["a", "ab", "grün", "no"]), node("Equal", "x c")], {"x": X}
    ),
    "Equal": one("Equal", X, words(3, 4, seed=1)),
    "Equal to a constant": one("Equal", X, constants={"c": np.array(["ab", "nowhere", "", "zz"])}),
    "Expand": one("Expand", words(3, 1), constants={"s": np.array([2, 3, 4])}),
    "Flatten": one("Flatten", words(2, 3, 2), axis=2),
    "Gather": one("Gather", X, np.array([[2, -1], [0, 0]]), axis=1),
    "GatherElements": one("GatherElements", X, np.array([[0, 1, 2, 0]]), axis=0),
    "GatherND": one("GatherND", X, np.array([[0, 1], [2, 3]])),
    "Identity": one("Identity", X),
    "Reshape": one("Reshape", X, constants={"s": np.array([2, -1])}),
    "ScatterElements": one("ScatterElements", X, np.array([[1, 0, 2, 2]]), words(1, 4, seed=3), axis=0),
    "Scatter": one("ScatterElements", X, np.array([[1], [0], [2]]), words(3, 1, seed=3), axis=1),
    "ScatterND": one("ScatterND", X, np.array([[1], [0]]), words(2, 4, seed=3)),
    "Shape": one("Shape", X),
    "Size": one("Size", X),
    "Slice": one("Slice", X, constants={"b": np.array([2, 0]), "e": np.array([-9, 3]), "a": np.array([0, 1]),
                                        "t": np.array([-1, 2])}),
    "Split": one("Split", X, constants={"s": np.array([1, 3])}, axis=1, outputs="y z"),
    "Squeeze": one("Squeeze", words(1, 3, 1), constants={"a": np.array([0])}),
    "StringConcat": one("StringConcat", X, words(4, seed=1)),
    "StringSplit": one("StringSplit", words(2, 3), outputs="y z"),
    "StringSplit by a letter": one("StringSplit", words(9), outputs="y z", delimiter="a", maxsplit=1),
    "RegexFullMatch": one("RegexFullMatch", words(9), pattern=r"[a-z]+|\d\.\d"),
    "StringNormalizer": one(
        "StringNormalizer", words(9), case_change_action="UPPER", locale="C", stopwords=["A", "zz"]
    ),
    "StringNormalizer of a row": one(
        "StringNormalizer", words(1, 9), case_change_action="LOWER", is_case_sensitive=1, stopwords=["Ab"], locale="C"
    ),
    "StringNormalizer of stop words": one(
        "StringNormalizer", words(3, of=["a"]), stopwords=["a"], is_case_sensitive=1, locale="C"
    ),
    "TfIdfVectorizer": one(
        "TfIdfVectorizer", words(2, 9, of=["a", "b", "ab", "other"]), mode="TFIDF", min_gram_length=1,
        max_gram_length=2,
        max_skip_count=1, ngram_counts=[0, 2], ngram_indexes=[0, 2, 1], pool_strings=["a", "b", "a", "ab"],
        weights=[1.0, 0.5, 2.0],
    ),
    "Tile": one("Tile", X, constants={"r": np.array([2, 3])}),
    "Transpose": one("Transpose", X, perm=[1, 0]),
    "Unique": one("Unique", words(20), outputs="y i v c"),
    "Unique in order": one("Unique", words(20), outputs="y i v c", sorted=0),
    "Unsqueeze": one("Unsqueeze", X, constants={"a": np.array([0, -1])}),
    "Where": one("Where", np.array([[True], [False], [True]]), X, words(4, seed=1)),
    "Loop": Case(
        [node("Loop", "n go x", "y", body=helper.make_graph(
            [node("Identity", "g", "h"), node("StringConcat", "s x", "t")], "body",
            [helper.make_tensor_value_info("i", TensorProto.INT64, []),
             helper.make_tensor_value_info("g", TensorProto.BOOL, []),
             helper.make_tensor_value_info("s", TensorProto.STRING, [3, 4])],
            [helper.make_tensor_value_info("h", TensorProto.BOOL, []),
             helper.make_tensor_value_info("t", TensorProto.STRING, [3, 4])]))],
        {"x": X, "n": np.array(3)}, {"go": np.array(True)},
    ),
    "If": Case(
        [node("If", "c", "y",
              then_branch=helper.make_graph([node("Identity", "x", "t")], "then", [],
                                            [helper.make_tensor_value_info("t", TensorProto.STRING, None)]),
              else_branch=helper.make_graph([node("StringConcat", "x x", "e")], "else", [],
                                            [helper.make_tensor_value_info("e", TensorProto.STRING, None)]))],
        {"c": np.array(False), "x": X},
    ),
    "ArrayFeatureExtractor": one("ArrayFeatureExtractor", X, np.array([[3, 0]]), domain=ML),
    "CategoryMapper": one("CategoryMapper", X, cats_int64s=[5, 7], cats_strings=["a", "ab"], domain=ML),
    "CategoryMapper of numbers": one("CategoryMapper", np.array([5, 6, 7]), cats_int64s=[5, 7],
                                     cats_strings=["a", "ab"], default_string="?", domain=ML),
    "LabelEncoder to numbers": one("LabelEncoder", X, keys_strings=["a", "zz", "grün"], values_int64s=[4, 5, 6],
                                   domain=ML),
    "LabelEncoder to floats": one("LabelEncoder", X, keys_strings=["a", "zz"], values_floats=[0.5, -1.0],
                                  default_float=9.0, domain=ML),
    "LabelEncoder": one("LabelEncoder", X, keys_strings=["a", "zz"], values_strings=["b", ""], default_string="?",
                        domain=ML),
    "LabelEncoder of numbers": one("LabelEncoder", np.array([[3, 1], [2, 9]]), keys_int64s=[1, 2, 3],
                                   values_strings=["one", "two", "three"], domain=ML),
    "OneHotEncoder": one("OneHotEncoder", X, cats_strings=["a", "b", ""], domain=ML),
    "LinearClassifier": one(
        "LinearClassifier", np.random.default_rng(0).standard_normal((6, 2), np.float32), outputs="y z", domain=ML,
        coefficients=[1.0, 0, 0, 1, -1, -1], intercepts=[0.0, 0.1, 0.2], classlabels_strings=LABELS,
    ),
    "LinearClassifier of two": one(
        "LinearClassifier", np.random.default_rng(0).standard_normal((6, 2), np.float32), outputs="y z", domain=ML,
        coefficients=[1.0, 2.0], intercepts=[0.0], classlabels_strings=LABELS[:2],
    ),
    "SVMClassifier": one(
        "SVMClassifier", np.random.default_rng(0).standard_normal((6, 2), np.float32), outputs="y z", domain=ML,
        coefficients=[1.0, -1.0], kernel_params=[0.5, 0.0, 3.0], kernel_type="RBF", rho=[0.1],
        support_vectors=[0.0, 1.0, 1.0, 0.0], vectors_per_class=[1, 1], classlabels_strings=LABELS[:2],
    ),
    "TreeEnsembleClassifier": one(
        "TreeEnsembleClassifier", np.random.default_rng(0).standard_normal((6, 2), np.float32), outputs="y z",
        domain=ML, class_ids=[0, 1, 2], class_nodeids=[1, 3, 4], class_treeids=[0, 0, 0], class_weights=[1.0, 1, 1],
        classlabels_strings=LABELS, nodes_falsenodeids=[2, 0, 4, 0, 0], nodes_featureids=[0, 0, 1, 0, 0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "BRANCH_LEQ", "LEAF", "LEAF"], nodes_nodeids=[0, 1, 2, 3, 4],
        nodes_treeids=[0] * 5, nodes_truenodeids=[1, 0, 3, 0, 0], nodes_values=[0.0, 0, 0.5, 0, 0],
    ),
    "ReverseSequence": one("ReverseSequence", words(4, 3), np.array([1, 2, 4]), time_axis=0, batch_axis=1),
    "DepthToSpace": one("DepthToSpace", words(1, 4, 2, 2), blocksize=2),
    "SpaceToDepth": one("SpaceToDepth", words(1, 1, 4, 4), blocksize=2),
    "Tokenizer": one("Tokenizer", words(2, 3), domain=MS, mark=0, mincharnum=1, pad_value="?", separators=[" ", "a"]),
    "Tokenizer of characters": one(
        "Tokenizer", words(4), domain=MS, mark=1, mincharnum=1, pad_value="", separators=[""]
    ),
    "Tokenizer of patterns": one(
        "Tokenizer", words(4), domain=MS, mark=1, mincharnum=2, pad_value="", tokenexp="[a-z]+"
    ),
    "MurmurHash3": one("MurmurHash3", words(3, 4), domain=MS, seed=42),
    "NonZero": one("NonZero", X),
    "OneHot": one("OneHot", np.array([0, 2]), constants={"d": np.array(3), "v": np.array(["off", "on"])}),
    "Pad": one("Pad", X, constants={"p": np.array([1, 0, 0, 2]), "v": np.array("fill")}),
    "Trilu": one("Trilu", X),
    "Scan": Case([node("Scan", "x", "y", num_scan_inputs=1, body=helper.make_graph(
        [node("StringConcat", "e e", "f")], "body", [helper.make_tensor_value_info("e", TensorProto.STRING, [4])],
        [helper.make_tensor_value_info("f", TensorProto.STRING, [4])]))], {"x": X}),
}  # fmt: skip
# Operators of sequences, optionals and maps are in test_sequences.py; others, by their reasons.
ELSEWHERE = {
    "ConcatFromSequence", "Optional", "OptionalGetElement", "OptionalHasElement", "SequenceAt", "SequenceConstruct",
    "SequenceErase", "SequenceInsert", "SequenceMap", "SplitToSequence", "CastMap", "DictVectorizer",
}  # fmt: skip
NO_KERNEL = {  # nor has onnxruntime one for strings
    "CenterCropPad", "Col2Im", "GridSample", "RandomNormalLike", "RandomUniformLike", "Resize", "TensorScatter",
    "Upsample", "CastLike",
}  # fmt: skip


def same(ours: Any, theirs: Any) -> None:
    assert type(ours) is type(theirs)
    if isinstance(theirs, (list, dict)):
        assert len(ours) == len(theirs)
        pairs = zip(ours, theirs) if isinstance(theirs, list) else ((ours[key], theirs[key]) for key in theirs)
        for a, b in pairs:
            same(a, b)
    elif isinstance(theirs, np.ndarray):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        if theirs.dtype == object:
            assert ours.tolist() == theirs.tolist()
        else:
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    else:
        assert ours == theirs


def compare(case: Case, named: bool) -> None:
    """Where onnxruntime has no kernel for strings, the result is that of the numbers of the strings."""
    model = case.model(named)
    ours = intaglio.InferenceSession(model).run(None, case.feeds)
    try:
        theirs = onnxruntime.InferenceSession(model).run(None, case.feeds)
    except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented:
        theirs = by_numbers(case)
    same(ours, theirs)


def by_numbers(case: Case) -> list[Any]:
    """The results of onnxruntime for a number in the place of each string."""
    known: list[str] = [""]

    def number(value: Any) -> Any:
        if value.dtype.kind not in "OU":
            return value
        known.extend(sorted({str(x) for x in value.reshape(-1)} - {*known}))
        return np.array([known.index(str(x)) for x in value.reshape(-1)], np.float32).reshape(value.shape)

    feeds, constants = ({name: number(np.asarray(v)) for name, v in d.items()} for d in (case.feeds, case.constants))
    model = Case(case.nodes, feeds, constants, case.outputs).model()
    results = onnxruntime.InferenceSession(model).run(None, feeds)
    return [np.array(known, object)[y.astype(np.int64)] if y.dtype == np.float32 else y for y in results]


@pytest.mark.sample(65)
@pytest.mark.parametrize("named", [False, True], ids=["fixed", "named"])
@pytest.mark.parametrize("name", CASES)
def test_operators(name: str, named: bool) -> None:
    compare(CASES[name], named)


def test_every_operator_is_here() -> None:
    """All operators of ONNX whose inputs or outputs may be strings."""
    newest: dict[tuple[str, str], Any] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        key = schema.domain, schema.name
        if schema.domain in ("", ML) and (key not in newest or newest[key].since_version < schema.since_version):
            newest[key] = schema
    taking = {
        name for (_, name), schema in newest.items()
        if any("tensor(string)" in formal.types for formal in (*schema.inputs, *schema.outputs))
    }  # fmt: skip
    tested = {n.op_type for case in CASES.values() for n in case.nodes} | {"Scatter"}
    assert taking - tested - ELSEWHERE - NO_KERNEL == set()


def tokenizer() -> Case:
    """What a model for texts begins with: normalised words, their numbers, vectors, a product."""
    rng = np.random.default_rng(0)
    vocabulary = ["good", "bad", "day", "a"]
    nodes = [
        node("StringNormalizer", "text", "lower", case_change_action="LOWER", stopwords=["the"], is_case_sensitive=0,
             locale="C"),
        node("StringSplit", "lower", "parts counts", delimiter=" "),
        node("LabelEncoder", "parts", "ids", domain=ML, keys_strings=vocabulary, values_int64s=[1, 2, 3, 4],
             default_int64=0),
        node("Gather", "table ids", "vectors"),
        node("ReduceSum", "vectors axis", "sum", keepdims=0),
        node("MatMul", "sum w", "score"),
        node("ArgMax", "score", "best", axis=-1, keepdims=0),
        node("Gather", "labels best", "y"),
    ]  # fmt: skip
    constants = {
        "table": rng.standard_normal((5, 8), np.float32), "axis": np.array([1]),
        "w": rng.standard_normal((8, 3), np.float32), "labels": np.array(LABELS),
    }  # fmt: skip
    return Case(
        nodes, {"text": np.array(["A good DAY", "the", "bad bad day", ""])}, constants, ("y", "score", "counts")
    )


def test_a_model_for_texts(tmp_path: Path) -> None:
    """In `run`, in a compiled model, and by eight threads at once."""
    case = tokenizer()
    model = case.model(named=True)
    session = intaglio.InferenceSession(model)
    theirs = onnxruntime.InferenceSession(model)
    feeds = [
        {"text": words(n, seed=n, of=["a good day", "Bad", "the", "the day", "nothing known"])} for n in range(1, 40)
    ]
    expected = [theirs.run(None, feed) for feed in feeds]
    for feed, wanted in zip(feeds, expected):
        same(session.run(None, feed), wanted)
    intaglio.ModelCompiler(intaglio.SessionOptions(), model).compile_to_file(str(tmp_path / "model.intaglio"))
    ahead = intaglio.InferenceSession(str(tmp_path / "model.intaglio"))
    with ThreadPoolExecutor(8) as threads:
        for results, wanted in zip(threads.map(lambda feed: ahead.run(None, feed), feeds * 4), expected * 4):
            same(results, wanted)


@pytest.mark.parametrize("reduction", ["add", "mul", "max", "min"])
@pytest.mark.parametrize("op", ["ScatterElements", "ScatterND"])
def test_numbers_of_strings_are_not_computed_with(op: str, reduction: str) -> None:
    where = np.array([[0, 1, 2, 0]]) if op == "ScatterElements" else np.array([[1]])
    case = one(op, X, where, words(1, 4), reduction=reduction)
    with pytest.raises(NotImplemented, match=f"the reduction '{reduction}' of strings"):
        intaglio.InferenceSession(case.model())


def test_texts_that_are_no_numbers() -> None:
    case = one("Cast", words(1, of=["none"]), to=TensorProto.FLOAT)
    with pytest.raises(Fail, match="could not convert string to float"):
        intaglio.InferenceSession(case.model()).run(None, case.feeds)


@pytest.mark.parametrize("shape", [(0,), (1, 0)])
@pytest.mark.parametrize("named", [False, True])
def test_no_words(shape: tuple[int, ...], named: bool) -> None:
    """What StringNormalizer refuses, here and in onnxruntime, when the model is loaded or run."""
    case = one("StringNormalizer", words(*shape), locale="C")
    model = (
        one("StringNormalizer", words(*(d or 1 for d in shape[:-1]), 2), locale="C").model(True)
        if named
        else case.model()
    )
    for engine in (intaglio, onnxruntime):
        with pytest.raises(Exception, match=r"greater than 0|C > 0"):
            engine.InferenceSession(model).run(None, case.feeds)


@pytest.mark.parametrize(
    "fed",
    [np.array(["a", "b"]), np.array(["a", "b"], object), ["a", "b"]],
    ids=lambda x: str(type(x)),
)
def test_what_strings_may_be(fed: Any) -> None:
    model = one("Identity", words(2)).model()
    same(
        intaglio.InferenceSession(model).run(None, {"x0": fed}),
        onnxruntime.InferenceSession(model).run(None, {"x0": fed}),
    )


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It makes up strings, and tells which steps are calls."""
    path = tmp_path / "model.onnx"
    path.write_bytes(tokenizer().model(named=True))
    shown = {}
    for command in ("inspect", "explain", "run"):
        assert main([command, str(path)]) == 0
        shown[command] = capsys.readouterr().out
    assert "text: tensor(string)[text0]" in shown["inspect"] and "6 HostCall" in shown["inspect"]
    assert "StringNormalizer" in shown["explain"] and "object" in shown["run"]
