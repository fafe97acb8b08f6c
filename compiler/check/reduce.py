"""The smallest part of a model that shows a fault.

In: a model, what its values are, and a predicate of parts. Out: a `Part`: some of the nodes, cut out; what they read of
others is an input, with its value, or an initializer, where it does not depend on inputs.

The search begins around nodes that are suspected, grows until the fault shows, and then leaves out nodes, many at a
time and then few, as long as it does (Zeller, Hildebrandt: Simplifying and Isolating Failure-Inducing Input, 2002).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ..frontend.export import in_order, proto_of, reads
from ..frontend.interface import UserTensor
from ..frontend.load import UNKNOWN, Model, NodeDef, Type
from ..graph.ir import Array
from ..scalar.dtype import from_numpy

FEW = 12  # values of which each is tried
Shows = Callable[["Part"], bool]


@dataclass(frozen=True)
class Part:
    """A model cut out of another one, and its inputs."""

    nodes: tuple[NodeDef, ...]
    model: bytes
    feeds: dict[str, Array]


class Cutter:
    """Cuts parts out of a model.

    values: arrays by name, of all that is a tensor. fixed: names of those that do not depend on inputs. symbolic:
    whether the model's own inputs keep their dimensions; else all sizes are numbers."""

    def __init__(self, model: Model, values: Mapping[str, Array], fixed: Collection[str], symbolic: bool) -> None:
        self.model = model
        self.values = values
        self.fixed = fixed
        self.symbolic = symbolic
        self.nodes = in_order(model.graph.nodes)
        self.reads = {id(node): tuple(reads(node.proto)) for node in self.nodes}
        self.makers = {name: node for node in self.nodes for name in node.outputs if name}
        self.readers: dict[str, list[NodeDef]] = {}
        for node in self.nodes:
            for name in self.reads[id(node)]:
                self.readers.setdefault(name, []).append(node)

    def part(self, nodes: Sequence[NodeDef], outputs: Collection[str] = ()) -> Part | None:
        """The nodes as a model; None where they read what is no tensor. outputs: of the part; if there are none, those
        that the rest of the model reads, or gives out."""
        graph = self.model.graph
        made = dict.fromkeys(name for node in nodes for name in node.outputs if name)
        inside = {id(node) for node in nodes}
        needed = dict.fromkeys(name for node in nodes for name in self.reads[id(node)] if name and name not in made)
        given = [name for name in needed if name in self.values and name not in graph.initializers]
        if any(
            name not in self.values and name not in graph.initializers and self._is_outside(name) for name in needed
        ):
            return None
        wanted = [name for name in outputs or made if outputs or self._is_read_elsewhere(name, inside)]
        if not wanted:
            return None
        constants = {name: graph.initializers[name] for name in needed if name in graph.initializers}
        constants |= {name: UserTensor(name, self.values[name]) for name in given if name in self.fixed}
        feeds = {name: self.values[name] for name in given if name not in self.fixed}
        cut = replace(
            graph, nodes=list(nodes), inputs={name: self._type(name) for name in feeds},
            outputs={name: self._type_of_output(name) for name in wanted}, initializers=constants,
        )  # fmt: skip
        proto = proto_of(replace(self.model, graph=cut))
        return Part(tuple(nodes), proto.SerializeToString(), feeds)

    def _is_outside(self, name: str) -> bool:
        """Whether a name is one of the model's, and not of a sub-graph inside of a node."""
        return name in self.makers or name in self.model.graph.inputs

    def _is_read_elsewhere(self, name: str, inside: Collection[int]) -> bool:
        readers = self.readers.get(name, ())
        return name in self.model.graph.outputs or not readers or any(id(node) not in inside for node in readers)

    def _type(self, name: str) -> Type:
        if self.symbolic and name in self.model.graph.inputs:
            return self.model.graph.inputs[name]
        return Type("tensor", from_numpy(self.values[name].dtype), self.values[name].shape)

    def _type_of_output(self, name: str) -> Type:
        return Type("tensor", from_numpy(self.values[name].dtype)) if name in self.values else UNKNOWN

    def around(self, nodes: Collection[int]) -> list[NodeDef]:
        """The nodes with these ids, and those that make what they read, or read what they make."""
        found = set(nodes)
        for node in self.nodes:
            if id(node) in nodes:
                found.update(id(self.makers[name]) for name in self.reads[id(node)] if name in self.makers)
                found.update(id(reader) for name in node.outputs for reader in self.readers.get(name, ()))
        return [node for node in self.nodes if id(node) in found]


def reduce(cutter: Cutter, suspects: Sequence[NodeDef], shows: Shows, deadline: float) -> Part | None:
    """The smallest part found until the deadline (of time.monotonic) that shows a fault; None if the whole does not."""
    part = _grown(cutter, list(suspects), shows)
    if part is None:
        return None
    part = _without_nodes(cutter, part, shows, deadline)
    return _of_one_output(cutter, part, shows, deadline)


def _grown(cutter: Cutter, nodes: list[NodeDef], shows: Shows) -> Part | None:
    everything = cutter.nodes
    rings = 1
    while True:
        for part in _parts(cutter, nodes):
            if shows(part):
                return part
        if len(nodes) == len(everything):
            return None
        before = len(nodes)
        for _ in range(rings):
            nodes = cutter.around({id(node) for node in nodes})
        rings *= 2
        if len(nodes) in (0, before):
            nodes = list(everything)


def _parts(cutter: Cutter, nodes: Sequence[NodeDef]) -> Iterator[Part]:
    """The nodes as a part; then, if they are few, each of their values with that on which it depends: what is made of a
    wrong value may hide it."""
    whole = cutter.part(nodes) if nodes else None
    if whole is not None:
        yield whole
    made = [name for node in nodes for name in node.outputs if name]
    for name in made if len(made) <= FEW else ():
        part = cutter.part(_ancestors(cutter, nodes, name), [name])
        if part is not None:
            yield part


def _without_nodes(cutter: Cutter, part: Part, shows: Shows, deadline: float) -> Part:
    size = max(1, len(part.nodes) // 2)
    while len(part.nodes) > 1 and time.monotonic() < deadline:
        smaller = None
        for start in range(0, len(part.nodes), size):
            rest = part.nodes[:start] + part.nodes[start + size :]
            tried = cutter.part(rest) if rest and time.monotonic() < deadline else None
            if tried is not None and shows(tried):
                smaller = tried
                break
        if smaller is not None:
            part = smaller
            size = min(size, max(1, len(part.nodes) // 2))
        elif size > 1:
            size //= 2
        else:
            break
    return part


def _of_one_output(cutter: Cutter, part: Part, shows: Shows, deadline: float) -> Part:
    made = [name for node in part.nodes for name in node.outputs if name]
    for name in made:
        if time.monotonic() > deadline:
            break
        tried = cutter.part(_ancestors(cutter, part.nodes, name), [name])
        if tried is not None and shows(tried):
            return tried
    return part


def _ancestors(cutter: Cutter, nodes: Sequence[NodeDef], name: str) -> list[NodeDef]:
    """Those of the nodes on which a value depends."""
    wanted, found = {name}, []
    for node in reversed(nodes):
        if wanted & set(node.outputs):
            wanted.update(cutter.reads[id(node)])
            found.append(node)
    return found[::-1]
