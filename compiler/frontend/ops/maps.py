"""Operators of ai.onnx.ml on maps.

In: values, maps and attributes of a node. Out: values, maps.
"""

from __future__ import annotations

from typing import Any

from ....runtime.errors import InvalidArgument
from ...errors import Unsupported
from ...graph.ir import Value
from ...scalar.dtype import F32, I64, STRING
from ..load import Type
from ..objects import host, host_object, tensor, tensor_type
from ..registry import Imported, Object, onnx_op
from .ml import DOMAIN

_CASTS = {"TO_FLOAT": (F32, 0.0), "TO_STRING": (STRING, "0.f"), "TO_INT64": (I64, 0)}


def _map(x: Imported) -> Object:
    if not isinstance(x, Object) or x.type.kind != "map":
        raise ValueError("a map is needed")
    return x


@onnx_op("ZipMap", domain=DOMAIN)
def zip_map(
    x: Value, *, classlabels_int64s: list[int] | None = None, classlabels_strings: list[str] | None = None
) -> Object:
    """Each row of x, [N, labels] or [labels], as a map from the labels."""
    labels: Any = classlabels_int64s or classlabels_strings
    if not labels or (classlabels_int64s and classlabels_strings):
        raise InvalidArgument("Must provide classlabels_strings or classlabels_int64s but not both.")
    if x.rank not in (1, 2):
        raise InvalidArgument(f"Zipmap only supports 1D or 2D inputs, not {list(x.shape)}")
    text = f"Input features_per_batch[{x.shape[-1]}] != number of classlabels[{len(labels)}]"
    try:
        rows = x.ensure_shape(*x.shape[:-1], len(labels), text=text)
    except ValueError as e:
        raise InvalidArgument(str(e)) from e
    key = I64 if classlabels_int64s else STRING
    type = Type("sequence", element=Type("map", key, element=Type("tensor", x.dtype)))
    return host_object(type, "ZipMap", [rows], labels=labels)


@onnx_op("DictVectorizer", domain=DOMAIN)
def dict_vectorizer(
    x: Imported, *, int64_vocabulary: list[int] | None = None, string_vocabulary: list[str] | None = None
) -> Value:
    """[1, vocabulary]: the values of the keys in the vocabulary, 0 or "" where the map lacks one."""
    map = _map(x)
    if (not int64_vocabulary) == (not string_vocabulary):
        raise ValueError("one of int64_vocabulary and string_vocabulary is needed")
    vocabulary: Any = int64_vocabulary or string_vocabulary
    value = map.type.element.dtype if map.type.element else None
    if value is None:
        raise Unsupported("a map of unknown values")
    shape = (1, len(vocabulary))
    default = "" if value == STRING else 0
    return host(
        "DictVectorizer", [map], (value, shape), vocabulary=vocabulary, default=default, dtype=value.numpy
    )[0]  # fmt: skip


@onnx_op("CastMap", domain=DOMAIN)
def cast_map(x: Imported, *, cast_to: str = "TO_FLOAT", map_form: str = "DENSE", max_map: int = 1) -> Value:
    """[1, n]: the values in the order of the keys; if `map_form` is SPARSE, n is `max_map`, and keys are positions."""
    if cast_to not in _CASTS or map_form not in ("DENSE", "SPARSE"):
        raise ValueError(f"there is no cast '{cast_to}', or no form '{map_form}' of a map")
    dtype, default = _CASTS[cast_to]
    if map_form == "SPARSE":
        return host(
            "CastMap", [_map(x)], (dtype, (1, max_map)), dtype=dtype.numpy, length=max_map, default=default
        )[0]  # fmt: skip
    return tensor(host_object(tensor_type(dtype, 2), "CastMap", [_map(x)], dtype=dtype.numpy))
