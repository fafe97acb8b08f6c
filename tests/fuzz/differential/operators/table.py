"""The table itself."""

from __future__ import annotations

from collections.abc import Callable

from ..world import World

Generator = Callable[[World], object]

GENERATORS: dict[str, Generator] = {}

# What has no generator, and why.
LEFT_OUT = {
    **dict.fromkeys(
        ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial"),
        "its numbers are nobody's to compare",
    ),
    **dict.fromkeys(("Optional", "OptionalGetElement", "OptionalHasElement"), "tensors alone go between nodes here"),
    **dict.fromkeys(
        ("ImageDecoder", "RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit"),
        "tensors of numbers alone are made here; tests/parity/test_strings.py has those of strings",
    ),
    "TfIdfVectorizer": "its integers are words of a pool, which tests/parity/test_ngrams.py makes",
    "Scatter": "deprecated, and the same as ScatterElements",
}


def generator(*names: str) -> Callable[[Generator], Generator]:
    def register(build: Generator) -> Generator:
        for name in names:
            GENERATORS[name] = build
        return build

    return register


def named(*names: str) -> Callable[[Callable[[World, str], object]], Callable[[World, str], object]]:
    """For generators that serve several operators, and take the name of one."""

    def register(build: Callable[[World, str], object]) -> Callable[[World, str], object]:
        for name in names:
            GENERATORS[name] = lambda w, name=name: build(w, name)
        return build

    return register
