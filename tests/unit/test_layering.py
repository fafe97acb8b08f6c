"""Who may import whom: read from the sources, without importing anything.

The runtime stands alone, with numpy, but for one lazy import; inside the compiler, each layer imports only from those
before it; there are no import cycles, and no imports in functions to dodge them. Graphs and kernels know no target.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {"intaglio": "intaglio", "compiler": "intaglio.compiler", "runtime": "intaglio.runtime"}

# Layer -> the layers it may import from. Modules right in compiler/ that are not named here are on top of all.
LAYERS = {
    "scalar": set[str](),
    "graph": {"scalar"},
    "passes": {"scalar", "graph"},
    "frontend": {"scalar", "graph", "errors"},
    "kernel": {"scalar", "graph"},
    "plan": {"scalar", "kernel"},
    "lower": {"scalar", "graph", "kernel", "plan"},
    "schedule": {"scalar", "kernel", "lower", "target", "precision"},
    "codegen": {
        "scalar",
        "graph",
        "kernel",
        "lower",
        "plan",
        "schedule",
        "target",
        "precision",
        "options",
        "processes",
        "errors",
    },
    "errors": set[str](),
    "options": {"precision"},
    "processes": set[str](),
    "precision": set[str](),
    "target": set[str](),
}
# What of the runtime these layers may know.
RUNTIME_OF = {
    "scalar": set[str](),
    "graph": set[str](),
    "passes": set[str](),
    "kernel": set[str](),
    "plan": set[str](),
    "lower": set[str](),
    "schedule": set[str](),
    "frontend": {"errors", "external", "variables"},
    "errors": {"errors"},
    "codegen": {"errors"},
}
LAZY = ("intaglio.runtime.api.load", "_compiler")  # the one function that imports from the project
# What a module may import lazily from elsewhere: it is needed rarely, and slow to import.
THIRD_PARTY = {
    "intaglio": {"numpy"},
    "backend": {"onnx"},
    "runtime": {"numpy", "ml_dtypes", "triton", "PIL"},
    "scalar": {"numpy", "ml_dtypes"},
    "graph": {"numpy", "ml_dtypes"},
    "passes": {"numpy"},
    "kernel": {"numpy"},
    "plan": set[str](),
    "lower": {"numpy"},
    "schedule": {"numpy"},
    "frontend": {"numpy", "ml_dtypes", "onnx", "google", "flatbuffers"},
    "codegen": {"numpy", "jinja2", "triton"},  # triton in worker.py alone, a program of its own
}
# Languages, compilers, interfaces and instruction sets of targets; C is one where it is spoken of as a language.
TARGETS = re.compile(
    r"""(?i:triton|cuda|cubin|\bptx|nvidia|\bgpu|openmp|pragma|\bgcc\b|clang|llvm|intrinsic)
    |(?i:\bavx|\bsse\d?\b|\bneon\b|\bx86)
    |\b(?:in|to|of|the|generated)\ C\b|\bC\ (?:code|compiler|source|function|file|kernel|type)|\bC(?:\+\+|99|11)""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Import:
    """An import of a module, at a line; `function` is the innermost function around it, "" at the top of the file."""

    module: str
    line: int
    function: str


@lru_cache
def modules() -> dict[str, Path]:
    """Every module of the project by its installed name."""
    found = {}
    for folder, package in FOLDERS.items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join([package, *(part for part in parts if part != "__init__")])] = path
    return found


@lru_cache
def imports(name: str) -> tuple[Import, ...]:
    path = modules()[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return tuple(_walk(ast.parse(path.read_text()), package, ""))


def _walk(node: ast.AST, package: str, function: str) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue  # names for the type checker; nothing is imported
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, function)
        elif isinstance(child, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) + 1 - child.level] if child.level else []
            base = ".".join([*parts, *([child.module] if child.module else [])])
            for alias in child.names:
                inner = f"{base}.{alias.name}"
                yield Import(inner if inner in modules() else base, child.lineno, function)
        else:
            inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))
            yield from _walk(child, package, child.name if inside else function)  # type: ignore[attr-defined]


def layer(module: str) -> str:
    """`graph` for intaglio.compiler.graph.ir, `driver` for intaglio.compiler.driver, `runtime`, `intaglio`, ..."""
    parts = module.split(".")
    if parts[1:2] == ["backend"]:  # of ONNX's test runner: the one part beside the compiler that knows the onnx package
        return "backend"
    if parts[1:2] == ["compiler"]:
        return parts[2] if len(parts) > 2 else "compiler"
    return "runtime" if parts[1:2] == ["runtime"] else "intaglio"


def test_the_project_is_found() -> None:
    assert {"intaglio", "intaglio.runtime.api.session", "intaglio.compiler.graph.ir"} <= set(modules())
    assert "intaglio.runtime.errors" in {each.module for each in imports("intaglio.runtime.api.session")}
    assert layer("intaglio.compiler.graph.ir") == "graph" and layer("intaglio.runtime.store.cache") == "runtime"


def test_the_runtime_stands_alone() -> None:
    wrong = [
        f"{name}:{each.line} imports {each.module}"
        for name in modules()
        if layer(name) == "runtime"
        for each in imports(name)
        if each.module.startswith("intaglio") and layer(each.module) != "runtime" and (name, each.function) != LAZY
    ]
    assert wrong == []
    lazy = {layer(each.module) for each in imports(LAZY[0]) if each.function == LAZY[1]}
    assert lazy == {"driver", "options", "progress", "tune"}


def test_layers() -> None:
    wrong = []
    for name in modules():
        here = layer(name)
        for each in imports(name):
            if here not in LAYERS or not each.module.startswith("intaglio"):
                continue
            there = layer(each.module)
            if there == "runtime":
                allowed = here not in RUNTIME_OF or each.module.split(".")[-1] in RUNTIME_OF[here]
            else:
                allowed = there == here or there in LAYERS[here]
            if not allowed:
                wrong.append(f"{name}:{each.line}: {here} may not import {each.module}")
    assert wrong == []


def test_the_folders_of_the_runtime() -> None:
    """Each imports from those before it, and from the modules beside them, which import from none."""
    order = ["", "store", "device", "values", "host", "run", "api"]
    folders = {name: (name.split(".")[2:-1] or [""])[0] for name in modules() if layer(name) == "runtime"}
    assert set(folders.values()) == set(order)
    wrong = [
        f"{name}:{each.line} imports {each.module}"
        for name, folder in folders.items()
        for each in imports(name)
        if each.module in folders and order.index(folders[each.module]) > order.index(folder)
    ]
    assert wrong == []


def test_no_imports_in_functions() -> None:
    wrong = [
        f"{name}:{each.line} imports {each.module} in {each.function}()"
        for name in modules()
        for each in imports(name)
        if each.function and each.module.startswith("intaglio") and (name, each.function) != LAZY
    ]
    assert wrong == []


def test_relative_imports_only() -> None:
    """Tests and users say `intaglio.compiler`; the folders are called otherwise, and only relative imports fit both."""
    wrong = []
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names.append(node.module or "")
            if any(each.split(".")[0] == "intaglio" for each in names):
                wrong.append(f"{name}:{node.lineno}")
    assert wrong == []


def test_no_cycles() -> None:
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            cycle = [*path[path.index(name) :], name]
            pytest.fail("import cycle: " + " -> ".join(cycle))
        if name in done or name not in modules():
            return
        for each in imports(name):
            if each.module != name and (name, each.function) != LAZY:
                visit(each.module, [*path, name])
        done.add(name)

    for name in modules():
        visit(name, [])
    assert done == set(modules())


def test_packages_from_elsewhere() -> None:
    wrong = []
    for name in modules():
        allowed = THIRD_PARTY.get(layer(name))
        for each in imports(name):
            top = each.module.split(".")[0]
            if allowed is not None and top not in sys.stdlib_module_names | allowed | {"intaglio", "__future__"}:
                wrong.append(f"{name}:{each.line} imports {each.module}")
    assert wrong == []


def test_the_runtime_imports_slow_packages_lazily() -> None:
    slow = {"ml_dtypes", "PIL", "hashlib", "tempfile", "subprocess", "onnx", "jinja2", "torch", "triton"}
    wrong = [
        f"{name}:{each.line} imports {each.module} at the top"
        for name in modules()
        if layer(name) in ("runtime", "intaglio")
        for each in imports(name)
        if not each.function and each.module.split(".")[0] in slow
    ]
    assert wrong == []


@pytest.mark.parametrize("folder", ["graph", "kernel"])
def test_graphs_and_kernels_know_no_target(folder: str) -> None:
    """The one table of a name in each language is compiler/scalar/prims.py."""
    files = sorted((ROOT / "compiler" / folder).rglob("*.py"))
    assert files
    wrong = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in files
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if TARGETS.search(line)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "line",
    ["# Triton lacks it", "as in C", "four AVX-512 registers", "the C compiler", "C code", "#pragma omp", "on a GPU",
     "cuda.launch(f)", "gcc unrolls it"],
)  # fmt: skip
def test_a_mention_of_a_target_is_found(line: str) -> None:
    assert TARGETS.search(line)


@pytest.mark.parametrize("line", ["conv(x[N, *S, C])", "winograd [16][C][K]", "a group of c channels", "input_forget"])
def test_other_words_are_no_targets(line: str) -> None:
    assert not TARGETS.search(line)
