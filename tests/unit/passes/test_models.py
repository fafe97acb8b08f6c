"""The small models of all architectures through all passes: well formed, the same numbers, and what is recognised."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from intaglio.compiler.frontend.importer import import_model
from intaglio.compiler.frontend.load import load_model
from intaglio.compiler.graph.interp import evaluate, random_feeds
from intaglio.compiler.graph.text import constants_of, parse_graph, print_graph
from intaglio.compiler.graph.verify import verify
from intaglio.compiler.passes import PASSES
from intaglio.compiler.passes.layout import permutes
from intaglio.compiler.scalar.dim import symbols

MODELS = Path(__file__).parents[2] / "data"
ATTENTIONS = {"bert": 2, "gpt2": 2, "llama": 2, "segformer": 4, "vit": 2, "whisper": 2}
CAUSAL = {"gpt2", "llama"}
CONVOLUTIONAL = {"resnet50", "mobilenetv2", "convnext"}


@pytest.mark.parametrize("name", sorted(p.stem for p in MODELS.glob("*.onnx")))
def test_model(name: str) -> None:
    graph = import_model(load_model(str(MODELS / f"{name}.onnx")))
    free = sorted({s for v in graph.inputs for d in v.shape for s in symbols(d)}, key=str)
    feeds = random_feeds(graph, {s: 2 + 5 * i for i, s in enumerate(free)}, seed=0, high=2)
    wanted = evaluate(graph, feeds)
    for stage, rewrite in PASSES:
        graph = rewrite(graph)
        verify(graph)
        for a, b in zip(evaluate(graph, feeds), wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5 * float(np.abs(b).max()), err_msg=stage)

    text = print_graph(graph)
    assert print_graph(parse_graph(text, constants_of(graph))) == text
    count = Counter(node.op.name for node in graph.nodes())
    assert count["attention"] == ATTENTIONS.get(name, 0)
    causal = [node.attrs["causal"] == 0 for node in graph.nodes() if node.op.name == "attention"]
    assert all(causal) == (name in CAUSAL) or not causal
    if name in CONVOLUTIONAL:
        assert permutes(graph).total() == 1, f"all but the entry is channels-last: {permutes(graph)}"
    assert count["gather"] <= {"segformer": 12}.get(name, 1), "masks and positions are no gathers"
