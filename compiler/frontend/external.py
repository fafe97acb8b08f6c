"""The files beside a model that hold its weights.

In: the external_data entries of an initializer. Out: bytes, mapped read-only. A model is untrusted: no file outside of
its folder is opened, and ranges are checked against the length of the file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...runtime.errors import Fail
from ...runtime.store import external

Array = npt.NDArray[Any]


class ExternalFiles:
    """Finds, checks and maps files, each once. `model`: the path of the model; `in_memory`: contents by location."""

    def __init__(self, folder: Path, model: Path | None, in_memory: Mapping[str, bytes]) -> None:
        self._folder = folder
        self._model = model
        self._in_memory = in_memory
        self._maps: dict[str, Array] = {}

    def read(self, name: str, entries: Mapping[str, str], nbytes: int) -> Array:
        """The bytes of initializer `name`. Raises Fail where the file is outside of the folder, or the range of it."""
        location = entries.get("location", "")
        data = self._open(name, location)
        try:
            offset = int(entries.get("offset", 0) or 0)
            length = int(entries["length"]) if entries.get("length") else nbytes
        except ValueError:
            raise Fail(f"External initializer: {name} has a malformed offset or length") from None
        if offset < 0 or length < 0 or offset + length > len(data):
            raise Fail(
                f"Exception during initialization: External initializer: {name} offset: {offset} size to read: {length}"
                f" given file_length: {len(data)} are out of bounds or can not be read in full."
            )
        return data[offset : offset + length]

    def _open(self, name: str, location: str) -> Array:
        if location not in self._maps:
            if location in self._in_memory:
                self._maps[location] = np.frombuffer(self._in_memory[location], np.uint8)
            else:
                path = self._resolve(name, location)
                empty = path.stat().st_size == 0
                self._maps[location] = np.zeros(0, np.uint8) if empty else np.asarray(np.memmap(path, np.uint8, "r"))
        return self._maps[location]

    def _resolve(self, name: str, location: str) -> Path:
        """The real path of a location. Raises Fail for one outside of the `homes` of runtime/store/external.py."""
        prefix = f"External data path validation failed for initializer: {name}. Error: "
        if not location or "\0" in location:
            raise Fail(f"{prefix}Empty or malformed location")
        if os.path.isabs(location) or os.path.splitdrive(location)[0]:
            raise Fail(f"{prefix}Absolute path not allowed for external data location")
        path = self._folder / location
        escapes = (
            f'{prefix}External data path escapes model directory. External data path: "{location}" resolved path: '
            f'"{os.path.realpath(path)}" allowed directory: "{self._folder}"'
        )
        if not Path(os.path.normpath(path)).is_relative_to(os.path.normpath(self._folder)):
            raise Fail(escapes)
        real = Path(os.path.realpath(path))
        model = None if self._model is None else str(self._model)
        if not external.is_within(str(path), external.homes(str(self._folder), model)):
            raise Fail(escapes)
        if not real.is_file():
            raise Fail(f'{prefix}External data path does not exist: "{path}"')
        return real
