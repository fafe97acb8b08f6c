"""Powers of what is special, with exponents that are known when a model is compiled and that are not."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

import intaglio
from parity.cases import CONSTANT, SYMBOLIC, Case

EXPONENTS = (0.5, -0.5, 2, 3, -1, 1, 0, 2.5, -2, np.inf, -np.inf, np.nan, 4, -3)
BASES = (0.0, -0.0, 1, -1, 2, -2, 0.5, np.inf, -np.inf, np.nan, 1e-30, -1e-30, 3e38)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [CONSTANT, SYMBOLIC])
def test_special_values(kind: str, dtype: type) -> None:
    for exponent in EXPONENTS:
        case = Case("Pow", [np.array(BASES, dtype), np.array(exponent, dtype)], opset=15, kinds=[SYMBOLIC, kind])
        content, feeds = case.model().SerializeToString(), case.feeds()
        (wanted,) = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, feeds)
        (got,) = intaglio.InferenceSession(content).run(None, feeds)
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=0, err_msg=f"x ** {exponent}")
        np.testing.assert_array_equal(
            np.signbit(got[~np.isnan(got)]), np.signbit(wanted[~np.isnan(wanted)]), err_msg=f"x ** {exponent}"
        )
