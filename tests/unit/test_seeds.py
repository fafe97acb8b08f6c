"""Random numbers of tests and measurements can be had again: every generator has a seed, read from the sources.

Tests that take others in each run get their seed from `tests/chance.py`, which tells it.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = [f for folder in ("tests", "bench") for f in sorted((ROOT / folder).rglob("*.py"))]
CHANCE = ROOT / "tests" / "chance.py"  # the one place that asks for a seed
# Modules of generators -> what of them takes a seed, and has to be given one.
SEEDED = {
    "random": {"Random", "seed"},
    "numpy.random": {"default_rng", "seed", "RandomState", "SeedSequence", "Generator", "PCG64", "Philox"},
}
NEVER = ("os.urandom", "secrets.", "uuid.uuid1", "uuid.uuid4", "random.SystemRandom")
TORCH = ("torch.rand", "torch.normal", "torch.bernoulli", "torch.multinomial")


def unseeded(text: str) -> list[str]:
    """The calls for numbers that differ from run to run, with their lines; those in programs that are strings, too."""
    tree = ast.parse(text)
    names, found, torch, seeded = _names(tree), list[str](), list[str](), False
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" in node.value:
            found += [f"{node.lineno}, in a string: {each}" for each in _of_string(node.value)]
        if not isinstance(node, ast.Call):
            continue
        name = _dotted(node.func, names)
        module, _, function = name.rpartition(".")
        seeded |= name == "torch.manual_seed"
        given = [a for a in (*node.args, *(k.value for k in node.keywords)) if ast.unparse(a) != "None"]
        if name.startswith(NEVER) or (module in SEEDED and not (given and function in SEEDED[module])):
            found.append(f"{node.lineno}: {ast.unparse(node)}")
        elif name.startswith(TORCH):
            torch.append(f"{node.lineno}: {ast.unparse(node)}")
    return found if seeded else found + torch


def _of_string(text: str) -> list[str]:
    try:
        return unseeded(text)
    except SyntaxError:  # prose
        return []


def _names(tree: ast.AST) -> dict[str, str]:
    """What the imported names stand for."""
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            roots = [a.asname or a.name.partition(".")[0] for a in node.names]
            known |= {root: a.name if a.asname else root for root, a in zip(roots, node.names)}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            known |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return known


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    """Of what is imported its whole name, of all else ""."""
    if isinstance(node, ast.Name):
        return names.get(node.id, "")
    owner = _dotted(node.value, names) if isinstance(node, ast.Attribute) else ""
    return f"{owner}.{node.attr}" if isinstance(node, ast.Attribute) and owner else ""


@pytest.mark.parametrize("text", [
    "import numpy as np; np.random.default_rng()", "import numpy; numpy.random.default_rng(None)",
    "from numpy.random import default_rng as rng; rng()", "import numpy as np; np.random.standard_normal(3)",
    "import random; random.Random()", "import random; random.randrange(3)", "from random import choice; choice('ab')",
    "import os; os.urandom(8)", "import uuid; str(uuid.uuid4())", "import secrets; secrets.token_bytes()",
    "import torch; torch.randn(3)", "TEXT = 'import random\\nrandom.random()'",
])  # fmt: skip
def test_what_has_no_seed_is_found(text: str) -> None:
    assert len(unseeded(text)) == 1


@pytest.mark.parametrize("text", [
    "import numpy as np; np.random.default_rng(0)", "import numpy as np; np.random.default_rng(seed=n).random()",
    "import random; random.Random(seed).random()", "lambda rng: rng.random()",
    "from tests.chance import random; random()", "import torch; torch.manual_seed(0); torch.randn(3)",
])  # fmt: skip
def test_what_has_one_is_not(text: str) -> None:
    assert unseeded(text) == []


def test_all_random_numbers_have_a_seed() -> None:
    found = _problems([f for f in FILES if f != CHANCE])
    assert not found, "\n".join(found)


def test_the_one_that_tells_its_seed_is_needed() -> None:
    assert _problems([CHANCE])


def _problems(files: Sequence[Path]) -> list[str]:
    return [f"{file.relative_to(ROOT)}:{each}" for file in files for each in unseeded(file.read_text())]
