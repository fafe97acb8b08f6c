"""The cache: whatever is killed, full, read-only or damaged, sessions work and nothing wrong is kept."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import handmade
import numpy as np
import pytest

from intaglio import InferenceSession, SessionOptions
from intaglio.runtime.errors import Fail
from intaglio.runtime.store import cache, checksums, fingerprint

X = np.ones((2, 3), np.float32)
Count = Callable[[], int]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x07 not looked at by the fake compiler")
    old = time.time() - 100
    os.utime(path, (old, old))
    return path


def run(model: Path | bytes, options: SessionOptions | None = None) -> None:
    session = InferenceSession(model, options)
    assert np.array_equal(session.run(None, {"x": X})[0], handmade.affine(X)[0])


def test_compiles_once(model: Path, cache_root: Path, compiler: Count) -> None:
    for _ in range(3):
        run(model)
    assert compiler() == 1
    run(model.read_bytes())  # the same content
    assert compiler() == 1


def test_what_makes_a_new_entry(
    model: Path, cache_root: Path, compiler: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(model)
    options = SessionOptions()
    options.add_free_dimension_override_by_name("batch", 2)
    run(model, options)
    assert compiler() == 2
    model.write_bytes(b"\x08\x07 another model, of another size")
    run(model)
    assert compiler() == 3
    threads = SessionOptions()
    threads.intra_op_num_threads = 1  # does not change the code
    run(model, threads)
    assert compiler() == 3
    monkeypatch.setattr(fingerprint, "compiler", lambda memory: "another version")
    run(model)
    assert compiler() == 4


def test_same_size_and_time_but_replaced(model: Path, cache_root: Path, compiler: Count) -> None:
    run(model)
    stat = os.stat(model)
    data = model.read_bytes()
    other = model.with_suffix(".new")
    other.write_bytes(data[:-1] + b"!")
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    os.replace(other, model)
    run(model)
    assert compiler() == 2


def test_external_data_counts(model: Path, cache_root: Path, compiler: Count) -> None:
    name = b"weights.data"
    model.write_bytes(b"\x08\x07\x6a\x18\x0a\x08location\x12" + bytes([len(name)]) + name + b"\x6a\x00")
    data = model.with_name("weights.data")
    data.write_bytes(b"1" * 100)
    run(model)
    run(model)
    assert compiler() == 1
    data.write_bytes(b"2" * 100)
    run(model)
    assert compiler() == 2
    data.write_bytes(b"1" * 100)
    run(model)
    assert compiler() == 2


def test_a_warm_start_reads_no_model(
    model: Path, cache_root: Path, compiler: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = time.time() - 100
    monkeypatch.setattr(fingerprint, "SETTLED_NS", -(10**18))  # as if the model had been there for long
    run(model)
    os.utime(model, (old, old))
    run(model)
    monkeypatch.setattr(fingerprint, "_digest", lambda *_: pytest.fail("hashed the model again"))
    run(model)
    assert compiler() == 1


def test_a_fresh_file_is_not_remembered(model: Path, cache_root: Path, compiler: Count) -> None:
    """Its timestamps may not show a change that comes within their granularity."""
    model.write_bytes(b"\x08\x07 written just now")
    run(model)
    assert not list((cache_root / "notes").glob("model-*"))


@pytest.mark.parametrize("name", [*handmade.FILES, "key.json"])
@pytest.mark.parametrize("damage", handmade.DAMAGES)
def test_damaged_entries_are_made_again(model: Path, cache_root: Path, compiler: Count, name: str, damage: str) -> None:
    run(model)
    (entry,) = cache.entries()
    path = entry.path / name
    wrong = handmade.damaged(path.read_bytes(), damage)
    path.unlink()  # what is mapped stays as it was
    if wrong is not None:
        path.write_bytes(wrong)
    run(model)
    run(model)
    assert compiler() == 2
    assert len(cache.entries()) == 1


@pytest.mark.parametrize("damage", handmade.DAMAGES)
def test_damaged_notes_are_made_again(
    model: Path, cache_root: Path, compiler: Count, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint, "SETTLED_NS", -(10**18))  # as if the model had been there for long
    run(model)
    whole = {note: note.read_bytes() for note in (cache_root / "notes").iterdir()}
    assert {note.name.partition("-")[0] for note in whole} == {"model", "weights"}
    for note, data in whole.items():
        wrong = handmade.damaged(data, damage)
        note.unlink()
        if wrong is not None:
            note.write_bytes(wrong)
    monkeypatch.setattr(checksums, "_checked", {})  # as in another process
    run(model)
    assert compiler() == 1
    assert {note: note.read_bytes() for note in (cache_root / "notes").iterdir()} == whole


def script(tmp_path: Path, model: Path, behaviour: str) -> list[str]:
    """A process that makes a session with the fake compiler."""
    code = f"""
import os, sys, time
from pathlib import Path
sys.path.insert(0, {str(handmade.HERE.parent)!r})
import handmade
def behaviour(directory):
    {behaviour}
handmade.fake_compiler(Path({str(tmp_path / "compilations")!r}), Path({str(tmp_path / "objects")!r}), behaviour)
import intaglio, numpy as np
from intaglio.runtime.store import fingerprint
fingerprint.compiler = lambda memory: "fake"
session = intaglio.InferenceSession({str(model)!r})
x = np.ones((2, 3), np.float32)
assert np.array_equal(session.run(None, {{"x": x}})[0], handmade.affine(x)[0])
"""
    return [sys.executable, "-c", code]


def test_processes_compile_once(model: Path, cache_root: Path, tmp_path: Path) -> None:
    command = script(tmp_path, model, "time.sleep(1)")
    processes = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    assert len((tmp_path / "compilations").read_text().splitlines()) == 1


def test_killed_while_compiling(model: Path, cache_root: Path, compiler: Count, tmp_path: Path) -> None:
    behaviour = "(directory / 'model.so').write_bytes(b'half'); os.kill(os.getpid(), 9)"
    process = subprocess.run(script(tmp_path, model, behaviour))
    assert process.returncode == -signal.SIGKILL
    assert len(list((cache_root / "tmp").iterdir())) == 1
    run(model)  # neither waits for the dead process nor uses what it left
    assert compiler() == 2
    assert list((cache_root / "tmp").iterdir()) == []


def test_a_failed_compilation_leaves_nothing(model: Path, cache_root: Path, tmp_path: Path) -> None:
    process = subprocess.run(script(tmp_path, model, "raise ValueError('no')"), capture_output=True, text=True)
    assert process.returncode == 1 and "ValueError: no" in process.stderr
    assert list((cache_root / "tmp").iterdir()) == [] and list((cache_root / "locks").iterdir()) == []


def test_threads_compile_once(model: Path, cache_root: Path, compiler: Count) -> None:
    threads = [threading.Thread(target=run, args=(model,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert compiler() == 1


def test_a_signal_handler_that_loads_the_same_model(
    model: Path, cache_root: Path, objects: Path, tmp_path: Path, compiler: Count
) -> None:
    """While that is compiled: it cannot wait for it. A signal while the handler compiles waits, though."""

    def interrupt(directory: Path) -> None:
        (directory / "begun").write_text("")
        signal.raise_signal(signal.SIGUSR1)
        (directory / "begun").unlink()

    handmade.fake_compiler(tmp_path / "compilations", objects, interrupt)
    before = signal.signal(signal.SIGUSR1, lambda *_: run(model))
    try:
        run(model)
    finally:
        signal.signal(signal.SIGUSR1, before)
    run(model)
    assert compiler() == 2 and len(cache.entries()) == 1
    assert not any((cache_root / "tmp").iterdir()) and not any((cache_root / "locks").iterdir())


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 9)", "raise ValueError", "pass"])
def test_a_forked_process_holds_no_lock(model: Path, cache_root: Path, tmp_path: Path, end: str) -> None:
    """One that was forked by another thread while a model was compiled, and outlives that."""
    child = tmp_path / "child"
    fork = f"p = os.fork(); p or time.sleep(60); open({str(child)!r}, 'w').write(str(p)); {end}"
    subprocess.run(script(tmp_path, model, fork), stderr=subprocess.DEVNULL)
    try:
        subprocess.run(script(tmp_path, model, "pass"), check=True, timeout=30)
    finally:
        os.kill(int(child.read_text()), signal.SIGKILL)


def waiting(process: subprocess.Popen[bytes], present: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not present():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)


def test_interrupted(model: Path, cache_root: Path, tmp_path: Path) -> None:
    """While compiling, and while waiting for another process that does."""
    compiling = subprocess.Popen(
        script(tmp_path, model, "(directory / 'begun').write_text(''); time.sleep(60)"), stderr=subprocess.PIPE
    )
    waiting(compiling, lambda: any((cache_root / "tmp").glob("*/begun")))
    other = subprocess.Popen(
        [*script(tmp_path, model, "pass")[:2], "print(flush=True);" + script(tmp_path, model, "pass")[2]],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert other.stdout and other.stdout.readline()
    time.sleep(0.5)  # by now it waits, or will
    for process in (other, compiling):
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        assert process.returncode == -signal.SIGINT and said.rstrip().endswith(b"KeyboardInterrupt")
    assert not any((cache_root / "tmp").iterdir()) and not any((cache_root / "locks").iterdir())


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_paths_that_are_no_text(
    encoding: str, tmp_path: Path, compiler: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = os.fsdecode("Modèle ÿ".encode(encoding) + b" \xff" * (encoding == "latin-1"))
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.setenv("INTAGLIO_CACHE_DIR", str(folder / name))
    monkeypatch.setattr(fingerprint, "SETTLED_NS", -(10**18))
    model = folder / f"{name}.onnx"
    model.write_bytes(b"\x08\x07 not looked at by the fake compiler")
    for _ in range(2):
        run(model)
    (entry,) = cache.entries()
    assert compiler() == 1 and entry.source == str(model)
    assert cache.explain(str(model), {}) == f"hit: {entry.path}"
    assert fingerprint.of(str(model), {}, folder / name / "notes").files[0][0] == str(model)


@pytest.fixture
def no_temporary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_temporary", None)


UNUSABLE = {  # paths at which no cache can be, in a folder with "file" and links
    "a file": "file",
    "below a file": "file/cache",
    "a loop": "loop",
    "a dangling link": "dangling",
    "a long name": "x" * 300,
    "a long path": "y/" * 3000,
    "a device": os.devnull,
    "where nothing can be made": "/proc/intaglio",
    "below where nothing can be made": "/proc/intaglio/of/this",
}


@pytest.mark.usefixtures("no_temporary")
@pytest.mark.parametrize("name", UNUSABLE)
def test_a_root_that_cannot_be_used(
    name: str, model: Path, tmp_path: Path, compiler: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere" / "at" / "all")
    monkeypatch.setenv("INTAGLIO_CACHE_DIR", str(tmp_path / UNUSABLE[name]))
    with pytest.warns(UserWarning, match="cannot be used.*Set INTAGLIO_CACHE_DIR"):
        run(model)
    with pytest.warns(UserWarning, match="cannot be used"):
        run(model)  # from the temporary folder
    assert compiler() == 1


@pytest.mark.parametrize("name", [*UNUSABLE, "good"])
def test_a_workspace_shares_object_files(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the cache where that can be written; else they are in a temporary folder, which goes with it."""
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere" / "at" / "all")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("INTAGLIO_CACHE_DIR", str(tmp_path / UNUSABLE.get(name, name)))
    with cache.workspace() as folder:
        assert list(folder.iterdir()) == []
        objects = cache.objects(folder)
        assert tmp_path / ("good" if name == "good" else "temporary") in objects.parents
        objects.mkdir()
    assert not folder.exists() and list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.usefixtures("no_temporary")
@pytest.mark.parametrize("given", [os.devnull, ""])
def test_no_folder_at_all(
    given: str, model: Path, artifacts: dict[str, Path], compiler: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No home, and no place for temporary files: the message says what to do, and what is compiled runs."""

    def none(prefix: str) -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "mkdtemp", none)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.setenv("INTAGLIO_CACHE_DIR", given)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.raises(Fail, match=r"No usable temporary directory.*Set INTAGLIO_CACHE_DIR or TMPDIR"):
        run(model)
    run(artifacts["affine"])
    assert compiler() == 0


def test_errors_of_the_model_are_not_the_folder_s(
    cache_root: Path, tmp_path: Path, objects: Path, model: Path, compiler: Count
) -> None:
    def fail(directory: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(model))

    handmade.fake_compiler(tmp_path / "compilations", objects, fail)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(PermissionError):
            run(model)
    assert compiler() == 1


@pytest.mark.usefixtures("no_temporary")
def test_a_read_only_root(model: Path, cache_root: Path, compiler: Count, monkeypatch: pytest.MonkeyPatch) -> None:
    run(model)
    mkdir = Path.mkdir

    def refuse(self: Path, *args: Any, **kwargs: Any) -> None:
        if cache_root in self.parents and not self.exists():
            raise OSError(errno.EROFS, "Read-only file system", str(self))
        mkdir(self, *args, **kwargs)

    def read_only(path: Any, *args: Any, **kwargs: Any) -> None:
        if cache_root in Path(path).parents:
            raise OSError(errno.EROFS, "Read-only file system", str(path))

    shutil.rmtree(cache_root / "locks")
    monkeypatch.setattr(Path, "mkdir", refuse)
    monkeypatch.setattr(os, "utime", read_only)
    run(model)  # a hit writes nothing
    assert compiler() == 1
    model.write_bytes(b"\x08\x07 another one")
    with pytest.warns(UserWarning, match="Read-only file system"):
        run(model)
    assert compiler() == 2


@pytest.mark.usefixtures("no_temporary")
def test_a_full_disk(model: Path, cache_root: Path, objects: Path, tmp_path: Path, compiler: Count) -> None:
    def full(directory: Path) -> None:
        (directory / "model.so").write_bytes(b"half")
        if cache_root in directory.parents:
            raise OSError(errno.ENOSPC, "No space left on device")

    handmade.fake_compiler(tmp_path / "compilations", objects, full)
    with pytest.warns(UserWarning, match="No space left on device"):
        run(model)
    assert cache.entries() == [] and list((cache_root / "tmp").iterdir()) == []


def test_a_model_replaced_while_it_is_compiled(
    model: Path, cache_root: Path, objects: Path, tmp_path: Path, compiler: Count
) -> None:
    def replace(directory: Path) -> None:
        if compiler() == 1:
            model.write_bytes(b"\x08\x07 the new one")

    handmade.fake_compiler(tmp_path / "compilations", objects, replace)
    run(model)
    run(model)
    assert compiler() == 2  # the first result was neither the old nor the new model
    assert len(cache.entries()) == 1


def test_prune_drops_what_was_used_least(cache_root: Path, compiler: Count) -> None:
    models = [b"\x08\x07" + bytes([number]) * 10 for number in range(4)]
    for number, each in enumerate(models):
        run(each)
        entry = cache.entries()[0]
        os.utime(entry.path, (number, number))
    run(models[0])  # used again
    kept, dropped = cache.entries()[:2], cache.entries()[2:]
    assert cache.prune(limit=sum(entry.bytes for entry in kept)) == sum(entry.bytes for entry in dropped)
    assert [entry.key for entry in cache.entries()] == [entry.key for entry in kept]
    run(models[0])
    assert compiler() == 4
    run(models[1])
    assert compiler() == 5


def test_the_limit_holds_after_each_compilation(
    cache_root: Path, compiler: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INTAGLIO_CACHE_SIZE", "1")
    for number in range(3):
        run(b"\x08\x07" + bytes([number]))
    assert len(cache.entries()) == 1  # the one in use


def test_old_remains_are_removed(cache_root: Path) -> None:
    old = cache_root / "tmp" / "key.1234"
    new = cache_root / "tmp" / "key.5678"
    for each in (old, new):
        each.mkdir(parents=True)
    os.utime(old, (1, 1))
    names = ("objects/build-1", "notes/a.json", "notes/a.json.1", "notes/b.json")
    build, note, half, recent = (cache_root / name for name in names)
    build.mkdir(parents=True)
    note.parent.mkdir()
    for each in (note, half, recent):
        each.write_text("")
    for each in (build, note, half):
        os.utime(each, (1, 1))
    cache.prune()
    assert not any(each.exists() for each in (old, build, note, half)) and new.exists() and recent.exists()


def test_clear(cache_root: Path, compiler: Count) -> None:
    run(b"\x08\x07")
    assert cache.clear() > 0
    assert cache.entries() == []
    run(b"\x08\x07")
    assert compiler() == 2


def test_explain(model: Path, cache_root: Path, compiler: Count, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no compiled models" in cache.explain(str(model), {})
    run(model)
    (entry,) = cache.entries()
    assert cache.explain(str(model), {}) == f"hit: {entry.path}"
    text = cache.explain(str(model), {"level": 0})
    assert text.startswith("miss:") and 'settings: was {}, is {"level": 0}' in text and "compiler:" not in text
    assert "this model was never compiled here (1 others were)" in cache.explain(b"another", {})
    monkeypatch.setattr(fingerprint, "compiler", lambda memory: "newer")
    assert "compiler: was" in cache.explain(str(model), {})
    monkeypatch.setattr(fingerprint, "compiler", lambda memory: "fake")
    (entry.path / "model.so").unlink()
    assert "damaged (model.so is missing)" in cache.explain(str(model), {})


def test_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INTAGLIO_CACHE_DIR", "/a")
    assert cache.root() == Path("/a")
    monkeypatch.delenv("INTAGLIO_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache.root() == Path("/b/intaglio")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/c")
    assert cache.root() == Path("/c/.cache/intaglio")
