"""Faults that are planted in the compiler, for tests of what finds them.

In: a kind of fault, a graph in which to choose its place, random numbers. Out: a changed compiler, until the patch is
undone. A place is told by the names of ONNX nodes, so that the fault is also in a part of the model that has the node.

The cache of compiled models knows nothing of such changes, so that a planted fault needs a cache of its own; object
files are cached by their sources, and shared.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from intaglio.compiler import passes, schedule
from intaglio.compiler.codegen.c.expr import PRIMARY, Functions
from intaglio.compiler.frontend import importer
from intaglio.compiler.frontend.load import load_model
from intaglio.compiler.graph.ir import Graph, Node, Value, constant, rewrite
from intaglio.compiler.kernel.ir import LoopNest, Stage
from intaglio.compiler.kernel.packing import Packing
from intaglio.compiler.kernel.rebuild import map_sizes
from intaglio.compiler.lower.elements import Elements
from intaglio.compiler.passes.fold import _Folder
from intaglio.compiler.scalar.dim import Symbol, substitute
from intaglio.compiler.scalar.dtype import F32
from intaglio.runtime.store import cache

Patch = pytest.MonkeyPatch
Place = tuple[str, ...]  # an origin


@dataclass(frozen=True)
class Kind:
    """stages: those that may be found. places: where such a fault can be, in an imported and an optimised graph."""

    stages: tuple[str, ...]
    places: Callable[[Graph, Graph], Sequence[Any]]
    plant: Callable[[Patch, Any], None]


def _optimised(graph: Graph) -> Graph:
    for _, run in passes.at_level(99):
        graph = run(graph)
    return graph


def _floats(graph: Graph) -> list[Node]:
    return [n for n in graph.nodes() if n.origin and n.outputs[0].dtype == F32]


# -- a wrong import: an operator whose result is scaled --------------------------------------------------------------


def _operators(imported: Graph, optimised: Graph) -> list[Any]:
    return sorted({n.origin for n in _floats(imported) if n.op.name in ("map", "matmul", "conv", "reduce")})


def _plant_operator(patch: Patch, place: Any) -> None:
    node_of = importer._Importer._node

    def wrong(self: Any, node: Any, scope: Any) -> Any:
        results = list(node_of(self, node, scope))
        if (node.name or node.op,) == place and isinstance(results[0], Value) and results[0].dtype == F32:
            results[0] = results[0] * 1.02 + 0.01
        return results

    patch.setattr(importer._Importer, "_node", wrong)


# -- a wrong pass rule: a pass that turns the result of a node into another one --------------------------------------


def _rules(imported: Graph, optimised: Graph) -> list[Any]:
    names = [name for name, _ in passes.at_level(99)]
    return [(name, n.origin) for name in names for n in _floats(optimised) if n.op.name in ("map", "matmul", "conv")]


def _plant_rule(patch: Patch, place: Any) -> None:
    name, origin = place

    def wrong(run: Callable[[Graph], Graph]) -> Callable[[Graph], Graph]:
        def changed(node: Node) -> list[Value] | None:
            if node.origin != origin or node.outputs[0].dtype != F32 or node.op.name not in ("map", "matmul", "conv"):
                return None
            value = node.outputs[0]
            return [value * 1.02 + 0.01]

        return lambda graph: rewrite(run(graph), changed)

    patch.setattr(passes, "PASSES", [(n, wrong(run) if n == name else run) for n, run in passes.PASSES])


# -- a wrong constant fold: one element of a folded constant is another number ---------------------------------------


def _folds(imported: Graph, optimised: Graph) -> list[Any]:
    found: list[Any] = []
    with Patch.context() as patch:
        _plant_fold(patch, None, found)
        _optimised(imported)
    return sorted(set(found))


def _plant_fold(patch: Patch, place: Any, found: list[Any] | None = None) -> None:
    computed = _Folder.computed

    def wrong(self: Any, node: Node) -> list[Value] | None:
        results = computed(self, node)
        data = results[0].data if results else None
        if data is None or data.dtype != np.float32 or not data.size:
            return results
        if found is not None:
            found.append(node.origin)
        elif node.origin == place:
            data = data.copy()
            data.reshape(-1)[data.size // 2 :] = data.reshape(-1)[data.size // 2 :] * 1.05 + 0.01
            return [constant(data)]
        return results

    patch.setattr(_Folder, "computed", wrong)


# -- a wrong fusion: a kernel that reads an operand at the place of the next element ---------------------------------


def _operands(imported: Graph, optimised: Graph) -> list[Any]:
    nodes = [n for n in _floats(optimised) if n.op.name == "map" and len(n.inputs) == 2]
    return [(n.origin, n.attrs["prim"], i) for n in nodes for i, v in enumerate(n.inputs) if _is_long(v)]


def _is_long(value: Value) -> bool:
    return value.rank > 0 and isinstance(value.shape[-1], int) and value.shape[-1] > 3


def _plant_operand(patch: Patch, place: Any) -> None:
    origin, prim, number = place
    mapped = Elements.mapped

    def wrong(self: Any, node: Node, index: Any, mask: Any = None) -> Any:
        at = index
        if node.origin != origin or node.attrs["prim"] != prim or not _is_long(node.inputs[number]):
            return (yield from mapped(self, node, index, mask))
        rule = mapped(self, node, at, mask)
        answer = None
        for position in range(len(node.inputs)):
            value, where, inside = rule.send(answer)
            if position == number:
                where = (*where[:-1], (where[-1] + 1) % value.shape[-1])
            answer = yield value, where, inside
        try:
            rule.send(answer)
        except StopIteration as stop:
            return stop.value
        raise AssertionError("a map that asks for more than its inputs")

    patch.setattr(Elements, "mapped", wrong)


# -- a wrong schedule: weights in another packing than the kernel reads; a reduction that leaves out its last element -


def _packings(imported: Graph, optimised: Graph) -> list[Any]:
    return ["panels"] if any(n.op.name in ("matmul", "conv") for n in optimised.nodes()) else []


def _plant_packing(patch: Patch, place: Any) -> None:
    pack: Callable[..., np.ndarray] = Packing.pack

    def wrong(self: Packing, array: np.ndarray) -> np.ndarray:
        packed = pack(self, array)
        return np.roll(packed, 1, -2) if self.form == place and self.nr > 1 else packed

    patch.setattr(Packing, "pack", wrong)


def _reductions(imported: Graph, optimised: Graph) -> list[Any]:
    return ["add"] if any(n.op.name == "reduce" and n.attrs["kind"] == "add" for n in optimised.nodes()) else []


def _plant_reduction(patch: Patch, place: Any) -> None:
    arranged = schedule.loopnest.arranged

    def shortened(stage: Stage) -> Stage:
        if stage.reduce != place or not isinstance(stage.reduce_axes[-1].extent, int):
            return stage
        old = stage.reduce_axes[-1]
        new = Symbol(old.name, old.lower, old.extent - 1)  # type: ignore[operator]
        return map_sizes(stage, lambda size: substitute(size, {old: new}))

    def wrong(body: LoopNest, how: Any) -> LoopNest:
        made = arranged(body, how)
        return replace(made, stages=tuple(map(shortened, made.stages)))

    patch.setattr(schedule.loopnest, "arranged", wrong)


# -- a wrong primitive: its C is not what it means -------------------------------------------------------------------


def _primitives(imported: Graph, optimised: Graph) -> list[Any]:
    nodes = [n for n in _floats(optimised) if n.op.name == "map"]
    return sorted({n.attrs["prim"] for n in nodes} - {"cast", "select", "require", "bitcast"})


def _plant_primitive(patch: Patch, place: Any) -> None:
    apply = Functions.apply

    def wrong(self: Functions, node: Any, args: Any) -> Any:
        text = apply(self, node, args)
        return (f"({text[0]} + 0.02f)", PRIMARY) if node.prim == place and node.dtype == F32 else text

    patch.setattr(Functions, "apply", wrong)


KINDS = {
    "operator": Kind(("import",), _operators, _plant_operator),
    "rule": Kind(tuple(name for name, _ in passes.PASSES), _rules, _plant_rule),
    "fold": Kind(("fold",), _folds, _plant_fold),
    "fusion": Kind(("lower",), _operands, _plant_operand),
    "packing": Kind(("schedule",), _packings, _plant_packing),
    "reduction": Kind(("schedule",), _reductions, _plant_reduction),
    "primitive": Kind(("print",), _primitives, _plant_primitive),
}


@contextlib.contextmanager
def own_cache() -> Iterator[None]:
    """A cache without models, and with the object files of the usual one."""
    objects = cache.root() / "objects"
    objects.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Patch.context() as patch:
        (Path(folder) / "objects").symlink_to(objects, target_is_directory=True)
        patch.setenv("INTAGLIO_CACHE_DIR", folder)
        yield


def places(kind: str, model: Path) -> list[Any]:
    """Where a fault of this kind can be in a model."""
    imported = importer.import_model(load_model(model))
    return list(KINDS[kind].places(imported, _optimised(imported)))


def holders(prim: str, model: Path) -> set[Place]:
    """The origins of what computes a primitive in an optimised model."""
    graph = _optimised(importer.import_model(load_model(model)))
    return {node.origin for node in _floats(graph) if node.attrs.get("prim") == prim}
