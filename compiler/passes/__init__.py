"""The passes, graph -> graph: each is a file with a function `run`. `PASSES` is their order.

Every pass preserves the meaning of the graph and leaves it well formed; none relies on another one to be correct. The
order makes them effective:
  trust             first, and only on demand;
  simplify, cse     early, so that the others see each expression once and in one form, and again after passes that
                    leave work for them;
  quantized         before scales and weights are folded, which are then numbers without a structure;
  fold              before the passes that look for constants or masks;
  layout            then, as it needs permutes composed;
  affine            then, as it needs channels in the last axis;
  attention         then, as it needs masks folded, and the permutes of q, k and v out of the way;
  legalize          last, for operations that kernels cannot take as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..graph.ir import Graph, Node, Value, make, rewrite, subgraphs
from . import affine, attention, cse, fold, layout, legalize, quantized, simplify, trust

Pass = Callable[[Graph], Graph]


def _recursive(run: Pass) -> Pass:
    """A pass that runs on the sub-graphs of nodes first."""

    def on_subgraphs(node: Node) -> Sequence[Value] | None:
        if not subgraphs(node):
            return None
        attrs = {k: run_all(v) if isinstance(v, Graph) else v for k, v in node.attrs.items()}
        return make(node.op.name, node.inputs, **attrs)

    def run_all(graph: Graph) -> Graph:
        return run(rewrite(graph, on_subgraphs) if any(map(subgraphs, graph.nodes())) else graph)

    return run_all


# Name, lowest level at which it runs, and function of each pass. Levels are those of onnxruntime's
# GraphOptimizationLevel: 1 basic, 2 extended, 3 layout. Kernels need `legalize` at all levels.
_LEVELS: list[tuple[str, int, Pass]] = [
    ("trust", 0, trust.run),
    ("simplify", 1, simplify.run),
    ("quantized", 2, quantized.run),
    ("fold", 1, fold.run),
    ("simplify-folded", 1, simplify.run),
    ("cse", 1, cse.run),
    ("layout", 3, layout.run),
    ("affine", 2, affine.run),
    ("attention", 2, attention.run),
    ("simplify-again", 2, simplify.run),
    ("cse-again", 2, cse.run),
    ("legalize", 0, legalize.run),
]
PASSES: list[tuple[str, Pass]] = [(name, _recursive(run)) for name, _, run in _LEVELS]


def at_level(level: int, check_data: bool = True) -> list[tuple[str, Pass]]:
    """The passes of a graph optimization level. check_data: whether the checks of data are kept."""
    names = {name for name, lowest, _ in _LEVELS if level >= lowest and not (check_data and name == "trust")}
    return [(name, run) for name, run in PASSES if name in names]
