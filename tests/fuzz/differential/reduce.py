"""Makes a failing case small: fewer outputs, nodes and attributes, smaller sizes, as long as it fails alike.

In: a case and how it ended. Out: a smaller case that ends alike. Every try is evaluated by the judges anew, in a
process of its own, which may crash.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ...onnx_suite import pool
from . import judge, subject
from .judge import Rejected
from .subject import CRASH, Outcome
from .world import Case, needed

SECONDS = 60.0  # for one case


def reduce(case: Case, outcome: Outcome, seconds: float = SECONDS) -> tuple[Case, Outcome]:
    """The smallest case found in this time, and how it ends."""
    end = time.monotonic() + seconds
    if outcome.output:
        case = _pruned(case, outputs=[outcome.output, *(name for name in case.outputs if name != outcome.output)])
    changed = True
    while changed and time.monotonic() < end:
        changed = False
        for step in (_outputs, _cuts, _leaves, _attributes, _sizes, _numbers):
            again = True
            while again and time.monotonic() < end:
                again = False
                for smaller in step(case):
                    found = _try(smaller)
                    if found is not None and _alike(found[1], outcome):
                        case, outcome, again, changed = *found, True, True
                        break
                    if time.monotonic() > end:
                        break
    return case, outcome


def _alike(one: Outcome, other: Outcome) -> bool:
    return one.status == other.status and (one.status != subject.ERROR or one.cause[:40] == other.cause[:40])


def _try(case: Case) -> tuple[Case, Outcome] | None:
    for _, result in pool.run(_judged, [case], 1, subject.SECONDS):
        if isinstance(result, pool.Ended):
            # Its values are those of the larger case: the judges have seen each of its nodes, or have not crashed.
            return case, Outcome(case.seed, CRASH, result.how, nodes=len(case.nodes))
        return result
    return None


def _judged(case: Case) -> tuple[Case, Outcome] | None:
    try:
        values = judge.evaluate(case.nodes, case.arrays, case.opset)
    except (Rejected, KeyError):
        return None
    except Exception:  # a candidate need not be well formed
        return None
    if any(name not in values or isinstance(values[name].array, list) for name in case.outputs):
        return None
    case = replace(case, values=values)
    return case, subject.judged(case)


def _pruned(case: Case, **changes: object) -> Case:
    """With the nodes and leaves that the outputs need alone."""
    case = replace(case, **changes)  # type: ignore[arg-type]
    nodes = needed(case.nodes, case.outputs)
    read = {name for node in nodes for name in judge.reads(node)}
    arrays = {name: array for name, array in case.arrays.items() if name in read}
    return replace(case, nodes=nodes, arrays=arrays)


def _outputs(case: Case) -> Iterator[Case]:
    """One output, or an earlier value instead of them."""
    if len(case.outputs) > 1:
        for name in case.outputs:
            yield _pruned(case, outputs=[name])
    for node in case.nodes[: len(case.nodes) - 1]:
        for name in node.output:
            if (
                name
                and node.op_type != "Constant"
                and case.outputs != [name]
                and not isinstance(case.values[name].array, list)
            ):
                yield _pruned(case, outputs=[name])


def _cuts(case: Case) -> Iterator[Case]:
    """What nodes compute is given instead: of many nodes first, then of each."""
    n = len(case.nodes)
    chunk = max(n // 2, 1)
    while True:
        for at in range(0, n, chunk):
            smaller = _without(case, set(range(at, min(at + chunk, n))))
            if smaller is not None:
                yield smaller
        if chunk == 1:
            return
        chunk //= 2


def _without(case: Case, places: set[int]) -> Case | None:
    nodes = [node for i, node in enumerate(case.nodes) if i not in places]
    cut = {name for i in places for name in case.nodes[i].output if name}
    if cut.intersection(case.outputs) or not nodes:
        return None
    read = {name for node in nodes for name in judge.reads(node)}
    if any(isinstance(case.values[name].array, list) for name in cut & read):
        return None
    new = {name: case.values[name].array for name in cut & read}
    was_constant = {name for i in places if case.nodes[i].op_type == "Constant" for name in case.nodes[i].output}
    return _pruned(case, nodes=nodes, arrays={**case.arrays, **new}, constants=case.constants | (was_constant & read))


def _leaves(case: Case) -> Iterator[Case]:
    """Plain inputs: no names of sizes, no constants, the usual level."""
    if case.dims:
        yield replace(case, dims={})
        for name in case.dims:
            yield replace(case, dims={key: dims for key, dims in case.dims.items() if key != name})
    if case.level != 99:
        yield replace(case, level=99)
    for name in [name for name in case.arrays if name in case.constants and judge.is_float(case.arrays[name])]:
        yield replace(case, constants=case.constants - {name})


def _attributes(case: Case) -> Iterator[Case]:
    """Fewer attributes, inputs and outputs."""
    for i, node in enumerate(case.nodes):
        for j in range(len(node.attribute)):
            fewer = copy.deepcopy(node)
            del fewer.attribute[j]
            yield _pruned(case, nodes=[*case.nodes[:i], fewer, *case.nodes[i + 1 :]])
        if len(node.input) > 1:
            fewer = copy.deepcopy(node)
            fewer.input.pop()
            while len(fewer.input) and not fewer.input[-1]:
                fewer.input.pop()
            yield _pruned(case, nodes=[*case.nodes[:i], fewer, *case.nodes[i + 1 :]])
        if len(node.output) > 1 and node.output[-1] not in case.outputs:
            fewer = copy.deepcopy(node)
            fewer.output.pop()
            yield _pruned(case, nodes=[*case.nodes[:i], fewer, *case.nodes[i + 1 :]])


def _sizes(case: Case) -> Iterator[Case]:
    """One size of the leaves smaller, everywhere, also where a constant names it."""
    sizes = sorted({size for array in case.arrays.values() for size in array.shape if size > 1}, reverse=True)
    for size in sizes:
        for new in dict.fromkeys((1, size // 2, size - 1)):
            if new == size:
                continue
            arrays = {}
            for name, array in case.arrays.items():
                if array.dtype == np.int64 and array.ndim == 1 and (array == size).any():
                    array = np.where(array == size, new, array)
                arrays[name] = array[tuple(slice(0, new if d == size else d) for d in array.shape)]
            yield replace(case, arrays=arrays, dims={})


def _numbers(case: Case) -> Iterator[Case]:
    for name, array in case.arrays.items():
        if judge.is_float(array) and array.size:
            with np.errstate(all="ignore"):
                rounded = np.round(array.astype(np.float64)).astype(array.dtype)
            if not np.array_equal(rounded, array, equal_nan=True):
                yield replace(case, arrays={**case.arrays, name: rounded})
