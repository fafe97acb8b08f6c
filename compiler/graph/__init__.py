"""The graph IR: tensors, a closed set of operations, symbolic shapes. Importing it fills the set."""

from . import ops

__all__ = ["ops"]
