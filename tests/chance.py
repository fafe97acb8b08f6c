"""Seeds of tests that take other numbers in each run; one that fails shows what repeats it:

INTAGLIO_FUZZ_SEED=<seed> pytest FILE::TEST
"""

from __future__ import annotations

import os
import random


def fresh_seed() -> int:
    """Another one each time, or that of the environment; printed, which pytest shows of tests that fail."""
    seed = int(os.environ.get("INTAGLIO_FUZZ_SEED") or random.randrange(1 << 32))
    print(f"INTAGLIO_FUZZ_SEED={seed}")
    return seed
