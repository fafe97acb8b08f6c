"""Support vector machines of ai.onnx.ml.

In: values and attributes of a node. Out: values. Defined by onnxruntime's kernels, which follow libsvm: each pair of
classes has a score, the label is a vote of the pairs, and probabilities are those of Wu, Lin and Weng, Probability
estimates for multi-class classification by pairwise coupling, 2004 (their algorithm 2).
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from ...errors import Unsupported
from ...graph.ir import Value, constant, input_value
from ...scalar.dtype import BOOL, F32
from ..registry import Traced, onnx_op
from ..values import collecting, scalar
from .control import emit_loop, loop_index
from .ml import DOMAIN, Array, floats, labels_of, post_transformed, two_class_scores

MAX_CLASSES = 64  # with probabilities: an iteration is unrolled over the classes
STEPS = 100  # iterations for the probabilities


def _rows(x: Value, features: int) -> Value:
    """[N, features] in f32."""
    if x.rank not in (1, 2):
        raise ValueError(f"the input has rank {x.rank}, not 1 or 2")
    rows = x.cast(F32) if x.rank == 2 else x.cast(F32).unsqueeze(0)
    return rows.ensure_shape(rows.shape[0], features, text=f"{features} features")


def _kernels(x: Value, vectors: Array, kind: str, params: list[float]) -> Value:
    """The kernel function of each row of x [N, F] and each of the vectors [V, F]: [N, V]."""
    gamma, coef0, degree = params if params else (0.0, 0.0, 0.0)
    if kind == "RBF":
        apart = x.unsqueeze(1) - constant(vectors)
        return (apart.square().sum(2) * -gamma).exp()
    products = x.matmul(constant(np.ascontiguousarray(vectors.T)))
    if kind == "LINEAR":
        return products
    y = products * gamma + coef0
    if kind != "POLY":  # as in onnxruntime, any other name is SIGMOID
        return y.map("tanh")
    return y.square() if degree == 2 else y.square() * y if degree == 3 else y.map("pow", degree)


def _checked(params: list[float]) -> list[float]:
    if len(params) not in (0, 3):
        raise ValueError(f"kernel_params must be empty or have 3 values, not {len(params)}")
    return params


@onnx_op("SVMRegressor", domain=DOMAIN)
def svm_regressor(
    x: Value, *, coefficients: list[float], kernel_params: list[float], kernel_type: str = "LINEAR",
    n_supports: int = 0, one_class: int = 0, post_transform: str = "NONE", rho: list[float],
    support_vectors: list[float] | None = None,
) -> Value:  # fmt: skip
    """[N, 1]. post_transform is ignored, as by onnxruntime."""
    weights, params = np.asarray(coefficients, np.float32), _checked(kernel_params)
    if n_supports > 0:
        vectors = np.asarray(support_vectors or [], np.float32)
        features = len(vectors) // n_supports
        vectors = vectors[: n_supports * features].reshape(n_supports, features)
        kernels = _kernels(_rows(x, features), vectors, kernel_type, params)
        weights = weights[:n_supports]
    else:
        kernels = _rows(x, len(weights))
    if not rho or len(weights) < max(n_supports, 1):
        raise ValueError(f"{len(weights)} coefficients and {len(rho)} rho for {n_supports} support vectors")
    y = kernels.matmul(floats(weights.reshape(-1, 1))) + rho[0]
    return (y > 0.0).select(scalar(1.0, F32), scalar(-1.0, F32)) if one_class else y


@onnx_op("SVMClassifier", domain=DOMAIN)
def svm_classifier(
    x: Value, *, classlabels_ints: list[int] | None = None, classlabels_strings: list[str] | None = None,
    coefficients: list[float], kernel_params: list[float], kernel_type: str = "LINEAR",
    post_transform: str = "NONE", prob_a: list[float] | None = None, prob_b: list[float] | None = None,
    rho: list[float], support_vectors: list[float] | None = None, vectors_per_class: list[int] | None = None,
) -> tuple[Value, Value]:  # fmt: skip
    """Labels [N] and scores [N, C]; without probabilities, more than two classes have a score per pair of classes."""
    labels = labels_of(classlabels_ints, classlabels_strings)
    weights, params, count = np.asarray(coefficients, np.float32), _checked(kernel_params), len(labels)
    if not count or not len(weights) or len(prob_a or ()) != len(prob_b or ()):
        raise ValueError("labels and coefficients are needed, and as many prob_a as prob_b")
    each = vectors_per_class or []
    if sum(each) <= 0:
        return _linear(x, weights, labels, rho, post_transform, bool(prob_a))
    pairs = list(combinations(range(count), 2))
    vectors = np.asarray(support_vectors or [], np.float32)
    total = sum(each)
    features = len(vectors) // total
    if len(each) != count or count < 2:
        raise ValueError(f"vectors for {len(each)} classes, labels for {count}")
    if len(weights) < (count - 1) * total or len(rho) < len(pairs):
        raise ValueError(f"{len(weights)} coefficients and {len(rho)} rho for {total} vectors of {count} classes")
    rows = _rows(x, features)
    kernels = _kernels(rows, vectors[: total * features].reshape(total, features), kernel_type, params)
    scores = kernels.matmul(constant(_pair_weights(weights[: (count - 1) * total].reshape(count - 1, total), each)))
    scores = scores + floats(rho[: len(pairs)])
    won = (scores > 0.0).cast(F32)
    first, second = (np.asarray([[p[k] == c for c in range(count)] for p in pairs], np.float32) for k in (0, 1))
    votes = won.matmul(constant(first)) + (1.0 - won).matmul(constant(second))
    label = constant(labels).take(votes.emit("argreduce", [votes], kind="max", axis=1, last=False)[0], 0)
    if prob_a and prob_b:
        if len(prob_a) < len(pairs):
            raise ValueError(f"{len(prob_a)} prob_a and prob_b for {len(pairs)} pairs of classes")
        raw = scores * floats(prob_a[: len(pairs)]) + floats(prob_b[: len(pairs)])
        beats = (-raw).map("sigmoid").map("max", 1e-7).map("min", float(np.float32(1) - np.float32(1e-7)))
        return label, post_transformed(_coupled(beats, count), post_transform)
    if count > 2:
        return label, post_transformed(scores, post_transform)
    if post_transform == "PROBIT":
        raise Unsupported("PROBIT of a single score")
    return label, two_class_scores(scores, post_transform, -scores if post_transform == "NONE" else 1.0 - scores)


def _linear(
    x: Value, weights: Array, labels: Array, rho: list[float], post_transform: str, probable: bool
) -> tuple[Value, Value]:
    """Labels and scores without support vectors: a linear score for each class."""
    count = len(labels)
    features = len(weights) // count
    if not rho:
        raise ValueError("rho is empty")
    table = weights[: count * features].reshape(count, features)
    scores = _rows(x, features).matmul(floats(np.ascontiguousarray(table.T))) + rho[0]
    label = constant(labels).take(scores.emit("argreduce", [scores], kind="max", axis=1, last=False)[0], 0)
    if count == 2 and not probable:
        high = scores.max(1)
        sure = high >= 0.5 if (weights >= 0).all() else high > 0.0
        label = sure.select(label.const(labels[1]), label)
    return label, post_transformed(scores, post_transform)


def _pair_weights(weights: Array, each: list[int]) -> Array:
    """The weights of each pair of classes as a matrix [V, pairs].

    weights [C - 1, V]: of each vector against each class other than its own."""
    ends = np.cumsum(each)
    parts = [slice(end - n, end) for end, n in zip(ends, each)]
    pairs = list(combinations(range(len(each)), 2))
    matrix = np.zeros((weights.shape[1], len(pairs)), np.float32)
    for column, (i, j) in enumerate(pairs):
        matrix[parts[i], column] = weights[j - 1, parts[i]]
        matrix[parts[j], column] = weights[i, parts[j]]
    return matrix


def _coupled(beats: Value, count: int) -> Value:
    """The probabilities of the classes, [N, C], from those of the first class of each pair, beats [N, pairs]."""
    if count > MAX_CLASSES:
        raise Unsupported(f"probabilities of {count} classes")
    pairs = list(combinations(range(count), 2))
    # r[n, i, j]: the probability of i against j, 0 on the diagonal; `against` is its transpose.
    place = np.zeros((len(pairs), count * count), np.float32)
    for k, (i, j) in enumerate(pairs):
        place[k, i * count + j] = 1
    upper = beats.matmul(constant(place))
    lower = (1.0 - beats).matmul(constant(place))
    n = beats.shape[0]
    r = upper.reshape(n, count, count) + lower.reshape(n, count, count).permute(0, 2, 1)
    against = r.permute(0, 2, 1)
    eye = constant(np.eye(count, dtype=np.float32))
    q = against.square().sum(2, keepdims=True) * eye - r * against  # [N, C, C]
    start = scalar(1 / count, F32).broadcast(n, count)
    inner = input_value("q", q.shape, F32)
    p, busy = input_value("p", start.shape, F32), input_value("busy", (n,), BOOL)
    with collecting(inside=True) as symbols:
        _, index = loop_index(STEPS)
        new, active = _step(inner, p, busy, count)
    traced = Traced([active.reduce("or"), new, active], {q: inner}, symbols.bindings)
    first = scalar(True, BOOL).broadcast(n)
    (probabilities, _), _ = emit_loop(scalar(True, BOOL), STEPS, [start, first], index, [p, busy], traced)
    return probabilities


def _step(q: Value, p: Value, busy: Value, count: int) -> tuple[Value, Value]:
    """One iteration for the rows that have not converged: the new probabilities, and which rows these were."""
    n = p.shape[0]
    qp = q.matmul(p.unsqueeze(2)).squeeze(2)
    total = (p * qp).sum(1, keepdims=True)
    active = busy.map("and", ((qp - total).map("abs").max(1) < 0.005 / count).map("not"))
    new = p
    for i in range(count):
        row = q.narrow(1, i, 1).squeeze(1)
        own, of_p = row.narrow(1, i, 1), qp.narrow(1, i, 1)
        step = (total - of_p) / own
        size = step + 1.0
        unit = constant(np.eye(1, count, i, dtype=np.float32))
        new = (new + step * unit) / size
        total = (total + step * (step * own + of_p * 2.0)) / size / size
        qp = (qp + step * row) / size
    return active.reshape(n, 1).select(new, p), active
