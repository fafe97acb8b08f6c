"""SessionOptions, RunOptions and providers behave as onnxruntime's do."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from intaglio import GraphOptimizationLevel, InferenceSession, RunOptions, SessionOptions
from intaglio.runtime import cpus
from intaglio.runtime.api import providers
from intaglio.runtime.errors import InvalidArgument

MLP = Path(__file__).resolve().parents[3] / "data" / "mlp.onnx"


def test_defaults() -> None:
    options = SessionOptions()
    assert options.graph_optimization_level == 99
    assert repr(options.graph_optimization_level) == "<GraphOptimizationLevel.ORT_ENABLE_ALL: 99>"
    assert str(GraphOptimizationLevel.ORT_DISABLE_ALL) == "GraphOptimizationLevel.ORT_DISABLE_ALL"
    assert options.intra_op_num_threads == 0 and options.profile_file_prefix == "onnxruntime_profile_"


@pytest.mark.parametrize(
    ("name", "value"),
    [("graph_optimization_level", 99), ("intra_op_num_threads", 1.5), ("logid", 3)],
)
def test_wrong_types(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=name):
        setattr(SessionOptions(), name, value)


def test_unknown_attributes() -> None:
    for options in (SessionOptions(), RunOptions()):
        with pytest.raises(AttributeError, match="no attribute 'speed'"):
            options.speed = 1
    with pytest.raises(TypeError, match="terminate"):
        RunOptions().terminate = "yes"  # type: ignore[assignment]


def test_config_entries() -> None:
    options = SessionOptions()
    options.add_session_config_entry("a", "1")
    options.add_session_config_entry("a", "2")
    assert options.get_session_config_entry("a") == "2"
    with pytest.raises(RuntimeError, match="SessionOptions does not have configuration with key: b"):
        options.get_session_config_entry("b")
    for key in ("", "x" * 1025):
        with pytest.raises(RuntimeError, match="Config key is empty or longer than maximum length 1024"):
            options.add_session_config_entry(key, "")
    with pytest.raises(RuntimeError, match="RunOptions does not have configuration with key: b"):
        RunOptions().get_run_config_entry("b")


def test_compiler_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INTAGLIO_TARGET", raising=False)
    options = SessionOptions()
    assert options.compiler_settings() == {}
    options.graph_optimization_level = GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_free_dimension_override_by_name("n", 4)
    options.add_free_dimension_override_by_name("n", 5)  # the first one wins
    options.add_free_dimension_override_by_name("a", 1)
    assert options.compiler_settings() == {"level": 0, "free_dimensions": (("name:a", 1), ("name:n", 4))}


def test_the_target_is_an_entry_or_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INTAGLIO_TARGET", raising=False)
    options = SessionOptions()
    assert options.compiler_settings() == {}
    monkeypatch.setenv("INTAGLIO_TARGET", "x86-64-v3")
    assert options.compiler_settings() == {"target": "x86-64-v3"}
    options.add_session_config_entry("session.intaglio.target", "x86-64-v4")
    assert options.compiler_settings() == {"target": "x86-64-v4"}


def test_the_precision_is_an_entry() -> None:
    options = SessionOptions()
    for name in ("strict", "high", "bf16", "exact"):
        options.add_session_config_entry("intaglio.precision", name)
        assert options.compiler_settings() == ({} if name == "exact" else {"precision": name})
        assert InferenceSession(MLP, options).get_inputs()
    options.add_session_config_entry("intaglio.precision", "double")
    with pytest.raises(InvalidArgument, match="unknown precision 'double'; choose one of: strict, exact, high, bf16"):
        InferenceSession(MLP, options)


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INTAGLIO_NUM_THREADS", raising=False)
    options = SessionOptions()
    assert options.threads() == cpus.usable()
    monkeypatch.setenv("INTAGLIO_NUM_THREADS", "5")
    assert options.threads() == 5
    options.intra_op_num_threads = 3
    assert options.threads() == 3
    monkeypatch.setenv("INTAGLIO_NUM_THREADS", "many")
    with pytest.raises(InvalidArgument, match="INTAGLIO_NUM_THREADS must be an integer >= 1, not 'many'"):
        SessionOptions().threads()


def test_providers() -> None:
    name, cpu = "CPUExecutionProvider", {"CPUExecutionProvider": {}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert providers.choose(None, None) == ([], cpu)
        assert providers.choose([], None) == ([], cpu)
        assert providers.choose([name], [{"arena": 1}]) == ([name], cpu)
    with pytest.warns(UserWarning, match="'CUDAExecutionProvider' is not in available provider names.Available"):
        cuda = ("CUDAExecutionProvider", {"device_id": 0})
        assert providers.choose([cuda, name], None) == (["CUDAExecutionProvider", name], cpu)
    with pytest.warns(UserWarning, match="Duplicate provider 'CPUExecutionProvider' encountered, ignoring."):
        assert providers.choose([name] * 2, None) == ([name], cpu)


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        ({"CPUExecutionProvider"}, None, "'providers' should be a sequence."),
        (["CPUExecutionProvider"], {}, "'provider_options' should be a sequence."),
        (["CPUExecutionProvider"], [], "should be the same length if both are given."),
        ([("CPUExecutionProvider", {})], [{}], "Only string values for 'providers' are supported"),
        (["CPUExecutionProvider"], [1], "'provider_options' values must be dicts."),
        ([("CPUExecutionProvider",)], None, r"must be either strings or \(string, dict\) tuples."),
    ],
)
def test_malformed_providers(names: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        providers.choose(names, options)


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_unknown_provider() -> None:
    with pytest.raises(RuntimeError, match="Unknown Provider Type: Foo"):
        providers.choose(["Foo"], None)
