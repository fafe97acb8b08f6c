"""Grows a random model, a node at a time, out of values that are known.

In: a seed. Out: a `Case`: nodes, inputs and constants as arrays, outputs with what they should be. The judges evaluate
each node as it is added, so what generators build is valid, and operands can be chosen by their numbers.
"""

from __future__ import annotations

import random
from collections import ChainMap
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import GraphProto, NodeProto, helper, numpy_helper

from . import judge
from .judge import Array, Rejected, Value

BF16 = np.dtype(ml_dtypes.bfloat16)
FLOATS = (*map(np.dtype, (np.float32, np.float64, np.float16)), BF16)
INTS = tuple(np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64))
BOOL = np.dtype(bool)
F32, I64 = np.dtype(np.float32), np.dtype(np.int64)
ALL = (*FLOATS, *INTS, BOOL)
SIZES = (1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 11, 13, 16)
MOST = 4096  # elements of a tensor
# What has one answer for infinities and NaN. Sums of many have not: 0 * inf may be a term of them, or not.
TAKES_ANY = (
    judge.EXACT - {"MaxPool", "MaxUnpool", "GlobalMaxPool", "OneHot", "TopK", "ArgMax", "ArgMin", "Hardmax"}
) | {
    "Add", "Sub", "Mul", "Div", "Exp", "Sigmoid", "Tanh", "Sqrt", "Log", "Where", "Cast", "Softplus", "Erf", "Atan",
}  # fmt: skip
OPSETS = (7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26)


@dataclass
class Case:
    """A model and its inputs. values: of every name. constants: the leaves that are initializers. dims: names of the
    sizes of inputs. level: the graph optimization level it is compiled at."""

    seed: int
    opset: int
    nodes: list[NodeProto]
    arrays: dict[str, Array]
    constants: frozenset[str]
    outputs: list[str]
    values: MutableMapping[str, Value]
    dims: dict[str, list[int | str]] = field(default_factory=dict)
    level: int = 99

    def model(self) -> onnx.ModelProto:
        inputs = [
            helper.make_value_info(name, judge.type_proto(array, self.dims.get(name)))
            for name, array in self.arrays.items() if name not in self.constants
        ]  # fmt: skip
        constants = [name for name in self.arrays if name in self.constants]
        initializers = [numpy_helper.from_array(self.arrays[name], name) for name in constants]
        outputs = [helper.make_value_info(name, _without_shape(self.values[name].array)) for name in self.outputs]
        graph = helper.make_graph(self.nodes, "fuzz", inputs, outputs, initializers)
        return helper.make_model(graph, opset_imports=judge.opsets_of(self.opset), ir_version=10)

    def feeds(self) -> dict[str, Array]:
        return {name: array for name, array in self.arrays.items() if name not in self.constants}


def _without_shape(array: Array) -> onnx.TypeProto:
    return helper.make_tensor_type_proto(judge.element_type(array), None)


class World:
    """What has been built so far. A body is a world in a world, whose leaves are nodes of constants."""

    def __init__(self, seed: int, outer: World | None = None) -> None:
        self.outer = outer
        self.rng = outer.rng if outer else random.Random(seed)
        self.numbers = outer.numbers if outer else np.random.default_rng(seed)
        self.nodes: list[NodeProto] = []
        self.values: MutableMapping[str, Value] = ChainMap({}, outer.values) if outer else {}
        self.arrays: dict[str, Array] = {}
        self.constants: set[str] = set()
        self.recent: list[str] = []  # tensors that operands are chosen from
        self.counter: list[int] = outer.counter if outer else [0]
        if outer:
            self.opset, self.floats, self.special = outer.opset, outer.floats, outer.special
            self.recent = [name for name in outer.recent if self.values[name].other is None][-4:]
        else:
            self.opset = self.rng.choice(OPSETS)
            self.floats = self.rng.choices(FLOATS, [60, 15, 15, 10])[0]  # the type of most floats
            self.special = self.rng.random() < 0.06

    # ---- leaves ----

    def name(self, stem: str) -> str:
        self.counter[0] += 1
        return f"{stem}{self.counter[0]}"

    def leaf(self, array: Array, constant: bool | None = None) -> str:
        """An input, an initializer or a node Constant. constant: which of those it may be."""
        array = np.asarray(array)
        if constant is None:
            constant = self.rng.random() < 0.5
        as_node = constant and (self.outer is not None or self.rng.random() < 0.3)
        name = self.name("c" if constant else "x")
        if as_node or self.outer is not None:
            node = helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array, name))
            self.nodes.append(node)
        else:
            self.arrays[name] = array
            if constant:
                self.constants.add(name)
        self.values[name] = judge.given(array)
        return name

    def random(self, dtype: np.dtype, shape: Sequence[int], low: float = -2, high: float = 2) -> Array:
        n = self.numbers
        if dtype == BOOL:
            return n.random(shape) < 0.5
        if dtype not in FLOATS:
            info = np.iinfo(dtype)
            wide = (low, high) == (-2, 2) and self.chance(0.1)
            low, high = (info.min, info.max) if wide else (low * 4, high * 4)
            low = max(low, 0) if dtype.kind == "u" else low
            return n.integers(int(low), int(high), shape, dtype, endpoint=True)
        array = np.asarray(n.uniform(low, high, shape)).astype(dtype)
        if self.special and array.size and (low, high) == (-2, 2):
            flat = array.reshape(-1)
            for value in self.rng.sample([np.inf, -np.inf, np.nan, -0.0, 1e-40, 0.0], 2):
                flat[self.rng.randrange(flat.size)] = value
        return array

    def fresh(self, dtype: np.dtype, shape: Sequence[int], low: float = -2, high: float = 2, **kwargs: Any) -> str:
        return self.leaf(self.random(dtype, shape, low, high), **kwargs)

    def ints(self, array: Any, dtype: np.dtype = I64) -> str:
        """A parameter such as axes, pads, sizes: mostly constant."""
        array = np.asarray(array, dtype)
        if self.outer is None and array.ndim == 1 and self.rng.random() < 0.04:
            return self.leaf(array, constant=False)
        return self.leaf(array, constant=True)

    # ---- choices ----

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    def some(self, p: float, /, **attributes: Any) -> dict[str, Any]:
        """Each of the attributes, with a chance of p."""
        return {name: value for name, value in attributes.items() if self.chance(p)}

    def size(self) -> int:
        return 0 if self.chance(0.015) else self.rng.choice(SIZES)

    def shape(self, low: int = 0, high: int = 5) -> list[int]:
        while True:
            rank = min(max(self.rng.choice((0, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 5)), low), high)
            dims = [self.size() for _ in range(rank)]
            if int(np.prod(dims)) <= 1500:
                return dims

    def dtype(self, allowed: Iterable[np.dtype]) -> np.dtype:
        allowed = sorted(allowed, key=ALL.index)
        if not allowed:
            raise Rejected("no type that both know")
        return self.floats if self.floats in allowed and self.chance(0.7) else self.rng.choice(allowed)

    def types(self, op: str, i: int = 0, domain: str = "") -> list[np.dtype]:
        return list(allowed_types(op, i, domain, self.opset))

    def has(self, op: str) -> bool:
        return onnx.defs.has(op) and since(op, self.opset) > 0

    def pick(self, fits: Callable[[Array], bool]) -> str | None:
        """A value there is that fits, one of the newest rather."""
        names = [n for n in self.recent if self.values[n].other is None and fits(self.values[n].array)]
        return names[-min(int(self.rng.expovariate(0.6)) + 1, len(names))] if names else None

    def tensor(
        self,
        dtypes: Iterable[np.dtype] = ALL,
        low: int = 0,
        high: int = 5,
        fits: Callable[[Array], bool] = lambda _: True,
    ) -> str:
        """An operand: mostly a value there is."""
        dtypes = list(dtypes)
        found = self.pick(lambda a: a.dtype in dtypes and low <= a.ndim <= high and a.size <= MOST and fits(a))
        if found is not None and self.chance(0.85):
            return found
        for _ in range(50):
            array = self.random(self.dtype(dtypes), self.shape(low, high))
            if fits(array):
                return self.leaf(array)
        raise Rejected("no operand fits")

    def shaped(self, dtype: np.dtype, shape: Sequence[int], low: float = -2, high: float = 2) -> str:
        """An operand of this dtype and shape: made of a value there is, or new."""
        shape = list(shape)
        if (low, high) == (-2, 2) and self.chance(0.5):
            name = self.pick(lambda a: a.dtype == dtype and list(a.shape) == shape)
            if name is not None:
                return name
            size = int(np.prod(shape))
            name = self.pick(lambda a: a.dtype == dtype and a.size == size)
            if name is not None and size:
                return self.emit("Reshape", [name, self.ints(shape)])[0]
            name = self.pick(lambda a: a.dtype == dtype and a.ndim == len(shape) and a.size > 0
                             and all(x >= y for x, y in zip(a.shape, shape)))  # fmt: skip
            if name is not None and self.opset >= 10 and shape:
                array = self.array(name)
                starts = [self.rng.randint(0, x - y) for x, y in zip(array.shape, shape)]
                ends = [x + y for x, y in zip(starts, shape)]
                return self.emit("Slice", [name, self.ints(starts), self.ints(ends)])[0]
        return self.fresh(dtype, shape, low, high)

    def array(self, name: str) -> Array:
        return self.values[name].array

    def axis(self, rank: int) -> int:
        if rank == 0:
            raise Rejected("no axis")
        axis = self.rng.randrange(rank)
        return axis - rank if self.chance(0.3) and self.opset >= 11 else axis

    # ---- nodes ----

    def emit(self, op: str, inputs: Sequence[str], outputs: int = 1, domain: str = "", keep: bool = True,
             **attributes: Any) -> list[str]:  # fmt: skip
        """Adds a node. Raises Rejected where it is none to test by."""
        inputs = list(inputs)
        while inputs and not inputs[-1]:
            inputs.pop()
        names = [self.name("v") for _ in range(outputs)]
        if domain == "" and not since(op, self.opset):
            raise Rejected(f"{op} is not in opset {self.opset}")
        for i, name in enumerate(inputs):
            array = self.array(name) if name else []
            if not isinstance(array, list) and array.dtype not in allowed_types(op, i, domain, self.opset):
                raise Rejected(f"{op} does not take {array.dtype} in opset {self.opset}")
        node = helper.make_node(op, inputs, names, domain=domain, **attributes)
        made = judge.step(node, self.values, self.opset, self.numbers)
        for value in made.values():
            arrays = value.array if isinstance(value.array, list) else [value.array]
            if any(a.size > MOST or a.ndim > 6 for a in arrays):
                raise Rejected("too large")
            may = op in judge.EXACT or self.special or self.chance(0.1)
            if op not in TAKES_ANY and not all(finite(self.array(i)) for i in inputs if i):
                raise Rejected("infinities where each algorithm makes its own of them")
            if not may and not all(map(finite, arrays)) and all(finite(self.array(i)) for i in inputs if i):
                raise Rejected("it would be infinite")
        self.nodes.append(node)
        self.values.update(made)
        if keep:
            self.recent += [name for name in names if not isinstance(made[name].array, list)]
        return names

    def body(self) -> World:
        return World(0, self)

    def graph(self, name: str, inputs: Sequence[str], outputs: Sequence[str]) -> GraphProto:
        """This world as a body."""
        ins = [helper.make_value_info(each, judge.type_proto(self.array(each))) for each in inputs]
        outs = [helper.make_value_info(each, _without_shape(self.array(each))) for each in outputs]
        return helper.make_graph(needed(self.nodes, outputs), name, ins, outs)

    # ---- the whole ----

    def case(self, seed: int) -> Case:
        used = {name for node in self.nodes for name in judge.reads(node)}
        made = [name for node in self.nodes for name in node.output
                if node.op_type != "Constant" and not isinstance(self.array(name), list)]  # fmt: skip
        ends = [name for name in made if name not in used]
        outputs = ends[-5:] + [name for name in made if name in used and self.chance(0.1)][:3]
        if not outputs:
            raise Rejected("nothing grew")
        nodes = needed(self.nodes, outputs)
        read = {name for node in nodes for name in judge.reads(node)}
        arrays = {name: array for name, array in self.arrays.items() if name in read}
        case = Case(seed, self.opset, nodes, arrays, frozenset(self.constants), outputs, self.values)
        if self.chance(0.5):
            case.dims = {name: self._named(array) for name, array in case.feeds().items()}
        case.level = self.rng.choices([99, 0, 1, 2], [80, 8, 6, 6])[0]
        return case

    def _named(self, array: Array) -> list[int | str]:
        """Sizes by names: mostly the same name for the same size, as models have it."""
        dims: list[int | str] = []
        for size in array.shape:
            kind = self.rng.random()
            dims.append(size if kind < 0.3 else f"d{size}" if kind < 0.85 else self.name("n"))
        return dims


def needed(nodes: Sequence[NodeProto], outputs: Iterable[str]) -> list[NodeProto]:
    """The nodes that outputs depend on, in order."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(judge.reads(node))
    return kept[::-1]


def finite(array: Array) -> bool:
    return not judge.is_float(array) or bool(np.isfinite(array.astype(np.float64)).all())


@cache
def since(op: str, opset: int, domain: str = "") -> int:
    """The version of the schema that counts; 0 where there is none, or a deprecated one."""
    try:
        schema = onnx.defs.get_schema(op, opset, domain)
    except onnx.defs.SchemaError:
        return 0
    return 0 if schema.deprecated else schema.since_version


@cache
def allowed_types(op: str, i: int, domain: str, opset: int) -> tuple[np.dtype, ...]:
    if not since(op, opset, domain):
        raise Rejected(f"{op} is not in opset {opset}")
    schema = onnx.defs.get_schema(op, opset, domain)
    names = schema.inputs[min(i, len(schema.inputs) - 1)].types
    return tuple(t for t in ALL if f"tensor({ONNX_NAMES.get(t, t.name)})" in names)


ONNX_NAMES = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}
