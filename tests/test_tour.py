"""docs/tour.md shows what the compiler does now: its commands run here, and print what stands there."""

from __future__ import annotations

import difflib
import subprocess

import pytest

from intaglio.compiler import driver
from intaglio.compiler.target import target
from intaglio.runtime import cpus
from tests.tour import TOUR, refreshed

runs = pytest.mark.skipif(
    not cpus.features().issuperset(target("x86-64-v3").required), reason="the tour runs code for x86-64-v3"
)


@runs
def test_outputs_are_those_of_now() -> None:
    shown = TOUR.read_text()
    lines = [text.splitlines() for text in (shown, refreshed(shown))]
    different = list(difflib.unified_diff(*lines, "shown", "now", lineterm="", n=1))
    assert not different, "\n".join(["`python -m tests.tour` writes the outputs anew:", *different])


def test_every_stage_is_visited() -> None:
    text = TOUR.read_text()
    assert [name for name in driver.STAGES if f"`{name}`" not in text] == []


DOCUMENT = """\
```python
# hello.py
print("hello")
```
```console
$ python hello.py; export NAME=world
old
$ true
$ printf "$NAME"
```
"""


def test_outputs_are_written_anew() -> None:
    assert refreshed(DOCUMENT) == DOCUMENT.replace("old", "hello").replace('"$NAME"\n', '"$NAME"\nworld\n')


def test_a_command_that_fails_is_an_error() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        refreshed("```console\n$ false\n$ echo after\n```\n")
