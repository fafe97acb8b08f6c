"""Tuning runs: what they leave in the database, also when they are ended, and what compilations make of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper
from unit.tune.subjects import here, kernels, perceptron
from unit.tune.subjects import model as made_of

import intaglio
from intaglio.compiler import driver
from intaglio.compiler.cli.main import main
from intaglio.compiler.codegen.c import toolchain
from intaglio.compiler.options import Options
from intaglio.compiler.schedule import space
from intaglio.compiler.schedule.matmul import MatmulSchedule
from intaglio.compiler.tune import tuner, workload
from intaglio.compiler.tune.choose import code, place
from intaglio.compiler.tune.encoding import encoded
from intaglio.compiler.tune.kernels import Problem
from intaglio.compiler.tune.report import TuningReport
from intaglio.runtime.errors import InvalidArgument, NotFound
from intaglio.runtime.store import cache, tuning
from intaglio.runtime.store.tuning import Record

X = np.random.default_rng(0).standard_normal((8, 64)).astype(np.float32)


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INTAGLIO_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("INTAGLIO_TUNING", str(tmp_path / "tuning.jsonl"))
    return tmp_path / "tuning.jsonl"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(perceptron())
    return path


def winner(database: Path, **fields: Any) -> tuple[Problem, Record]:
    """Adds a record of a schedule, the last to be tried, that was faster: to be used by compilations here."""
    problem = kernels(perceptron(), {"n": 8})[1][0]
    compiler = toolchain.find(cache.root() / "objects").version
    spot = place(problem.target, compiler)
    how = [each for each in space(problem.launch.kernel.body, problem.target) if isinstance(each, MatmulSchedule)][-1]
    record = Record(
        kernel=problem.digest, sizes=problem.sizes, cpu=spot.cpu, target=spot.target, threads=2,
        toolchain=spot.toolchain, code=code(problem.launch, how), kind="Matmul", schedule=encoded(how), seconds=1e-3,
        default_seconds=1.5e-3, gain=1.5, gain_low=1.4, turns=25, refused="", nodes="first", time=0.0,
    )  # fmt: skip
    tuning.append(database, [replace(record, **fields)])
    return problem, record


def feeds(manifest: dict[str, Any]) -> dict[str, Any]:
    return {"x": X}


def run(model: Path, **entries: str) -> Any:
    options = intaglio.SessionOptions()
    for name, value in entries.items():
        options.add_session_config_entry(name.replace("_", "."), value)
    return intaglio.InferenceSession(model, options)


def test_a_run_measures_and_tells(database: Path, model: Path) -> None:
    told: list[int] = []
    report = tuner.tune(
        str(model), Options(), feeds, seconds=300, trials=3, progress=lambda r, kernel, part: told.append(r.records)
    )
    records = tuning.read([database])
    assert report.records == len(records) >= 6  # what the model refuses replaces its record
    assert told == sorted(told) and told[-1] >= 6
    assert sorted(k.trials for k in report.kernels)[-2:] == [3, 3]
    assert report.before > 0 and report.after > 0 and not report.interrupted
    assert "the whole model" in str(report) and str(database) in str(report)
    assert json.loads(json.dumps(report.as_json()))["kernels"][0]["kind"] == "Matmul"


def test_the_results_are_the_same(database: Path, model: Path) -> None:
    (before,) = run(model).run(None, {"x": X})
    winner(database)
    (after,) = run(model).run(None, {"x": X})
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)


def sources(session: Any) -> list[str]:
    return [step["schedule"] for step in session._artifact.notes()["steps"]]


def test_sessions_use_what_was_measured(database: Path, model: Path) -> None:
    assert sources(run(model)) == ["rules"] * 3
    _, record = winner(database)
    used = run(model)
    assert sources(used) == ["measured, 1.50 times as fast as by rules", "rules", "rules"]
    assert used._artifact.notes()["steps"][0]["measured"] == record.schedule
    assert sources(run(model, intaglio_tuning="off")) == ["rules"] * 3


def test_a_model_is_lowered_without_a_c_compiler(database: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    winner(database)

    def none(folder: Path) -> None:
        raise NotFound("no C compiler")

    monkeypatch.setattr(toolchain, "find", none)
    unit = driver.lower_model(str(model), Options(tuning=tuning.state([database])))
    assert unit.sources and unit.chooser is None


def test_beside_a_model(database: Path, model: Path, tmp_path: Path) -> None:
    winner(tmp_path / "model.onnx.tuning.jsonl")
    assert sources(run(model))[0].startswith("measured")


def test_other_versions_of_a_template_do_not_count(
    database: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    winner(database, code="k0123456789abcdef")
    assert sources(run(model))[0] == "rules: measured with other templates"
    assert main(["cache", "explain", str(model)]) == 0
    assert "1 steps: rules: measured with other templates" in capsys.readouterr().out


def test_explain_tells_the_schedule(database: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    winner(database)
    assert main(["explain", str(model), "--no-run"]) == 0
    text = capsys.readouterr().out
    assert "schedule measured, 1.50 times as fast as by rules (" in text and "panels_per_task" in text


def test_the_key_of_the_cache_has_the_database(database: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(model)
    assert main(["cache", "explain", str(model)]) == 0
    assert capsys.readouterr().out.startswith("hit")
    winner(database)
    assert main(["cache", "explain", str(model)]) == 0
    assert '"tuning"' in capsys.readouterr().out


def planted(monkeypatch: pytest.MonkeyPatch, gains: Callable[[int], float]) -> list[int]:
    """Whole models and their steps take as long as is said: the number of the measurement -> the gain."""
    count = [0]

    def in_turns(first: Any, second: Any, turn: int) -> Any:
        slow, _ = original(first, second, turn)
        if turn == 0:
            count[0] += 1
        gain = gains(count[0])
        return (slow, slow / gain)

    original = workload.in_turns
    monkeypatch.setattr(workload, "in_turns", in_turns)
    return count


def test_what_is_slower_in_the_model_is_refused(database: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    winner(database)
    planted(monkeypatch, lambda count: 0.9)
    report = tuner.tune(str(model), Options(), feeds, seconds=300, trials=1)
    assert any(r.refused == "slower in a model" for r in tuning.read([database]))
    assert report.gain == 1.0 and not any(source.startswith("measured") for source in sources(run(model)))


def test_what_is_faster_in_the_model_stays(database: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    winner(database)
    planted(monkeypatch, lambda count: 1.2)
    report = tuner.tune(str(model), Options(), feeds, seconds=300, trials=1)
    (first,) = (kernel for kernel in report.kernels if kernel.nodes.startswith("first"))  # the products take as long
    assert report.gain == pytest.approx(1.2) and first.in_model == pytest.approx(1.2)
    assert sources(run(model))[0].startswith("measured")


COMMAND = [sys.executable, "-m", "intaglio", "tune"]


def started(model: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [*COMMAND, str(model), "--dim", "n=8", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))


def wait_for_records(database: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while len(tuning.read([database])) < count:
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.slow
def test_killed_twice_it_goes_on(database: Path, model: Path) -> None:
    for count in (2, 5):
        process = started(model, "--resume", "--time", "5m")
        wait_for_records(database, count, process)
        process.kill()
        process.wait()
    before = tuning.read([database])
    done = started(model, "--resume", "--time", "5m", "--trials", "8", "--json")
    (report,) = json.loads(done.communicate(timeout=120)[0])
    assert done.returncode == 0
    assert {r.key for r in before} <= {r.key for r in tuning.read([database])}
    assert 0 < report["records"] < 8 + 8 + 1  # of the products, and the one of the softmax


def test_ctrl_c_keeps_what_was_measured(database: Path, model: Path) -> None:
    process = started(model, "--time", "5m")
    wait_for_records(database, 2, process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted: what was measured is kept" in output
    assert len(tuning.read([database])) >= 2


def test_two_at_once(database: Path, model: Path) -> None:
    both = [started(model, "--trials", "4", "--time", "5m") for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    assert all(isinstance(tuning.parsed(line), Record) for line in tuning.lines(database))


def test_a_full_disk_is_told_and_loses_nothing(database: Path, model: Path) -> None:
    winner(database)
    before = tuning.read([database])
    limit = f"ulimit -f {max(1, database.stat().st_size // 1024)}; exec"  # blocks of 1,024 bytes
    prepared = started(model, "--trials", "1", "--time", "5s", "--database", str(database.with_name("other")))
    assert prepared.wait(60) == 0  # everything is compiled
    command = ["bash", "-c", f'{limit} "$@"', "tune", *COMMAND, str(model), "--dim", "n=8", "--trials", "1"]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 1 and "File too large" in done.stderr
    assert tuning.read([database]) == before


def test_commands_on_the_database(database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    winner(database)
    winner(database, gain=1.6)
    assert main(["tune", "--show"]) == 0
    assert "1.60" in capsys.readouterr().out
    assert main(["tune", "--export", str(tmp_path / "out.jsonl")]) == 0
    assert main(["tune", "--export", str(tmp_path / "out.jsonl")]) == 1
    assert main(["tune", "--prune"]) == 0
    assert "1 lines removed" in capsys.readouterr().out
    database.unlink()
    assert main(["tune", "--import", str(tmp_path / "out.jsonl")]) == 0
    assert [r.gain for r in tuning.read([database])] == [1.6]
    assert main(["tune"]) == 1
    assert "tune what?" in capsys.readouterr().err


def test_sizes(database: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", str(model), "--dim", "n=4,8..16", "--trials", "1", "--time", "5m", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 3
    assert len({r.sizes for r in tuning.read([database]) if r.kind == "Matmul"}) == 3
    assert main(["tune", str(model), "--dim", "m=4"]) == 1
    assert "no symbolic dimension 'm'" in capsys.readouterr().err


def test_a_session_searches_once(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "softmax.onnx"  # with few candidates
    path.write_bytes(made_of([helper.make_node("Softmax", ["x"], ["y"])], {"x": ["n", 500]}, {}))
    run(path, intaglio_tuning="search:60s")
    records = tuning.read([database])
    assert records
    monkeypatch.setattr("intaglio.compiler.tune.session.tuner.tune", None)  # the next one starts warm
    run(path, intaglio_tuning="search:60s")
    assert tuning.read([database]) == records


def test_a_session_runs_where_nothing_can_be_written(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("INTAGLIO_TUNING", str(tmp_path / "file" / "tuning.jsonl"))
    assert run(model, intaglio_tuning="search:60s").run(None, {"x": X})[0].shape == (8, 64)
    assert "The model is not tuned: " in caplog.text


def test_ctrl_c_ends_a_session_that_searches(database: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any, **options: Any) -> TuningReport:
        return TuningReport("", "", 1, "", interrupted=True)

    monkeypatch.setattr("intaglio.compiler.tune.session.tuner.tune", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(model, intaglio_tuning="search:2s")


@pytest.mark.parametrize("entry", ["", "on", "search", "search:", "search:0s", "search:5", "search:-5s", "search:5d"])
def test_other_entries_are_refused(database: Path, model: Path, entry: str) -> None:
    with pytest.raises(InvalidArgument, match=r"intaglio\.tuning is"):
        run(model, intaglio_tuning=entry)


def test_tuning_results_go_to_another_machine(
    database: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(model).get_tuning_results() == []
    winner(database)
    results = run(model).get_tuning_results()
    assert results[0]["ep"] == "CPUExecutionProvider" and results[0]["validators"]["CPU"] == here().cpu
    results = json.loads(json.dumps(results))
    monkeypatch.setenv("INTAGLIO_TUNING", str(tmp_path / "elsewhere.jsonl"))
    session = run(model)
    assert sources(session) == ["rules"] * 3
    session.set_tuning_results(results, error_on_invalid=True)
    assert sources(session)[0].startswith("measured")
    assert session.run(None, {"x": X})[0].shape == (8, 64)
    assert tuning.read([tmp_path / "elsewhere.jsonl"]) == tuning.read([database])


@pytest.mark.parametrize(("change", "text"), [
    ({"ep": "CUDAExecutionProvider"}, "CUDAExecutionProvider does not support TunableOp."),
    ({"validators": {}}, "CPUExecutionProvider does not support TunableOp."),
    ({"validators": {"INTAGLIO_TUNING_VERSION": "0"}}, "INTAGLIO_TUNING_VERSION is 0, and here 1."),
    ({"validators": {"INTAGLIO_TUNING_VERSION": "1"}}, "CPU is None, and here"),
    ({"results": {"k": {"0": "{}"}}}, "A record is no record."),
])  # fmt: skip
def test_foreign_results_are_refused(database: Path, model: Path, change: dict[str, Any], text: str) -> None:
    winner(database)
    session = run(model)
    (result,) = session.get_tuning_results()
    with pytest.raises(RuntimeError, match=text):
        session.set_tuning_results([result | change], error_on_invalid=True)
    session.set_tuning_results([result | change])


def test_gpus_are_not_tuned(database: Path, model: Path) -> None:
    with pytest.raises(InvalidArgument, match="only kernels of a CPU can be tuned"):
        tuner.tune(str(model), Options(target="native,gpu:interpreter"), feeds)


def test_from_python(database: Path, model: Path) -> None:
    report = intaglio.tune(model, {"n": 8}, 300, trials=1)
    assert isinstance(report, TuningReport) and report.records >= 3
    assert intaglio.TuningReport is TuningReport


def test_the_version_of_a_compiler() -> None:
    found = toolchain.find(cache.root() / "objects")
    assert found.version and "\n" not in found.version
