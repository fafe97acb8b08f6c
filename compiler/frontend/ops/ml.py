"""Operators of ai.onnx.ml: tree ensembles, linear models, scaling and encoding.

In: values and attributes of a node. Out: values. Strings are looked up by their numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import Unsupported
from ...graph.ir import Value, constant, dtype_of
from ...graph.ops.trees import NEUTRAL
from ...scalar.dim import dim_max, dim_min, known_eq, prod
from ...scalar.dtype import F32, I64, STRING
from ..registry import onnx_op
from ..values import concat, string_number
from .forest import Forest, from_nodes, from_splits
from .index import wrapped
from .reduce import softmax
from .tree_records import records_of

Array = npt.NDArray[Any]
DOMAIN = "ai.onnx.ml"
PARTS = 64  # of a forest, times rows, at most: few rows use all threads
PART_STEPS = 1 << 14  # nodes that a row visits in a part, at least, for the part to pay
MAX_KEYS = 4096  # of a LabelEncoder, which compares each element with all of them


def floats(values: Sequence[float] | Array) -> Value:
    return constant(np.asarray(values, np.float32))


def post_transformed(scores: Value, transform: str) -> Value:
    """Scores [N, E] as probabilities. A single score (E = 1) is changed by PROBIT only, as in onnxruntime."""
    if transform not in ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"):
        raise ValueError(f"there is no post_transform '{transform}'")
    if transform == "PROBIT":
        return _probit(scores)
    if transform == "NONE" or scores.shape[1] == 1:
        return scores
    if transform == "LOGISTIC":
        return scores.map("sigmoid")
    if transform == "SOFTMAX":
        return softmax(scores, axis=-1)
    high = scores.max(-1, keepdims=True)  # SOFTMAX_ZERO: zeros stay zeros
    e = (scores.map("abs") > 1e-7).select((scores - high).exp(), scores * (-high).exp())
    return e / e.sum(-1, keepdims=True)


def _probit(p: Value) -> Value:
    """The quantile function of the normal distribution, by onnxruntime's formula.

    Relative error 2e-3. S. Winitzki, A handy approximation for the error function and its inverse, 2008."""
    x = p * 2.0 - 1.0
    log = ((1.0 - x) * (1.0 + x)).map("log")
    v = log * 0.5 + 2.0 / (3.14159 * 0.147)
    root = ((v.square() - log / 0.147).sqrt() - v).sqrt()
    return (x < 0).select(-root, root) * math.sqrt(2.0)


def two_class_scores(score: Value, transform: str, rest: Value) -> Value:
    """The scores of two classes, [N, 2], from that of the second, [N, 1]; `rest`: that of the first, untransformed."""
    if transform == "LOGISTIC":
        return concat([(-score).map("sigmoid"), score.map("sigmoid")], 1)
    both = concat([rest, score], 1)
    return _probit(both) if transform == "PROBIT" else both


def _label(condition: Value, yes: int | str, no: int | str) -> Value:
    """One of two labels, by a condition: [N, 1] -> [N]."""
    labels = np.asarray([yes, no], object if isinstance(yes, str) else np.int64)
    return condition.squeeze(1).select(constant(labels[:1]), constant(labels[1:]))


# -- trees -----------------------------------------------------------------------------------------------------------


def _scores(x: Value, forest: Forest, aggregate: str, base: Any = None) -> Value:
    """The scores [N, targets] of a forest in the dtype of its weights; `base` is added. Sums are in f64."""
    if x.rank != 2:
        raise ValueError(f"the input to TreeEnsemble has rank {x.rank}, 2 is needed")
    kind = {"SUM": "add", "AVERAGE": "add", "MIN": "min", "MAX": "max"}.get(aggregate)
    if kind is None:
        raise ValueError(f"there is no aggregate_function '{aggregate}'")
    x = x if x.dtype.is_float else x.cast(F32)
    records = records_of(forest, x.dtype.to_numpy(), kind)
    if not records.columns:  # all trees are leaves: rows may have any length
        x = x.const(0).broadcast(x.shape[0], 1)
    worthwhile, affordable = max(1, min(PARTS, records.steps // PART_STEPS)), PARTS // dim_max(1, x.shape[0])
    (parts,) = x.emit(
        "trees", [x, *map(constant, records.tables)], kind=kind, targets=forest.targets,
        relations=records.relations, missing=records.missing, columns=max(1, records.columns), steps=records.steps,
        parts=dim_max(1, dim_min(worthwhile, affordable)),
    )  # fmt: skip
    total = parts.reshape(*parts.shape[1:]) if parts.shape[0] == 1 else parts.reduce(kind, 0)
    if kind != "add":
        total = total.map("eq", NEUTRAL[kind]).select(0.0, total)
    elif aggregate == "AVERAGE":
        total = total / float(len(forest.roots))
    if base is not None and len(base):
        total = total + constant(np.asarray(base, np.float64))
    return total.cast(dtype_of(forest.weights[2]))


def _reals(listed: Sequence[float] | None, tensor: Array | None) -> Array:
    """The numbers of an attribute that may be a list (f32) or a tensor."""
    return np.asarray(listed or [], np.float32) if tensor is None else tensor


@onnx_op("TreeEnsembleRegressor", domain=DOMAIN)
def tree_ensemble_regressor(
    x: Value, *, n_targets: int, aggregate_function: str = "SUM", post_transform: str = "NONE",
    base_values: list[float] | None = None, base_values_as_tensor: Array | None = None,
    target_ids: list[int], target_nodeids: list[int], target_treeids: list[int],
    target_weights: list[float] | None = None, target_weights_as_tensor: Array | None = None,
    nodes_falsenodeids: list[int], nodes_featureids: list[int], nodes_hitrates: list[float] | None = None,
    nodes_hitrates_as_tensor: Array | None = None, nodes_missing_value_tracks_true: list[int] | None = None,
    nodes_modes: list[str], nodes_nodeids: list[int], nodes_treeids: list[int], nodes_truenodeids: list[int],
    nodes_values: list[float] | None = None, nodes_values_as_tensor: Array | None = None,
) -> Value:  # fmt: skip
    weights = _reals(target_weights, target_weights_as_tensor)
    splits = _reals(nodes_values, nodes_values_as_tensor)
    forest = from_nodes(
        nodes_treeids, nodes_nodeids, nodes_featureids, nodes_modes, splits, nodes_truenodeids,
        nodes_falsenodeids, nodes_missing_value_tracks_true, target_treeids, target_nodeids, target_ids,
        weights, n_targets,
    )  # fmt: skip
    base = base_values if base_values_as_tensor is None else base_values_as_tensor
    scores = _scores(x, forest, aggregate_function, base)
    return post_transformed(scores, post_transform).cast(F32)


def labels_of(ints: list[int] | None, strings: list[str] | None) -> Array:
    """The labels of classes: [C] of i64 or strings."""
    if ints and strings:
        raise ValueError("only one of classlabels_strings or classlabels_ints may be specified")
    return np.asarray(strings, object) if strings else np.asarray(ints or [], np.int64)


@onnx_op("TreeEnsembleClassifier", domain=DOMAIN)
def tree_ensemble_classifier(
    x: Value, *, post_transform: str = "NONE", base_values: list[float] | None = None,
    base_values_as_tensor: Array | None = None, class_ids: list[int], class_nodeids: list[int],
    class_treeids: list[int], class_weights: list[float] | None = None,
    class_weights_as_tensor: Array | None = None, classlabels_int64s: list[int] | None = None,
    classlabels_strings: list[str] | None = None, nodes_falsenodeids: list[int], nodes_featureids: list[int],
    nodes_hitrates: list[float] | None = None, nodes_hitrates_as_tensor: Array | None = None,
    nodes_missing_value_tracks_true: list[int] | None = None, nodes_modes: list[str], nodes_nodeids: list[int],
    nodes_treeids: list[int], nodes_truenodeids: list[int], nodes_values: list[float] | None = None,
    nodes_values_as_tensor: Array | None = None,
) -> tuple[Value, Value]:  # fmt: skip
    """Labels [N] and scores [N, C]. If only the first of two classes has weights, they are the score of the second.

    With one class, the label is 1 or 0."""
    labels = labels_of(None if classlabels_strings else classlabels_int64s, classlabels_strings)
    if not len(labels):
        raise ValueError("there are no labels")
    weights = _reals(class_weights, class_weights_as_tensor)
    splits = _reals(nodes_values, nodes_values_as_tensor)
    single = len(labels) == 2 and set(class_ids) == {0}
    forest = from_nodes(
        nodes_treeids, nodes_nodeids, nodes_featureids, nodes_modes, splits, nodes_truenodeids,
        nodes_falsenodeids, nodes_missing_value_tracks_true, class_treeids, class_nodeids, class_ids, weights,
        1 if single else len(labels),
    )  # fmt: skip
    base = np.asarray(base_values or [] if base_values_as_tensor is None else base_values_as_tensor)
    if len(base) not in (0, len(labels)) and (len(base), len(labels)) != (1, 2):
        raise ValueError(f"base_values should have 0, 1, or {len(labels)} values")
    if single and len(base) == 2:
        raise Unsupported("two base_values for one score")
    if len(base) == 1 and not single:  # it belongs to the first class
        base = np.append(base, [0.0] * (len(labels) - 1))
    scores = _scores(x, forest, "SUM", base)
    positive = bool((weights >= 0).all())
    if len(labels) == 1:
        yes, no = (1, 0) if classlabels_strings is None else (labels[0], labels[0])
        return _label(scores > 0, yes, no), post_transformed(scores, post_transform).cast(F32)
    if len(labels) == 2 and len(set(class_ids)) == 1:
        second = scores if single else scores.narrow(1, 1, 1)
        label = _label(second > (0.5 if positive else 0.0), labels[1], labels[0])
        if single:
            return label, two_class_scores(scores, post_transform, 1.0 - scores if positive else -scores).cast(F32)
    else:
        best = scores.emit("argreduce", [scores], kind="max", axis=1, last=False)[0]
        label = constant(labels).take(best, 0)
    return label, post_transformed(scores, post_transform).cast(F32)


@onnx_op("TreeEnsemble", since=5, domain=DOMAIN)
def tree_ensemble(
    x: Value, *, aggregate_function: int = 1, leaf_targetids: list[int], leaf_weights: Array,
    membership_values: Array | None = None, n_targets: int, nodes_falseleafs: list[int],
    nodes_falsenodeids: list[int], nodes_featureids: list[int], nodes_hitrates: Array | None = None,
    nodes_missing_value_tracks_true: list[int] | None = None, nodes_modes: Array, nodes_splits: Array,
    nodes_trueleafs: list[int], nodes_truenodeids: list[int], post_transform: int = 0, tree_roots: list[int],
) -> Value:  # fmt: skip
    forest = from_splits(
        tree_roots, nodes_featureids, nodes_modes, nodes_splits, nodes_truenodeids, nodes_trueleafs,
        nodes_falsenodeids, nodes_falseleafs, nodes_missing_value_tracks_true, membership_values, leaf_targetids,
        leaf_weights, n_targets,
    )  # fmt: skip
    aggregate = ("AVERAGE", "SUM", "MIN", "MAX")[aggregate_function]
    transform = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")[post_transform]
    return post_transformed(_scores(x, forest, aggregate), transform).cast(x.dtype)


# -- linear models ---------------------------------------------------------------------------------------------------


def _linear(x: Value, coefficients: Sequence[float], targets: int) -> Value:
    """x times the coefficients, [N, targets]; surplus coefficients are ignored."""
    if x.rank > 2:
        raise ValueError(f"the input has rank {x.rank}, more than 2")
    rows = x.cast(F32) if x.rank == 2 else x.cast(F32).unsqueeze(0)
    features = rows.shape[1] if isinstance(rows.shape[1], int) else len(coefficients) // targets
    if len(coefficients) < features * targets:
        raise ValueError(f"{len(coefficients)} coefficients for {features} features and {targets} targets")
    table = np.asarray(coefficients, np.float32)[: features * targets]
    return rows.matmul(floats(table.reshape(targets, features).T))


@onnx_op("LinearRegressor", domain=DOMAIN)
def linear_regressor(
    x: Value, *, coefficients: list[float], intercepts: list[float] | None = None, post_transform: str = "NONE",
    targets: int = 1,
) -> Value:  # fmt: skip
    """[N, targets]. Intercepts of another number than `targets` are ignored, as by onnxruntime."""
    if targets < 1:
        raise ValueError(f"targets must be 1 or more, not {targets}")
    y = _linear(x, coefficients, targets)
    if intercepts and len(intercepts) == targets:
        y = y + floats(intercepts)
    return post_transformed(y, post_transform)


@onnx_op("LinearClassifier", domain=DOMAIN)
def linear_classifier(
    x: Value, *, coefficients: list[float], intercepts: list[float] | None = None,
    classlabels_ints: list[int] | None = None, classlabels_strings: list[str] | None = None, multi_class: int = 0,
    post_transform: str = "NONE",
) -> tuple[Value, Value]:  # fmt: skip
    """A single score is that of the second of two classes; without labels these are 0 and 1."""
    labels = labels_of(classlabels_ints, classlabels_strings)
    targets = len(intercepts) if intercepts else len(labels)
    if targets != 1 and not 0 < targets <= len(labels):
        raise ValueError(f"{targets} scores for {len(labels)} labels")
    if targets == 1 and len(labels) not in (0, 2):
        raise ValueError("classlabels_ints must have exactly 2 elements for binary classification")
    if len(coefficients) % targets:
        raise ValueError(f"{len(coefficients)} coefficients for {targets} scores")
    scores = _linear(x, coefficients, targets)
    if intercepts:
        scores = scores + floats(intercepts)
    if targets > 1:
        best = scores.emit("argreduce", [scores], kind="max", axis=1, last=False)[0]
        return constant(labels).take(best, 0), post_transformed(scores, post_transform)
    no, yes = labels if len(labels) else (0, 1)
    label = _label(scores > 0, yes, no)
    if len(labels):
        return label, two_class_scores(scores, post_transform, 1.0 - scores)
    return label, post_transformed(scores, post_transform)


# -- features --------------------------------------------------------------------------------------------------------


@onnx_op("Scaler", domain=DOMAIN)
def scaler(x: Value, *, offset: list[float] | None = None, scale: list[float] | None = None) -> Value:
    y = x.cast(F32)
    y = y - floats(offset) if offset else y
    return y * floats(scale) if scale else y


@onnx_op("Normalizer", domain=DOMAIN)
def normalizer(x: Value, *, norm: str = "MAX") -> Value:
    y = x.cast(F32)
    norms = {
        "MAX": lambda: y.max(-1, keepdims=True),
        "L1": lambda: y.map("abs").sum(-1, keepdims=True),
        "L2": lambda: y.square().sum(-1, keepdims=True).sqrt(),
    }
    if norm not in norms:
        raise ValueError(f"there is no norm '{norm}'")
    if x.rank not in (1, 2):
        raise ValueError(f"Rank of input to Normalizer must be 1 or 2, not {x.rank}")
    size = norms[norm]()
    return size.map("eq", 0).select(y, y / size)


@onnx_op("Binarizer", domain=DOMAIN)
def binarizer(x: Value, *, threshold: float = 0.0) -> Value:
    return (x > threshold).cast(x.dtype)


@onnx_op("Imputer", domain=DOMAIN)
def imputer(
    x: Value, *, imputed_value_floats: list[float] | None = None, imputed_value_int64s: list[int] | None = None,
    replaced_value_float: float = 0.0, replaced_value_int64: int = 0,
) -> Value:  # fmt: skip
    values: Any = imputed_value_floats if x.dtype.is_float else imputed_value_int64s
    if not values or (imputed_value_floats and imputed_value_int64s):
        raise ValueError("there are no imputed values of the type of the input, and of that alone")
    if x.rank == 0 or known_eq(x.shape[-1], len(values)) is not True:  # one for all
        values = values[:1]
    replaced = replaced_value_float if x.dtype.is_float else replaced_value_int64
    bad = x.map("isnan") if replaced != replaced else x.map("eq", replaced)
    return bad.select(constant(np.asarray(values, x.dtype.to_numpy())), x)


@onnx_op("ArrayFeatureExtractor", domain=DOMAIN)
def array_feature_extractor(x: Value, index: Value) -> Value:
    rows = x if x.rank > 1 else x.unsqueeze(0)
    if 0 in (*x.shape[-1:], *index.shape):
        raise ValueError(f"ArrayFeatureExtractor of {list(x.shape)} and {list(index.shape)}")
    return rows.take(wrapped(index.reshape(-1), rows.shape[-1]), -1)


@onnx_op("FeatureVectorizer", domain=DOMAIN)
def feature_vectorizer(*xs: Value, inputdimensions: list[int]) -> Value:
    """[N, sum of inputdimensions]: the rows of each input, cropped or padded with zeros to its dimension."""
    if len(inputdimensions) != len(xs):
        raise ValueError(f"inputdimensions has {len(inputdimensions)} elements for {len(xs)} inputs")
    parts = []
    for i, (x, width) in enumerate(zip(xs, inputdimensions)):
        if x.rank == 0 or width < 0:
            raise ValueError(f"FeatureVectorizer input {i} must have at least 1 dimension, and no negative width")
        rows = x.cast(F32).unsqueeze(0) if x.rank == 1 else x.cast(F32).reshape(x.shape[0], prod(x.shape[1:]))
        kept = rows.narrow(1, 0, dim_min(rows.shape[1], width))
        parts.append(kept.pad([0, 0], [0, width - kept.shape[1]]))
    return concat(parts, 1)


@onnx_op("OneHotEncoder", domain=DOMAIN)
def one_hot_encoder(
    x: Value, *, cats_int64s: list[int] | None = None, cats_strings: list[str] | None = None, zeros: int = 1
) -> Value:
    if not cats_int64s and not cats_strings:
        raise ValueError("there are no categories")
    if x.dtype == STRING:
        hits = x.unsqueeze(-1).map("eq", constant(np.asarray(cats_strings or [], object)))
    else:
        hits = x.cast(I64).unsqueeze(-1).map("eq", constant(np.asarray(cats_int64s or [], np.int64)))
    if not zeros:
        known = hits.reduce("or", -1, keepdims=True)
        hits = hits.require(known.broadcast(*hits.shape), "Unknown Category and zeros = 0.")
    return hits.cast(F32)


@onnx_op("LabelEncoder", since=2, domain=DOMAIN)
def label_encoder(
    x: Value, *, keys_floats: list[float] | None = None, keys_int64s: list[int] | None = None,
    keys_strings: list[str] | None = None, keys_tensor: Array | None = None, values_floats: list[float] | None = None,
    values_int64s: list[int] | None = None, values_strings: list[str] | None = None,
    values_tensor: Array | None = None, default_float: float = -0.0, default_int64: int = -1,
    default_string: str = "_Unused", default_tensor: Array | None = None,
) -> Value:  # fmt: skip
    keys = _first({"float32": keys_floats, "int64": keys_int64s, "object": keys_strings}, keys_tensor)
    values = _first({"float32": values_floats, "int64": values_int64s, "object": values_strings}, values_tensor)
    if keys is None or values is None:
        raise ValueError("keys and values are needed")
    if len(keys) != len(values) or not len(keys):
        raise ValueError(f"{len(keys)} keys and {len(values)} values")
    if len(keys) > MAX_KEYS and x.dtype != STRING:
        raise Unsupported(f"{len(keys)} keys and {len(values)} values")
    defaults = {"f": default_float, "O": default_string}
    other = defaults.get(values.dtype.kind, default_int64)
    if default_tensor is not None:
        other = default_tensor.reshape(-1).tolist()[0]
    if x.dtype == STRING:
        return _of_strings(x, keys, values, other)
    hits = x.unsqueeze(-1).map("eq", constant(keys))
    if x.dtype.is_float:
        nan = constant(np.isnan(keys))
        hits = hits.map("or", x.unsqueeze(-1).map("isnan").map("and", nan))
    place = hits.cast(I64).emit("argreduce", [hits.cast(I64)], kind="max", axis=x.rank, last=False)[0]
    result = constant(values).take(place, 0)
    return hits.reduce("or", x.rank).select(result, result.const(other))


def _of_strings(x: Value, keys: Array, values: Array, other: Any) -> Value:
    """The value of each string, `other` for those that are no keys; a table over the numbers of strings tells it."""
    numbers = [string_number(str(key)) for key in keys]
    table = np.full(max(numbers) + 2, other, values.dtype)  # the last one stands for all larger numbers
    for number, value in reversed([*zip(numbers, values)]):  # the first of equal keys counts
        table[number] = value
    return constant(table).take(x.cast(I64).map("min", len(table) - 1), 0)


@onnx_op("LabelEncoder", domain=DOMAIN)
def label_encoder_1(
    x: Value, *, classes_strings: list[str], default_int64: int = -1, default_string: str = "_Unused"
) -> Value:
    """From a class to its number, or from a number to its class."""
    return category_mapper(
        x, cats_int64s=list(range(len(classes_strings))), cats_strings=classes_strings, default_int64=default_int64,
        default_string=default_string,
    )  # fmt: skip


@onnx_op("CategoryMapper", domain=DOMAIN)
def category_mapper(
    x: Value, *, cats_int64s: list[int], cats_strings: list[str], default_int64: int = -1,
    default_string: str = "_Unused",
) -> Value:  # fmt: skip
    """From a category's name to its number, or from its number to its name."""
    if len(cats_int64s) != len(cats_strings):
        raise ValueError(f"{len(cats_int64s)} numbers of {len(cats_strings)} categories")
    if x.dtype == STRING:
        return label_encoder(x, keys_strings=cats_strings, values_int64s=cats_int64s, default_int64=default_int64)
    return label_encoder(x, keys_int64s=cats_int64s, values_strings=cats_strings, default_string=default_string)


def _first(lists: Mapping[str, Sequence[Any] | None], tensor: Array | None) -> Array | None:
    """The numbers of the attribute that is given among several alternatives, or None."""
    if tensor is not None:
        return tensor.reshape(-1)
    return next((np.asarray(v, dtype) for dtype, v in lists.items() if v), None)
