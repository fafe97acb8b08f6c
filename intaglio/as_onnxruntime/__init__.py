"""Lets programs that import onnxruntime run on Intaglio, unchanged.

`python -m intaglio.as_onnxruntime program.py arguments...` (or `-m module arguments...`) runs a program so, and
`import intaglio.as_onnxruntime`, before anything imports onnxruntime, does the same from inside one: from then on the
name `onnxruntime` is ours in this process. Toolkits written in Python that come with an installed onnxruntime
(`onnxruntime.quantization`, `.transformers`, `.tools`) are imported from its folder, and use our sessions. Its native
module is never loaded. Processes that are started anew have to import this module themselves.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import runpy
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

NAME = "onnxruntime"
VERSION = "1.31.1"  # the release whose interface this is; programs compare it
_PACKAGE = __name__.partition(".")[0]
_OURS = ("capi", "backend", "datasets")  # what is inside of these is Intaglio's as well


class _Alias(Loader):
    """Imports a module of Intaglio's under another name: the same object."""

    def __init__(self, target: str) -> None:
        self._target = target

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._target)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # the import system has put that of the other name there


class _Top(Loader):
    """Makes the module `onnxruntime`: the names of Intaglio, under the version that programs expect."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return ModuleType(NAME, "Intaglio under the name of onnxruntime.")

    def exec_module(self, module: ModuleType) -> None:
        ours = importlib.import_module(_PACKAGE)
        inner = {name for name, value in vars(ours).items() if isinstance(value, ModuleType)}
        names = [name for name in dir(ours) if name[0] != "_" and name not in inner | {"annotations"}]
        module.__dict__.update(
            __version__=VERSION,
            version=VERSION,
            package_name=NAME,
            get_version_string=lambda: VERSION,
            __file__=ours.__file__,
            __all__=names,
            __getattr__=lambda name: getattr(ours, name),
            __dir__=lambda: names,
        )


class Finder(MetaPathFinder):
    """Finds `onnxruntime` and what is below it. `installed`: the folder of an installed onnxruntime, or None."""

    def __init__(self, installed: str | None) -> None:
        self.installed = installed

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == NAME:
            return ModuleSpec(NAME, _Top(), is_package=True)
        top, _, inner = fullname.partition(".")
        if top != NAME:
            return None
        if inner.partition(".")[0] in _OURS:
            ours = f"{_PACKAGE}.{inner}"
            found = importlib.util.find_spec(ours)
            return ModuleSpec(fullname, _Alias(ours), is_package="." not in inner) if found else None
        if "." in inner or self.installed is None:
            return None  # a module of a toolkit: its package says where it is
        # Only what is written in Python.
        return FileFinder(self.installed, (SourceFileLoader, SOURCE_SUFFIXES)).find_spec(fullname)


def install() -> None:
    """Takes over the name `onnxruntime`. Raises ImportError where the real one has been imported already."""
    if any(isinstance(finder, Finder) for finder in sys.meta_path):
        return
    if NAME in sys.modules:
        raise ImportError("onnxruntime has been imported already: import intaglio.as_onnxruntime before it")
    found = PathFinder.find_spec(NAME)  # looks, and imports nothing
    folders = list(found.submodule_search_locations or ()) if found else []
    sys.meta_path.insert(0, Finder(folders[0] if folders else None))


def main(arguments: Sequence[str]) -> None:
    """Runs a program, or with `-m` a module, as Python itself would."""
    if not arguments or arguments == ["-m"] or arguments[0] in ("-h", "--help"):
        sys.exit("usage: python -m intaglio.as_onnxruntime (program.py | -m module) arguments...")
    if arguments[0] == "-m":
        sys.argv = list(arguments[1:])
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(arguments)
        sys.path[0] = os.path.dirname(os.path.abspath(arguments[0]))
        runpy.run_path(arguments[0], run_name="__main__")


install()
