"""Outputs that kernels do not make: sequences of a known length, maps from labels to numbers, labels that are words,
tensors of a rank that is known after the run.

In: the tensors that a program makes. Out: lists of arrays, lists of dicts and arrays of strings, as onnxruntime returns
them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]


class Result(NamedTuple):
    """An output of a model. parts: the program's outputs that it is made of.

    keys: the labels of the columns, where each row becomes a map. words: what numbers stand for. sequence: whether a
    list is made of the parts. Else a second part tells the sizes of the first, -1 for those that it lacks.
    """

    parts: Sequence[str]
    keys: Sequence[int | str] | None
    words: Sequence[str] | None
    sequence: bool

    def of(self, arrays: Mapping[str, Array]) -> Any:
        """The output, from the program's outputs by name."""
        found = [arrays[part] for part in self.parts]
        if self.keys is not None:
            rows = found[0].reshape(-1, len(self.keys)).tolist()
            return [dict(zip(self.keys, row)) for row in rows]
        if self.words is not None:
            return np.array(self.words, object)[found[0]]
        if self.sequence or len(found) == 1:
            return found if self.sequence else found[0]
        return found[0].reshape(found[1][found[1] >= 0])


def results_of(entries: Sequence[Mapping[str, Any]]) -> dict[str, Result]:
    """By name, the outputs that the manifest's `results` describe."""
    return {e["name"]: Result(e["parts"], e.get("keys"), e.get("words"), e["type"].startswith("seq(")) for e in entries}
