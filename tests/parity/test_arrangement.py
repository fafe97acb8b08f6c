"""Slice, Pad, Reshape, Squeeze, Gather and their like: the same elements as in onnxruntime, for sizes and amounts at

the edges, however they are given; and an error where onnxruntime has one.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnx.numpy_helper import from_array

import intaglio
from parity.cases import CONSTANT, FIXED, SYMBOLIC, Case, difference, onnxruntimes, ours

Array = np.ndarray[Any, Any]
KINDS = [(FIXED, CONSTANT), (FIXED, FIXED), (SYMBOLIC, CONSTANT), (SYMBOLIC, FIXED)]  # of the data, of what says how
FAR = [2**63 - 1, -(2**63), -(2**63) + 1, 2**40, -(2**40), 100, -100]


def numbers(*shape: int) -> Array:
    return np.arange(1, 1 + np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)


def assert_same(case: Case) -> None:
    wanted = onnxruntimes(case)
    different = difference(ours(case), wanted)
    assert not different, f"{case}: {different}"


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


@pytest.mark.sample(2)
@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("seed", range(2))
def test_slices(kinds: tuple[str, str], seed: int) -> None:
    """By the formula of the standard."""
    rng = random.Random(seed)
    for _ in range(40):
        shape = [rng.randint(0, 5) for _ in range(rng.randint(1, 3))]
        axes = rng.sample(range(len(shape)), rng.randint(1, len(shape)))
        starts, ends = ([rng.choice([0, 1, -1, 3, -3, *FAR]) for _ in axes] for _ in range(2))
        steps = [rng.choice([1, 2, 3, -1, -2, *FAR]) for _ in axes]
        x = wanted = numbers(*shape)
        for axis, start, end, step in zip(axes, starts, ends, steps):
            dim, low, high = shape[axis], 0 if step > 0 else -1, shape[axis] if step > 0 else shape[axis] - 1
            first, last = (v + dim if v < 0 else v for v in (start, end))
            first, last = min(max(first, 0), high), min(max(last, low), high)
            wanted = np.take(wanted, range(first, last, step), axis)
        axes = [a - len(shape) if rng.random() < 0.5 else a for a in axes]
        given = [x, ints(*starts), ints(*ends), ints(*axes), ints(*steps)]
        each = Case("Slice", given, opset=13, kinds=[kinds[0], *[kinds[1]] * 4])
        assert not difference(ours(each), [wanted]), f"{each}: {difference(ours(each), [wanted])}"


@pytest.mark.sample(3)
@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("bounds", [(-16, 2**60), (-65, 2**60), (0, -5)])
def test_slices_that_are_kept(bounds: tuple[int, int], step: int) -> None:
    """A row whose length is a formula is read twice: for what is reduced of it, and with that."""
    for axis in range(3):
        for reduced in range(3):
            given = {"s": bounds[0], "e": bounds[1], "a": axis, "t": step, "r": reduced}
            nodes = [
                helper.make_node("Slice", ["x", "s", "e", "a", "t"], ["v"]),
                helper.make_node("Exp", ["v"], ["f"]),
                helper.make_node("ReduceMax", ["f", "r"], ["m"]),
                helper.make_node("Sub", ["f", "m"], ["y"]),
                helper.make_node("Sub", ["v", "m"], ["z"]),
            ]
            graph = helper.make_graph(
                nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["a", "b", "c"])],
                [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "fyz"],
                [from_array(np.array([v]), name) for name, v in given.items()],
            )  # fmt: skip
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
            content, x = model.SerializeToString(), np.sin(numbers(5, 70, 9))
            wanted = onnxruntime.InferenceSession(content).run(None, {"x": x})
            for ours_, theirs in zip(intaglio.InferenceSession(content).run(None, {"x": x}), wanted):
                np.testing.assert_allclose(ours_, theirs, rtol=1e-5, atol=1e-6, err_msg=str(given))


@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("axes", [[0, 0], [0, -2], [2, 0], [-3, 1]])
def test_axes_of_slices(axes: list[int], kinds: tuple[str, str]) -> None:
    """The same twice, or out of range."""
    given = [numbers(3, 4), ints(0, 0), ints(2, 2), ints(*axes), ints(1, 1)]
    assert_same(Case("Slice", given, opset=13, kinds=[kinds[0], *[kinds[1]] * 4]))


@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
def test_pads(mode: str, kinds: tuple[str, str]) -> None:
    rng = random.Random(mode)
    for _ in range(40):
        shape = [rng.randint(0, 4) for _ in range(rng.randint(1, 3))]
        pads = [rng.randint(-4 if rng.random() < 0.4 else 0, 4) for _ in shape * 2]
        kept = [d + min(a, 0) + min(b, 0) for d, a, b in zip(shape, pads, pads[len(shape) :])]
        if mode == "wrap" and min(kept) <= 0:  # an error there even where nothing is repeated
            continue
        if mode == "reflect" and any(max(n) >= d for d, *n in zip(kept, pads, pads[len(shape) :])):
            continue  # by more than there is: an error there
        given = [numbers(*shape), ints(*pads), np.array(1.5, np.float32) if mode == "constant" else None]
        assert_same(Case("Pad", given, {"mode": mode}, 19, [kinds[0], kinds[1], CONSTANT]))


@pytest.mark.parametrize("kinds", KINDS)
def test_long_reflections_are_numpys(kinds: tuple[str, str]) -> None:
    """As in the standard's own example, which reflects 2 elements by 2."""
    x = np.array([[1.0, 1.2], [2.3, 3.4], [4.5, 5.7]], np.float32)
    for pads in ([0, 2, 0, 0], [7, 0, 9, 0], [3, 5, 0, 11]):
        wanted = np.pad(x, [(pads[0], pads[2]), (pads[1], pads[3])], "reflect")
        assert not difference(ours(Case("Pad", [x, ints(*pads)], {"mode": "reflect"}, 18, kinds)), [wanted])


@pytest.mark.parametrize("kinds", [(FIXED, CONSTANT), (FIXED, FIXED), (SYMBOLIC, FIXED)])
@pytest.mark.parametrize("shape", [(0, 4), (2, 6), (3, 0), (0,), (4,), ()])
def test_reshapes(shape: tuple[int, ...], kinds: tuple[str, str]) -> None:
    """A batch of none and a constant shape with -1 is left out: the rest is known then, and it works here."""
    targets = [[0, -1], [-1, 0], [0, 3, -1], [0, 7], [4, 3], [-1], [0], [2, -1], [-1, -1], [-2, 3], [0, 2, 0], []]
    for target in targets:
        for allowzero in (0, 1):
            if allowzero and 0 in target and -1 in target:  # invalid, and checked there for constants alone
                continue
            given = [numbers(*shape), ints(*target)]
            assert_same(Case("Reshape", given, {"allowzero": allowzero}, 14, kinds))


@pytest.mark.parametrize("kinds", [*KINDS, (FIXED, FIXED)])
def test_squeezes(kinds: tuple[str, str]) -> None:
    for shape in ((1, 3, 1), (3, 1), (1, 1, 1, 2, 1)):
        for axes in ([0], [-1], [1], [0, 2], [0, -1], [0, 1, -1], [5]):
            assert_same(Case("Squeeze", [numbers(*shape), ints(*axes)], opset=13, kinds=kinds))


@pytest.mark.parametrize("kinds", [*KINDS, (FIXED, FIXED)])
def test_unsqueezes(kinds: tuple[str, str]) -> None:
    for shape in ((2, 3), (4,), (), (2, 1, 3)):
        for axes in ([0], [-1], [1], [0, 2], [0, -1], [0, 1, -1]):
            if len(set(axes)) < len(axes) or max(axes) >= len(shape) + len(axes):
                continue
            assert_same(Case("Unsqueeze", [numbers(*shape), ints(*axes)], opset=13, kinds=kinds))


@pytest.mark.parametrize("axes", [[-2], [1], [-1, 0], [0, 2]])
def test_axes_that_are_compiled(axes: list[int]) -> None:
    """Negative ones are no sizes, though they are symbols."""
    for op, shape in (("Unsqueeze", (3, 5)), ("Squeeze", (1, 4, 1, 1))):
        each = Case(op, [numbers(*shape), ints(*axes)], opset=13, kinds=[SYMBOLIC, FIXED])
        if op == "Unsqueeze" or axes != [1]:
            made = intaglio.InferenceSession(each.model().SerializeToString()).run(None, each.feeds())
            assert not difference(made, onnxruntimes(each)), str(each)


@pytest.mark.parametrize("kinds", KINDS)
def test_tiles(kinds: tuple[str, str]) -> None:
    for repeats in ([2, 3], [0, 1], [1, 0], [-1, 1], [1 << 17, 1 << 17], [1 << 62, 1], [1 << 62, 4], [2]):
        assert_same(Case("Tile", [numbers(2, 1), ints(*repeats)], opset=13, kinds=kinds))


@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("opset", [11, 13, 18])
def test_splits(opset: int, kinds: tuple[str, str]) -> None:
    """Sizes add up to the axis; without sizes, they are equal."""
    for size in (4, 5, 2, 0):
        for sizes in ([1, 3], [0, 4], [1, 2], [5, 0], [2, 2, 1]):
            if opset >= 13:
                given = [numbers(size, 2), ints(*sizes)]
                assert_same(Case("Split", given, opset=opset, kinds=kinds, outputs=len(sizes)))
            else:
                assert_same(Case("Split", [numbers(size, 2)], {"split": sizes}, opset, kinds, len(sizes)))
        for count in (1, 2, 3):
            attrs = {"num_outputs": count} if opset >= 18 else {}
            assert_same(Case("Split", [numbers(size, 2)], attrs, opset, kinds, count))


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("kind", [CONSTANT, FIXED])
def test_triangles(upper: int, kind: str) -> None:
    for k in (0, 1, -1, 7, -7, 2**63 - 1, -(2**63), 2**62, -(2**62), 2**63 - 2):
        assert_same(Case("Trilu", [numbers(3, 4), np.array(k)], {"upper": upper}, 14, [SYMBOLIC, kind]))


@pytest.mark.parametrize("kinds", KINDS)
def test_chosen_rows(kinds: tuple[str, str]) -> None:
    for condition in ([1, 0], [0, 1, 1], [1] * 5, [0, 1, 1, 0, 1, 1, 1], [], [0] * 9):
        for axis in (0, 1, -1, None):
            attrs = {} if axis is None else {"axis": axis}
            assert_same(Case("Compress", [numbers(3, 2), np.array(condition, bool)], attrs, 11, kinds))


@pytest.mark.parametrize("indices", [np.int32, np.int64, np.float32])
@pytest.mark.parametrize("depth", [np.int32, np.int64, np.float32])
@pytest.mark.parametrize("kind", [CONSTANT, FIXED])
def test_one_hot(indices: Any, depth: Any, kind: str) -> None:
    """Numbers that are not whole are cut off, as the standard says; onnxruntime has not all types."""
    at, values = np.array([0, 2, 5, -1, -3, -4, 1.5, -0.5]).astype(indices), np.array([2, 7], np.float32)
    for count in (3, 1, 4.75):
        size = int(np.array(count).astype(depth))
        whole = at.astype(np.int64)[:, None]
        hot = np.arange(size) == np.where(whole < 0, whole + size, whole)
        each = Case("OneHot", [at, np.array(count).astype(depth), values], opset=11, kinds=[SYMBOLIC, kind, FIXED])
        assert not difference(ours(each), [np.where(hot, values[1], values[0])]), str(each)
    negative = Case("OneHot", [at, np.array(-2).astype(depth), values], opset=11, kinds=[FIXED, kind])
    assert isinstance(ours(negative), str)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.int8])
@pytest.mark.parametrize("order", [0, 1])
def test_distinct_elements_are_numpys(dtype: Any, order: int) -> None:
    x = np.array([3, 1, 3, 2, 2, 0, 1, 3]).astype(dtype)
    if np.dtype(dtype).kind == "f":
        x[[3, 4]] = np.nan
    _, index, which, count = np.unique(x, return_index=True, return_inverse=True, return_counts=True)
    place = np.arange(len(index)) if order else np.argsort(np.argsort(index))
    back = np.argsort(place)
    wanted = [x[index[back]], index[back], place[which], count[back]]
    assert not difference(ours(Case("Unique", [x], {"sorted": order}, 11, outputs=4)), wanted)


@pytest.mark.parametrize("kind", [FIXED, SYMBOLIC])
def test_tuples_of_no_indices(kind: str) -> None:
    """They stand for all of the data."""
    x, updates = numbers(2, 3), numbers(4, 2, 3) * 10
    empty = np.zeros((4, 0), np.int64)
    for reduction in ("none", "add", "mul", "max"):
        attrs = {"reduction": reduction}
        assert_same(Case("ScatterND", [x, empty, updates], attrs, 18, [kind, FIXED, kind]))
    wanted = np.broadcast_to(x, (4, 2, 3))
    assert not difference(ours(Case("GatherND", [x, empty], opset=13, kinds=[kind, FIXED])), [wanted])


@pytest.mark.parametrize("kind", [FIXED, SYMBOLIC])
@pytest.mark.parametrize("batches", [1, 2, 3])
def test_sizes_that_disagree(batches: int, kind: str) -> None:
    x, index = numbers(2, 3, 4), np.zeros((batches, 2, 1), np.int64)
    made = ours(Case("GatherND", [x, index], {"batch_dims": 1}, 13, [kind, FIXED]))
    assert isinstance(made, str) == (batches != 2)  # onnxruntime takes them for one row of batches
    lengths = np.ones(batches, np.int64)
    assert_same(Case("ReverseSequence", [x, lengths], {"batch_axis": 0, "time_axis": 1}, 10, [kind, kind]))
    given = [numbers(2, 4, 4), numbers(batches, 1, 4), np.array([3])]
    assert_same(Case("NonMaxSuppression", given, opset=11, kinds=[kind, kind, CONSTANT]))


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("kind", [FIXED, SYMBOLIC])
def test_pools_of_nothing(op: str, kind: str) -> None:
    for shape in ((2, 3, 0, 4), (2, 3, 4, 0), (2, 3, 4, 1)):
        assert_same(Case(op, [numbers(*shape)], opset=13, kinds=[kind]))


@pytest.mark.parametrize("kind", [CONSTANT, FIXED])
def test_transforms_along_any_axis(kind: str) -> None:
    x = np.random.default_rng(0).standard_normal((3, 5, 4, 1)).astype(np.float32)
    for axis in (0, 1, 2, -2, -3):
        for length in (None, 4, 7):
            for onesided in (0, 1):
                given = [x, None if length is None else np.array(length), np.array(axis)]
                assert_same(Case("DFT", given, {"onesided": onesided}, 20, [FIXED, kind, kind]))
    for axis in (3, -1, 4, -5):
        assert isinstance(ours(Case("DFT", [x, None, np.array(axis)], opset=20, kinds=[FIXED, kind, kind])), str)
    for shape in ((8, 1), (8, 2)):
        flat = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        wanted = np.fft.fft(flat[:, 0] + (1j * flat[:, 1] if shape[1] == 2 else 0))
        made = ours(Case("DFT", [flat], {"axis": 0}, 17, [FIXED]))
        assert not difference(made, [np.stack([wanted.real, wanted.imag], -1).astype(np.float32)])


@pytest.mark.parametrize("value", [-1, 0, 1, 3, 4, 5, 2**40])
def test_data_that_an_operator_forbids(value: int) -> None:
    x = numbers(1, 1, 2, 2)
    index = np.array([[[[0, 1], [2, value * 4]]]])
    roi = np.array([[0, 0, 2, 2]], np.float32)
    threshold, boxes, scores = np.array(value / 4, np.float32), numbers(1, 3, 4), numbers(1, 1, 3)
    for each in (
        Case("MaxUnpool", [x, index], {"kernel_shape": [2, 2], "strides": [2, 2]}, 11),
        Case("RoiAlign", [numbers(4, 1, 3, 3), roi, ints(value)], {"sampling_ratio": 2}, 16),
        Case("ReverseSequence", [numbers(4, 1), ints(value)], opset=10),
        Case("NonMaxSuppression", [boxes, scores, np.array([3]), threshold], opset=11, kinds=[FIXED] * 4),
    ):
        try:
            made: Any = intaglio.InferenceSession(each.model().SerializeToString()).run(None, each.feeds())
        except Exception as error:
            made = str(error)
        assert not difference(made, onnxruntimes(each)), str(each)
