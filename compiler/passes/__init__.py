"""Graph -> graph: one pass, one file, one function `run`. `PASSES` is the order.

Every pass keeps the meaning of the graph and leaves it verified; none depends on another one for being correct. The
order makes them effective:
  trust             first, and only where it is asked for;
  simplify, cse     first, so that the others see each thing once and in one form, and again after those that leave
                    something to them;
  fold              before all that look for constants or masks;
  layout            then, as it needs permutes composed;
  affine            then, as it needs channels in the last axis;
  attention         then, as it needs masks folded, and the permutes of q, k and v out of the way;
  legalize          last, for what kernels cannot take as it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..graph.ir import Graph, Node, Value, make, rewrite, subgraphs
from . import affine, attention, cse, fold, layout, legalize, simplify, trust

Pass = Callable[[Graph], Graph]


def _throughout(run: Pass) -> Pass:
    """A pass that goes into the sub-graphs of nodes first."""

    def inner(node: Node) -> Sequence[Value] | None:
        if not subgraphs(node):
            return None
        attrs = {k: everywhere(v) if isinstance(v, Graph) else v for k, v in node.attrs.items()}
        return make(node.op.name, node.inputs, **attrs)

    def everywhere(graph: Graph) -> Graph:
        return run(rewrite(graph, inner) if any(map(subgraphs, graph.nodes())) else graph)

    return everywhere


# With each pass the level from which on it runs, by onnxruntime's GraphOptimizationLevel: 1 basic, 2 extended,
# 3 layout. Kernels need `legalize`.
_LEVELS: list[tuple[str, int, Pass]] = [
    ("trust", 0, trust.run),
    ("simplify", 1, simplify.run),
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
PASSES: list[tuple[str, Pass]] = [(name, _throughout(run)) for name, _, run in _LEVELS]


def at_level(level: int, check_data: bool = True) -> list[tuple[str, Pass]]:
    """The passes of a graph optimization level. check_data: what is required of data is not left out."""
    wanted = {name for name, least, _ in _LEVELS if level >= least and not (check_data and name == "trust")}
    return [(name, run) for name, run in PASSES if name in wanted]
