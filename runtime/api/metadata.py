"""What a session tells about its model: `NodeArg` and `ModelMetadata`, as onnxruntime has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class NodeArg:
    """A graph input or output; read-only.

    shape: an `int` where the dimension is fixed, its name where it has one, else None. type: `tensor(float)`.
    """

    __slots__ = ("__weakref__", "_name", "_shape", "_type")

    _name: str
    _type: str
    _shape: list[int | str | None]

    def __init__(self) -> None:
        raise TypeError("NodeArg: No constructor defined!")

    @classmethod
    def of(cls, name: str, type: str, shape: list[int | str | None]) -> NodeArg:
        made = cls.__new__(cls)
        made._name, made._type, made._shape = name, type, shape
        return made

    @property
    def name(self) -> str:
        return self._name

    @property
    def type(self) -> str:
        return self._type

    @property
    def shape(self) -> list[int | str | None]:
        return list(self._shape)

    def __str__(self) -> str:
        return f"NodeArg(name='{self._name}', type='{self._type}', shape={self._shape})"


@dataclass(eq=False)
class ModelMetadata:
    """What the model file says about itself."""

    custom_metadata_map: dict[str, str] = field(default_factory=dict)
    description: str = ""
    domain: str = ""
    graph_description: str = ""
    graph_name: str = ""
    producer_name: str = ""
    version: int = 0

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> ModelMetadata:
        """From the manifest's `modelmeta`, whose keys are the fields of this class; absent ones are empty."""
        return cls(**manifest)


class OrtEpAssignedNode(NamedTuple):
    """A node of the model."""

    name: str
    domain: str
    op_type: str


class OrtEpAssignedSubgraph:
    """The nodes that one execution provider runs."""

    def __init__(self) -> None:
        raise TypeError("OrtEpAssignedSubgraph: No constructor defined!")

    ep_name: str
    _nodes: list[OrtEpAssignedNode]

    @classmethod
    def of(cls, provider: str, nodes: list[list[str]]) -> OrtEpAssignedSubgraph:
        """nodes: name, domain and operator of each."""
        made = cls.__new__(cls)
        made.ep_name, made._nodes = provider, [OrtEpAssignedNode(*each) for each in nodes]
        return made

    def get_nodes(self) -> list[OrtEpAssignedNode]:
        return self._nodes
