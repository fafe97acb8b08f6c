"""Every case of passing.txt still passes, compiled to native code, and one of each operator of passing_gpu.txt through
Triton, all of which would take a quarter of an hour; the lists and the page of coverage are current.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping

import pytest

from . import coverage
from .cases import Case, load
from .run import PASSED, WRONG, Outcome, default_cache, native, run, triton


@pytest.mark.slow
def test_what_passed_still_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTAGLIO_CACHE_DIR", os.environ.get("INTAGLIO_SUITE_CACHE", default_cache(native)))
    listed = coverage.NATIVE.passing()
    outcomes = list(run(list(load().values()), len(os.sched_getaffinity(0)), native))
    failed = [o for o in outcomes if o.status != PASSED and o.name in listed]
    new = [o.name for o in outcomes if o.status == PASSED and o.name not in listed]
    if new:
        warnings.warn(f"{len(new)} more cases pass: {', '.join(new[:10])}{' ...' if new[10:] else ''}. List them by"
                      f" `{coverage.UPDATE}`", stacklevel=1)  # fmt: skip
    assert not failed, "\n".join(_told(o) for o in failed)


@pytest.mark.slow
def test_a_sample_passes_through_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """And has not left the device, either."""
    monkeypatch.setenv("INTAGLIO_CACHE_DIR", os.environ.get("INTAGLIO_SUITE_CACHE", default_cache(triton)))
    listed = coverage.TRITON.passing()
    outcomes = list(run(_sample(listed), len(os.sched_getaffinity(0)), triton))
    lost = [_told(o, "--gpu ") for o in outcomes if coverage.TRITON.lost(o, listed)]
    assert not lost, "\n".join(lost)


def _sample(listed: Mapping[str, str]) -> list[Case]:
    """Of each operator the first case by name, one on the device where there is any."""
    cases = load()
    first: dict[str, Case] = {}
    for name in sorted(listed, key=lambda name: (coverage.PLACES.index(listed[name]), name)):
        if cases[name].operator:
            first.setdefault(cases[name].operator, cases[name])
    return list(first.values())


def test_the_sample_is_of_every_operator() -> None:
    listed = coverage.TRITON.passing()
    sample = _sample(listed)
    assert len({case.operator for case in sample}) == len(sample) > 150
    assert sum(listed[case.name] == "device" for case in sample) > 0.8 * len(sample)


def _told(outcome: Outcome, engine: str = "") -> str:
    told = f"{outcome.name}: {outcome.status} {outcome.place * bool(engine)}: {outcome.reason}"
    return f"{told}\n    python -m tests.onnx_suite {engine}'^{outcome.name}$'"


def test_the_suite_is_whole() -> None:
    assert len(load()) == 2033


@pytest.mark.parametrize("lists", [coverage.NATIVE, coverage.TRITON], ids=["native", "triton"])
def test_lists_are_whole_and_sorted(lists: coverage.Lists) -> None:
    passing, missing = list(lists.passing()), list(lists.missing())
    assert passing == sorted(set(passing)) and missing == sorted(set(missing))
    assert not set(passing) & set(missing)
    assert set(passing) | set(missing) == set(load()), f"run `{coverage.UPDATE}`, or `{coverage.TRITON_UPDATE}`"


def test_what_passes_through_triton() -> None:
    """At least nine in ten of what passes as native code, and nothing else: the import is the same."""
    native, through = coverage.NATIVE.passing().keys(), coverage.TRITON.passing()
    assert through.keys() <= native and len(through) >= 0.9 * len(native)
    assert set(through.values()) <= set(coverage.PLACES)


def test_a_case_that_leaves_the_device_is_lost() -> None:
    listed = {"a": "device", "b": "host"}
    assert not coverage.TRITON.lost(Outcome("a", PASSED, steps=("device",)), listed)
    assert coverage.TRITON.lost(Outcome("a", PASSED, steps=("device", "host: reason")), listed)
    assert not coverage.TRITON.lost(Outcome("b", PASSED), listed)
    assert coverage.TRITON.lost(Outcome("b", WRONG), listed)
    assert not coverage.TRITON.lost(Outcome("c", WRONG), listed)


def test_the_page_is_current() -> None:
    assert coverage.PAGE.read_text() == coverage.page(load()), f"run `{coverage.UPDATE}`"
