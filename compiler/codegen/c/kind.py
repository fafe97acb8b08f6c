"""The interface of the modules that print one kind of kernel as C."""

from __future__ import annotations

from typing import Any, Protocol

from ...kernel.ir import Kernel
from ...scalar.dim import Size


class Kind(Protocol):
    """A module for one class of body, or of schedule, if that chooses the template."""

    def source(self, kernel: Kernel, name: str, schedule: Any, /) -> str:
        """The C source of the kernel, whose one function is called `name`."""

    def tasks(self, body: Any, schedule: Any, /) -> Size:
        """The number of independent tasks, in the kernel's sizes."""

    def scratch_bytes(self, body: Any, schedule: Any, /) -> Size:
        """Bytes of private memory that each thread needs, in the kernel's sizes."""
