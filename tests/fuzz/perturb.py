"""Sizes that disagree: each operator with its dimensions all symbolic, and one size of one input changed at a time.

    python -m tests.fuzz.perturb [--match REGEX] [--count N] [-j N]

Takes the valid inputs of onnx's suite, and those of the tests of onnxruntime's own operators. Every dimension of every
input is a symbol of its own; then one size is made 0, 1, one less, one more, and twice what it was. A run has to end in
an error of ours, or in what onnxruntime (or else onnx's reference evaluator) makes of it. Anything else is a finding: a
crash, another exception, other numbers, an access out of bounds (kernels are built with INTAGLIO_VERIFY=2; with
INTAGLIO_SANITIZE=address, under LD_PRELOAD of its library, also by the sanitizer), or a result where both judges
refuse.
"""

from __future__ import annotations

import argparse
import os
import pickle
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import ml_dtypes
import numpy as np
import onnx
from onnx import helper

from intaglio import InferenceSession, SessionOptions
from intaglio.runtime import errors
from tests.onnx_suite import cases as suite
from tests.onnx_suite import chance, pool

Array = np.ndarray[Any, Any]
Feeds = dict[str, Array]
SECONDS = 120.0  # for a subject and all its perturbations
LARGEST = 1 << 22  # elements of a perturbed input
NEWEST, NEWEST_IR = 26, 13  # the opset and the IR version that onnxruntime knows
OURS = tuple(errors.BY_NAME.values())
CRASHED = "the process ended"
OUTSIDE = "Out of bounds:"  # in the texts of accesses that kernels check


def _no_steps(ys: Sequence[Array]) -> bool:
    """Whether a layer that was given no state has made no step."""
    return not ys[0].size or not any(np.any(y) for y in ys)


def _with_whole_masks(feeds: Feeds) -> Feeds:
    """The same inputs of Attention for the reference, whose causal mask has as few rows as a mask that is broadcast."""
    mask, queries = feeds.get("attn_mask"), feeds.get("Q")
    if mask is None or queries is None or mask.ndim < 2 or mask.shape[-2] != 1:
        return feeds
    return {**feeds, "attn_mask": np.repeat(mask, queries.shape[-2], axis=-2)}


# What is right though both judges refuse it, by operator: which results, and why they are.
ALLOWED: dict[str, tuple[Callable[[Sequence[Array]], bool], str]] = {
    "Attention": (lambda ys: not ys[0].size, "no queries have no results"),
    "EmbedLayerNormalization": (lambda ys: True, "onnxruntime infers no shapes of it where sizes are named"),
    "GRU": (_no_steps, "sequences of no length leave the state as it was; onnxruntime then writes nothing"),
    "LayerNormalization": (lambda ys: not ys[0].size, "there is nothing to be normalized"),
    "LSTM": (_no_steps, "sequences of no length leave the state as it was; onnxruntime then writes nothing"),
    "RNN": (_no_steps, "sequences of no length leave the state as it was; onnxruntime then writes nothing"),
    "Scan": (lambda ys: not ys[-1].size, "a scan over nothing gives the states that it was given"),
    "ai.onnx.preview.FlexAttention": (lambda ys: not ys[0].size, "a Reshape to a dim that is computed, and is 0"),
    "QEmbedLayerNormalization": (lambda ys: True, "onnxruntime infers no shapes of it where sizes are named"),
    "QLinearConv": (lambda ys: not ys[0].size, "an image of no pixels"),
    "TfIdfVectorizer": (lambda ys: not ys[0].size, "no rows"),
    "QLinearAveragePool": (lambda ys: not ys[0].size, "an image of no channels"),
    "QLinearSoftmax": (lambda ys: not ys[0].size or bool(np.all(ys[0] == ys[0].max())), "onnxruntime makes a scalar of "
                       "nothing, and 0 of a share of 1, whose sum overflows"),
    "Col2Im": (lambda ys: not ys[0].size, "blocks of no channels make an image of none"),
    "Compress": (lambda ys: ys[0].dtype == ml_dtypes.bfloat16, "onnxruntime, which ignores the surplus of a condition "
                 "in other types, has no bfloat16"),
    "GlobalAveragePool": (lambda ys: not ys[0].size, "an image of no channels has no means"),
    "GroupNormalization": (lambda ys: not ys[0].size, "there is nothing to be normalized"),
    "MaxPool": (lambda ys: not ys[0].size or bool(np.isneginf(ys[0]).all()), "the greatest number of none: there are "
                "no windows, or they lie in the padding"),
    "NegativeLogLikelihoodLoss": (lambda ys: bool(np.isnan(ys[0])), "the mean of no losses is undefined"),
    "SoftmaxCrossEntropyLoss": (lambda ys: bool(np.isnan(ys[0])), "the mean of no losses is undefined"),
}  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """A model, and inputs that it takes."""

    name: str
    operator: str
    model: bytes
    feeds: Feeds


@dataclass(frozen=True)
class Finding:
    """What is wrong: `input` with its dimension `axis` made `size`."""

    subject: str
    operator: str
    input: str
    axis: int
    size: int
    text: str

    def __str__(self) -> str:
        return f"{self.subject} ({self.operator}): {self.input}[{self.axis}] = {self.size}: {self.text}"


# -- subjects --------------------------------------------------------------------------------------------------------


def subjects() -> Iterator[Subject]:
    """Everything to be perturbed, in a fixed order."""
    for case in suite.load().values():
        if case.kind == "node" and case.name not in chance.CHECKS and not case.name.endswith("_expanded"):
            proto = onnx.load_from_string(case.model())
            arrays = case.data()[0][0]
            if all(isinstance(a, np.ndarray) and a.dtype.kind not in "OUS" for a in arrays):
                names = [i.name for i in proto.graph.input if i.name not in {t.name for t in proto.graph.initializer}]
                feeds = dict(zip(names, arrays))
                yield Subject(case.name, case.operator, proto.SerializeToString(), feeds)
    yield from contributed()


def contributed() -> Iterator[Subject]:
    """onnxruntime's own operators."""
    from tests.parity.test_contrib import CASES

    for number, (op, arrays, attrs, outputs) in enumerate(CASES):
        given = [a[1] if isinstance(a, tuple) else a for a in arrays]
        if not all(a is None or isinstance(a, np.ndarray) for a in given):
            continue
        names = ["" if a is None else f"x{i}" for i, a in enumerate(given)]
        feeds = {name: a for name, a in zip(names, given) if name}
        node = helper.make_node(op, names, [f"y{i}" for i in range(outputs)], domain="com.microsoft", **attrs)
        inputs = [onnx.ValueInfoProto(name=name) for name in feeds]
        graph = helper.make_graph([node], "g", inputs, [onnx.ValueInfoProto(name=o) for o in node.output])
        imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        proto = helper.make_model(graph, opset_imports=imports, ir_version=9)
        yield Subject(f"{op}-{number}", op, proto.SerializeToString(), feeds)


def without_sizes(model: bytes, feeds: Mapping[str, Array], symbolic: Collection[str]) -> bytes:
    """The model with a symbol for each dimension of the inputs that are to be `symbolic`, the sizes of the others, and
    nothing said of what is inside."""
    proto = onnx.load_from_string(model)
    for entry in proto.graph.input:
        if entry.name in feeds:
            x = feeds[entry.name]
            dims = [f"{entry.name}_{axis}" if entry.name in symbolic else d for axis, d in enumerate(x.shape)]
            kind = helper.np_dtype_to_tensor_dtype(x.dtype)
            if entry.type.tensor_type.elem_type:
                kind = entry.type.tensor_type.elem_type
            entry.CopyFrom(helper.make_tensor_value_info(entry.name, kind, dims))
    for entry in proto.graph.output:
        if entry.type.HasField("tensor_type"):
            entry.type.tensor_type.ClearField("shape")
    del proto.graph.value_info[:]
    return proto.SerializeToString()


def changes(feeds: Feeds, symbolic: Collection[str]) -> Iterator[tuple[str, int, int]]:
    """One input's axis at a time, and another size for it."""
    for name, x in feeds.items():
        for axis, d in enumerate(x.shape if name in symbolic else ()):
            for size in sorted({0, 1, d - 1, d + 1, 2 * d} - {d, -1}):
                if x.size // max(d, 1) * size <= LARGEST:
                    yield name, axis, size


def perturbed(feeds: Feeds, symbolic: Collection[str]) -> Iterator[tuple[str, int, int, Feeds]]:
    """The inputs with each of these changes; elements are repeated, so that what was an index is one."""
    for name, axis, size in changes(feeds, symbolic):
        x = feeds[name]
        d = x.shape[axis]
        empty = np.zeros((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype)
        resized = np.ascontiguousarray(np.take(x, np.arange(size) % d, axis)) if d else empty
        yield name, axis, size, {**feeds, name: resized}


# -- runs ------------------------------------------------------------------------------------------------------------


def judged(subject: Subject) -> tuple[int, list[Finding], list[str]]:
    """How many perturbations were run, what is wrong, and why some could not be run.

    Where the operator is refused with all of its inputs' sizes unknown, those of one input at a time are."""
    count, findings, refusal = _judged(subject, subject.feeds.keys())
    if not refusal:
        return count, findings, []
    refusals = []
    for name in subject.feeds:
        more, found, refusal = _judged(subject, {name})
        count += more
        findings += found
        if refusal:
            refusals.append(f"{name}: {refusal}")
    return count, findings, refusals


def _judged(subject: Subject, symbolic: Collection[str]) -> tuple[int, list[Finding], str]:
    model = without_sizes(subject.model, subject.feeds, symbolic)
    options = SessionOptions()
    options.log_severity_level = 4
    try:
        session = InferenceSession(model, options)
    except OURS as reason:
        return 0, [], str(reason).splitlines()[-1].strip()
    got: list[tuple[str, int, int, Feeds, Any]] = []
    for name, axis, size, feeds in perturbed(subject.feeds, symbolic):
        try:
            outcome: Any = session.run(None, feeds)
        except OURS as error:
            outcome = error
        except Exception as error:
            outcome = AssertionError(f"{type(error).__name__}: {error}")
        got.append((name, axis, size, feeds, outcome))
    results = [(i, each) for i, each in enumerate(got) if isinstance(each[4], list)]
    theirs = dict(zip([i for i, _ in results], onnxruntime_says(model, [each[3] for _, each in results])))
    findings = []
    for i, (name, axis, size, feeds, outcome) in enumerate(got):
        text = ""
        if isinstance(outcome, AssertionError) or (isinstance(outcome, OURS) and OUTSIDE in str(outcome)):
            text = str(outcome)
        elif isinstance(outcome, list):
            text = compared(outcome, theirs[i], model, subject.operator, feeds)
        if text:
            findings.append(Finding(subject.name, subject.operator, name, axis, size, text[:300]))
    return len(got), findings, ""


def compared(ours: list[Array], theirs: list[Array] | str, model: bytes, operator: str, feeds: Feeds) -> str:
    """What is wrong with a result; "" where a judge agrees."""
    told = theirs if isinstance(theirs, str) else difference(ours, theirs)
    if not told:
        return ""
    reference = reference_says(model, _with_whole_masks(feeds) if operator == "Attention" else feeds)
    other = reference if isinstance(reference, str) else difference(ours, reference)
    unknown = theirs == CRASHED and isinstance(reference, str)  # there is nobody who knows
    if not other or unknown or (operator in ALLOWED and ALLOWED[operator][0](ours)):
        return ""
    silent = isinstance(theirs, str) and isinstance(reference, str)
    kind = "both refuse" if silent else "a judge differs"
    return f"{kind}: {[np.shape(y) for y in ours]}; onnxruntime: {told[:110]}; reference: {other[:110]}"


def difference(ours: Sequence[Array], theirs: Sequence[Array]) -> str:
    """How results differ, by more than the rounding of half of the digits; "" where they do not."""
    for a, b in zip(ours, theirs):
        if isinstance(a, list) or isinstance(b, list):
            if not (isinstance(a, list) and isinstance(b, list) and len(a) == len(b)):
                return "another sequence"
            told = difference(a, b)
            if told:
                return told
            continue
        a, b = np.asarray(a), np.asarray(b)
        if a.shape != b.shape:
            return f"shape {b.shape}"
        if a.dtype.kind in "biu" or a.dtype.kind in "OUS":
            if (a != b).any():
                return "other numbers"
            continue
        x, y = a.astype(np.float64), b.astype(np.float64)
        eps = 1e-3 if a.dtype.itemsize > 2 else 3e-2
        with np.errstate(all="ignore"):
            scale = np.abs(y[np.isfinite(y)]).max(initial=1)
            close = (x == y) | (np.isnan(x) & np.isnan(y)) | (np.abs(x - y) <= eps * scale)
        if not close.all():
            return "other numbers"
    return ""


def reference_says(model: bytes, feeds: Feeds) -> list[Array] | str:
    from onnx.reference import ReferenceEvaluator

    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return list(ReferenceEvaluator(onnx.load_from_string(model)).run(None, feeds))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def onnxruntime_says(model: bytes, many: Sequence[Feeds]) -> list[list[Array] | str]:
    """What onnxruntime makes of each; in processes of its own, as some sizes end it."""
    told: list[list[Array] | str] = []
    while len(told) < len(many):
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            try:
                _onnxruntime(model, many[len(told) :], writer)
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            data = pipe.read()
        os.waitpid(child, 0)
        at = 0
        while at + 8 <= len(data):
            size = int.from_bytes(data[at : at + 8], "little")
            if at + 8 + size > len(data):
                break
            told.append(pickle.loads(data[at + 8 : at + 8 + size]))
            at += 8 + size
        if len(told) < len(many):
            told.append(CRASHED)
    return told


def _onnxruntime(model: bytes, many: Sequence[Feeds], writer: int) -> None:
    import onnxruntime

    proto = onnx.load_from_string(model)
    for each in proto.opset_import:
        if not each.domain:  # what is newer than onnxruntime has more types, and else the same operators
            each.version = min(each.version, NEWEST)
    proto.ir_version = min(proto.ir_version, NEWEST_IR)
    model = proto.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session: Any = None
    for feeds in many:
        said: list[Array] | str
        try:
            session = session or onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            said = session.run(None, feeds)
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        data = pickle.dumps(said)
        with os.fdopen(os.dup(writer), "wb") as pipe:
            pipe.write(len(data).to_bytes(8, "little") + data)


# -- all of it -------------------------------------------------------------------------------------------------------


def run(chosen: Sequence[Subject], jobs: int) -> tuple[int, list[Finding], Counter[str]]:
    """All perturbations of the subjects: how many, the findings, and how many subjects could not be run, by reason."""
    total, findings, left_out = 0, [], Counter()
    memory = pool.MEMORY if "INTAGLIO_SANITIZE" not in os.environ else -1  # the sanitizer takes all addresses
    for subject, result in pool.run(judged, chosen, jobs, SECONDS, memory):
        if isinstance(result, pool.Ended):
            findings.append(Finding(subject.name, subject.operator, "?", 0, 0, result.how))
            continue
        count, found, reasons = result
        total += count
        findings += found
        left_out.update(f"{subject.operator}: {reason}" for reason in reasons)
    return total, findings, left_out


def sample(everything: Sequence[Subject], count: int) -> list[Subject]:
    """Some subjects, evenly spread over the operators, with about `count` perturbations; of each operator those first
    that have the most, as a subject is compiled once for all of them."""
    sizes = {id(subject): sum(1 for _ in changes(subject.feeds, subject.feeds.keys())) for subject in everything}
    rounds: Counter[str] = Counter()
    order = []
    for subject in sorted(everything, key=lambda s: -sizes[id(s)]):
        rounds[subject.operator] += 1
        order.append((rounds[subject.operator], crc32(subject.operator.encode()), len(order), subject))
    chosen: list[Subject] = []
    for *_, subject in sorted(order, key=lambda each: each[:3]):
        if count <= 0:
            break
        chosen.append(subject)
        count -= sizes[id(subject)]
    return chosen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--match", default="", help="only the subjects whose names match")
    parser.add_argument("--count", type=int, default=1 << 30, help="about so many perturbations, of all operators")
    parser.add_argument("-j", "--jobs", type=int, default=2)
    options = parser.parse_args()
    os.environ.setdefault("INTAGLIO_VERIFY", "2")
    everything = [s for s in subjects() if re.search(options.match, s.name)]
    total, findings, left_out = run(sample(everything, options.count), options.jobs)
    for finding in findings:
        print("FOUND:", finding)
    for reason, times in left_out.most_common():
        print(f"not run, {times}: {reason[:160]}")
    print(f"{total} perturbations, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
