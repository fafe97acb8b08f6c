"""What a session does first whose options ask to search for schedules.

In: a model, with random inputs. Out: records in the database.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from ...runtime import log
from ...runtime.errors import InvalidArgument
from ..inputs import Feeds, declared, random_inputs
from ..options import Options
from . import tuner
from .report import Live


def random_feeds(dims: Mapping[str, int], seed: int, manifest: Mapping[str, Any]) -> Feeds:
    """Random inputs of a compiled model; a symbolic dimension that `dims` does not bind is 1."""
    return random_inputs(declared(manifest), dims, manifest["modelmeta"]["custom_metadata_map"], seed)


def for_session(model: str | bytes, options: Options, seconds: float, threads: int) -> None:
    """What a session does first if its options ask to search. A model whose inputs cannot be made up is not tuned, and
    none is where the database cannot be written."""
    feeds = partial(random_feeds, {}, 0)
    try:
        with Live() as live:
            report = tuner.tune(model, options, feeds, seconds, threads=threads, progress=live)
        if report.interrupted:
            raise KeyboardInterrupt
    except InvalidArgument as error:
        log.log(log.WARNING, f"The model is not tuned: {error.text}")
    except OSError as error:  # of the database
        log.log(log.WARNING, f"The model is not tuned: {error.filename}: {error.strerror}")
