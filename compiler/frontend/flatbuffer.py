"""Reads FlatBuffers without generated code: bytes in, tables out, whose fields are read by number.

A file is untrusted: every offset and length is checked against the length of the file before it is followed, and the
nesting of tables and the bytes read are limited, since a small file can refer to the same part many times. Needs the
`flatbuffers` package, which is imported only when there is such a file to read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_DEPTH = 64  # of tables in tables, as in the FlatBuffers verifier
MAX_SHARING = 64  # bytes that may be read, as a multiple of the file's size: little but names is shared


class Damaged(Exception):
    """The bytes are no FlatBuffer."""


class File:
    """Checked access to the bytes of a file. `fuel`: how many more of them may be read."""

    def __init__(self, data: bytes) -> None:
        from flatbuffers import encode, packer

        self.data = data
        self.fuel = MAX_SHARING * len(data)
        self._get = encode.Get
        self._kinds = {
            "uint8": packer.uint8, "uint16": packer.uint16, "uint32": packer.uint32, "int32": packer.int32,
            "int64": packer.int64, "float32": packer.float32,
        }  # fmt: skip

    def number(self, kind: str, position: int) -> Any:
        packer = self._kinds[kind]
        if not 0 <= position <= len(self.data) - packer.size:
            raise Damaged
        return self._get(packer, self.data, position)

    def indirect(self, position: int) -> int:
        """The target of the offset stored at `position`; offsets point forward."""
        return int(position + self.number("uint32", position))

    def vector(self, position: int, itemsize: int) -> tuple[int, int]:
        """The first byte and the number of elements of the vector that the offset at `position` points to."""
        start = self.indirect(position)
        length = self.number("uint32", start)
        self.spend(length * itemsize)
        if length * itemsize > len(self.data) - (start + 4):
            raise Damaged
        return start + 4, length

    def text(self, position: int) -> bytes:
        start, length = self.vector(position, 1)
        return self.data[start : start + length]

    def spend(self, nbytes: int) -> None:
        self.fuel -= nbytes
        if self.fuel < 0:
            raise Damaged


class Table:
    """A table, whose fields are read by their number in the schema. An absent field is None, its default, or empty."""

    def __init__(self, file: File, position: int, depth: int) -> None:
        self._file = file
        self._position = position
        self._depth = depth
        file.spend(4)
        if depth > MAX_DEPTH:
            raise Damaged
        self._vtable = position - file.number("int32", position)
        self._fields = (file.number("uint16", self._vtable) - 4) // 2
        self._size = file.number("uint16", self._vtable + 2)
        if self._fields < 0 or self._size < 4:
            raise Damaged

    def _field(self, slot: int) -> int | None:
        """The position of a field's value."""
        if slot >= self._fields:
            return None
        offset = self._file.number("uint16", self._vtable + 4 + 2 * slot)
        if offset >= self._size and offset:
            raise Damaged
        return self._position + offset if offset else None

    def number(self, slot: int, kind: str, default: int = 0) -> Any:
        position = self._field(slot)
        return default if position is None else self._file.number(kind, position)

    def text(self, slot: int) -> bytes | None:
        position = self._field(slot)
        return None if position is None else self._file.text(position)

    def name(self, slot: int) -> str:
        """A text as a string; "" where it is absent."""
        return name_of(self.text(slot) or b"")

    def table(self, slot: int) -> Table | None:
        position = self._field(slot)
        return None if position is None else Table(self._file, self._file.indirect(position), self._depth + 1)

    def _offsets(self, slot: int) -> Iterator[int]:
        """The positions of the elements of a vector of offsets."""
        position = self._field(slot)
        if position is not None:
            start, length = self._file.vector(position, 4)
            yield from range(start, start + 4 * length, 4)

    def tables(self, slot: int) -> Iterator[Table]:
        for position in self._offsets(slot):
            yield Table(self._file, self._file.indirect(position), self._depth + 1)

    def texts(self, slot: int) -> list[bytes]:
        return [self._file.text(position) for position in self._offsets(slot)]

    def names(self, slot: int) -> list[str]:
        return [name_of(each) for each in self.texts(slot)]

    def array(self, slot: int, dtype: str) -> npt.NDArray[Any] | None:
        """A vector of numbers, little-endian, or None; it shares the memory of the file."""
        position = self._field(slot)
        if position is None:
            return None
        stored = np.dtype(dtype).newbyteorder("<")
        start, length = self._file.vector(position, stored.itemsize)
        return np.frombuffer(self._file.data, stored, length, start)

    def numbers(self, slot: int, dtype: str) -> list[Any]:
        array = self.array(slot, dtype)
        return [] if array is None else array.tolist()


def root(data: bytes) -> Table:
    """The outermost table. Raises Damaged, and ImportError where the package is not installed."""
    file = File(data)
    return Table(file, file.indirect(0), 0)


def name_of(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Damaged from None
