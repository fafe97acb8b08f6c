"""The random numbers that models without seeds of their own start from.

In: `set_seed`. Out: 63 bits for each random operator of each run.
"""

from __future__ import annotations

import random

_generator = random.Random()


def set_seed(seed: int) -> None:
    """Makes all later runs of this process reproducible, as long as they come in the same order."""
    _generator.seed(int(seed))


def random_bits() -> int:
    return _generator.getrandbits(63)
