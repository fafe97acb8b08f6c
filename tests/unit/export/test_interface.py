"""What the header of an exported model declares, and which models have none."""

from __future__ import annotations

import re

import exported
import pytest

from intaglio.compiler.codegen.render import render
from intaglio.compiler.driver import lower_model
from intaglio.compiler.export.interface import Interface, interface
from intaglio.compiler.options import Options
from intaglio.runtime.errors import InvalidArgument, NotImplemented

HEAD = '<ir_version: 10, opset_import: ["" : 21]>'


def interface_of(text: str, target: str = "generic") -> Interface:
    model = exported.model(f"{HEAD} {text}" if not text.startswith("<") else text)
    unit = lower_model(model.SerializeToString(), Options(target=target))
    assert unit.model and unit.program
    return interface(unit.model, unit.program, "g")


def declared(x: Interface, function: str) -> str:
    """The parameters of a function, as the header has them."""
    header = render("c/export/model.h.j2", x=x, is_threaded=True, is_linked=False)
    found = re.search(rf"G_API .* \*?g_{function}\((.*)\);", header)
    return found[1] if found else ""


@pytest.mark.parametrize(
    ("text", "run", "shapes"),
    [
        (
            exported.STATIC,
            "g_model *model, const float *x, const uint16_t *h, float *y, uint16_t *z",
            "int64_t y_shape[2], int64_t z_shape[1]",
        ),
        (
            exported.DYNAMIC,
            "g_model *model, int64_t batch, int64_t length, const float *x, const bool *mask, const int32_t *int_, "
            "float *y, bool *register_, int32_t *twice",
            "int64_t batch, int64_t length, int64_t y_shape[3], int64_t register_shape[2], int64_t twice_shape[1]",
        ),
        (
            exported.CONTROL,
            "g_model *model, int64_t n, const float *x, const int64_t *trips, const bool *flip, const int64_t *size, "
            "const int64_t *index, float *y, int64_t **places, int64_t places_shape[2], float *wide, float *last, "
            "float *column",
            "int64_t n, const int64_t *trips, const int64_t *size, int64_t y_shape[2], int64_t places_shape[2], "
            "int64_t wide_shape[2], int64_t column_shape[1]",
        ),
        ("g (double[1] x) => (double y) { y = ReduceSum <keepdims = 0> (x) }",
         "g_model *model, const double *x, double *y", "void"),
    ],
    ids=["static", "dynamic", "control", "scalar"],
)  # fmt: skip
def test_functions(text: str, run: str, shapes: str) -> None:
    x = interface_of(text)
    assert declared(x, "run") == run
    assert declared(x, "shapes") == shapes


def test_shapes_are_told_in_terms_of_parameters() -> None:
    x = interface_of('g (float["a b"] x) => (float[c] y) { y = Concat <axis = 0> (x, x) }')
    assert [t.described for t in (*x.inputs, *x.outputs)] == ["float [a_b]", "float [2*a_b]"]


def test_random_numbers_have_a_seed() -> None:
    text = "g (float[n] x) => (float[n] y) { r = RandomUniformLike (x)\n y = Add (x, r) }"
    assert declared(interface_of(text), "seed") == "g_model *model, uint64_t seed"
    assert declared(interface_of(exported.STATIC), "seed") == ""


def test_messages_of_refusals_come_first() -> None:
    x = interface_of(exported.CONTROL)
    assert 0 < x.refusals < len(x.messages)
    assert "Expand" in x.messages[0] and "Gather" in x.messages[-1]


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        (
            "g (string[n] x) => (string[n] y) { y = StringNormalizer (x) }",
            ["input 'x' is a tensor(string)", "output 'y' is a tensor(string)", "(StringNormalizer)"],
        ),
        (
            "g (float[n] x) => (float[n] z) { s = SequenceConstruct (x, x)\n i = Constant <value = int64 {0}> ()\n"
            "z = SequenceAt (s, i) }",
            [],
        ),
    ],
    ids=["strings", "sequences that vanish"],
)
def test_what_needs_python_is_refused(text: str, reasons: list[str]) -> None:
    if not reasons:
        assert interface_of(text).outputs
        return
    with pytest.raises(NotImplemented) as caught:
        interface_of(text)
    assert all(reason in str(caught.value) for reason in ["cannot be C by itself", *reasons])


def test_gpus_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="no GPU"):
        interface_of(exported.STATIC, "generic,cuda:sm_90")
