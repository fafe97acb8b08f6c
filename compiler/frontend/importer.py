"""ONNX -> graph IR: a `Model` in, a `Graph` out.

Walks the nodes in topological order and calls the function of each operator (`registry.py`, `ops/`). An operator
without one is expanded by its body, if the standard or the model defines one. An invalid model raises at once, in
onnxruntime's words; what is unsupported is collected over the whole model and raised as one NotImplemented.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import onnx
import onnx.defs

from ...runtime import variables
from ...runtime.errors import Fail, InvalidArgument, InvalidGraph
from ..errors import Reason, Unsupported, not_implemented
from ..graph.ir import Graph, Value, constant, input_value, live_bindings, stamp
from ..scalar.dim import Size, Symbol
from ..scalar.dtype import STRING
from . import bodies, objects, schemas
from . import ops as _ops  # registers all operators  # noqa: F401
from .load import UNKNOWN, FunctionDef, GraphDef, Model, NodeDef, SparseTensor, Tensor, Type
from .registry import Capture, Captures, Diverging, Imported, Object, Rest, Shaped, Traced, dropped, lookup
from .values import collecting, own_symbol, string_number

MAX_NESTING = 64  # of function calls and sub-graphs
MAX_NODES = 200_000  # after inlining
MAX_ENDS = 8  # copies of what follows branches whose results differ in rank
MAX_TENSOR_ELEMENTS = 1 << 44  # more than any memory holds: a mistake, or malice


class _Broken:
    """Stands for the outputs of a node that could not be imported; nodes that depend on them are skipped."""


BROKEN = _Broken()


class _Unknown(Exception):
    """A sub-graph has a broken result; the reason is recorded already."""


class _Taken(Exception):
    """A node of a sub-graph outputs a name that an enclosing graph uses already."""


@dataclass(slots=True)
class _Region:
    """A sub-graph that is imported as a graph of its own, with the values that it captures from the one around it."""

    captures: Captures
    outer: _Region | None

    def capture(self, value: Value) -> Value:
        """The input of this graph for a value of the graph around it; constants stand for themselves."""
        if value.op == "constant":
            return value
        if value not in self.captures:
            formal = input_value(value.name or f"capture{len(self.captures)}", value.shape, value.dtype)
            formal.content = value.content
            self.captures[value] = formal
        return self.captures[value]


def _captured(value: Value, source: _Region | None, region: _Region | None) -> Value:
    """A value of the region `source` as seen from `region`, which is the same or nested in it."""
    if region is source or region is None:
        return value
    return region.capture(_captured(value, source, region.outer))


@dataclass(slots=True)
class _Scope:
    """The names visible to a list of nodes: its own, then those of the enclosing scope."""

    opsets: Mapping[str, int]
    values: dict[str, Imported | Shaped | _Broken] = field(default_factory=dict)
    initializers: Mapping[str, Tensor | SparseTensor] = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)  # of the enclosing function
    outer: _Scope | None = None
    region: _Region | None = None  # the graph that its values belong to; None: the model's
    label: str = ""  # of the ONNX node whose body this is
    named: bool = True  # whether the names of the nodes inside are meaningful
    depth: int = 0

    def __contains__(self, name: str) -> bool:
        here = name in self.values or name in self.initializers
        return here or (self.outer is not None and name in self.outer)

    def get(self, name: str) -> Any:
        """Imported or BROKEN; in the outermost scope, at the end, also Shaped."""
        if name in self.values:
            return self.values[name]
        if name in self.initializers:
            value = constant(self.initializers[name].array)
            value.name = name
            self.values[name] = value
            return value
        assert self.outer is not None
        value, source = self.outer.get(name), self.outer.region
        if isinstance(value, list):
            return [_captured(v, source, self.region) for v in value]
        if isinstance(value, Object):
            return replace(value, value=_captured(value.value, source, self.region))
        return _captured(value, source, self.region) if isinstance(value, Value) else value

    def put(self, node: NodeDef, values: Sequence[Imported | _Broken]) -> None:
        """Binds the names of a node's outputs. Raises _Taken for a name that an enclosing scope has already."""
        for name, value in zip(node.outputs, values):
            if name and self.outer is not None and name in self.outer:
                raise _Taken(name)
            if name:
                self.values[name] = value
                if isinstance(value, Value) and not value.name:
                    value.name = name


Operators = Mapping[str, "tuple[tuple[str, int], ...]"]  # "domain::name" -> ONNX type and rank of each output


def import_model(
    model: Model, free_dim_overrides: Mapping[str, int] | None = None, operators: Operators | None = None
) -> Graph:
    """The graph of a model. `free_dim_overrides` gives named dims a value; a negative one makes the dim anonymous.
    operators: those that are functions of Python.

    Raises NotImplemented (listing everything unsupported), Fail, InvalidGraph, InvalidArgument.
    """
    _check_versions(model)
    with collecting(taken=model.graph.dim_names()) as symbols:
        graph = _Importer(model, dict(free_dim_overrides or {}), operators or {}).run()
        graph = replace(graph, bindings=live_bindings(replace(graph, bindings=symbols.bindings)))
        graph = objects.numbered(graph, string_number)
        return replace(graph, strings=[*symbols.strings])


def import_values(model: Model, free_dim_overrides: Mapping[str, int] | None = None) -> dict[str, Any]:
    """What each name of the model's graph stands for; a tensor is a `Value`. Raises as import_model."""
    _check_versions(model)
    with collecting(taken=model.graph.dim_names()):
        importer = _Importer(model, dict(free_dim_overrides or {}), {})
        importer.run()
    return importer.scope.values


def _check_versions(model: Model) -> None:
    if model.ir_version > onnx.IR_VERSION:
        raise Fail(f"Unsupported model IR version: {model.ir_version}, max supported IR version: {onnx.IR_VERSION}")
    if not model.opsets:
        raise Fail("Missing opset in the model. All ModelProtos MUST have at least one entry that specifies which"
                   " version of the ONNX OperatorSet is being imported.")  # fmt: skip
    if variables.RELEASED_OPSETS.text() == "0":
        return
    for domain, newest in schemas.newest().items():
        if model.opsets.get(domain, 1) > newest:
            raise Fail(
                "ONNX Runtime only *guarantees* support for models stamped with official released onnx opset versions."
                f" Opset {model.opsets[domain]} is under development and support for this is limited."
                f" Current official support for domain {domain or 'ai.onnx'} is till opset {newest}."
            )


class _Importer:
    def __init__(self, model: Model, overrides: dict[str, int], operators: Operators) -> None:
        self.model = model
        self.operators = operators
        self.overrides = overrides
        self.reasons: list[Reason] = []
        self.count = 0
        self.ends = 0
        self.region: _Region | None = None  # that is being imported
        self.formulas: set[str] = set()  # dim names seen that are no identifiers: each occurrence is another size
        self.scope = _Scope({**schemas.newest(), **model.opsets}, initializers=model.graph.initializers)

    def run(self) -> Graph:
        graph, scope = self.model.graph, self.scope
        inputs = []
        for name, type in graph.inputs.items():
            if name in graph.initializers:  # a constant with a visible name (always so below IR version 4)
                continue
            value = self._input(name, type)
            scope.values[name] = value
            if not isinstance(value, _Broken):
                inputs.append(value.value if isinstance(value, Object) else value)
        _check_names(self.model)
        self._body(graph.nodes)
        outputs: dict[str, Value] = {}
        types: dict[str, str] = {}
        for name, type in graph.outputs.items():
            if name not in scope:
                raise Fail(f"This is an invalid model. Graph output ({name}) does not exist in the graph.")
            result = scope.get(name)
            if result is BROKEN:
                continue
            if result is None and type.kind != "optional":
                raise Fail(f"Graph output ({name}) is one that its node does not compute from the inputs that it has.")
            if isinstance(result, (Value, Shaped)):
                _check_output(name, type, result.flat if isinstance(result, Shaped) else result, graph)
            if not isinstance(result, Value):
                whole = objects.whole(result)
                result, types[name] = whole.value, str(_declared(type, whole.type))
            elif result.dtype == STRING:
                types[name] = STRING.ort
            outputs[name] = result
        if self.reasons:
            raise not_implemented(self.reasons)
        return Graph(inputs, list(outputs.values()), list(outputs), types=types)

    def _input(self, name: str, type: Type) -> Value | Object | _Broken:
        if type.kind in ("sequence", "optional", "map"):
            return Object(input_value(name, (), STRING), type)
        if type.kind != "tensor" or type.dtype is None:
            self.reasons.append(Reason(name, "input", 0, f"inputs of type {type.kind or 'unknown'}"))
        elif type.dtype.kind == "c":
            raise Fail(
                f"Exception during loading: MLDataType for: {type.dtype.ort} is not currently registered or supported"
            )
        elif type.shape is None:
            self.reasons.append(Reason(name, "input", 0, "inputs of unknown rank"))
        else:
            dims = [self._dim(d, f"{name}.{i}") for i, d in enumerate(type.shape)]
            return input_value(name, dims, type.dtype)
        return BROKEN

    def _dim(self, dim: int | str | None, fresh: str) -> Size:
        if isinstance(dim, int):
            return dim
        if dim is not None and dim in self.overrides:
            size = self.overrides[dim]
            return size if size >= 0 else own_symbol(fresh)
        if not dim:
            return own_symbol(fresh)
        if dim not in self.formulas:
            self.formulas |= set() if dim.isidentifier() and dim != str(None) else {dim}
            return Symbol(dim)
        return own_symbol(dim)

    def _body(self, nodes: Sequence[NodeDef]) -> None:
        """Imports the nodes of the model's graph."""
        names = self.model.graph.outputs
        try:
            self.nodes(nodes, self.scope)
        except Diverging as e:
            ends = [name for name in names if name not in self.scope]

            def end(scope: _Scope) -> list[Any]:
                self.ends += 1
                if self.ends > MAX_ENDS:
                    raise Unsupported(f"more than {MAX_ENDS} combinations of branches whose results differ in rank")
                missing = [name for name in ends if name not in scope]
                if missing:
                    raise Fail(f"This is an invalid model. Graph output ({missing[0]}) does not exist in the graph.")
                return _known([scope.get(name) for name in ends])

            try:
                self.scope.values.update(zip(ends, e.resume(end)))
            except _Unknown:
                self.scope.values.update((name, BROKEN) for name in ends)

    # -- nodes -------------------------------------------------------------------------------------------------------

    def nodes(self, nodes: Sequence[NodeDef], scope: _Scope) -> None:
        """Imports nodes into a scope.

        Raises Diverging for a branch whose results no value represents; its `resume` then takes a function of a scope
        in which all nodes are imported."""
        self.count += len(nodes)
        if scope.depth > MAX_NESTING or self.count > MAX_NODES:
            raise Fail("the model's functions call each other without end")
        order = _sorted(nodes, scope)
        for i, node in enumerate(order):
            try:
                scope.put(node, self._node(node, scope))
            except Diverging as e:
                rest = self._before(node, order[i + 1 :], scope)
                raise Diverging(partial(self._resumed, e, node, rest, scope)) from None

    def _before(self, branch: NodeDef, nodes: Sequence[NodeDef], scope: _Scope) -> list[NodeDef]:
        """Imports the nodes that do not depend on a diverging branch; returns the others."""
        postponed = set(branch.outputs)
        rest = []
        for node in nodes:
            if postponed.isdisjoint(_reads(node)):
                try:
                    scope.put(node, self._node(node, scope))
                    continue
                except Diverging:
                    pass  # a second diverging branch, which comes after the first
            rest.append(node)
            postponed.update(node.outputs)
        return rest

    def _resumed(self, e: Diverging, branch: NodeDef, nodes: Sequence[NodeDef], scope: _Scope, rest: Rest) -> list[Any]:
        """Imports both sides of a branch, each followed by `nodes` and `rest` in a scope of its own."""

        def go_on(results: Sequence[Imported]) -> list[Any]:
            side = replace(scope, values={}, initializers={}, outer=scope, region=self.region)
            side.put(branch, results)
            try:
                self.nodes(nodes, side)
            except Diverging as again:
                return again.resume(rest)
            return rest(side)

        return e.resume(go_on)

    def _node(self, node: NodeDef, scope: _Scope) -> Sequence[Imported | _Broken]:
        inputs = [scope.get(name) if name else None for name in node.inputs]
        while inputs and inputs[-1] is None:
            inputs.pop()
        attrs = dict(node.attrs)
        attrs.update((name, scope.attrs[outer]) for name, outer in node.refs.items() if outer in scope.attrs)
        label = node.name or node.op
        if scope.label:
            label = f"{scope.label}/{label}" if scope.named else scope.label
        function = self.model.functions.get((node.domain, node.op, node.overload))
        if function is not None:
            defaults = {**function.defaults, **attrs}
            return self._call(function, inputs, defaults, scope, label, named=True, outputs=node.outputs)
        if f"{node.domain}::{node.op}" in self.operators:
            return self._custom(node, inputs, attrs, label)
        version = scope.opsets.get(node.domain)
        if version is None:
            types = [_type(v) for v in inputs]
            raise InvalidGraph(f"{schemas.signature(node, types)}No opset import for domain '{node.domain}'")
        schema = schemas.find(node.op, node.domain, version)
        op = lookup(node.op, node.domain, version)
        if schema is None and op is None:
            return self._unknown(node, inputs, version, label)
        broken = any(v is BROKEN for v in inputs)
        if schema is not None and not broken:
            schemas.check(node, schema, [_type(v) if v is not None else None for v in inputs])
        if op is None and (schema is None or not schema.has_body):
            return self._refuse(node, label, version, "this operator is not implemented")
        if broken:
            return [BROKEN] * len(node.outputs)
        try:
            if op is not None:
                run: Any = partial(self._run, scope=scope, label=label)
                trace = partial(self._trace, scope=scope, label=label)
                arguments = [v for v in inputs if not isinstance(v, _Broken)]  # all of them, as `broken` is False
                context = {"n_outputs": len(node.outputs), "opset_version": version, "run": run, "trace": trace}
                result = op(arguments, _plain(attrs), **context)
                results = list(result) if isinstance(result, tuple) else [result]
                if any(node.outputs[len(results) :]):
                    raise Unsupported(f"output {len(results)}")
                for value in results:
                    tensors = _values_of(value)
                    for tensor in tensors:
                        _check_size(tensor)
                    stamp(tensors, (label,))
                return results
            assert schema is not None
            body = schemas.body(node, schema, version, [_type(v) if v is not None else None for v in inputs], attrs)
            if body is None:
                return self._refuse(node, label, version, "this operator is not implemented for these inputs")
            attrs = {**schemas.defaults(schema), **attrs}
            check = bodies.CHECKS.get((node.domain, node.op))
            inputs = inputs if check is None else list(check(*inputs))
            return self._call(body, inputs, attrs, scope, label, named=False, outputs=node.outputs)
        except _Unknown:
            return [BROKEN] * len(node.outputs)
        except _Taken as e:
            signature = schemas.signature(node, [_type(v) if v is not None else None for v in inputs])
            raise InvalidGraph(
                f"{signature}Graph must be in single static assignment (SSA) form, however '{e}' has been used as"
                " output names multiple times."
            ) from None
        except Diverging as e:
            raise Diverging(partial(self._split, e, node, label, version)) from None
        except Unsupported as e:
            return self._refuse(node, label, version, str(e))
        except (Fail, InvalidArgument, InvalidGraph):
            raise
        except ValueError as e:
            raise Fail(f"Node ({node.name}) Op ({node.op}) [ShapeInferenceError] {e}") from e
        except Exception as e:  # models are untrusted, and operators do not foresee every malformed one
            raise Fail(f"Node ({node.name}) Op ({node.op}) cannot be imported: {type(e).__name__}: {e}") from e

    def _custom(
        self, node: NodeDef, inputs: Sequence[Imported | _Broken], attrs: Mapping[str, Any], label: str
    ) -> Sequence[Value | _Broken]:
        """An operator that is a function of Python."""
        given = [v for v in inputs if not isinstance(v, _Broken)]
        if len(given) != len(inputs):
            return [BROKEN] * len(node.outputs)
        name = f"{node.domain}::{node.op}"
        try:
            values = objects.custom(name, given, self.operators[name], _plain(attrs))
        except Unsupported as e:
            return self._refuse(node, label, 0, str(e))
        stamp(values, (label,))
        return values

    def _split(self, e: Diverging, node: NodeDef, label: str, version: int, rest: Rest) -> list[Any]:
        """Resumes a diverging branch, and attributes failures to its node. Raises _Unknown where it is refused."""
        try:
            return e.resume(rest)
        except Unsupported as reason:
            self._refuse(node, label, version, str(reason))
            raise _Unknown from reason
        except ValueError as reason:
            raise Fail(f"Node ({node.name}) Op ({node.op}) [ShapeInferenceError] {reason}") from reason

    def _refuse(self, node: NodeDef, label: str, version: int, text: str) -> list[_Broken]:
        op = f"{node.domain}.{node.op}" if node.domain else node.op
        self.reasons.append(Reason(label, op, version, text))
        return [BROKEN] * len(node.outputs)

    def _unknown(self, node: NodeDef, inputs: Sequence[Any], version: int, label: str) -> list[_Broken]:
        if dropped(node.op, node.domain, version):
            raise Fail(f"Fatal error: {node.domain or 'ai.onnx'}:{node.op}({version}) is not a registered function/op")
        if node.domain in ("", "ai.onnx.ml"):
            raise InvalidGraph(
                f"{schemas.signature(node, [_type(v) for v in inputs])}"
                f"No Op registered for {node.op} with domain_version of {version}"
            )
        if node.domain.startswith("com.microsoft"):
            return self._refuse(node, label, version, "this operator is not implemented")
        raise Fail(f"Fatal error: {node.domain}:{node.op}(-1) is not a registered function/op")

    def _call(
        self, function: FunctionDef, inputs: Sequence[Imported | _Broken], attrs: Mapping[str, Any], scope: _Scope,
        label: str, named: bool, outputs: Sequence[str],
    ) -> list[Imported | _Broken]:  # fmt: skip
        """Inlines a function. `outputs`: the names of the calling node's outputs, "" for those left out."""
        values: dict[str, Any] = dict(zip(function.inputs, [*inputs, *[None] * (len(function.inputs) - len(inputs))]))
        inner = _Scope(
            {**scope.opsets, **function.opsets},
            values,
            attrs=attrs,
            region=self.region,
            label=label,
            named=named,
            depth=scope.depth + 1,
        )

        def results(scope: _Scope) -> list[Imported | _Broken]:
            imported: list[Imported | _Broken] = []
            for name, outer in zip(function.outputs, outputs):
                if outer and name not in scope:
                    raise Fail(f"This is an invalid model. Output ({name}) of function {function.name} does not exist.")
                imported.append(scope.get(name) if outer else None)
            return imported

        return self._within(function.nodes, inner, results)

    def _run(
        self, graph: GraphDef, inputs: Sequence[Imported], open: bool = False, *, scope: _Scope, label: str
    ) -> list[Any]:
        """Inlines a sub-graph on `inputs`.

        Raises _Unknown where something in it is unsupported, and Diverging if `open`."""
        try:
            return self._inside(graph, inputs, self._inner(graph, scope, label))
        except Diverging as e:
            if open:
                raise
            return _of_known_rank(e.resume(list))

    def _trace(
        self, graph: GraphDef, formals: Callable[[Capture], Sequence[Imported]], known: Captures | None = None,
        assumed: Mapping[Size, bool] | None = None, rest: Rest | None = None, *, scope: _Scope, label: str,
    ) -> Traced:  # fmt: skip
        """Imports a sub-graph, followed by `rest`, as a graph of its own. `formals` makes its inputs."""
        go_on: Rest = rest or list
        around = self.region
        self.region = region = _Region({} if known is None else dict(known), around)
        try:
            with collecting(inside=True, assumed=assumed) as symbols:
                try:
                    outputs = go_on(self._inside(graph, formals(region.capture), self._inner(graph, scope, label)))
                except Diverging as e:
                    outputs = e.resume(go_on)
        finally:
            self.region = around
        if rest is None:
            outputs = _of_known_rank(outputs)
        captures = {v: formal for v, formal in region.captures.items() if formal.op != "constant"}
        return Traced(outputs, captures, symbols.bindings, symbols.upper)

    def _inside(self, graph: GraphDef, inputs: Sequence[Imported], inner: _Scope) -> list[Any]:
        inner.values.update(zip(graph.inputs, inputs))

        def results(scope: _Scope) -> list[Any]:
            missing = [name for name in graph.outputs if name not in scope]
            if missing:
                raise Fail(f"This is an invalid model. Graph output ({missing[0]}) does not exist in the graph.")
            return _known([scope.get(name) for name in graph.outputs])

        return self._within(graph.nodes, inner, results)

    def _inner(self, graph: GraphDef, scope: _Scope, label: str) -> _Scope:
        """The scope of a sub-graph."""
        return _Scope(
            scope.opsets, initializers=graph.initializers, attrs=scope.attrs, outer=scope, region=self.region,
            label=label, depth=scope.depth + 1,
        )  # fmt: skip

    def _within(self, nodes: Sequence[NodeDef], inner: _Scope, results: Callable[[_Scope], list[Any]]) -> list[Any]:
        """Imports nodes into a scope of their own and returns `results` of it. Raises Diverging over these results."""
        try:
            self.nodes(nodes, inner)
        except Diverging as e:
            go_on = e.resume
            raise Diverging(lambda rest: go_on(lambda side: rest(results(side)))) from None
        return results(inner)


def _known(values: Sequence[Any]) -> list[Any]:
    """The values. Raises _Unknown where one of them is broken."""
    if any(isinstance(value, _Broken) for value in values):
        raise _Unknown
    return list(values)


def _values_of(x: Imported) -> list[Value]:
    """The values of the graph that an imported one consists of."""
    if x is None:
        return []
    if isinstance(x, list):
        return x
    return [x.value if isinstance(x, Object) else x]


def _of_known_rank(results: Sequence[Imported | Shaped]) -> list[Any]:
    """The results. Raises Unsupported where the rank of one depends on the branch taken."""
    if any(isinstance(value, Shaped) for value in results):
        raise Unsupported("branches whose results differ in rank, within a loop")
    return list(results)


def _plain(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes with tensors as arrays."""
    return {k: v.array if isinstance(v, (Tensor, SparseTensor)) else v for k, v in attrs.items()}


def _declared(declared: Type, actual: Type) -> Type:
    """The type of an output that is an object: as declared, if it is."""
    return actual if declared == UNKNOWN else declared


def _type(value: Imported | _Broken) -> Type:
    """The type of a value; UNKNOWN for an omitted one, and for a sequence of unknown elements."""
    if value is None or isinstance(value, _Broken):
        return UNKNOWN
    if isinstance(value, Value):
        return Type("tensor", value.dtype, tuple(d if isinstance(d, int) else None for d in value.shape))
    type = objects.type_of(value)
    return UNKNOWN if objects.is_open(type) else type


def _check_size(value: Value) -> None:
    """Raises ValueError for a negative dim, and for more elements than memory holds."""
    fixed = [d for d in value.shape if isinstance(d, int)]
    if min(fixed, default=0) < 0:
        raise ValueError(f"the shape {list(value.shape)} has a negative dimension")
    if 0 not in fixed and math.prod(fixed) > MAX_TENSOR_ELEMENTS:
        raise ValueError(f"a tensor of the shape {list(value.shape)} is larger than any memory")


def _check_output(name: str, type: Type, value: Value, graph: GraphDef) -> None:
    if type.kind == "tensor" and type.dtype is not None and type.dtype != value.dtype:
        producer = next((n.name for n in graph.nodes if name in n.outputs), "")
        raise Fail(
            f"Type Error: Type ({type.dtype.ort}) of output arg ({name}) of node ({producer}) does not match"
            f" expected type ({value.dtype.ort})."
        )


# -- order -----------------------------------------------------------------------------------------------------------


def _check_names(model: Model) -> None:
    """Raises Fail for duplicate names of nodes or values in a graph.

    Constants are exempt: onnxruntime makes initializers of them."""
    pending = [("", model.graph.nodes, {*model.graph.inputs, *model.graph.initializers})]
    pending += [(f"_inlfunc_{f.name}_", f.nodes, set(f.inputs)) for f in model.functions.values()]
    while pending:
        prefix, nodes, values = pending.pop()
        names: set[str] = set()
        values.update(name for node in nodes if node.op == "Constant" for name in node.outputs)
        for node in nodes:
            for graph in _subgraphs(node):
                pending.append(("", graph.nodes, {*graph.inputs, *graph.initializers}))
            if node.op == "Constant":
                continue
            if node.name and node.name in names:
                raise Fail(f"This is an invalid model. Error: two nodes with same node name ({prefix}{node.name}).")
            names.add(node.name)
            for name in filter(None, node.outputs):
                if name in values:
                    raise Fail(f"This is an invalid model. Error: Duplicate definition of name ({name}).")
                values.add(name)


def _subgraphs(node: NodeDef) -> Iterator[GraphDef]:
    for attr in node.attrs.values():
        graphs = attr if isinstance(attr, list) else [attr]
        if isinstance(next(iter(graphs), None), GraphDef):  # all or none are; lists of numbers may be long
            yield from graphs


def _reads(node: NodeDef) -> Iterator[str]:
    """The names that a node reads: its inputs, and what its sub-graphs capture."""
    yield from filter(None, node.inputs)
    for graph in _subgraphs(node):
        own = {*graph.inputs, *graph.initializers, *(o for n in graph.nodes for o in n.outputs)}
        yield from (name for n in graph.nodes for name in _reads(n) if name not in own)
        yield from (name for name in graph.outputs if name not in own)


def _sorted(nodes: Sequence[NodeDef], scope: _Scope) -> list[NodeDef]:
    """The nodes in topological order; the given order is kept if it is one.

    Raises InvalidArgument for undefined names, Fail for a cycle."""
    producer = {name: i for i, node in enumerate(nodes) for name in node.outputs if name}
    order: list[NodeDef] = []
    state = [0] * len(nodes)  # 1: its inputs are being visited, 2: done
    for root in range(len(nodes)):
        stack = [root]
        while stack:
            i = stack[-1]
            if state[i] == 2:
                stack.pop()
                continue
            pending = []
            for name in _reads(nodes[i]):
                j = producer.get(name)
                if j is None and name not in scope:
                    raise InvalidArgument(
                        f"Invalid model. Node input '{name}' is not a graph input, initializer,"
                        " or output of a previous node."
                    )
                if j is not None and state[j] != 2:
                    pending.append(j)
            if not pending:
                state[i] = 2
                order.append(nodes[i])
                stack.pop()
                continue
            state[i] = 1
            if any(state[j] == 1 for j in pending):
                raise Fail("This is an invalid model. Error: the graph is not acyclic.")
            stack.extend(reversed(pending))
    return order
