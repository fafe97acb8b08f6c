"""Every case of passing.txt still passes, compiled to native code; the lists and the page of coverage are current."""

from __future__ import annotations

import os
import warnings

import pytest

from . import coverage
from .cases import load
from .run import PASSED, Outcome, default_cache, run


@pytest.mark.slow
def test_what_passed_still_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTAGLIO_CACHE_DIR", os.environ.get("INTAGLIO_SUITE_CACHE", default_cache()))
    listed = set(coverage.read_passing())
    outcomes = list(run(list(load().values()), len(os.sched_getaffinity(0))))
    failed = [o for o in outcomes if o.status != PASSED and o.name in listed]
    new = [o.name for o in outcomes if o.status == PASSED and o.name not in listed]
    if new:
        warnings.warn(f"{len(new)} more cases pass: {', '.join(new[:10])}{' ...' if new[10:] else ''}. List them by"
                      f" `{coverage.UPDATE}`", stacklevel=1)  # fmt: skip
    assert not failed, "\n".join(_told(o) for o in failed)


def _told(outcome: Outcome) -> str:
    return f"{outcome.name}: {outcome.status}: {outcome.reason}\n    python -m tests.onnx_suite '^{outcome.name}$'"


def test_the_suite_is_whole() -> None:
    assert len(load()) == 2033


def test_lists_are_whole_and_sorted() -> None:
    passing, missing = coverage.read_passing(), list(coverage.read_missing())
    assert passing == sorted(set(passing)) and missing == sorted(set(missing))
    assert not set(passing) & set(missing)
    assert set(passing) | set(missing) == set(load()), f"run `{coverage.UPDATE}`"


def test_the_page_is_current() -> None:
    written = coverage.page(load(), coverage.read_passing(), coverage.read_missing())
    assert coverage.PAGE.read_text() == written, f"run `{coverage.UPDATE}`"
