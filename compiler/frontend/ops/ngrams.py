"""ONNX TfIdfVectorizer; strings are compared by their numbers.

In: values and attributes of a node. Out: values. Each n-gram of the pool is compared with each run of the input.
"""

from __future__ import annotations

from functools import reduce

import numpy as np
import numpy.typing as npt

from ...graph.ir import Value, constant
from ...scalar.dim import dim_max
from ...scalar.dtype import F32, I64, STRING
from ..registry import onnx_op
from ..values import concat, scalar, string_number

Words = npt.NDArray[np.int64]


@onnx_op("TfIdfVectorizer", since=9)
def tf_idf_vectorizer(
    x: Value, *, max_gram_length: int, max_skip_count: int, min_gram_length: int, mode: str, ngram_counts: list[int],
    ngram_indexes: list[int], pool_int64s: list[int] | None = None, pool_strings: list[str] | None = None,
    weights: list[float] | None = None,
) -> Value:  # fmt: skip
    """How often each n-gram is in a row of x, [C] or [N, C]: [size] or [N, size], where ngram_indexes puts it.

    The elements of an n-gram stand beside one another, or with up to max_skip_count others between any two.
    ngram_counts: where the n-grams of 1, 2, ... elements begin in the pool."""
    if (pool_int64s is None) == (pool_strings is None):
        raise ValueError("either pool_int64s or pool_strings is needed")
    if mode not in ("TF", "IDF", "TFIDF") or not 1 <= min_gram_length <= max_gram_length or max_skip_count < 0:
        raise ValueError(
            f"mode '{mode}', n-grams of {min_gram_length} to {max_gram_length} with {max_skip_count} skips"
        )
    pool = pool_int64s if pool_strings is None else [string_number(word) for word in pool_strings]
    if x.rank not in (1, 2) or (x.dtype == STRING) != (pool_int64s is None) or x.dtype.is_float:
        raise ValueError(f"words of rank {x.rank} and of type {x.dtype}")
    rows = (x.unsqueeze(0) if x.rank == 1 else x).cast(I64)
    count, length = rows.shape
    if weights is not None and len(weights) != len(ngram_indexes):
        raise ValueError(f"{len(weights)} weights for {len(ngram_indexes)} n-grams")
    factors = np.ones(len(ngram_indexes)) if weights is None or mode == "TF" else np.asarray(weights)
    columns, found = _pool(ngram_counts, ngram_indexes, pool or []), []
    first = 0
    for n, (grams, _) in columns.items():
        factor = factors[first : first + len(grams)]
        first += len(grams)
        if not min_gram_length <= n <= max_gram_length:
            found.append(scalar(0.0, F32).broadcast(count, len(grams)))
            continue
        total: Value | None = None
        for step in range(1, max_skip_count + 2 if n > 1 else 2):
            runs = dim_max(length - step * (n - 1), 0)
            same = [
                rows.narrow(1, step * j, runs).unsqueeze(2).map("eq", constant(grams[:, j].copy())) for j in range(n)
            ]
            hits = reduce(lambda a, b: a.map("and", b), same).cast(F32).sum(1)
            total = hits if total is None else total + hits
        assert total is not None
        total = (total > 0.0).cast(F32) if mode == "IDF" else total
        found.append(total if (factor == 1).all() else total * constant(factor.astype(np.float32)))
    y = concat(found, 1)
    empty = scalar(0.0, F32).broadcast(count, max(ngram_indexes) + 1)
    places = constant(np.concatenate([place for _, place in columns.values()]))
    out = empty.emit("scatter", [empty, y, places], axes=(1,), combine="add")[0]
    return out.squeeze(0) if x.rank == 1 else out


def _pool(counts: list[int], indexes: list[int], pool: list[int]) -> dict[int, tuple[Words, Words]]:
    """For each length n that the pool has, its n-grams [P, n], and their columns of the output [P]."""
    if not indexes or min(indexes) < 0 or counts != sorted(counts) or not counts or counts[0] != 0:
        raise ValueError(f"ngram_counts {counts} and ngram_indexes {indexes}")
    grams: dict[int, tuple[Words, Words]] = {}
    first = 0
    for n, (begin, end) in enumerate(zip(counts, [*counts[1:], len(pool)]), 1):
        if end < begin or (end - begin) % n:
            raise ValueError(f"a pool of {end - begin} elements for n-grams of {n}")
        number = (end - begin) // n
        if number:
            table = np.asarray(pool[begin:end], np.int64).reshape(number, n)
            grams[n] = table, np.asarray(indexes[first : first + number], np.int64)
        first += number
    if first != len(indexes):
        raise ValueError(f"{first} n-grams for {len(indexes)} indexes")
    return grams
