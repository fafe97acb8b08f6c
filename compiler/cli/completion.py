"""`intaglio completion`: the script by which a shell completes commands, options and names of files.

In: the parser of the command line. Out: the text of a script. It must never list a command or an option itself: the
parser knows them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from ...runtime.errors import NotFound

SHELLS = ("bash", "zsh", "fish")


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script for one of SHELLS. Raises NotFound where the package that writes it is not installed."""
    try:
        import shtab  # an optional package
    except ImportError:
        raise NotFound("completion needs the package shtab: pip install 'intaglio[completion]'") from None
    for action in _actions(parser):
        if action.type is Path or action.dest in ("model", "input"):
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # where shtab looks for it
    return str(shtab.complete(parser, shell)).rstrip()


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All arguments, those of commands as well."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from _actions(inner)
