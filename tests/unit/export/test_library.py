"""The library of an exported model: its statuses, shapes, random numbers, and runs at the same time."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import exported
import numpy as np
import pytest
from exported import Array

from intaglio.compiler.codegen.c import toolchain
from intaglio.compiler.driver import lower_model
from intaglio.compiler.export import library
from intaglio.compiler.options import Options
from intaglio.runtime.errors import InvalidArgument
from intaglio.runtime.store import cache
from intaglio.runtime.store.artifact import WEIGHTS

NO_MEMORY, NULL_POINTER, BAD_SIZE, NO_WEIGHTS, WRONG_WEIGHTS = -2, -16, -17, -18, -19


def built(path: Path, text: str, name: str) -> ctypes.CDLL:
    unit = lower_model(exported.model(text).SerializeToString(), Options(target="native"))
    with cache.workspace() as sources:
        objects = cache.objects(sources)
        library.write(unit, path, name, None, True, sources, objects, lambda done, total: None)
    loaded = ctypes.CDLL(str(path / f"lib{name}.so"))
    getattr(loaded, f"{name}_message").restype = ctypes.c_char_p
    return loaded


class Handle:
    """A handle, whose functions take arrays and integers."""

    def __init__(self, loaded: ctypes.CDLL, name: str, weights: Path, threads: int = 2):
        self.name, self.loaded = name, loaded
        self.address = ctypes.c_void_p(0)
        self.status = self.call("create", ctypes.byref(self.address), ctypes.c_char_p(str(weights).encode()), threads)

    def call(self, function: str, *arguments: Any) -> Any:
        return getattr(self.loaded, f"{self.name}_{function}")(*map(_passed, arguments))

    def message(self, status: int) -> str:
        return str(self.call("message", status).decode())


def _passed(argument: Any) -> Any:
    if isinstance(argument, np.ndarray):
        return ctypes.c_void_p(argument.ctypes.data)
    return ctypes.c_int64(argument) if isinstance(argument, int) and abs(argument) > 1 << 30 else argument


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("control")
    built(path, exported.CONTROL, "control")
    return path


@pytest.fixture
def handle(control: Path) -> Any:
    made = Handle(ctypes.CDLL(str(control / "libcontrol.so")), "control", control / WEIGHTS)
    made.loaded.control_message.restype = ctypes.c_char_p
    assert made.status == 0
    yield made
    made.call("destroy", made.address)


def run(handle: Handle, fed: dict[str, Array]) -> tuple[int, list[Array]]:
    """The status and the outputs of a run, with memory of the size that the library tells."""
    n = ctypes.c_int64(fed["x"].shape[0])
    shapes = [np.full(rank, -7) for rank in (2, 2, 2, 1)]  # of y, places, wide, column
    status = handle.call("shapes", n, fed["trips"], fed["size"], *shapes)
    if status:
        return status, []
    assert shapes[1].tolist() == [2, -1]
    y, wide, column = (np.empty(shapes[i], np.float32) for i in (0, 2, 3))
    last, places = np.empty((), np.float32), ctypes.c_void_p(1)
    inputs = [fed[each] for each in ("x", "trips", "flip", "size", "index")]
    rest = y, ctypes.byref(places), shapes[1], wide, last, column
    status = handle.call("run", handle.address, n, *inputs, *rest)
    if status:
        assert not places.value  # nothing that would have to be freed
        return status, []
    copied = np.ctypeslib.as_array((ctypes.c_int64 * int(shapes[1].prod())).from_address(places.value or 0)).copy()
    handle.call("free", places)
    return 0, [y, copied.reshape(shapes[1]), wide, last, column]


def same(found: list[Array], expected: list[Array]) -> bool:
    return all(a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in zip(found, expected))


def test_runs_at_the_same_time(handle: Handle) -> None:
    """Of one handle, by several threads, each with sizes of its own."""
    session = exported.session("control", target="native")
    feeds = [exported.feeds("control", least) for least in (1, 50, 150, 150)]
    expected = [session.run(None, fed) for fed in feeds]
    wrong: list[int] = []

    def often(number: int) -> None:
        for _ in range(20):
            status, found = run(handle, feeds[number])
            if status or not same(found, expected[number]):
                wrong.append(number)

    threads = [threading.Thread(target=often, args=(number,)) for number in range(len(feeds))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert wrong == []


def test_statuses(handle: Handle, control: Path, tmp_path: Path) -> None:
    fed = exported.feeds("control")
    status, _ = run(handle, {**fed, "size": np.array([-1, 2])})
    assert status > 0 and "Expand" in handle.message(status)  # as it is told before a run
    found, _ = run(handle, {**fed, "index": np.array(4)})
    assert found > status and "Gather" in handle.message(found)  # only a run finds it
    assert run(handle, fed)[0] == 0  # a failed run leaves nothing behind
    assert handle.call("shapes", ctypes.c_int64(-1), fed["trips"], fed["size"], None, None, None, None) == BAD_SIZE
    assert handle.call("shapes", ctypes.c_int64(1), None, fed["size"], None, None, None, None) == NULL_POINTER
    assert handle.call("shapes", ctypes.c_int64(1), fed["trips"], fed["size"], None, None, None, None) == 0
    huge = ctypes.c_int64(1 << 60)
    assert handle.call("shapes", huge, fed["trips"], fed["size"], None, None, None, None) == NO_MEMORY
    assert handle.call("run", handle.address, ctypes.c_int64(1), *[None] * 12) == NULL_POINTER
    places = ctypes.c_void_p(1)
    some = [None, fed["trips"], fed["flip"], fed["size"], fed["index"], None, ctypes.byref(places)]
    assert handle.call("run", handle.address, ctypes.c_int64(1), *some, *[None] * 4) == NULL_POINTER
    assert not places.value  # nothing that would have to be freed
    assert handle.message(0) == "success" and handle.message(10_000) == "an unknown status"

    short = tmp_path / "short.bin"
    short.write_bytes((control / WEIGHTS).read_bytes()[:-1])
    for path, expected in ((tmp_path / "none", NO_WEIGHTS), (short, WRONG_WEIGHTS)):
        other = Handle(handle.loaded, "control", path)
        assert other.status == expected and not other.address.value and "weights" in other.message(expected)
    handle.call("destroy", ctypes.c_void_p(None))  # nothing


def test_random_numbers(tmp_path: Path) -> None:
    """Other ones in each run; the same ones from the same seed."""
    text = '<ir_version: 10, opset_import: ["" : 21]> g (float[n] x) => (float[n] y) { r = RandomNormalLike (x)\n' \
           "y = Add (x, r) }"  # fmt: skip
    handle = Handle(built(tmp_path, text, "g"), "g", tmp_path / WEIGHTS)

    def drawn() -> Array:
        x, y = np.zeros(1000, np.float32), np.empty(1000, np.float32)
        assert handle.call("run", handle.address, ctypes.c_int64(1000), x, y) == 0
        return y

    first, second = drawn(), drawn()
    assert (first != second).any() and abs(first.mean()) < 0.2 and 0.8 < first.std() < 1.2
    for seed, expected in ((0, first), (1, None), (0, first)):
        handle.call("seed", handle.address, ctypes.c_uint64(seed))
        assert expected is None or (drawn() == expected).all()
    handle.call("destroy", handle.address)


@pytest.mark.skipif(not (shutil.which("pkg-config") and shutil.which("gcc")), reason="no pkg-config, or no gcc")
def test_pkg_config(control: Path, tmp_path: Path) -> None:
    """A program that finds the library by it."""
    (tmp_path / "user.c").write_text(
        """#include <control.h>
        int main(int count, char **given) {
            control_model *model = 0;
            int32_t status = control_create(&model, given[count - 1], 1);
            control_destroy(model);
            return status;
        }"""
    )
    command = f"gcc -Wall -Werror user.c $(pkg-config --cflags --libs control) -Wl,-rpath,{control} -o user"
    variables = {"PKG_CONFIG_PATH": str(control), "PATH": "/usr/bin:/bin"}
    subprocess.run(["bash", "-c", command], cwd=tmp_path, env=variables, check=True)
    assert subprocess.run([tmp_path / "user", control / WEIGHTS]).returncode == 0
    assert subprocess.run([tmp_path / "user", tmp_path / "none"]).returncode == NO_WEIGHTS % 256


def test_only_its_functions_are_visible(control: Path) -> None:
    loaded = ctypes.CDLL(str(control / "libcontrol.so"))
    assert loaded.control_run and loaded.control_free
    for name in ("control_intaglio_run", "control_intaglio_pool_create", "intaglio_run", "control_seed"):
        assert not hasattr(loaded, name)


def test_another_architecture(tmp_path: Path) -> None:
    foreign = "aarch64" if Options().target and exported.TARGET.startswith("x86") else "x86-64-v2"
    unit = lower_model(exported.model(exported.STATIC).SerializeToString(), Options(target=foreign))
    with pytest.raises(InvalidArgument, match="of the architecture"):
        library.write(unit, tmp_path / "so", "static", None, True, tmp_path, tmp_path, lambda done, total: None)
    assert not (tmp_path / "so").exists() and toolchain.find(tmp_path)
