"""Texts of models, which are not trusted, as identifiers, comments and strings of C."""

from __future__ import annotations

import ctypes
import re
import subprocess
from pathlib import Path

import native
import pytest

from intaglio.compiler.export import names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("batch", "batch"),
        ("seq len'", "seq_len"),
        ("x[0]", "x_0"),
        ("__init__", "init"),
        ("3d", "x3d"),
        ("", "x"),
        ("größe", "gr_e"),
        ("int", "int_"),
        ("class", "class_"),
        ("model", "model_"),
        ("intaglio_run", "xintaglio_run"),
        ("a" * 100, "a" * 64),
    ],
)
def test_identifiers(text: str, expected: str) -> None:
    assert names.identifier(text) == expected


def test_identifiers_differ() -> None:
    taken: set[str] = set()
    for text in ("a b", "a_b", "a.b", "int", "int_"):
        taken.add(names.identifier(text, taken))
    assert taken == {"a_b", "a_b_2", "a_b_3", "int_", "int__2"}


@pytest.mark.parametrize("stem", ["math", "string", "runtime_abi", "pthread", "Time", "m", "test"])
def test_no_header_hides_another(stem: str) -> None:
    assert names.prefix(stem) == f"{stem}_model"


def test_a_prefix_may_be_a_word_of_c() -> None:
    assert names.prefix("static") == "static" and names.prefix("resnet50-v1.7") == "resnet50_v1_7"


@pytest.mark.parametrize("text", ["*/ int x; /*", "a\\\nb", "??/", "**//**/", "a\x00b"])
def test_a_comment_is_not_left(text: str) -> None:
    found = names.comment(text)
    assert "*/" not in found and "/*" not in found and not re.search(r"[^ -~]|[\\?]", found)


TEXTS = ['a "quoted" \\n text', "??/ trigraph", "{0} of 50%", "größe\n\t", "\x07" + "7" * 3]


@pytest.mark.skipif("gcc" not in native.COMPILERS, reason="there is no gcc")
def test_strings_are_what_a_compiler_reads(tmp_path: Path) -> None:
    literals = ", ".join(map(names.string, TEXTS))
    (tmp_path / "texts.c").write_text(f"const char *const texts[] = {{ {literals} }};")
    command = ["gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "texts.c", "-o", "texts.so"]
    subprocess.run(command, cwd=tmp_path, check=True)
    array = (ctypes.c_char_p * len(TEXTS)).in_dll(ctypes.CDLL(str(tmp_path / "texts.so")), "texts")
    assert [each.decode() for each in array if each] == TEXTS
