"""The environment variables that change what Intaglio does: one table, and the one place that reads them.

They are read when they are needed, not at import, so that a program may set them for what follows.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from .errors import InvalidArgument


@dataclass(frozen=True)
class Variable:
    """One that holds text. `meaning` is for the documents: what it decides, and what holds where it is not set."""

    name: str
    meaning: str

    def text(self) -> str | None:
        """Its value; None where it is not set, or empty."""
        return os.environ.get(self.name) or None


@dataclass(frozen=True)
class Integer(Variable):
    """One that holds an integer of `minimum` or more."""

    minimum: int

    def value(self) -> int | None:
        """Its value; None where it is not set, or empty. Raises InvalidArgument for anything but such an integer."""
        text = self.text()
        if text is None:
            return None
        try:
            value = int(text)
        except ValueError:
            value = self.minimum - 1
        if value < self.minimum:
            raise InvalidArgument(
                f"environment variable {self.name} must be an integer >= {self.minimum}, not '{text}'"
            )
        return value


CACHE_DIR = Variable("INTAGLIO_CACHE_DIR", "folder of the cache; `$XDG_CACHE_HOME/intaglio`, else `~/.cache/intaglio`")
CACHE_SIZE = Integer("INTAGLIO_CACHE_SIZE", "bytes the cache may hold; 20 GiB", 0)
NUM_THREADS = Integer("INTAGLIO_NUM_THREADS", "threads of a run; the CPUs this process may use (affinity, cgroup)", 1)
SPIN_US = Integer("INTAGLIO_SPIN_US", "microseconds an idle thread polls before it sleeps; 200", 0)
TARGET = Variable(
    "INTAGLIO_TARGET",
    "what to compile for: `native`, `znver4`, `x86-64-v3+l2=1M`, `cuda:sm_90`, … (`compiler/target.py`); `native`",
)
TUNING = Variable(
    "INTAGLIO_TUNING",
    "files of measured schedules, with `:` between, the first of which is written; "
    "`$XDG_DATA_HOME/intaglio/tuning.jsonl` and others (`runtime/store/tuning.py`)",
)
LIBCUDA = Variable("INTAGLIO_LIBCUDA", "the CUDA driver's library; `libcuda.so.1`")
CC = Variable("INTAGLIO_CC", "the C compiler; `$CC`, gcc, clang, cc, `ziglang`")
SANITIZE = Variable("INTAGLIO_SANITIZE", "`address`: kernels are built for gcc's AddressSanitizer; none")
JOBS = Integer("INTAGLIO_JOBS", "C compilers that run at once; the CPUs this process may use", 1)
DUMP = Variable("INTAGLIO_DUMP", "folder for the text of every stage; none")
VERIFY = Integer(
    "INTAGLIO_VERIFY",
    "1: verify the graph and the program after every stage; 2: kernels check every access to memory, too; 0",
    0,
)
# Other programs', with their meaning.
XDG_CACHE_HOME = Variable("XDG_CACHE_HOME", "the folder of all programs' caches; `~/.cache`")
XDG_DATA_HOME = Variable("XDG_DATA_HOME", "the folder of a user's data; `~/.local/share`")
XDG_DATA_DIRS = Variable("XDG_DATA_DIRS", "folders of data that all users share; `/usr/local/share:/usr/share`")
ANY_CC = Variable("CC", "the C compiler, where `INTAGLIO_CC` names none")
TRITON_INTERPRET = Variable("TRITON_INTERPRET", "1 makes Triton's interpreter the GPU; 0")
ORT_THREADS = Variable("ORT_INTRA_OP_NUM_THREADS", "threads of a run, where `INTAGLIO_NUM_THREADS` says none")
ORT_CONFIG = Variable("ORT_LOAD_CONFIG_FROM_MODEL", "1: models may bring session options along (`ort_config`); 0")
EXCLUDED_PROVIDERS = Variable("ORT_ONNX_BACKEND_EXCLUDE_PROVIDERS", "providers that the ONNX backend leaves out; none")
RELEASED_OPSETS = Variable("ALLOW_RELEASED_ONNX_OPSET_ONLY", "0: opsets under development are accepted; 1")
# Of libraries whose threads share the CPUs with ours: `intaglio doctor` alone reads them.
OMP_WAIT_POLICY = Variable("OMP_WAIT_POLICY", "`passive`: idle threads of OpenMP sleep; they poll for a while")
KMP_BLOCKTIME = Variable("KMP_BLOCKTIME", "milliseconds that idle threads of LLVM's and Intel's OpenMP poll; 200")
GOMP_SPINCOUNT = Variable("GOMP_SPINCOUNT", "how often idle threads of GNU's OpenMP poll; some milliseconds' worth")
OPENBLAS_NUM_THREADS = Variable("OPENBLAS_NUM_THREADS", "threads of numpy's products; the CPUs")

VARIABLES = tuple(each for each in globals().values() if isinstance(each, Variable))
