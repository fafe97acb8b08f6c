"""If, Loop and Scan, with bodies that are grown like models."""

from __future__ import annotations

import numpy as np

from .. import judge
from ..judge import Rejected
from ..world import ALL, BOOL, FLOATS, World
from .table import generator


def grow(w: World, nodes: int) -> None:
    """Some nodes in a body: cheap ones, and now and then a heavy one."""
    from . import GENERATORS

    names = [
        "Add", "Mul", "Sub", "Relu", "Tanh", "Transpose", "Reshape", "Concat", "Slice", "Gather", "ReduceSum",
        "ReduceMax", "Softmax", "MatMul", "Where", "Cast", "Unsqueeze", "Sigmoid", "Max", "Less", "Neg", "Pad",
        "Expand", "CumSum", "TopK", "Gemm", "Conv",
    ]  # fmt: skip  # fmt: skip
    for _ in range(3 * nodes):
        if len([node for node in w.nodes if node.op_type != "Constant"]) >= nodes:
            return
        try:
            GENERATORS[w.rng.choice(names)](w)
        except Rejected:
            continue


def _output(w: World, dtype: np.dtype, shape: tuple[int, ...]) -> str:
    """An output of a body, of this type: made of what the body computes, where that can be."""
    own = [name for node in w.nodes if node.op_type != "Constant" for name in node.output
           if not isinstance(w.array(name), list) and w.values[name].other is None]  # fmt: skip
    for name in reversed(own):
        a = w.array(name)
        if a.dtype == dtype and a.shape == shape:
            return w.emit("Identity", [name])[0]
        if a.dtype == dtype and len(a.shape) > 0 and a.size and a.dtype in FLOATS:
            total = w.emit("ReduceMax", [name], keepdims=0)[0]
            return w.emit("Add", [w.fresh(dtype, shape), total])[0]
    x = w.fresh(dtype, shape)
    return w.emit("Identity", [x])[0]


@generator("If")
def if_(w: World) -> None:
    if w.outer is not None:
        return
    branch, other = w.body(), w.body()
    grow(branch, w.rng.randint(1, 4))
    made = [name for node in branch.nodes if node.op_type != "Constant" for name in node.output
            if branch.values[name].other is None and not isinstance(branch.array(name), list)]  # fmt: skip
    if not made:
        return
    outputs = [branch.emit("Identity", [name])[0] for name in made[-w.rng.choice((1, 1, 2)) :]]
    grow(other, w.rng.randint(0, 3))
    others = [_output(other, branch.array(name).dtype, branch.array(name).shape) for name in outputs]
    cond = w.pick(lambda a: a.dtype == BOOL and a.size == 1) or w.leaf(np.asarray(w.chance(0.5)), w.chance(0.2))
    graphs = {"then_branch": branch.graph("then", [], outputs), "else_branch": other.graph("else", [], others)}
    if w.chance(0.5):
        graphs = {"then_branch": graphs["else_branch"], "else_branch": graphs["then_branch"]}
    w.emit("If", [cond], len(outputs), **graphs)


@generator("Loop")
def loop(w: World) -> None:
    if w.outer is not None:
        return
    body = w.body()
    states = [w.tensor([t for t in ALL if t.itemsize != 2], high=3) for _ in range(w.rng.choice((0, 1, 1, 2)))]
    trips = w.rng.randint(0 if w.chance(0.1) and states else 1, 4)
    iteration, cond = w.name("i"), w.name("cond")
    body.values[iteration] = judge.given(np.asarray(0, np.int64))
    body.values[cond] = judge.given(np.asarray(True))
    inside = []
    for name in states:
        inner = w.name("s")
        body.values[inner] = w.values[name]
        body.recent.append(inner)
        inside.append(inner)
    body.recent.append(iteration)
    grow(body, w.rng.randint(1, 4))
    if w.chance(0.3):
        less = (
            body.emit("Less", [iteration, body.leaf(np.asarray(w.rng.randint(0, 3), np.int64))])
            if w.opset >= 9
            else [cond]
        )
        go = body.emit("Identity", less)[0]
    else:
        go = body.emit("Identity", [cond])[0]
    back = [_output(body, w.array(name).dtype, w.array(name).shape) for name in states]
    scans = [name for node in body.nodes if node.op_type not in ("Constant", "Identity") for name in node.output
             if body.values[name].other is None]  # fmt: skip
    scanned = (
        [body.emit("Identity", [name])[0] for name in scans[-w.rng.randint(0, 2) :]] if scans and w.chance(0.6) else []
    )
    if not states and not scanned:
        return
    graph = body.graph("body", [iteration, cond, *inside], [go, *back, *scanned])
    m = w.leaf(np.asarray(trips, np.int64), w.chance(0.6))
    start = w.leaf(np.asarray(True), True) if w.chance(0.5) else ""
    w.emit("Loop", [m, start, *states], len(states) + len(scanned), body=graph)


@generator("Scan")
def scan(w: World) -> None:
    if w.outer is not None or w.opset < 9:
        return
    body = w.body()
    length = w.rng.randint(1, 4)
    states = [w.tensor([t for t in ALL if t.itemsize != 2], high=3) for _ in range(w.rng.choice((0, 1, 1)))]
    axes, scanned, inside = [], [], []
    for name in states:
        inner = w.name("s")
        body.values[inner] = w.values[name]
        inside.append(inner)
    for _ in range(w.rng.choice((1, 1, 2))):
        shape = w.shape(0, 2)
        axis = w.rng.randint(0, len(shape))
        x = w.shaped(w.dtype([t for t in ALL if t.itemsize != 2]), [*shape[:axis], length, *shape[axis:]])
        axes.append(axis)
        scanned.append(x)
        inner = w.name("e")
        body.values[inner] = judge.given(np.take(w.array(x), 0, axis))
        inside.append(inner)
    body.recent += inside
    grow(body, w.rng.randint(1, 4))
    back = [_output(body, w.array(name).dtype, w.array(name).shape) for name in states]
    made = [name for node in body.nodes if node.op_type not in ("Constant", "Identity") for name in node.output
            if body.values[name].other is None]  # fmt: skip
    outs = [body.emit("Identity", [name])[0] for name in made[-w.rng.choice((1, 1, 2)) :]]
    if not back and not outs:
        return
    graph = body.graph("body", inside, [*back, *outs])
    attributes: dict[str, object] = {"num_scan_inputs": len(scanned), "scan_input_axes": axes}
    if w.chance(0.3):
        attributes["scan_input_directions"] = [w.rng.choice((0, 1)) for _ in scanned]
    if w.chance(0.3):
        attributes["scan_output_directions"] = [w.rng.choice((0, 1)) for _ in outs]
    if w.chance(0.3):
        attributes["scan_output_axes"] = [w.rng.randint(0, body.array(name).ndim) for name in outs]
    w.emit("Scan", [*states, *scanned], len(back) + len(outs), body=graph, **attributes)
