"""The command line: what it prints, what it writes, its exit codes, and errors of one line."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import intaglio
from intaglio.compiler import progress
from intaglio.compiler.cli import doctor
from intaglio.compiler.cli import main as cli
from intaglio.runtime import cpus

DATA = Path(__file__).parents[2] / "data"
MLP = DATA / "mlp.onnx"  # input[batch, 64] -> output[batch, 10]

Run = Callable[..., str]


@pytest.fixture
def ok(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command that has to succeed, and returns its stdout."""

    def run(*arguments: object) -> str:
        code = cli.main([str(a) for a in arguments])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return captured.out

    return run


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command that has to fail, and returns the one line that says why."""

    def run(*arguments: object, code: int = 1) -> str:
        try:
            returned: object = cli.main([str(a) for a in arguments])
        except SystemExit as stopped:
            returned = stopped.code
        captured = capsys.readouterr()
        assert returned == code, captured.out
        assert captured.err.count("\n") == 1 and captured.out == ""
        return captured.err

    return run


def x(batch: int = 3) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((batch, 64), np.float32)


# ---- compile ---------------------------------------------------------------------------------------------------------


def test_compile_writes_one_file_that_runs(ok: Run, tmp_path: Path) -> None:
    output = tmp_path / "mlp.intaglio"
    said = ok("compile", MLP, "-o", output)
    assert str(output) in said and "5 ONNX nodes" in said
    (ahead,) = intaglio.InferenceSession(output).run(None, {"input": x()})
    (jit,) = intaglio.InferenceSession(MLP).run(None, {"input": x()})
    np.testing.assert_array_equal(ahead, jit)


def test_compile_beside_the_model_when_nothing_is_said(ok: Run, tmp_path: Path) -> None:
    shutil.copy(MLP, tmp_path)
    ok("compile", tmp_path / "mlp.onnx")
    assert (tmp_path / "mlp.intaglio").is_file()


def test_compile_fixes_a_dimension(ok: Run, tmp_path: Path) -> None:
    ok("compile", MLP, "-o", tmp_path / "one.intaglio", "--dim", "batch=1")
    described = json.loads(ok("inspect", tmp_path / "one.intaglio", "--json"))
    assert described["outputs"][0]["shape"] == [1, 10]


def test_compile_for_an_older_cpu(ok: Run, tmp_path: Path) -> None:
    ok("compile", MLP, "-o", tmp_path / "v2.intaglio", "--target", "x86-64-v2")
    described = json.loads(ok("inspect", tmp_path / "v2.intaglio", "--json"))
    assert "avx" not in described["features"] and "ssse3" in described["features"]


@pytest.mark.parametrize("how", [[], ["--emit", "c"]], ids=str)
def test_a_target_of_another_architecture(how: list[str], fails: Run, tmp_path: Path) -> None:
    """No code of this machine's is written in its name."""
    foreign = "x86-64-v2" if cpus.architecture() == "aarch64" else "aarch64"
    said = fails("compile", MLP, "-o", tmp_path / "model", "--target", foreign, *how)
    assert f"the target '{foreign}' is of the architecture" in said and cpus.architecture() in said
    assert list(tmp_path.iterdir()) == []


def test_target_is_forgotten_after_the_command(ok: Run, tmp_path: Path) -> None:
    ok("inspect", MLP, "--target", "x86-64-v2")
    assert "INTAGLIO_TARGET" not in os.environ


def test_emitted_c(ok: Run, tmp_path: Path) -> None:
    """Of any architecture, as no C compiler runs; beside the artifact only where that is asked for."""
    foreign = "x86-64-v2" if cpus.architecture() == "aarch64" else "aarch64"
    said = ok("compile", MLP, "--emit", "c", tmp_path / "c", "--embed", "--threads", "1", "--target", foreign)
    assert str(tmp_path / "c") in said and list(tmp_path.iterdir()) == [tmp_path / "c"]
    files = {p.name for p in (tmp_path / "c").iterdir()}
    assert {"mlp.h", "main.c", "program.c", "weights.bin", "weights_linked.c", "Makefile", "CMakeLists.txt"} <= files
    assert not {"pool.c", "threads.c", "weights_file.c", "model.so"} & files


def test_emitted_library(ok: Run, tmp_path: Path) -> None:
    ok("compile", MLP, "--emit", "so", tmp_path / "so", "-o", tmp_path / "mlp.intaglio")
    assert {p.name for p in (tmp_path / "so").iterdir()} == {"libmlp.so", "mlp.h", "mlp.pc", "weights.bin"}
    (expected,) = intaglio.InferenceSession(tmp_path / "mlp.intaglio").run(None, {"input": x()})
    library, model = ctypes.CDLL(str(tmp_path / "so" / "libmlp.so")), ctypes.c_void_p()
    weights = str(tmp_path / "so" / "weights.bin").encode()
    assert library.mlp_create(ctypes.byref(model), ctypes.c_char_p(weights), 2) == 0
    fed, output = x(), np.empty((3, 10), np.float32)
    addresses = (ctypes.c_void_p(each.ctypes.data) for each in (fed, output))
    assert library.mlp_run(model, ctypes.c_int64(3), *addresses) == 0
    np.testing.assert_array_equal(output, expected)
    library.mlp_destroy(model)


# ---- run -------------------------------------------------------------------------------------------------------------


def test_run_reads_and_saves(ok: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", x())
    (expected,) = intaglio.InferenceSession(MLP).run(None, {"input": x()})
    for given in (tmp_path / "in.npy", f"input={tmp_path / 'in.npy'}"):
        ok("run", MLP, "-i", given, "-o", tmp_path / "out.npz")
        np.testing.assert_array_equal(np.load(tmp_path / "out.npz")["output"], expected)
    np.savez(tmp_path / "in.npz", input=x())
    (tmp_path / "in.pb").write_bytes(numpy_helper.from_array(x()).SerializeToString())
    for name in ("in.npz", "in.pb"):
        ok("run", MLP, "-i", tmp_path / name, "-o", tmp_path / "out.npy")
        np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)


def test_run_with_random_inputs(ok: Run) -> None:
    first, again, other = (
        json.loads(ok("run", MLP, "--json", "--dim", "batch=4", "--seed", seed)) for seed in (1, 1, 2)
    )
    assert first["outputs"]["output"]["shape"] == [4, 10]
    assert first["outputs"] == again["outputs"] != other["outputs"]


def test_run_prints_a_table(ok: Run) -> None:
    said = ok("run", MLP, "--dim", "batch=2", "--repeat", 3)
    assert "[2, 10]" in said and "median of 3 runs" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nope.onnx"], "File doesn't exist"),
        (["run", MLP, "--dim", "btch=1"], "no symbolic dimension 'btch' (it has batch)"),
        (["compile", MLP, "--dim", "btch=1"], "no symbolic dimension 'btch' (it has batch)"),
        (["run", MLP, "-i", "nope.npy"], "nope.npy: No such file"),
        (["run", MLP, "-i", "x=nope.npy"], "nope.npy: No such file"),
        (["run", MLP, "-i", MLP], "inputs are .npy, .npz or .pb"),
        (["run", MLP, "--output-name", "z"], "Invalid output name:z"),
        (["compile", __file__], "Protobuf parsing failed"),
        (["compile", MLP, "--embed"], "--embed and --threads are options of --emit"),
        (["inspect", MLP, "--stage", "nope"], "no stage 'nope' writes text; choose one of: import"),
    ],
)
def test_errors_are_one_line(fails: Run, arguments: list[object], message: str) -> None:
    assert message in fails(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fly"], "invalid choice"),
        (["compile"], "required: model"),
        (["compile", MLP, "--dim", "batch"], "expected NAME=SIZE, not 'batch'"),
        (["compile", MLP, "--target", "z80"], "unknown target 'z80'"),
        (["compile", MLP, "--emit", "pascal"], "expected c or so"),
        (["compile", MLP, "--emit", "c", "--threads", "2"], "invalid choice: 2"),
        (["run", MLP, "--repeat", "0"], "expected a positive integer"),
    ],
)
def test_usage_errors_exit_with_2(fails: Run, arguments: list[object], message: str) -> None:
    assert message in fails(*arguments, code=2)


def test_unsupported_operators_are_listed_at_once(fails: Run, tmp_path: Path) -> None:
    model = onnx.load(MLP)
    for node, op in zip(model.graph.node, ("Nope", "Nada")):
        node.op_type, node.domain = op, "my.domain"
        del node.attribute[:]
    model.opset_import.add(domain="my.domain", version=1)
    onnx.save(model, tmp_path / "odd.onnx")
    cli_run = subprocess.run(
        [sys.executable, "-m", "intaglio", "inspect", tmp_path / "odd.onnx"], capture_output=True, text=True
    )
    assert cli_run.returncode == 1
    assert "my.domain" in cli_run.stderr and "Traceback" not in cli_run.stderr


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "nope.onnx", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


# ---- inspect and explain ---------------------------------------------------------------------------------------------


def test_inspect(ok: Run) -> None:
    said = ok("inspect", MLP)
    assert "input: f32[batch, 64]" in said and "3 Gemm, 2 Relu" in said
    described = json.loads(ok("inspect", MLP, "--json"))
    assert described["steps"] == len(described["plan"]) == 3
    assert {node for step in described["plan"] for node in step["nodes"]} == {
        node.name for node in onnx.load(MLP).graph.node
    }
    assert all("batch" in buffer["bytes"] for buffer in described["memory"])


def test_inspect_prints_a_stage(ok: Run) -> None:
    assert ok("inspect", MLP, "--stage", "import").startswith("symbols batch")


def test_explain(ok: Run) -> None:
    report = json.loads(ok("explain", MLP, "--json", "--dim", "batch=16", "--repeat", 2))
    steps: list[dict[str, Any]] = report["steps"]
    flops = 2 * 16 * sum(a * b for a, b in ((64, 32), (32, 32), (32, 10)))
    assert flops <= sum(step["flops"] for step in steps) <= flops * 1.1  # and the epilogues
    assert all(step["seconds"] > 0 and step["bound"] in ("compute", "memory") for step in steps)
    said = ok("explain", MLP, "--no-run")
    assert "of limit" not in said and "GFLOP/s" in said


def test_explain_says_why_fusion_stopped(ok: Run, tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["": 17]> shared (float[m, n] x) => (float[n] y, float[m] z)
        { [tanh] t = Tanh(x)
          y = ReduceMax <axes = [0], keepdims = 0> (t)
          z = ReduceMax <axes = [1], keepdims = 0> (t) }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "shared.onnx")
    report = json.loads(ok("explain", tmp_path / "shared.onnx", "--json", "--no-run"))
    reasons = [reason for step in report["steps"] for reason in step["reasons"]]
    assert any("tanh" in reason and "is read by 2 kernels" in reason for reason in reasons), reasons


def test_explain_times_what_a_branch_takes(ok: Run, tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["": 17]> either (float[n] x, bool c) => (float[n] y) {
        y = If (c) <then_branch = a () => (float[n] p) { [p] p = Exp(x) },
                    else_branch = b () => (float[n] q) { [q] q = Tanh(x) }> }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "either.onnx")
    np.savez(tmp_path / "in.npz", x=np.ones(100_000, np.float32), c=np.array(True))
    report = json.loads(ok("explain", tmp_path / "either.onnx", "-i", tmp_path / "in.npz", "--json"))
    (taken,) = [step for step in report["steps"] if step["nodes"] and step["seconds"] > 0]
    assert any("p" in node for node in taken["nodes"]) and all(step["seconds"] >= 0 for step in report["steps"])


# ---- cache and doctor ------------------------------------------------------------------------------------------------


def test_cache(ok: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTAGLIO_CACHE_DIR", str(tmp_path))
    assert "miss" in ok("cache", "explain", MLP)
    ok("run", MLP)
    assert "hit" in ok("cache", "explain", MLP)
    (entry,) = json.loads(ok("cache", "list", "--json"))
    assert entry["source"] == str(MLP)
    assert str(MLP) in ok("cache", "list")
    said = ok("cache", "explain", MLP, "--target", "x86-64-v2")
    assert "miss" in said and "x86-64-v2" in said
    assert json.loads(ok("cache", "prune", "--bytes", 1, "--json"))["freed"] > 0
    assert json.loads(ok("cache", "list", "--json")) == []
    ok("cache", "clear")
    assert "0 models" in ok("cache", "list")


def test_doctor_finds_this_machine_well(ok: Run) -> None:
    findings = {finding["topic"]: finding for finding in json.loads(ok("doctor", "--json"))}
    assert findings["compiler"]["ok"] and findings["cache"]["ok"]
    assert "compiler" in ok("doctor")


@pytest.mark.parametrize(("permitted", "said"), [(None, ""), (True, "use the matrix unit"), (False, "permits no use")])
def test_doctor_tells_of_the_matrix_unit(
    permitted: bool | None, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpus, "tiles_permitted", lambda: permitted)
    assert cli.main(["doctor", "--json"]) == (permitted is False)
    findings = {finding["topic"]: finding["text"] for finding in json.loads(capsys.readouterr().out)}
    assert said in findings.get("tiles", "") and ("tiles" in findings) == bool(said)


def test_precision_is_checked_and_part_of_the_cache(ok: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INTAGLIO_CACHE_DIR", str(tmp_path))
    with pytest.raises(SystemExit) as failed:
        cli.main(["compile", str(MLP), "--precision", "double"])
    assert failed.value.code == 2
    ok("run", MLP, "--precision", "strict")
    assert "hit" in ok("cache", "explain", MLP, "--precision", "strict")
    assert "miss" in ok("cache", "explain", MLP)


def test_doctor_without_a_compiler(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTAGLIO_CC", "no-such-compiler")
    assert cli.main(["doctor"]) == 1
    assert "no-such-compiler" in capsys.readouterr().out


def test_doctor_survives_anything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("INTAGLIO_CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.setenv("INTAGLIO_NUM_THREADS", "many")
    bad = {finding.topic for finding in doctor.examine() if finding.ok is False}
    assert {"threads", "cache"} <= bad


# ---- The rest --------------------------------------------------------------------------------------------------------


def test_progress_only_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_QUIET", -1.0)
    with progress.Progress() as quiet:
        quiet("build", 3, 20)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress.Progress() as shown:
        shown("build", 3, 20)
    assert "build  [###.....................] 3 of 20" in capsys.readouterr().err


def test_progress_goes_on_in_a_stage_that_says_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_QUIET", 0.02)
    monkeypatch.setattr(progress, "_TICK", 0.01)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress.Progress() as shown:
        shown("import")  # too early to be shown by itself
        for _ in range(1000):
            if shown._shown:
                break
            time.sleep(0.01)
    said = capsys.readouterr().err
    assert "import" in said and said.endswith("\r\x1b[K")  # and nothing is left of it


LONG = (["explain"], ["inspect", "--stage", "import"], ["inspect"], ["run", "--repeat", "2"], ["doctor"])


@pytest.mark.parametrize("command", LONG, ids=" ".join)
def test_commands_that_take_long_show_progress(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_QUIET", -1.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert cli.main([*command, *([str(MLP)] if command != ["doctor"] else [])]) == 0
    parts = {"explain": "run  [", "inspect": "import", "run": "] 1 of 2", "doctor": "compiler"}
    assert parts[command[0]] in capsys.readouterr().err


def test_no_command_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, expected in (([], "compile "), (["cache"], "prune ")):
        assert cli.main(arguments) == 2
        captured = capsys.readouterr()
        assert captured.out == "" and captured.err.startswith("usage: ") and expected in captured.err


def test_python_m_intaglio_and_the_script_are_the_same(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("intaglio")
    commands = [[sys.executable, "-m", "intaglio"], *([[str(script)]] if script.exists() else [])]
    for command in commands:
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, cwd=tmp_path, check=True)
        assert done.stdout == f"intaglio {intaglio.__version__}\n"


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m intaglio inspect {MLP} | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr
