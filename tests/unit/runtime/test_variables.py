"""The table of environment variables: what it reads, and that nothing else does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from intaglio.runtime.errors import InvalidArgument
from intaglio.runtime.variables import VARIABLES, Integer, Variable

ROOT = Path(__file__).resolve().parents[3]


def test_unset_and_empty_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    text, number = Variable("INTAGLIO_TEXT", ""), Integer("INTAGLIO_NUMBER", "", 1)
    monkeypatch.setenv("INTAGLIO_TEXT", "")
    monkeypatch.setenv("INTAGLIO_NUMBER", "")
    assert text.text() is None and number.value() is None
    monkeypatch.setenv("INTAGLIO_TEXT", "a b")
    monkeypatch.setenv("INTAGLIO_NUMBER", "7")
    assert text.text() == "a b" and number.value() == 7


@pytest.mark.parametrize("value", ["0", "-3", "1.5", "many", "0x10"])
def test_what_is_no_integer_of_the_range(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTAGLIO_NUMBER", value)
    with pytest.raises(InvalidArgument, match=f"INTAGLIO_NUMBER must be an integer >= 1, not '{re.escape(value)}'"):
        Integer("INTAGLIO_NUMBER", "", 1).value()


def test_names_are_distinct() -> None:
    assert len({each.name for each in VARIABLES}) == len(VARIABLES) > 10


def test_one_module_reads_the_environment() -> None:
    """Others pass it on, as a whole, to programs that they start."""
    reads = re.compile(r"environ(?:\.get\(|\[|\.pop)|getenv|putenv| in os\.environ\b(?!\.items)")
    sources = [f for folder in ("compiler", "runtime", "intaglio") for f in (ROOT / folder).rglob("*.py")]
    found = {file.relative_to(ROOT).as_posix() for file in sources if reads.search(file.read_text())}
    assert found == {"runtime/variables.py", "compiler/codegen/c/toolchain.py"}  # PATH, which is not of Intaglio
