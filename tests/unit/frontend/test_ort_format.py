"""The reader of .ort files: what is in them arrives, and what is wrong with them is said. tests/data/control.ort was

written by onnxruntime 1.31 from the model in tests/parity/test_ort_format.py."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pytest
from chance import fresh_seed

import intaglio
from intaglio.compiler.frontend.load import GraphDef, NodeDef, load_model
from intaglio.runtime.errors import BY_NAME, Fail

FILE = Path(__file__).resolve().parents[2] / "data" / "control.ort"
DATA = FILE.read_bytes()
VERSION = DATA.rindex(b"\x01\0\0\x006\0") + 4  # of the format, a text


def node(graph: GraphDef, op: str) -> NodeDef:
    (found,) = [n for n in graph.nodes if n.op == op]
    return found


def test_what_the_file_says() -> None:
    model = load_model(FILE)
    assert model.producer == "tests" and model.ir_version == 9 and model.opsets[""] == 21
    graph = model.graph
    assert {name: (str(t), t.shape) for name, t in graph.inputs.items()} == {
        "x": ("tensor(float)", ("N", 4)), "flag": ("tensor(bool)", ()), "count": ("tensor(int64)", ()),
    }  # fmt: skip
    assert list(graph.outputs) == ["y", "z", "weights", "found"]
    stored = {name: t.array.tolist() for name, t in graph.initializers.items()}
    assert stored == {
        "scale": [1, 2, 3, 4], "half": 0.5, "steps": [-8, -1, 0, 7], "few": [0, 0, 7, 0], "none": [],
    }  # fmt: skip
    assert node(graph, "Concat").attrs == {"axis": 0}
    branch = node(graph, "If").attrs["then_branch"]
    assert [n.op for n in branch.nodes] == ["Mul", "Add"] and list(branch.outputs) == ["a"]
    body = node(graph, "Loop").attrs["body"]
    assert list(body.inputs) == ["i", "again", "state"] and list(body.outputs) == ["still", "next"]
    assert node(graph, "Loop").inputs == ["count", "", "x"]


def test_it_runs() -> None:
    x = np.array([[1, -1, 2, 0]], np.float32)
    y, z, weights, found = intaglio.InferenceSession(DATA).run(
        None, {"x": x, "flag": np.array(True), "count": np.array(2)}
    )
    scale = np.float32([1, 2, 3, 4])
    np.testing.assert_array_equal(y, x * scale + 0.5)
    np.testing.assert_array_equal(z, (x * scale - y) * scale - y)
    np.testing.assert_array_equal(weights, [-4, -1, 7, 14])
    np.testing.assert_array_equal(found, [1, 4])


@pytest.mark.parametrize("version", b"45")
def test_older_versions(version: int) -> None:
    data = bytearray(DATA)
    data[VERSION] = version
    assert load_model(bytes(data)).graph.nodes


@pytest.mark.parametrize("version", b"079x")
def test_unknown_versions(version: int) -> None:
    data = bytearray(DATA)
    data[VERSION] = version
    with pytest.raises(Fail, match=rf"The ORT format model version \[{chr(version)}\] is not supported"):
        load_model(bytes(data))


@pytest.mark.parametrize(
    "data", [b"\0\0\0\0ORTM", b"\0\0\0\0ORTM" + bytes(64), b"\xff\xff\xff\x7fORTM" + bytes(64), DATA[:4000], DATA[:99]]
)
def test_damaged(data: bytes) -> None:
    with pytest.raises(Fail, match="ORT model verification failed"):
        load_model(data)


def test_one_name_over_and_over() -> None:
    """A file in which 100,000 names are the same long text: 400 kB that would become 20 GB."""
    count, length = 100_000, 200_000
    words = [0] * 64
    words[0], words[1] = 4 * 16, int.from_bytes(b"ORTM", "little")

    def table(at: int, vtable: int, fields: dict[int, int]) -> None:
        """At word `at`, with its vtable at word `vtable`; fields: number -> the word that it points to."""
        words[at] = 4 * (at - vtable)
        entries = [0] * 12
        for i, (number, target) in enumerate(fields.items()):
            entries[number] = 4 + 4 * i
            words[at + 1 + i] = 4 * (target - (at + 1 + i))
        halves = [4 + 24, 4 + 4 * len(fields), *entries]
        for i in range(0, len(halves), 2):
            words[vtable + i // 2] = halves[i] | halves[i + 1] << 16

    table(16, 4, {0: 60, 1: 32})  # the file: version, model
    table(32, 22, {7: 48})  # the model: graph
    table(48, 38, {5: 64})  # the graph: inputs
    words[60:62] = [1, ord("6")]
    end = 64 + 1 + count
    words += [count, *(4 * (end - i) for i in range(65, end)), length]
    data = np.array(words, "<u4").tobytes() + b"a" * length + b"\0\0\0\0"
    with pytest.raises(Fail, match="ORT model verification failed"):
        load_model(data)


def test_random_damage() -> None:
    """Whatever bytes change, the reader answers, or says no in its own words."""
    chance = random.Random(fresh_seed())
    refused = 0
    for _ in range(400):
        data = bytearray(DATA)
        for _ in range(chance.choice([1, 1, 2, 8])):
            data[chance.randrange(len(data))] = chance.choice([0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)])
        try:
            _read_all(load_model(bytes(data)).graph)
        except tuple(BY_NAME.values()):
            refused += 1
    assert 0 < refused < 400


def _read_all(graph: GraphDef) -> None:
    for tensor in graph.initializers.values():
        assert tensor.array.shape == tensor.shape
    for each in graph.nodes:
        for value in each.attrs.values():
            if isinstance(value, GraphDef):
                _read_all(value)


def test_without_flatbuffers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(Fail, match="pip install flatbuffers"):
        load_model(DATA)
