"""Every public name of onnxruntime's module is here, with the same signature, or in the list of differences."""

from __future__ import annotations

import enum
import inspect
import re
import sys
from typing import Any

import onnxruntime
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as native

import intaglio
from intaglio.capi import onnxruntime_pybind11_state as intaglio_native
from intaglio.runtime import errors
from intaglio.runtime.values.value import OrtValue, OrtValueVector
from parity import differences

# Not its submodules: which of them are names of it depends on what else has imported them.
PUBLIC = [name for name in dir(onnxruntime) if name[0] != "_" and f"onnxruntime.{name}" not in sys.modules]
CLASSES = [name for name in PUBLIC if inspect.isclass(getattr(onnxruntime, name)) and name not in differences.ABSENT]
FUNCTIONS = [
    name
    for name in PUBLIC
    if callable(getattr(onnxruntime, name)) and name not in CLASSES and name not in differences.ABSENT
]


def parameters(function: Any) -> list[tuple[str, bool]] | None:
    """Name and whether there is a default; names that say nothing (`arg0`) are "". None where it is overloaded."""
    try:
        found = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):
        line = (function.__doc__ or "").strip().split("\n")[0]
        match = re.search(r"\((.*)\) -> ", line)
        if match is None or "*args" in line:
            return None
        text = re.sub(r"\[[^\[\]]*\]", "", re.sub(r"\[[^\[\]]*\]", "", re.sub(r"\[[^\[\]]*\]", "", match[1])))
        parts = [part.strip() for part in text.split(",") if part.strip() and part.strip() != "/"]
        names = [(part.partition(":")[0].strip(), "=" in part) for part in parts]
        return [("" if re.fullmatch(r"arg\d", name) else name, default) for name, default in names]
    return [(p.name, p.default is not p.empty) for p in found if p.name not in ("args", "kwargs")]


def same(theirs: Any, ours: Any) -> None:
    expected = parameters(theirs)
    if expected is None:
        return
    actual = parameters(ours)
    assert actual is not None
    expected = [each for each in expected if each[0] != "self"]
    actual = [each for each in actual if each[0] != "self"]
    assert [default for _, default in actual] == [default for _, default in expected]
    assert [name for (name, _), (wanted, _) in zip(actual, expected) if wanted] == [w for w, _ in expected if w]


@pytest.mark.parametrize("name", PUBLIC)
def test_every_name(name: str) -> None:
    assert hasattr(intaglio, name) != (name in differences.ABSENT), name


def test_the_list_is_of_names_that_exist() -> None:
    for name in differences.ABSENT:
        owner: Any = onnxruntime
        for part in name.split("."):
            owner = getattr(owner, part)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str) -> None:
    same(getattr(onnxruntime, name), getattr(intaglio, name))


def made(name: str) -> Any:
    """An object, for attributes that only objects have."""
    kinds = {"SessionOptions": intaglio.SessionOptions, "RunOptions": intaglio.RunOptions}
    if name == "OrtMemoryInfo":
        return intaglio.OrtMemoryInfo("Cpu", intaglio.OrtAllocatorType.INVALID, 0, intaglio.OrtMemType.DEFAULT)
    if name == "OrtExternalInitializerInfo":
        return intaglio.OrtExternalInitializerInfo("a", 0, 1)
    if name == "ModelMetadata":
        return intaglio.ModelMetadata()
    if name == "OrtEpAssignedSubgraph":
        return intaglio.OrtEpAssignedSubgraph.of("", [])
    return kinds[name]() if name in kinds else getattr(intaglio, name)


@pytest.mark.parametrize("name", CLASSES)
def test_classes(name: str) -> None:
    theirs, ours = getattr(onnxruntime, name), getattr(intaglio, name)
    if hasattr(theirs, "__members__"):
        assert {k: int(v) for k, v in theirs.__members__.items()} == {k: int(v) for k, v in ours.__members__.items()}
        for member in theirs.__members__.values():
            mine = ours(int(member))
            assert (mine.name, mine.value, mine == int(member)) == (member.name, member.value, True)
            assert repr(mine) == repr(member) and str(mine) == str(member)
        return
    if inspect.isfunction(theirs.__init__):
        same(theirs.__init__, ours.__init__)
    for member in dir(theirs):
        if member[0] == "_" or f"{name}.{member}" in differences.ABSENT:
            continue
        assert hasattr(made(name), member), f"{name}.{member}"
        if callable(getattr(theirs, member)):
            same(getattr(theirs, member), getattr(ours, member))


def test_defaults_of_options() -> None:
    for kind in ("SessionOptions", "RunOptions"):
        theirs, ours = getattr(onnxruntime, kind)(), getattr(intaglio, kind)()
        for name in dir(type(theirs)):
            if isinstance(inspect.getattr_static(type(theirs), name), property):
                value = getattr(theirs, name)
                expected = int(value) if hasattr(type(value), "__members__") else value
                assert getattr(ours, name) == expected and type(getattr(ours, name)).__name__ == type(value).__name__


def test_exceptions() -> None:
    """The same names, none of them derived from another, and the same text."""
    classes = [n for n in dir(native) if isinstance(getattr(native, n), type)]
    names = [n for n in classes if issubclass(getattr(native, n), Exception)]
    assert len(names) == 15
    for name in names:
        ours = errors.BY_NAME[name]
        assert not issubclass(ours, RuntimeError) and ours.__name__ == name
        assert not any(issubclass(other, ours) for other in errors.BY_NAME.values() if other is not ours)


def test_inner_modules() -> None:
    """Reached as attributes, as programs do."""
    for engine in (onnxruntime, intaglio):
        for name in ("_pybind_state", "onnxruntime_pybind11_state", "onnxruntime_inference_collection"):
            assert getattr(engine.capi, name).OrtValue is not None and name in dir(engine.capi)
        with pytest.raises(engine.capi.onnxruntime_pybind11_state.NoSuchFile):
            engine.InferenceSession("nope.onnx")
    assert {n for n in dir(native) if n[0] != "_"} - set(differences.ABSENT_INSIDE) <= set(dir(intaglio_native))
    assert not set(differences.ABSENT_INSIDE) & set(dir(intaglio_native))


def test_values_and_vectors() -> None:
    """What programs reach for in the native module."""
    for member in ("push_back", "reserve", "shrink_to_fit", "__len__", "__iter__", "__getitem__"):
        assert hasattr(OrtValueVector, member) and hasattr(native.OrtValueVector, member)
    assert OrtValue._ortvalue is not None and issubclass(intaglio.OrtDeviceVendorId, enum.IntEnum)


def test_providers() -> None:
    assert intaglio.get_all_providers() == onnxruntime.get_all_providers()
    assert intaglio.get_available_providers() == onnxruntime.get_available_providers()
    assert intaglio.get_device() == onnxruntime.get_device()


def test_the_page_is_the_list() -> None:
    assert differences.PAGE.read_text() == differences.page(), "run python -m tests.parity.differences"
