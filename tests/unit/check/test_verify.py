"""`verify` passes what is right, fails what is not, and says which; it never passes what nothing was compared with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from intaglio.compiler.check.verify import FLOAT64, OURS, verify
from intaglio.compiler.cli.main import main
from intaglio.compiler.frontend import registry
from intaglio.compiler.kernel.packing import Packing
from intaglio.runtime.errors import InvalidArgument

DATA = Path(__file__).resolve().parents[2] / "data"
F32, F16, I64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64


def softmax_of_product(kind: int = F32) -> bytes:
    """y = softmax(x w), and the index of its largest element."""
    w = np.random.default_rng(0).standard_normal((16, 8)).astype(helper.tensor_dtype_to_np_dtype(kind))
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Softmax", ["m"], ["y"]),
        helper.make_node("ArgMax", ["m"], ["best"], axis=1, keepdims=0),
    ]
    outputs = [helper.make_tensor_value_info("y", kind, None), helper.make_tensor_value_info("best", I64, None)]
    inputs = [helper.make_tensor_value_info("x", kind, ["n", 16])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [numpy_helper.from_array(w, "w")])
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    )


@pytest.fixture
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache that knows nothing of the model: a fault that is planted is no part of its keys."""
    monkeypatch.setenv("INTAGLIO_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", sorted(path.stem for path in DATA.glob("*.onnx")))
def test_the_models_are_right(name: str) -> None:
    report = verify(DATA / f"{name}.onnx", seed=3)
    assert report.agrees, report.wrong
    assert {OURS, FLOAT64} <= set(report.seconds)
    mine = [row.difference.of_bound for row in report.rows if row.engine == OURS]
    assert mine and all(0 < part < 0.5 for part in mine)


@pytest.mark.parametrize("kind", [F32, F16])
def test_types_and_integers(kind: int) -> None:
    report = verify(softmax_of_product(kind), dims={"n": 9}, runs=2)
    assert report.agrees, report.wrong
    assert [row.output for row in report.rows if row.engine == OURS] == ["y", "best"] * 2


def test_a_wrong_weight_differs(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack: Callable[..., np.ndarray] = Packing.pack

    def wrong(self: Packing, array: np.ndarray) -> np.ndarray:
        packed = pack(self, array).copy()
        packed.reshape(-1)[3] *= 1.001
        return packed

    monkeypatch.setattr(Packing, "pack", wrong)
    report = verify(softmax_of_product(), dims={"n": 9})
    assert not report.agrees and "y: intaglio differs from float64" in report.wrong[0]
    judges = [row for row in report.rows if row.engine != OURS]
    assert all(row.difference.agrees for row in judges)


def test_a_wrong_import_differs_though_our_engine_does_what_it_says(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    find = registry.lookup

    def wrong(name: str, domain: str, version: int) -> object:
        return find("HardSigmoid" if name == "Sigmoid" else name, domain, version)

    monkeypatch.setattr("intaglio.compiler.frontend.importer.lookup", wrong)
    node = helper.make_node("Sigmoid", ["x"], ["y"])
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", F32, [5])], [helper.make_tensor_value_info("y", F32, [5])]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    report = verify(model.SerializeToString())
    assert not report.agrees and "onnxruntime differs from float64" in report.wrong[0]


def test_what_cannot_be_compared_does_not_agree() -> None:
    node = helper.make_node("RandomNormal", [], ["y"], shape=[4])
    graph = helper.make_graph([node], "g", [], [helper.make_tensor_value_info("y", F32, [4])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    assert not verify(model.SerializeToString()).agrees


def test_strings_have_to_be_equal() -> None:
    node = helper.make_node("StringConcat", ["a", "b"], ["y"])
    strings = TensorProto.STRING
    inputs = [helper.make_tensor_value_info(name, strings, [3]) for name in "ab"]
    graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("y", strings, [3])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    report = verify(model.SerializeToString())
    assert report.agrees, report.wrong
    assert {row.against for row in report.rows} & {"onnxruntime", "reference"}


def test_a_compiled_model_is_refused(tmp_path: Path) -> None:
    assert main(["compile", str(DATA / "mlp.onnx"), "-o", str(tmp_path / "m")]) == 0
    with pytest.raises(InvalidArgument, match="give the ONNX model"):
        verify(tmp_path / "m")


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((3, 64), np.float32))
    assert main(["verify", str(DATA / "mlp.onnx"), "--input", str(tmp_path / "x.npy")]) == 0
    assert "intaglio agrees" in capsys.readouterr().out
    assert main(["verify", str(DATA / "mlp.onnx"), "--json", "--runs", "2", "--dim", "batch=2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["agrees"] and len([row for row in found["rows"] if row["engine"] == "intaglio"]) == 2
    assert main(["verify", str(DATA / "mlp.onnx"), "--dim", "bach=2"]) == 1
