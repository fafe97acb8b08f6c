"""Every operator of onnxruntime's CPU provider in com.microsoft is here, with all inputs and attributes, or listed."""

from __future__ import annotations

from typing import Any

import pytest

from intaglio.compiler.frontend import importer
from intaglio.compiler.frontend.registry import REGISTRY, OnnxOp

from .differences import ABSENT_OPERATORS, ABSENT_PARTS

state = pytest.importorskip("onnxruntime.capi.onnxruntime_pybind11_state")
assert importer  # registers all operators
DOMAIN = "com.microsoft"
CONTEXT = {"n_outputs", "opset_version", "run", "trace"}  # what the importer fills in


def provided() -> list[str]:
    """The operators that onnxruntime's CPU provider has a kernel for."""
    kernels = state.get_all_opkernel_def()
    names = {k.op_name for k in kernels if k.domain == DOMAIN and k.provider == "CPUExecutionProvider"}
    return sorted(names & SCHEMAS.keys())


SCHEMAS: dict[str, Any] = {s.name: s for s in state.get_all_operator_schema() if s.domain == DOMAIN}


@pytest.mark.parametrize("name", provided())
def test_operator(name: str) -> None:
    versions: list[OnnxOp] = REGISTRY.get((DOMAIN, name), [])
    if not versions:
        assert name in ABSENT_OPERATORS
        return
    assert name not in ABSENT_OPERATORS
    (op,) = versions
    schema = SCHEMAS[name]
    missing = sorted(schema.attributes.keys() - op.attributes)
    if op.max_inputs is not None:
        missing += [i.name for i in schema.inputs[op.max_inputs :]]
    assert missing == sorted(ABSENT_PARTS.get(name, ()), key=missing.index), missing
    required = [n for n, attribute in schema.attributes.items() if attribute.required]
    assert set(op.required_attributes) - CONTEXT <= set(required), (op.required_attributes, required)


def test_lists_are_of_operators_that_are_there() -> None:
    assert ABSENT_OPERATORS.keys() | ABSENT_PARTS.keys() <= set(provided())
