"""Damaged models: reading one ends with a graph or with an error of ours, never otherwise, and soon."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import onnx
import pytest

from intaglio.compiler.frontend.importer import import_model
from intaglio.compiler.frontend.load import load_model
from intaglio.runtime.errors import BY_NAME

DATA = Path(__file__).parent.parent / "data"
OURS = tuple(BY_NAME.values())


def _try(data: bytes) -> None:
    with contextlib.suppress(OURS):
        import_model(load_model(data))


@pytest.mark.parametrize("seed", range(60))
def test_bytes_that_are_changed(seed: int) -> None:
    rng = random.Random(seed)
    path = rng.choice(sorted(DATA.glob("*.onnx")))
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 4, 32])):
        data[rng.randrange(len(data))] = rng.randrange(256)
    _try(bytes(data[: rng.choice([len(data), rng.randrange(len(data))])]))


def _mutate(model: onnx.ModelProto, rng: random.Random) -> None:
    """One thing that a well-formed file may say and a model should not."""
    nodes = model.graph.node
    node = rng.choice(nodes)
    kind = rng.randrange(9)
    if kind == 0 and node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice(rng.choice(nodes).output)
    elif kind == 1:
        del node.input[rng.randrange(len(node.input) + 1) :]
    elif kind == 2 and node.attribute:
        attribute = rng.choice(node.attribute)
        attribute.i = rng.choice([-(1 << 63), -1, 0, 7, 1 << 40])
        attribute.f = rng.choice([0.0, float("nan"), float("inf")])
        for i in range(len(attribute.ints)):
            attribute.ints[i] = rng.choice([-9, 0, 1, 1 << 40])
    elif kind == 3:
        node.op_type = rng.choice(nodes).op_type
    elif kind == 4 and model.graph.initializer:
        tensor = rng.choice(model.graph.initializer)
        tensor.dims[:] = [rng.choice([-1, 0, 1, 2, 1 << 33]) for _ in range(rng.randrange(4))]
    elif kind == 5 and model.graph.initializer:
        rng.choice(model.graph.initializer).data_type = rng.randrange(30)
    elif kind == 6:
        dim = model.graph.input[0].type.tensor_type.shape.dim
        if dim:
            rng.choice(dim).dim_value = rng.choice([0, 1, 3, 1 << 40])
    elif kind == 7:
        model.opset_import[0].version = rng.randrange(1, 29)
    else:
        node.output[0] = rng.choice(["", "same", *rng.choice(nodes).output])


@pytest.mark.parametrize("seed", range(200))
def test_models_that_are_changed(seed: int) -> None:
    rng = random.Random(seed)
    model = onnx.load(rng.choice(sorted(DATA.glob("*.onnx"))))
    for _ in range(rng.choice([1, 2, 5])):
        _mutate(model, rng)
    _try(model.SerializeToString())
