"""What is watched is what kernels compute: fusion and results stay, and every value inside is right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from intaglio.compiler import driver
from intaglio.compiler.check.trace import Meaning, compiled, in_kernels, in_memory, interpreted, trace
from intaglio.compiler.check.verify import in_order, subject
from intaglio.compiler.kernel.ir import Launch
from intaglio.compiler.lower import fuse

DATA = Path(__file__).resolve().parents[2] / "data"
MODELS = sorted(path.stem for path in DATA.glob("*.onnx"))
SMALL = ("mlp", "bert")  # of few kernels to compile


@pytest.mark.parametrize("name", [pytest.param(m, marks=[] if m in SMALL else pytest.mark.slow) for m in MODELS])
def test_all_values_of_a_model(name: str) -> None:
    it = subject(DATA / f"{name}.onnx")
    unit = driver.optimized_model(it.model, it.settings)
    assert unit.graph
    graph = unit.graph = fuse.distinct_outputs(unit.graph)
    feeds = in_order(graph, it.feeds({}))
    meaning = Meaning.of(graph, feeds, "exact")
    plain = compiled(unit, feeds, it.options, ())

    kept = trace(unit, meaning, it.options, in_memory(graph))
    assert all(np.array_equal(a, b) for a, b in zip(plain, kept.outputs)), "buffers alone change nothing"
    assert not kept.wrong

    closer = trace(unit, meaning, it.options, [*in_memory(graph), *in_kernels(graph)])
    assert not closer.wrong
    assert len(closer.values) > len(kept.values) or name == "lstm"
    a, b = kept.unit.program, closer.unit.program
    assert a and b and len(a.launches) == len(b.launches)
    assert [launch.origin for launch in a.launches] == [launch.origin for launch in b.launches]

    for number, launch in enumerate(a.numbered[:6]):
        assert isinstance(launch, Launch)
        for each in (t for t in kept.values if t.step == number):
            assert interpreted(a, launch, kept, each, meaning.sizes).agrees, number
