"""A hook of MkDocs: documents that lie beside the folder docs/ are pages of the site, too.

In: the files of docs/, and the pages that are made. Out: more files; links between all of them as the site has them. It
fails the build where a page would load something from the network.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
BESIDE = ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")
_LINK = re.compile(r"(\]\()(?:\.\./|docs/)(?=[\w.]+\.md)")
_LOADED = re.compile(
    r"""<(?:script|img|iframe|link\b[^>]*\brel="?stylesheet"?)\b[^>]*\b(?:src|href)="?(?:https?:)?//[^>]*>"""
)


def on_files(files: Files, config: Any) -> Files:
    """Adds the documents that lie beside docs/."""
    for name in BESIDE:
        files.append(File.generated(config, name, content=(ROOT / name).read_text()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """All pages lie in one folder."""
    return _LINK.sub(r"\1", markdown)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Raises PluginError for a page that is not complete without the network."""
    if found := _LOADED.search(output):
        raise PluginError(f"{page.file.src_uri} loads {found[0]} from the network")
    return output
