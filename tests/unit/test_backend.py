"""ONNX's backend interface, and the example models."""

from __future__ import annotations

import unittest

import numpy as np
import onnx
import onnx.backend.test
import pytest

import intaglio
from intaglio import backend, datasets
from intaglio.backend.backend import OnnxRuntimeBackend
from intaglio.backend.backend_rep import OnnxRuntimeBackendRep

MUL = datasets.get_example("mul_1.onnx")
X = np.ones((3, 2), np.float32)


def test_run() -> None:
    expected = [[1, 2], [3, 4], [5, 6]]
    model = onnx.load(MUL)
    for given in (MUL, model, model.SerializeToString(), intaglio.InferenceSession(MUL)):
        rep = backend.prepare(given, "CPU", intra_op_num_threads=1, unknown=1)
        assert isinstance(rep, OnnxRuntimeBackendRep) and backend.prepare(rep) is rep
        for inputs in (X, [X]):
            np.testing.assert_array_equal(rep.run(inputs, logid="x", unknown=1)[0], expected)
            np.testing.assert_array_equal(backend.run(given, inputs)[0], expected)


def test_devices() -> None:
    assert backend.supports_device("CPU") and not backend.supports_device("CUDA")
    assert backend.is_compatible(None) and not backend.is_compatible(None, "GPU")
    with pytest.raises(RuntimeError, match="Incompatible device expected 'CUDA', got 'CPU'"):
        backend.prepare(MUL, "CUDA")


def test_refusals() -> None:
    with pytest.raises(RuntimeError, match="SessionOptions attribute 'enable_profiling' is not permitted"):
        backend.prepare(MUL, enable_profiling=True)
    with pytest.raises(RuntimeError, match="RunOptions attribute 'terminate' is not permitted"):
        backend.prepare(MUL).run(X, terminate=True)
    with pytest.raises(NotImplementedError):
        OnnxRuntimeBackend.run_node(None, None)
    model = onnx.load(MUL)
    model.opset_import[0].version = 9999
    assert not OnnxRuntimeBackend.is_opset_supported(model)[0]


@pytest.mark.parametrize("name", ["mul_1", "sigmoid", "logreg_iris"])
def test_examples(name: str) -> None:
    onnx.checker.check_model(datasets.get_example(f"{name}.onnx"), full_check=True)


def test_no_such_example() -> None:
    with pytest.raises(FileNotFoundError, match="Unable to find example 'nope'"):
        datasets.get_example("nope")


@pytest.mark.slow
def test_onnx_runner() -> None:
    """A few cases of ONNX's own suite, by its own runner."""
    runner = onnx.backend.test.BackendTest(OnnxRuntimeBackend, __name__)
    runner.include("^test_(add|relu|matmul_2d|softmax_axis_1)_cpu$")
    result = unittest.TestResult()
    runner.test_suite.run(result)
    assert result.testsRun - len(result.skipped) == 4 and result.wasSuccessful(), result.failures + result.errors
