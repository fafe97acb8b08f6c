"""Graphs as text, and back.

    symbols batch, sequence >= 1
    %0 : f32[batch, 4] = input(; name='x', shape=({batch}, 4), dtype=f32)
    %1 : f32[4] = constant(; data=f32[4](1.0, 2.0, 3.0, 4.0))
    %2 : f32[batch, 4] = map(%0, %1; prim='add')
    return 'y'=%2

Symbolic sizes stand in braces. A symbol that depends on data is bound by a line such as `bind n = %2` before it is
mentioned. A sub-graph precedes the node that holds it: `graph 0`, then its lines, indented. Constants of more than
INLINE elements are `f32[768, 768]@digest`; `parse_graph` takes them from a table (`constants_of`). A comment after `#`
names the ONNX nodes that a node was made from.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np

from ..scalar import dim
from ..scalar.dim import Dim, Size, Symbol, symbols
from ..scalar.dtype import DTYPES, STRING, DType
from ..scalar.expr import Call, Const, Expr, Var
from .ir import Array, Graph, Value, dtype_of, make, mentioned, subgraphs

INLINE = 16  # elements of a constant that is printed in full


def print_graph(graph: Graph) -> str:
    """The graph as text."""
    free = {s for v in graph.inputs for size in (*v.shape, *_content(v)) for s in symbols(size)}
    free |= frozenset().union(*map(mentioned, graph.nodes()))
    first = "symbols " + ", ".join(map(_symbol_text, sorted(free, key=lambda s: s.key)))
    return "\n".join([first, *_graph_lines(graph, count()), ""])


def _graph_lines(graph: Graph, numbers: Iterator[int]) -> list[str]:
    """All lines but that of the symbols. numbers: for sub-graphs."""
    lines: list[str] = []
    names: dict[Value, str] = {}
    input_nodes = [v.node for v in graph.inputs]
    bound = {v: s for s, v in graph.bindings.items()}
    for node in [*input_nodes, *(n for n in graph.nodes() if n not in input_nodes)]:
        inner: dict[str, str] = {}
        for key, sub in node.attrs.items():
            if isinstance(sub, Graph):
                inner[key] = f"graph {next(numbers)}"
                lines += [inner[key], *("  " + line for line in _graph_lines(sub, numbers))]
        for value in node.outputs:
            names[value] = f"%{len(names)}"
        left = ", ".join(f"{names[v]} : {type_text(v.dtype, v.shape)}" for v in node.outputs)
        attributes = dict(node.attrs)
        if node.op.name == "input" and _content(node.outputs[0]):
            attributes["content"] = tuple(_content(node.outputs[0]))
        attrs = ", ".join(f"{k}={inner.get(k) or _attr_text(v)}" for k, v in attributes.items())
        right = f"{node.op.name}({', '.join(names[v] for v in node.inputs)}; {attrs})"
        comment = "  # " + ", ".join(map(repr, node.origin)) if any(node.origin) else ""
        lines.append(f"{left} = {right}{comment}")
        lines += [f"bind {bound[v]} = {names[v]}" for v in node.outputs if v in bound]
    outputs = ", ".join(f"{n!r}={names[v]}" for n, v in zip(graph.output_names, graph.outputs))
    return [*lines, f"return {outputs}"]


def _content(v: Value) -> list[Size]:
    return [] if v.content is None else list(v.content.flat)


def type_text(dtype: DType, shape: Sequence[Size]) -> str:
    """A type as text, such as f32[batch, 4]."""
    return f"{dtype}[{', '.join(map(str, shape))}]"


def digest(array: Array) -> str:
    """A digest of the contents, dtype and shape of an array."""
    h = hashlib.blake2b(f"{array.dtype}{array.shape}".encode(), digest_size=12)
    raw = repr(array.tolist()).encode() if array.dtype == object else np.ascontiguousarray(array).tobytes()
    h.update(raw)
    return h.hexdigest()


def constants_of(graph: Graph) -> dict[str, Array]:
    """The constants that the graph's text leaves out, by digest."""
    constants: dict[str, Array] = {}
    for node in graph.nodes():
        for data in (v.data for v in node.outputs):
            if data is not None and not _is_inline(data):
                constants[digest(data)] = data
        for inner in subgraphs(node):
            constants |= constants_of(inner)
    return constants


def _is_inline(array: Array) -> bool:
    return array.size <= INLINE and array.dtype.kind != "c"


def _symbol_text(s: Symbol) -> str:
    lower = f" >= {s.lower}" if s.lower else ""
    return f"{s}{lower}" + (f" < {s.extent}" if s.extent is not None else "")


def _attr_text(value: Any) -> str:
    if isinstance(value, Dim):
        return f"{{{value}}}"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_attr_text, value)) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, np.ndarray):
        head = type_text(dtype_of(value), value.shape)
        if not _is_inline(value):
            return f"{head}@{digest(value)}"
        wide = value if value.dtype.kind in "biufO" else value.astype(np.float64)
        return f"{head}({', '.join(map(repr, wide.reshape(-1).tolist()))})"
    return repr(value)


# ------------------------------------------------------------------------------------------------
# Reading

_TOKEN = re.compile(
    r"""\s*(?:(?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    |(?P<size>\{(?:[^}`]|`(?:[^`\\]|\\.)*`)*\})
    |(?P<number>-?(?:inf|nan)\b|-?\d+(?:\.\d*)?(?:e[+-]?\d+)?)
    |(?P<name>[A-Za-z_]\w*)
    |(?P<other>[%@(),;=\[\]\#]))""",
    re.X,
)
_WORDS = {"True": True, "False": False, "None": None}


def parse_graph(text: str, constants: Mapping[str, Array] | None = None) -> Graph:
    """The inverse of `print_graph`. Raises ValueError on malformed text, or where a type is not the inferred one.

    constants: the arrays that the text leaves out, by digest; raises KeyError where one is missing."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return _parse_lines(lines[1:], _Reader(_parse_symbols(lines[0]), constants or {}))


def _parse_lines(lines: Sequence[str], reader: _Reader) -> Graph:
    inputs: list[Value] = []
    values: dict[str, Value] = {}
    bindings: dict[Symbol, Value] = {}
    rest = iter(lines[:-1])
    for line in rest:
        if line.startswith("graph "):
            inner = []
            for inner_line in rest:
                inner.append(inner_line[2:])
                if inner_line.startswith("  return"):
                    break
            reader.graphs[line] = _parse_lines(inner, reader)
            continue
        if line.startswith("bind "):
            symbol, value = reader.binding(line)
            bindings[symbol] = values[value]
            continue
        outputs_of_node = reader.node(line, values)
        if outputs_of_node[0].op == "input":
            outputs_of_node[0].name = outputs_of_node[0].node.attrs["name"]
            inputs.append(outputs_of_node[0])
    outputs = reader.outputs(lines[-1])
    return Graph(inputs, [values[v] for v in outputs.values()], list(outputs), bindings)


def _parse_symbols(line: str) -> dict[str, Symbol]:
    """symbols a, b >= 1 < n, ..; an extent names symbols before it."""
    table: dict[str, Symbol] = {}
    extent_of = r"(?:[^,`(]|`(?:[^`\\]|\\.)*`|\([^)]*\))+"
    pattern = re.compile(rf"\s*,?\s*(`(?:[^`\\]|\\.)*`|\w+)(?: >= (-?\d+))?(?: < ({extent_of}))?")
    rest = line.removeprefix("symbols")
    while rest.strip():
        match = pattern.match(rest)
        if match is None:
            raise ValueError(f"not symbols: {line!r}")
        name, lower, extent = match.groups()
        name = re.sub(r"\\(.)", r"\1", name[1:-1], flags=re.S) if name.startswith("`") else name
        table[name] = Symbol(name, int(lower or 0), dim.parse(extent, table) if extent else None)
        rest = rest[match.end() :]
    return table


class _Reader:
    """Recursive descent over the tokens of one line at a time."""

    def __init__(self, names: Mapping[str, Symbol], constants: Mapping[str, Array]) -> None:
        self.symbols = names
        self.constants = constants
        self.graphs: dict[str, Graph] = {}
        self.line = ""
        self.at = 0

    def peek(self) -> tuple[str, str]:
        match = _TOKEN.match(self.line, self.at)
        return (str(match.lastgroup), match[str(match.lastgroup)]) if match else ("end", "")

    def take(self, expected: str | None = None) -> tuple[str, str]:
        kind, token = self.peek()
        if kind == "end" or (expected is not None and token != expected):
            raise ValueError(f"{expected or 'something'} is wanted at character {self.at + 1} of: {self.line}")
        match = _TOKEN.match(self.line, self.at)
        assert match is not None
        self.at = match.end()
        return kind, token

    def skip(self, token: str) -> bool:
        matches = self.peek() == ("other", token)
        if matches:
            self.take()
        return matches

    def reference(self) -> str:
        self.take("%")
        return "%" + self.take()[1]

    def node(self, line: str, values: dict[str, Value]) -> tuple[Value, ...]:
        """Makes the node of one line, and enters its outputs into `values`."""
        left, equals, self.line = line.partition(" = ")
        self.at = 0
        if not equals:
            raise ValueError(f"not a node: {line}")
        op = self.take()[1]
        self.take("(")
        inputs = []
        while not self.skip(";"):
            inputs.append(values[self.reference()])
            self.skip(",")
        attrs = {}
        while not self.skip(")"):
            key = self.take()[1]
            self.take("=")
            attrs[key] = self.attr()
            self.skip(",")
        content = attrs.pop("content", None)
        outputs = make(op, inputs, **attrs)
        if content is not None:
            outputs[0].content = np.array(content, object).reshape(outputs[0].shape)
        if self.skip("#"):
            outputs[0].node.origin = self.strings()
        names = re.findall(r"(%\d+) : ", left)
        inferred = ", ".join(f"{n} : {type_text(v.dtype, v.shape)}" for n, v in zip(names, outputs))
        if inferred != left.strip():
            raise ValueError(f"{op} gives {inferred}, not {left.strip()}")
        values.update(zip(names, outputs))
        return outputs

    def binding(self, line: str) -> tuple[Symbol, str]:
        """A symbol and the name of its value."""
        left, _, value = line.removeprefix("bind ").rpartition(" = ")
        symbol = dim.parse(left, self.symbols)
        if not isinstance(symbol, Symbol):
            raise ValueError(f"not a symbol: {left}")
        return symbol, value.strip()

    def outputs(self, line: str) -> dict[str, str]:
        self.line, self.at = line, 0
        self.take("return")
        outputs: dict[str, str] = {}
        while self.peek()[0] != "end":
            name = str(self.attr())
            self.take("=")
            outputs[name] = self.reference()
            self.skip(",")
        return outputs

    def strings(self) -> tuple[str, ...]:
        strings = []
        while self.peek()[0] == "string":
            strings.append(str(self.attr()))
            self.skip(",")
        return tuple(strings)

    def sequence(self) -> tuple[Any, ...]:
        items = []
        while not self.skip(")"):
            items.append(self.attr())
            self.skip(",")
        return tuple(items)

    def attr(self) -> Any:
        """An attribute's value: literal, size, dtype, tuple, array or expression."""
        start = self.at + 1
        kind, token = self.take()
        if kind == "string":
            return str(ast.literal_eval(token))
        if kind == "size":
            return dim.parse(token[1:-1], self.symbols)
        if kind == "number":
            return float(token) if re.search(r"[.ean]", token) else int(token)
        if token == "(":
            return self.sequence()
        if token == "graph":
            return self.graphs[f"graph {self.take()[1]}"]
        if token in _WORDS:
            return _WORDS[token]
        if token in DTYPES:
            return self.array(DTYPES[token]) if self.skip("[") else DTYPES[token]
        makers: dict[str, type[Expr]] = {"Call": Call, "Const": Const, "Var": Var}
        if token in makers:
            self.take("(")
            return makers[token](*self.sequence())
        raise ValueError(f"'{token}' is not a value, at character {start} of: {self.line}")

    def array(self, dtype: DType) -> Array:
        shape = []
        while not self.skip("]"):
            shape.append(int(self.take()[1]))
            self.skip(",")
        if self.skip("("):
            items = np.array(self.sequence(), object if dtype == STRING else None)
            return items.astype(dtype.to_numpy()).reshape(shape)
        self.take("@")
        start = self.at
        self.at = start + 24
        return self.constants[self.line[start : self.at]]
