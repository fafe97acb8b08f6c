"""`intaglio.tune`: the command `intaglio tune` as a function."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from .compiler.options import Options
from .compiler.tune import tuner
from .compiler.tune.report import Live
from .compiler.tune.report import TuningReport as TuningReport
from .compiler.tune.session import random_feeds
from .runtime.api.options import SessionOptions


def tune(
    model: str | os.PathLike[str] | bytes,
    dims: Mapping[str, int] | None = None,
    seconds: float = 300.0,
    *,
    sess_options: SessionOptions | None = None,
    trials: int | None = None,
    threads: int | None = None,
    database: str | os.PathLike[str] | None = None,
    resume: bool = False,
    seed: int = 0,
    scheduler: Any = None,
) -> TuningReport:
    """Measures schedules of a model's kernels; sessions and compilations on this CPU use what is faster.

    dims: the sizes of symbolic dimensions, 1 for others. seconds: about how long. sess_options: those of the sessions
    that are to profit. trials: the most for each kernel. database: the file to add measurements to. resume: what it has
    is not measured again. scheduler: the address of a Dask cluster, or its `distributed.Client`, to measure there
    instead of on this machine. Ctrl-C ends it, and keeps what was measured. Raises as InferenceSession does for models
    that cannot be compiled, OSError where the database cannot be written, and Fail for a cluster that cannot measure.
    """
    path = model if isinstance(model, bytes) else os.fspath(model)
    options = sess_options or SessionOptions()
    with Live() as live:
        return tuner.tune(
            path,
            Options(**options.compiler_settings(path), data=options.given),
            partial(random_feeds, dims or {}, seed),
            seconds,
            trials,
            threads or (options.threads() if scheduler is None else options.intra_op_num_threads or None),
            None if database is None else Path(database),
            resume,
            live,
            scheduler,
        )
