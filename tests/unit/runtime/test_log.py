"""Messages through `logging`: thresholds, and where they go."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from intaglio.runtime import log


@pytest.fixture(autouse=True)
def default() -> Iterator[None]:
    yield
    log.set_default_logger_severity(log.WARNING)


def test_thresholds(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "intaglio"):
        log.log(log.INFO, "default: no")
        log.log(log.WARNING, "default: yes", -1, -1)
        log.log(log.WARNING, "of the run: no", log.ERROR, log.VERBOSE)
        log.log(log.VERBOSE, "of the session: yes", -1, log.VERBOSE)
        log.set_default_logger_severity(log.FATAL)
        log.log(log.ERROR, "default: no")
    assert [record.message for record in caplog.records] == ["default: yes", "of the session: yes"]
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.DEBUG]


def test_wrong_severity() -> None:
    with pytest.raises(RuntimeError, match="Invalid logging severity"):
        log.set_default_logger_severity(9)


@pytest.mark.parametrize("configured", [False, True])
def test_stderr(configured: bool) -> None:
    """Without a set-up of the program's, lines of our own; with one, its lines alone."""
    setup = "logging.basicConfig(format='mine %(message)s', level=10)" if configured else ""
    code = f"import logging\nfrom intaglio.runtime import log\n{setup}\nlog.log(1, 'hello', 0, name='s:r')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.count("hello") == 1
    assert done.stderr == "mine hello\n" if configured else done.stderr.endswith("[I:intaglio:s:r] hello\n")


def test_no_message_no_import() -> None:
    code = "import sys\nfrom intaglio.runtime import log\nlog.log(1, 'x')\nassert 'logging' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
