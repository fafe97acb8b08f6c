"""Templates. In: the name of a file in templates/, and its holes. Out: the text of a source file, or of a page.

Undefined holes are errors. Holes of sources are filled with printed code, which no string of a model gets into; pages
show such strings, escaped.
"""

from __future__ import annotations

from functools import lru_cache

from jinja2 import Environment, PackageLoader, StrictUndefined


@lru_cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("intaglio.templates", "."),
        undefined=StrictUndefined,
        autoescape=lambda name: name is not None and name.startswith("html/"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render(template: str, **holes: object) -> str:
    """The text of templates/<template> with its holes filled. Raises jinja2.UndefinedError for a missing hole."""
    return _environment().get_template(template).render(holes)
