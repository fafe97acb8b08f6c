"""Numbers that decide speed stand in compiler/schedule/ and compiler/target.py: what prints kernels, lowers and fuses
has none but those that are named here, each with the reason why it is none.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
COMPILER, TEMPLATES = ROOT / "compiler", ROOT / "templates"
SOURCES = [path for folder in ("codegen", "lower") for path in (COMPILER / folder).rglob("*.py")]
EXPORT = TEMPLATES / "c" / "export"  # what is around kernels in models for programs in C
KERNELS = [p for folder in ("c", "triton") for p in (TEMPLATES / folder).rglob("*.j2") if EXPORT not in p.parents]
FEW = 3  # up to here numbers are axes, halves, pairs

DIGEST = "digits of a digest"
TYPES = "bits or bytes of a type"
LINE = "bytes of a cache line, to which memory is aligned"
BINDING = "how tight operators bind in C"
READABLE = "length from which on text is cut, for readers and compilers"
TILE_OF_WINOGRAD = "F(2x2, 3x3) is about tiles of 4x4"
LANES = "sums of a vector, by which an instruction has its name"
PRODUCTS = "products of bytes that make one sum"
REGISTERS = "numbers of registers: sums, then one of A, then those of B"
TILES = "rows and bytes of a tile, elements of K in it"
UNROLL = "more than any tile that is unrolled has"
ALLOWED: dict[str, dict[int, str]] = {
    "codegen/c/build.py": {12: "lines of a message", 40: DIGEST},
    "codegen/c/conv_dense.py": {8: "bytes of a pointer", 20: "bytes of what the table knows of a pixel", 64: LINE},
    "codegen/c/conv_winograd.py": {16: TILE_OF_WINOGRAD},
    "codegen/c/expr.py": dict.fromkeys(range(4, 14), BINDING) | dict.fromkeys((16, 31, 32, 63, 64), TYPES)
    | dict.fromkeys((100, 200), READABLE),
    "codegen/c/gemm.py": {32: f"{TYPES}; {TILES}", 64: f"{TYPES}; {LINE}"},
    "codegen/c/kernels.py": {16: DIGEST},
    "codegen/c/loopnest.py": {32: TYPES, 64: LINE, 0x7F800000: "infinity", 0x7FF0000000000000: "infinity"},
    "codegen/c/matmul.py": {64: LINE},
    "codegen/c/nms.py": {5: "numbers of a box"},
    "codegen/c/program.py": {256: "steps in a file, for the C compiler"},
    "codegen/c/recurrent.py": {4: "gates"},
    "codegen/c/sort.py": {8: TYPES, 16: TYPES, 64: TYPES},
    "codegen/triton/build.py": {40: DIGEST},
    "codegen/triton/conv.py": {6: "symbols"},
    "codegen/triton/expr.py": {8: TYPES, 16: TYPES, 32: READABLE},
    "codegen/triton/holes.py": {8: TYPES},
    "codegen/triton/kernels.py": {31: TYPES},
    "codegen/triton/program.py": {16: DIGEST, 31: TYPES},
    "codegen/triton/recurrent.py": {4: "gates", 16: TYPES},
    "codegen/triton/worker.py": {16: "bytes to which all buffers are aligned"},
    "lower/build.py": {10: "entries of a cache, as a power of 2"},
    "lower/bodies.py": {4: "corners of a box"},
    "lower/fuse.py": {
        4: "operations, and pieces, that are cheaper computed again than kept", 8: "places, 64 of views, and 256 nodes "
        "bound the text of a kernel",
        64: "see 8", 256: "see 8; columns for which an operand is computed once",
    },
    "c/attention.c.j2": {16: UNROLL},
    "c/conv.c.j2": {63: LINE, 64: LINE},
    "c/depthwise.c.j2": {64: LINE, 128: UNROLL},
    "c/loopnest.c.j2": {4: "columns of indentation", 8: "columns of indentation"},
    "c/micro/fma.h.j2": {32: UNROLL},
    "c/micro/bytes.h.j2": {4: PRODUCTS, 8: TYPES, 24: TYPES},
    "c/micro/madd.h.j2": {8: LANES, 16: LANES},
    "c/micro/avx512vnni.h.j2": {8: LANES, 16: LANES},
    "c/micro/avxvnni.h.j2": {11: "version of a compiler", 12: "version of a compiler"},
    "c/micro/dot.h.j2": {32: UNROLL},
    "c/micro/parts.h.j2": {4: UNROLL, 5: REGISTERS, 8: REGISTERS, 16: TILES, 32: TILES, 64: TILES},
    "c/micro/quads.h.j2": {4: REGISTERS, 5: REGISTERS, 6: REGISTERS, 7: REGISTERS, 8: REGISTERS, 16: TILES, 64: TILES},
    "c/micro/narrow.h.j2": {4: TYPES, 8: UNROLL, 16: UNROLL, 32: TYPES},
    "c/matmul.c.j2": {63: LINE, 64: LINE, 128: "what makes signed bytes unsigned"},
    "c/order.h.j2": {4: TYPES, 8: TYPES, 256: "values of a byte"},
    "c/program.c.j2": {4: "numbers before the sizes of outputs", 63: LINE, 64: LINE},
    "c/steps.j2": {63: LINE, 64: LINE},
    "c/transpose.h.j2": {16: UNROLL},
    "c/trees.c.j2": {32: TYPES},
    "c/winograd.c.j2": dict.fromkeys((4, 8, 12, 16, 17), TILE_OF_WINOGRAD) | {64: LINE},
    "triton/prelude.py.j2": {64: TYPES},
    "triton/recurrent.py.j2": {4: "gates"},
}  # fmt: skip


def of_python(path: Path) -> Iterator[int]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and type(node.value) is int:
            yield node.value


def of_template(path: Path) -> Iterator[int]:
    """Whole decimal numbers outside of comments."""
    text = re.sub(r"/\*.*?\*/|\{#.*?#\}|//[^\n]*", "", path.read_text(), flags=re.DOTALL)
    if path.name.endswith(".py.j2"):
        text = re.sub(r"#[^\n]*", "", text)
    return (int(number) for number in re.findall(r"(?<![\w.\"'])\d+(?![\w.])", text))


@pytest.mark.parametrize("path", [*SOURCES, *KERNELS], ids=lambda path: path.name)
def test_there_are_no_others(path: Path) -> None:
    found = set(of_template(path) if path.suffix == ".j2" else of_python(path))
    name = path.relative_to(TEMPLATES if path.suffix == ".j2" else COMPILER).as_posix()
    assert {number for number in found if number > FEW} == ALLOWED.get(name, {}).keys()


def test_a_number_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("BLOCK = 96  # 12\nassert True")
    (tmp_path / "a.c.j2").write_text("{# 12 #}enum { BLOCK = 96, Y2 = X16 }; /* 13 */ float x = 1.5f; // 14\n")
    assert [*of_python(tmp_path / "a.py")] == [96] == [*of_template(tmp_path / "a.c.j2")]
