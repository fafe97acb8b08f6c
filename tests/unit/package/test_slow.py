"""What is slow: reasons of steps, warnings that sessions log, and where there is nothing to say."""

from __future__ import annotations

import logging
from pathlib import Path

import onnx
import pytest

import intaglio
from intaglio.compiler.cli import main as cli
from intaglio.compiler.driver import lower_model
from intaglio.compiler.options import Options
from intaglio.compiler.package import slow

HEAD = '<ir_version: 10, opset_import: ["": 17]>'
SCATTER = """slow (float[{0}] x, int64[{0}, 1] i, float[{0}] u) => (float[{0}] y)
    {{ [write] y = ScatterND <reduction = "add"> (x, i, u) }}"""
DOUBLE = "slow (double[{0}] x) => (double[{0}] y) {{ [e] e = Exp (x) [y] y = Sqrt (e) }}"
TEXT = 'slow (string[{0}] x) => (string[{0}] y) {{ [up] y = StringNormalizer <case_change_action = "UPPER"> (x) }}'


def saved(text: str, size: object, folder: Path) -> str:
    model = onnx.parser.parse_model(f"{HEAD} {text.format(size)}")
    onnx.save(model, folder / "model.onnx")
    return str(folder / "model.onnx")


@pytest.mark.parametrize(
    ("text", "size", "expected"),
    [
        (SCATTER, "n", [slow.SERIAL]),
        (SCATTER, 1 << 20, [slow.SERIAL]),
        (SCATTER, 100, []),
        (DOUBLE, "n", [slow.DOUBLE]),
        (DOUBLE, 100, []),
        (DOUBLE.replace("double", "float"), "n", []),
        (TEXT, 3, [slow.HOST]),
        ("copy (double[{0}] x) => (double[{0}] y) {{ y = Identity (x) }}", "n", []),
        # The arithmetic in float64 is the compiler's own.
        ("inner (float[{0}] x, float[{0}] e) => (float[{0}] y) {{ y = Pow (x, e) }}", "n", []),
        ("dft (float[{0}, m, 1] x) => (float[{0}, m, 2] y) {{ y = DFT <axis = 1> (x) }}", "n", []),
        (
            "cast (float[{0}] x) => (float[{0}] y) {{ c = Cast <to = 11> (x) e = Exp (c) y = Cast <to = 1> (e) }}",
            "n",
            [slow.DOUBLE],
        ),
        (
            "sum (double[{0}, m] x) => (double[{0}, 1] y) {{ y = ReduceSum (x, k) }}".replace(
                "{{ y", "<int64[1] k = {{1}}> {{ y"
            ),
            "n",
            [slow.DOUBLE],
        ),
        ("widen (float[{0}] x) => (double[{0}] y) {{ e = Exp (x) y = Cast <to = 11> (e) }}", "n", []),
        ("gather (float[{0}] x, int64[{0}] i) => (float[{0}] y) {{ y = Gather (x, i) }}", "n", []),
    ],
)
def test_reasons(text: str, size: object, expected: list[str], tmp_path: Path) -> None:
    unit = lower_model(saved(text, size, tmp_path), Options())
    assert unit.model and unit.program
    doubles = slow.has_doubles(unit.model)
    found = dict.fromkeys(reason for step in unit.program.numbered for reason in slow.reasons(step, doubles))
    assert list(found) == expected


def test_warnings_count_and_name() -> None:
    notes = [{"nodes": [f"a{i}", "b"], "slow": [slow.DOUBLE]} for i in range(5)]
    notes += [{"nodes": [], "slow": []}, {"nodes": ["s"], "slow": [slow.SERIAL, slow.DOUBLE]}]
    serial, double = slow.warnings(notes)
    assert serial.startswith("Slow in 1 of 7 steps (s): writes in order") and "Where" in serial
    assert double.startswith("Slow in 6 of 7 steps (a0, a1, a2, ...): arithmetic in float64") and "float32" in double
    assert slow.warnings(notes[5:6]) == []


def test_each_session_warns_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One that compiles, and one that finds the model in the cache; the severity silences them."""
    model = saved(TEXT, 3, tmp_path)
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.DEBUG, "intaglio"):
            intaglio.InferenceSession(model)
        (record,) = caplog.records
        assert record.levelno == logging.WARNING and "steps (up): a Python function" in record.message
    caplog.clear()
    options = intaglio.SessionOptions()
    options.log_severity_level = 3
    intaglio.InferenceSession(model, options)
    assert caplog.records == []


def test_compile_and_explain_tell(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    model = saved(TEXT, 3, tmp_path)
    with caplog.at_level(logging.WARNING, "intaglio"):
        assert cli.main(["compile", model, "-o", str(tmp_path / "m.intaglio")]) == 0
    (record,) = caplog.records
    assert slow.HOST in record.message
    capsys.readouterr()
    assert cli.main(["explain", str(tmp_path / "m.intaglio"), "--no-run"]) == 0
    assert f"step 0 is slow: {slow.HOST}" in capsys.readouterr().out
