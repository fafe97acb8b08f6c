"""Operations without inputs: input, constant, size, iota."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...scalar.dtype import I64
from ..ir import Array, Signature, Trait, Value, dtype_of
from .common import Attrs, check, check_axes, check_count, register


def _infer_input(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """input(; name, shape, dtype): a tensor that the caller passes."""
    check_count("input", inputs, 0)
    return [(tuple(attrs["shape"]), attrs["dtype"])]


def _evaluate_input(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    raise TypeError(f"input '{attrs['name']}' has no value of its own")


register("input", _infer_input, _evaluate_input, "name shape dtype", traits=Trait.LEAF)


def _infer_constant(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """constant(; data): an array, which must not change."""
    check_count("constant", inputs, 0)
    return [(tuple(int(d) for d in attrs["data"].shape), dtype_of(attrs["data"]))]


register("constant", _infer_constant, lambda arrays, attrs: [attrs["data"]], "data", symbolic=True, traits=Trait.LEAF)


def _infer_size(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """size(; value): a Size as an i64 scalar."""
    check_count("size", inputs, 0)
    return [((), I64)]


def _evaluate_size(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    value = attrs["value"]
    return [np.array(value, np.int64 if isinstance(value, int) else object)]


register("size", _infer_size, _evaluate_size, "value", symbolic=True, traits=Trait.INDEX)


def _infer_iota(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """iota(; shape, axis, dtype): each element is its index along `axis`."""
    check_count("iota", inputs, 0)
    check_axes("iota", [attrs["axis"]], len(attrs["shape"]))
    check(attrs["dtype"].kind in "fiu", "iota is not defined for {}", attrs["dtype"])
    return [(tuple(attrs["shape"]), attrs["dtype"])]


def _evaluate_iota(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    shape, axis = attrs["shape"], attrs["axis"]
    line = np.arange(shape[axis], dtype=np.int64).astype(attrs["dtype"].to_numpy())
    return [np.broadcast_to(line.reshape(-1, *[1] * (len(shape) - 1 - axis)), shape)]


register("iota", _infer_iota, _evaluate_iota, "shape axis dtype", symbolic=True, traits=Trait.INDEX)
