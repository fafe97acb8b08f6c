"""Names of element types at the border, both ways; `unit/scalar/test_dtype.py` holds them against the compiler's."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.runtime.dtypes import BY_NUMBER, NUMBERS, numpy_dtype, type_name


@pytest.mark.parametrize("name", NUMBERS)
def test_there_and_back(name: str) -> None:
    assert type_name(numpy_dtype(f"tensor({name})")) == f"tensor({name})"
    assert BY_NUMBER[NUMBERS[name]] == name


@pytest.mark.parametrize(("dtype", "name"), [
    ("float64", "tensor(double)"), ("U3", "tensor(string)"), ("S3", "tensor(string)"), ("O", "tensor(string)"),
    (">f4", "tensor(float)"), ("datetime64[s]", None), ("longdouble", None),
])  # fmt: skip
def test_names_of_arrays(dtype: str, name: str | None) -> None:
    assert type_name(np.dtype(dtype)) == name


def test_what_is_no_type() -> None:
    with pytest.raises(KeyError):
        numpy_dtype("tensor(float7)")
