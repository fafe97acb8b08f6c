"""All tests share one cache folder of their own, which is removed in the end; test workers inherit it. The database of
measured schedules, which is part of the cache's keys, is where none can be: tests that write one name their own.

triton is imported here for its interpreter, which it has to be told before; no test but those of the interpreter sees
the variable, as it makes a GPU appear.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import tempfile

import pytest

os.environ["TRITON_INTERPRET"] = "1"
with contextlib.suppress(ImportError):  # not everywhere is a triton
    import triton  # noqa: F401
del os.environ["TRITON_INTERPRET"]

# Tests send signals to processes that they start; those ignore what this one does, as in the background of a script, or
# under nohup.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of the cases of a test marked `sample(n)`, n run by default, always the same; the others are slow.

    They are drawn: every second one of a grid would have but one value of an axis."""
    grids: dict[tuple[str, int], list[pytest.Item]] = {}
    for item in items:
        if mark := item.get_closest_marker("sample"):
            grids.setdefault((item.nodeid.partition("[")[0], mark.args[0]), []).append(item)
    for (test, count), cases in grids.items():
        random.Random(test).shuffle(cases)
        for case in cases[count:]:
            case.add_marker(pytest.mark.slow)


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return
    folder = tempfile.mkdtemp(prefix="intaglio-tests-")
    os.environ["INTAGLIO_CACHE_DIR"] = folder
    os.environ["INTAGLIO_TUNING"] = os.path.join(__file__, "tuning.jsonl")
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
