"""Functions of sequences: none changes what it is given."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.runtime.host import sequences

X = [np.full((i + 1, 2), i) for i in range(3)]


@pytest.mark.parametrize("position, left", [(None, [0, 1]), (0, [1, 2]), (-1, [0, 1]), (-3, [1, 2])])
def test_erase(position: int | None, left: list[int]) -> None:
    at = None if position is None else np.array([position])
    made = sequences.erase(X, at)
    assert all(a is X[i] for a, i in zip(made, left)) and len(made) == 2 and len(X) == 3


@pytest.mark.parametrize("position, place", [(None, 3), (3, 3), (-1, 2), (-3, 0), (0, 0)])
def test_insert(position: int | None, place: int) -> None:
    item = np.zeros(1)
    made = sequences.insert(X, item, None if position is None else np.array(position))
    assert made[place] is item and len(made) == 4 and len(X) == 3


@pytest.mark.parametrize("position", [4, -4])
def test_positions_outside(position: int) -> None:
    for function in (sequences.at, sequences.erase):
        with pytest.raises(ValueError, match="Invalid sequence index"):
            function(X, np.array(position))
    with pytest.raises(ValueError, match="Invalid sequence index"):
        sequences.insert(X, X[0], np.array(position))


def test_join() -> None:
    assert sequences.join(X, axis=0, new_axis=False).shape == (6, 2)
    with pytest.raises(ValueError):
        sequences.join(X, axis=1, new_axis=False)
    with pytest.raises(ValueError, match="no tensors"):
        sequences.join([], axis=0, new_axis=False)


def test_split() -> None:
    x = np.arange(10).reshape(5, 2)
    assert [p.shape for p in sequences.split(x, np.array(2), axis=0)] == [(2, 2), (2, 2), (1, 2)]
    assert [p.shape for p in sequences.split(x, axis=0, squeezed=True)] == [(2,)] * 5
    assert sequences.split(x[:0], axis=0) == [] == sequences.split(x[:0], np.array(2), axis=0)
    for wrong in ([2, 2], [6, -1], 0, -2):
        with pytest.raises(ValueError, match="parts of the size"):
            sequences.split(x, np.array(wrong), axis=0)


def test_optionals() -> None:
    assert sequences.has_element(sequences.optional()).item() is False
    assert sequences.has_element(sequences.optional(X)).item() is True
    with pytest.raises(ValueError, match="empty"):
        sequences.element(None)
