"""Limits of a machine: by hand for a made-up one, and measured on this one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from intaglio.compiler import roofline
from intaglio.compiler.roofline import Level, Machine, limits_of, machine
from intaglio.runtime.errors import NotFound

MADE_UP = Machine(2, 100e9, (Level(1e3, 100e9), Level(1e4, 50e9), Level(float("inf"), 10e9)))


@pytest.mark.parametrize(("moved", "among", "seconds"), [
    (1e3, 1e3, 1e-8),  # from the first cache
    (1e4, 1e4, 9e3 / 50e9),  # all but a thousand have to pass the second one, which is slower than the first
    (1e5, 1e5, 9e4 / 10e9),
    (1e3, 1e5, 0.9e3 / 10e9),  # nine of ten come from memory
    (0, 1e5, 0),
])  # fmt: skip
def test_caches_keep_what_fits(moved: float, among: float, seconds: float) -> None:
    assert MADE_UP.seconds_to_move((moved, among)) == pytest.approx(seconds)


def test_levels_work_at_the_same_time() -> None:
    """What comes from memory passes the caches, too, with what they hold."""
    memory, near = (1e6, 1e6), (5e3, 5e3)
    assert MADE_UP.seconds_to_move(memory, near) == pytest.approx((1e6 - 1e4) / 10e9)
    assert MADE_UP.seconds_to_move(memory, memory) == pytest.approx(2 * (1e6 - 1e4) / 10e9)


def test_the_best_measurement_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INTAGLIO_CACHE_DIR", str(tmp_path))
    rates = [[10.0, 5.0, 4.0, 3.0, 1.0], [8.0, 5.0, 4.0, 3.0, 2.0], [1.0] * 5]
    monkeypatch.setattr(roofline, "_measured", lambda cpu, threads: rates.pop(0))
    assert machine(2).flops == 10 and machine(2).bytes == 2
    (tmp_path / "peaks.json").write_text("damaged")
    assert machine(2).flops == 1  # and no error
    assert all(len(each) == 5 for each in json.loads((tmp_path / "peaks.json").read_text()).values())


def test_no_level_is_slower_than_those_behind_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INTAGLIO_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(roofline, "_measured", lambda cpu, threads: [1.0, 5.0, 2.0, 3.0, 1.0])
    assert [level.rate for level in machine(1).levels] == [5, 3, 3, 1]


def test_this_machine() -> None:
    found = limits_of(1)
    assert found is not None and found.flops > 1e9 and found.bytes > 1e8
    assert [level.capacity for level in found.levels] == sorted(level.capacity for level in found.levels)


def test_without_a_c_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(folder: Path) -> None:
        raise NotFound("no C compiler")

    monkeypatch.setattr(roofline.toolchain, "find", none)
    assert limits_of(1) is None
