"""The zoo as the measuring commands see it: the models, where they lie, at which sizes they run.

In: the environment variable INTAGLIO_ZOO_DIR. Out: names, paths, dims. This module must never import
torch: its thread pools would sit in the process in which engines are timed (`zoo.py` is the one that
builds the files).
"""

from __future__ import annotations

import os
from pathlib import Path

# The sizes at which a model is timed, by the name of the symbolic dimension.
MODELS: dict[str, dict[str, int]] = {
    "mlp": {"batch": 1},
    "lstm": {"batch": 1},
    "resnet50": {"batch": 1},
    "mobilenetv2": {"batch": 1},
    "convnext": {"batch": 1},
    "vit": {"batch": 1},
    "segformer": {"batch": 1},
    "whisper": {"batch": 1},
    "bert": {"batch": 1, "sequence": 128},
    "gpt2": {"batch": 1, "sequence": 128},
    "llama": {"batch": 1, "sequence": 128},
}

SMALL_DIR = Path(__file__).parent.parent / "tests" / "data"


def zoo_dir() -> Path:
    """The folder of the full-size models: $INTAGLIO_ZOO_DIR, else ~/.cache/intaglio-zoo."""
    return Path(os.environ.get("INTAGLIO_ZOO_DIR") or Path.home() / ".cache" / "intaglio-zoo")


def path(name: str) -> Path:
    """The file of a full-size model. Raises FileNotFoundError, with the command that builds it."""
    file = zoo_dir() / f"{name}.onnx"
    if not file.exists():
        raise FileNotFoundError(f"{file} is not there yet; build it with: python -m bench zoo {name}")
    return file
