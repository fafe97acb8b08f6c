"""Cases of operators whose random numbers the standard leaves open; what onnx expects in them are numpy's numbers.

Instead of those, the shape, the dtype and what the operator promises are checked.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .cases import Values


def _bernoulli(inputs: Values, outputs: Values) -> None:
    (p,), (y,) = inputs, outputs
    values = y.astype(np.float64)
    assert np.isin(values, (0, 1)).all(), values
    assert values[np.asarray(p) == 0].sum() == 0 and (values[np.asarray(p) == 1] == 1).all(), values


def _dropout(inputs: Values, outputs: Values) -> None:
    """Each element is 0, or scaled up by the chance that it stayed; the mask says which."""
    x, ratio = inputs[:2]
    y = outputs[0]
    kept = outputs[1] if len(outputs) > 1 else y != 0
    np.testing.assert_allclose(y, np.where(kept, x / (1 - ratio), 0), rtol=1e-6)
    chance, n = 1 - float(ratio), y.size
    assert abs(np.count_nonzero(kept) - n * chance) < 5 * (n * chance * (1 - chance)) ** 0.5, np.count_nonzero(kept)


CHECKS: dict[str, Callable[[Values, Values], None]] = {
    **{
        f"test_bernoulli{kind}{expanded}": _bernoulli
        for kind in ("", "_double", "_seed")
        for expanded in ("", "_expanded")
    },
    **{f"test_training_dropout{kind}": _dropout for kind in ("", "_default", "_mask", "_default_mask")},
}
