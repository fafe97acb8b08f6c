"""The functions of operators say what the standard says: names, versions, inputs, attributes and their defaults."""

from __future__ import annotations

import inspect
from typing import Any

import onnx.defs
import pytest

from intaglio.compiler.frontend import ops, schemas  # noqa: F401  (fills the registry)
from intaglio.compiler.frontend.registry import REGISTRY, OnnxOp, lookup

OURS = {"n_outputs", "opset_version", "run", "trace"}  # filled in by the importer
NEWEST = onnx.defs.onnx_opset_version()
# Versions (1: before the standard's own) that onnxruntime has in the standard's domain; parity/test_legacy.py.
BEYOND_THE_STANDARD = {
    (name, 1)
    for name in (
        "Affine", "Crop", "DynamicSlice", "ImageScaler", "LayerNormalization", "MeanVarianceNormalization",
        "ParametricSoftplus", "Scale", "ScaledTanh", "SimplifiedLayerNormalization", "ThresholdedRelu",
    )
}  # fmt: skip
OF_THE_STANDARD = [op for versions in REGISTRY.values() for op in versions
                   if op.domain == "" and (op.name, op.since) not in BEYOND_THE_STANDARD]  # fmt: skip
# Attributes that change nothing in what an operator computes at inference, and have no use here.
INERT = {"consumed_inputs", "seed"}


def _until(op: OnnxOp) -> int:
    """The last opset that this version serves."""
    later = [other.since for other in REGISTRY[op.domain, op.name] if other.since > op.since]
    return min(later) - 1 if later else NEWEST


@pytest.mark.parametrize("op", OF_THE_STANDARD, ids=lambda op: f"{op.name}-{op.since}")
def test_signatures(op: OnnxOp) -> None:
    versions = {v: s for v in range(op.since, _until(op) + 1) if (s := schemas.find(op.name, "", v))}
    assert versions, "the standard has no such operator"
    parameters = inspect.signature(op.build).parameters.values()
    keywords = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    known = set().union(*(s.attributes.keys() for s in versions.values()))
    assert keywords.keys() - OURS <= known | INERT
    for version, schema in versions.items():
        if schema.deprecated:
            continue
        assert schema.attributes.keys() - INERT <= keywords.keys(), f"attributes of opset {version}"
        if not variadic:
            required = sum(p.default is p.empty for p in positional)
            assert required <= schema.arity[0] and schema.arity[1] <= len(positional), f"inputs in opset {version}"
        for name, value in schemas.defaults(schema).items():
            if name not in INERT:
                assert _same(op.defaults.get(name, keywords[name]), value), f"{name} in opset {version}"


def _same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, tuple):
        ours = list(ours)
    if ours is None:  # "not given", where the standard names the value that this stands for
        return True
    return bool(ours == theirs)


def test_the_version_of_the_opset_is_chosen() -> None:
    chosen = {version: lookup("Softmax", "", version) for version in (1, 12, 13, NEWEST)}
    assert {version: op.since for version, op in chosen.items() if op} == {1: 1, 12: 1, 13: 13, NEWEST: 13}
    assert lookup("Softmax", "my.dom", 13) is None
