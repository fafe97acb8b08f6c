"""Templates. In: the name of a file in templates/, and its holes. Out: the text of a source file.

Undefined holes are errors. Holes are filled with printed code; strings of a model never reach a template.
"""

from __future__ import annotations

from functools import lru_cache

from jinja2 import Environment, PackageLoader, StrictUndefined


@lru_cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("intaglio.templates", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render(template: str, **holes: object) -> str:
    """The text of templates/<template> with its holes filled. Raises jinja2.UndefinedError for a missing hole."""
    return _environment().get_template(template).render(holes)
