"""What the values of a model are, node by node, and how far a right computation may be off.

In: nodes, in order, and arrays. Out: a `Value` for each output, or `Rejected`, where the judges do not answer, or
answer differently, or where the numbers are no measure of anything.

There are two judges: onnxruntime, which computes each node by itself, in the types of the model, without its graph
optimizations; and onnx's reference evaluator, which computes the same node in float64. The latter's numbers are
`Value.exact`. Where an operator is unknown to one of them, the other one alone decides.

How far off one may be is measured, by Monte Carlo arithmetic (D. S. Parker, 1997): every operation that rounds is
evaluated again with its inputs and its outputs changed at random within a rounding of the types of the model (of each
element of an input, of the largest element of an output: algorithms promise no more for the small ones), and the
changes run on through the rest of the model. What these samples are off by is what an algorithm is that is backward
stable at every operation. Nodes that make it large (cancellation, a step of Floor near an integer, a comparison of
numbers that are equal but for roundings) are rejected, so that no model contains them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from intaglio.compiler.check.exact import bound as allowed

Array = Any  # np.ndarray of any dtype, or a list of them: a sequence

SAMPLES = 2
ROUNDINGS = {np.dtype(t): float(ml_dtypes.finfo(t).eps) for t in (np.float64, np.float32, np.float16)}
ROUNDINGS[np.dtype(ml_dtypes.bfloat16)] = float(ml_dtypes.finfo(ml_dtypes.bfloat16).eps)

# Operations that move, choose or compare elements: they round nothing.
EXACT = frozenset({
    "Abs", "ArgMax", "ArgMin", "Ceil", "Clip", "Compress", "Concat", "ConcatFromSequence", "Constant",
    "ConstantOfShape", "DepthToSpace", "Equal", "Expand", "Flatten", "Floor", "Gather", "GatherElements",
    "GatherND", "GlobalMaxPool", "Greater", "GreaterOrEqual", "Hardmax", "Identity", "IsInf", "IsNaN", "Less",
    "LessOrEqual", "Max", "MaxPool", "MaxUnpool", "Min", "Neg", "NonMaxSuppression", "NonZero", "OneHot", "Pad",
    "ReduceMax", "ReduceMin", "Relu", "Reshape", "ReverseSequence", "Round", "ScatterElements", "ScatterND",
    "SequenceAt", "SequenceConstruct", "SequenceErase", "SequenceInsert", "SequenceLength", "Shape", "Sign", "Size",
    "Slice", "SpaceToDepth", "Split", "SplitToSequence", "Squeeze", "ThresholdedRelu", "Tile", "TopK", "Transpose",
    "Trilu", "Unique", "Unsqueeze", "Where",
})  # fmt: skip


# Where the reference evaluator is not to be asked, below an opset: its Loop concatenates what it should stack; its
# GlobalMaxPool and QLinearConv are of images alone; its recurrences know no lengths and no activations; its LRN has
# windows of other places, its ConvTranspose and pools have other sizes; of Softmax and the like it knows the newest
# version alone.
NOT_BY_REFERENCE = {
    "Loop": 99, "GlobalMaxPool": 99, "QLinearConv": 99, "RNN": 99, "LSTM": 99, "GRU": 99, "LRN": 99,
    "ConvTranspose": 99, "MaxPool": 99, "AveragePool": 99, "Softmax": 13, "LogSoftmax": 13, "Hardmax": 13,
}  # fmt: skip

# What the judges compute in float32 in part, also of float64.
COARSE = frozenset({"Attention", "Erf", "Gelu", "GridSample", "GroupNormalization", "HardSwish", "Resize"})

# Operations that compute with numbers around 1 whatever comes out.
AROUND_ONE = frozenset({"RNN", "LSTM", "GRU", "HannWindow", "HammingWindow", "BlackmanWindow"})


class Rejected(Exception):
    """This node is no test of anything; the text says why."""


@dataclass(frozen=True)
class Value:
    """array: as the model computes it. exact: in float64, where it is a float. samples: see above.

    rounding: the coarsest rounding on the way to it, 0 for what is exact. other: what the other judge says, where the
    two differ; such values are outputs of a model, and no inputs of further nodes.
    """

    array: Array
    exact: Array
    samples: tuple[Array, ...]
    rounding: float = 0.0
    other: Array | None = None

    def check(self, got: Array) -> str:
        """What is wrong with `got`; "" where it is right."""
        found = difference(self, got, self.exact)
        if found and self.other is not None:
            return difference(self, got, self.other) and found
        return found


def given(array: Array) -> Value:
    """An input or a constant."""
    exact = _double(array)
    return Value(array, exact, (exact,) * SAMPLES)


def is_float(array: Array) -> bool:
    return not isinstance(array, list) and array.dtype in ROUNDINGS


def _double(array: Array) -> Array:
    if isinstance(array, list):
        return [_double(each) for each in array]
    array = np.asarray(array)
    return array.astype(np.float64) if is_float(array) else array


# ---- comparing ----


def bound(value: Value) -> Array:
    """How far each element of a float tensor may be off."""
    info = ml_dtypes.finfo(value.array.dtype)
    return allowed(value.exact, value.samples, max(value.rounding, float(info.eps)), float(info.smallest_normal))


def difference(value: Value, got: Array, wanted: Array) -> str:
    """How `got` differs from `wanted`, which is one judge's array or the exact one."""
    if isinstance(value.array, list):
        if not isinstance(got, list) or len(got) != len(wanted):
            return f"a sequence of {len(wanted)} expected"
        parts = [Value(*each) for each in zip(value.array, value.exact, zip(*value.samples))]
        return next(filter(None, (difference(*each) for each in zip(parts, got, wanted))), "")
    if not isinstance(got, np.ndarray):
        return f"{type(got).__name__} instead of an array"
    if got.dtype != value.array.dtype:
        return f"dtype {got.dtype} instead of {value.array.dtype}"
    if got.shape != value.array.shape:
        return f"shape {got.shape} instead of {value.array.shape}"
    if not is_float(got):
        wrong = got != wanted
    else:
        g, w = got.astype(np.float64), np.asarray(wanted).astype(np.float64)
        with np.errstate(all="ignore"):
            wrong = ~(np.abs(g - w) <= bound(value)) & (g != w) & ~(np.isnan(g) & np.isnan(w))
    if not wrong.any():
        return ""
    at = tuple(int(i[0]) for i in np.nonzero(wrong)) if wrong.ndim else ()
    return f"{int(wrong.sum())} of {wrong.size} elements, the first at {list(at)}: {got[at]} instead of {wanted[at]}"


# ---- a node as a model ----


def reads(node: NodeProto) -> list[str]:
    """The names that a node needs: its inputs, and what its bodies capture."""
    names = dict.fromkeys(name for name in node.input if name)
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            names.update(dict.fromkeys(free_names(attribute.g)))
    return list(names)


def free_names(graph: GraphProto) -> list[str]:
    bound_here = {each.name for each in (*graph.input, *graph.initializer)}
    free: dict[str, None] = {}
    for node in graph.node:
        free.update(dict.fromkeys(name for name in reads(node) if name not in bound_here))
        bound_here.update(node.output)
    free.update(dict.fromkeys(each.name for each in graph.output if each.name not in bound_here))
    return list(free)


def type_proto(array: Array, dims: Sequence[int | str] | None = None) -> onnx.TypeProto:
    if isinstance(array, list):
        element = element_type(array[0]) if array else TensorProto.FLOAT  # which empty ones here are of
        return helper.make_sequence_type_proto(helper.make_tensor_type_proto(element, None))
    return helper.make_tensor_type_proto(element_type(array), array.shape if dims is None else dims)


def element_type(array: Array) -> int:
    return int(helper.np_dtype_to_tensor_dtype(array.dtype))


def opsets_of(opset: int) -> list[onnx.OperatorSetIdProto]:
    more = [("ai.onnx.ml", 5 if opset >= 21 else 3), ("com.microsoft", 1)]
    return [helper.make_opsetid("", opset), *(helper.make_opsetid(*each) for each in more)]


def untyped(name: str) -> onnx.ValueInfoProto:
    return onnx.ValueInfoProto(name=name)


def _single(node: NodeProto, feeds: Mapping[str, Array], opset: int) -> onnx.ModelProto:
    inputs = [helper.make_value_info(name, type_proto(array)) for name, array in feeds.items()]
    outputs = [untyped(name) for name in node.output if name]
    graph = helper.make_graph([node], "node", inputs, outputs)
    return helper.make_model(graph, opset_imports=opsets_of(opset), ir_version=10)


def doubled(node: NodeProto, wide: int = TensorProto.DOUBLE) -> NodeProto:
    """The node with `wide` wherever it names a float type."""
    node = copy.deepcopy(node)
    for attribute in node.attribute:
        named = attribute.name in {"to", "dtype", "output_datatype", "stash_type", "softmax_precision"}
        if named and attribute.i in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16):
            attribute.i = wide
        elif attribute.type == AttributeProto.TENSOR:
            attribute.t.CopyFrom(_doubled_tensor(attribute.t, wide))
        elif attribute.type == AttributeProto.GRAPH:
            graph = attribute.g
            for each in (*graph.input, *graph.output, *graph.value_info):
                if each.type.tensor_type.elem_type in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16):
                    each.type.tensor_type.elem_type = wide
            for initializer in graph.initializer:
                initializer.CopyFrom(_doubled_tensor(initializer, wide))
            nodes = [doubled(each, wide) for each in graph.node]
            del graph.node[:]
            graph.node.extend(nodes)
    return node


def _doubled_tensor(tensor: TensorProto, wide: int) -> TensorProto:
    array = numpy_helper.to_array(tensor)
    if is_float(array):
        array = array.astype(helper.tensor_dtype_to_np_dtype(wide))
    return numpy_helper.from_array(array, tensor.name)


# ---- the judges ----


def onnxruntime_says(model: onnx.ModelProto, feeds: Mapping[str, Array], optimized: bool = False) -> list[Array]:
    """Raises whatever onnxruntime raises."""
    import onnxruntime  # in the worker: it starts a thread, and the process that forks the workers must have none

    options = onnxruntime.SessionOptions()
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return list(session.run(None, dict(feeds)))


def _reference_says(model: onnx.ModelProto, feeds: Iterable[Mapping[str, Array]]) -> list[list[Array]]:
    evaluator = ReferenceEvaluator(model)
    with np.errstate(all="ignore"):
        return [[_as_array(y) for y in evaluator.run(None, dict(each))] for each in feeds]


def _as_array(y: Any) -> Array:
    return [_as_array(each) for each in y] if isinstance(y, list) else np.asarray(y)


def _changed(array: Array, rounding: float, rng: np.random.Generator, whole: float | None = None) -> Array:
    """Each element off by up to a rounding: of itself, or, where `whole` is given, of the largest one, or of that."""
    if isinstance(array, list):
        return [_changed(each, rounding, rng, whole) for each in array]
    if not is_float(array):
        return array
    unit = array if whole is None else np.max(np.abs(array), initial=whole, where=np.isfinite(array))
    with np.errstate(all="ignore"):
        return np.asarray(array + rounding * unit * rng.uniform(-1, 1, array.shape))


def _rounding(*arrays: Array) -> float:
    flat = [part for array in arrays for part in (array if isinstance(array, list) else [array])]
    return max((ROUNDINGS[array.dtype] for array in flat if is_float(array)), default=0.0)


def step(node: NodeProto, values: Mapping[str, Value], opset: int, rng: np.random.Generator) -> dict[str, Value]:
    """The outputs of a node. values: of all names that it reads. Raises Rejected."""
    ins = {name: values[name] for name in reads(node)}
    if any(value.other is not None for value in ins.values()):
        raise Rejected("the judges differ on an input")
    model = _single(node, {name: value.array for name, value in ins.items()}, opset)
    theirs = _try_onnxruntime(model, ins)
    own = max((_rounding(value.array) for value in ins.values()), default=0.0)
    if node.op_type in COARSE:
        own = max(own, ROUNDINGS[np.dtype(np.float32)])
    exact, samples, why = _try_reference(node, ins, opset, own, theirs, rng)
    if exact is None and theirs is None and own < ROUNDINGS[np.dtype(np.float16)]:
        raise Rejected(f"no judge knows {node.op_type}: {why}")
    if exact is None:
        exact, samples = _by_samples_of_onnxruntime(node, ins, opset, own, rng)
    names = [name for name in node.output if name]
    arrays = theirs if theirs is not None else _in_types_of_the_model(model, exact)
    made = {}
    for name, array, y, moved in zip(names, arrays, exact, zip(*samples)):
        made[name] = _value(node, ins, own, array, y, moved, rng)
    return made


def _try_onnxruntime(model: onnx.ModelProto, ins: Mapping[str, Value]) -> list[Array] | None:
    if any(_rounding(value.array) == ROUNDINGS[np.dtype(ml_dtypes.bfloat16)] for value in ins.values()):
        return None  # its kernels for the CPU have no bfloat16
    try:
        return onnxruntime_says(model, {name: value.array for name, value in ins.items()})
    except Exception as error:
        if "NOT_IMPLEMENTED" in str(error) or "NotImplemented" in type(error).__name__:
            return None
        if "is not a registered function/op" in str(error) or "Unsupported model IR" in str(error):
            return None
        raise Rejected(f"onnxruntime: {error}") from None


def _by_reference(node: NodeProto, opset: int) -> bool:
    """Whether the reference evaluator is to be asked about a node and all those in its bodies."""
    inner = [each for a in node.attribute if a.type == AttributeProto.GRAPH for each in a.g.node]
    return opset >= NOT_BY_REFERENCE.get(node.op_type, 0) and all(_by_reference(each, opset) for each in inner)


def _try_reference(
    node: NodeProto, ins: Mapping[str, Value], opset: int, own: float, theirs: Any, rng: np.random.Generator
) -> tuple[list[Array] | None, list[list[Array]], str]:
    if not _by_reference(node, opset):
        return None, [], "the reference evaluator is not to be asked"
    twin = doubled(node)
    rounds = own if node.op_type not in EXACT else 0.0
    feeds = [{name: value.exact for name, value in ins.items()}]
    for i in range(SAMPLES):
        feeds.append({name: _changed(value.samples[i], rounds, rng) for name, value in ins.items()})
    try:
        exact, *samples = _reference_says(_single(twin, feeds[0], opset), feeds)
    except Exception as error:
        return None, [], f"{type(error).__name__}: {error}"
    return exact, samples, ""


def _by_samples_of_onnxruntime(
    node: NodeProto, ins: Mapping[str, Value], opset: int, own: float, rng: np.random.Generator
) -> tuple[list[Array], list[list[Array]]]:
    """For operators that only onnxruntime knows. Narrow floats in float32, which is wide beside them; of the others its
    roundings are in the samples, too."""
    narrow = own >= ROUNDINGS[np.dtype(np.float16)]
    twin = doubled(node, TensorProto.FLOAT) if narrow else node

    def fed(value: Value, array: Array) -> Array:
        if isinstance(array, list):
            return [fed(Value(a, a, ()), b) for a, b in zip(value.array, array)]
        if not is_float(value.array):
            return value.array
        return array.astype(np.float32 if narrow and value.array.dtype.itemsize < 8 else value.array.dtype)

    runs = []
    for i in range(SAMPLES + 1):
        feeds = {name: fed(value, value.exact if i == 0 else _changed(value.samples[i - 1], own, rng))
                 for name, value in ins.items()}  # fmt: skip
        try:
            runs.append([_double(y) for y in onnxruntime_says(_single(twin, feeds, opset), feeds)])
        except Exception as error:
            raise Rejected(f"onnxruntime: {error}") from None
    return runs[0], runs[1:]


def _in_types_of_the_model(model: onnx.ModelProto, exact: list[Array]) -> list[Array]:
    """Without onnxruntime: of the types that the standard infers."""
    entries = onnx.shape_inference.infer_shapes(model).graph.output
    types = [entry.type.tensor_type.elem_type for entry in entries]
    if not all(types):
        raise Rejected("outputs whose type nobody knows")
    with np.errstate(all="ignore"):
        return [y.astype(helper.tensor_dtype_to_np_dtype(kind)) for y, kind in zip(exact, types)]


def _value(
    node: NodeProto, ins: Mapping[str, Value], own: float, array: Array, exact: Array, samples: Any,
    rng: np.random.Generator,
) -> Value:  # fmt: skip
    """One output, from what the judges said. own: the rounding of the operation."""
    if isinstance(array, list):
        if not isinstance(exact, list) or len(exact) != len(array):
            raise Rejected("the judges differ on a sequence")
        parts = [_value(node, ins, own, *each, rng) for each in zip(array, exact, zip(*samples))]
        if any(part.other is not None for part in parts):
            raise Rejected("the judges differ on a sequence")
        moved = tuple([part.samples[i] for part in parts] for i in range(SAMPLES))
        rounding = max((part.rounding for part in parts), default=0.0)
        return Value([part.array for part in parts], [part.exact for part in parts], moved, rounding)
    if not isinstance(array, np.ndarray) or exact.shape != array.shape:
        told = getattr(array, "shape", array)
        raise Rejected(f"{node.op_type}: the judges differ on the shape, {told} and {exact.shape}")
    if any(sample.shape != exact.shape for sample in samples):
        raise Rejected("a shape that depends on roundings")
    if not is_float(array):
        if is_float(exact):
            raise Rejected(f"{node.op_type}: the judges differ on the dtype")
        exact = exact.astype(array.dtype)
        if any((sample != exact).any() for sample in samples):
            raise Rejected(f"{node.op_type}: a step, at roundings")
        other = None if (array == exact).all() else array
        if other is not None and any(value.rounding for value in ins.values()):
            raise Rejected(f"{node.op_type}: a step, at roundings")
        return Value(array, exact, (exact,) * SAMPLES, 0.0, other)
    exact = exact.astype(np.float64)
    rounding = max((value.rounding for value in ins.values()), default=0.0)
    if node.op_type not in EXACT:
        own = max(own, ROUNDINGS[array.dtype])
        rounding = max(rounding, own)
        least = 1.0 if node.op_type in AROUND_ONE else 0.0
        read = sum(value.array.size for value in ins.values() if not isinstance(value.array, list))
        terms = max(1.0, read / max(array.size, 1))  # whose roundings add up as a random walk does
        samples = tuple(_changed(sample, own * terms**0.5, rng, whole=least) for sample in samples)
    value = Value(array, exact, tuple(np.asarray(sample, np.float64) for sample in samples), rounding)
    _measurable(node, value)
    if difference(value, array, exact):
        return Value(array, exact, value.samples, rounding, array)
    return value


def _measurable(node: NodeProto, value: Value) -> None:
    """Raises Rejected where roundings alone decide over a value."""
    exact = value.exact
    for sample in value.samples:
        same = np.isfinite(exact) == np.isfinite(sample)
        if not same.all() or not ((sample == exact) | np.isfinite(exact) | np.isnan(exact) & np.isnan(sample)).all():
            raise Rejected(f"{node.op_type}: infinities that depend on roundings")
    finite = np.isfinite(exact)
    scale = float(np.max(np.abs(exact), initial=0, where=finite))
    if scale > 0.2 * float(ml_dtypes.finfo(value.array.dtype).max):
        raise Rejected(f"{node.op_type}: near the largest number of {value.array.dtype}")
    spread = max((float(np.max(np.abs(s - exact), initial=0, where=finite)) for s in value.samples), default=0.0)
    if spread > min(0.05, 1000 * max(value.rounding, ROUNDINGS[value.array.dtype])) * scale:
        raise Rejected(f"{node.op_type}: ill-conditioned")


def evaluate(nodes: Sequence[NodeProto], arrays: Mapping[str, Array], opset: int, seed: int = 0) -> dict[str, Value]:
    """All values of a model. arrays: its inputs and initializers. Raises Rejected."""
    rng = np.random.default_rng(seed)
    values = {name: given(array) for name, array in arrays.items()}
    for node in nodes:
        values.update(step(node, values, opset, rng))
    return values
