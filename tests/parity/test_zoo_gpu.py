"""The eleven architectures, narrow ones, compiled to Triton and run under its interpreter, against onnxruntime.

All of the path up to the driver of a GPU: placement, copies, launches from C. Nothing but shapes is left to the host.
"""

from __future__ import annotations

import importlib.util

import pytest

import intaglio
from parity import zoo

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("triton"), reason="there is no triton for this system")


def test_the_provider_may_be_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    options = intaglio.SessionOptions()
    with pytest.raises(intaglio.capi.onnxruntime_pybind11_state.InvalidArgument, match="is not supported"):
        options.add_provider("CUDAExecutionProvider", {})
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    options.add_provider("CUDAExecutionProvider", {"use_tf32": "0"})
    session = intaglio.InferenceSession(zoo.small("mlp"), options)
    assert session.get_providers() == ["CUDAExecutionProvider", "CPUExecutionProvider"]
    zoo.compare(session, zoo.theirs(zoo.small("mlp")), {"batch": 2, "sequence": 5}, 0)


@pytest.mark.sample(2)
@pytest.mark.parametrize("name", zoo.NAMES)
def test_agrees_with_onnxruntime(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    exact = ("CUDAExecutionProvider", {"use_tf32": "0"})
    mine = intaglio.InferenceSession(zoo.small(name), providers=[exact, "CPUExecutionProvider"])
    assert mine.get_providers() == ["CUDAExecutionProvider", "CPUExecutionProvider"]
    for seed, batch in enumerate((1, 3) if name in ("mlp", "lstm", *zoo.TEXT) else (1,)):
        zoo.compare(mine, zoo.theirs(zoo.small(name)), {"batch": batch, "sequence": 5 + seed}, seed)
    on = {step["on"] for step in mine._artifact.notes()["steps"]}
    assert on <= {"device", "host: integers of a few elements, as of shapes"}
