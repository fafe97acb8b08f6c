"""The numpy-like methods of graph values, which build nodes of the closed operation set.

A mixin without state: `emit` (of `ir.Value`) makes the node. Broadcasting follows numpy; both operands of a primitive
must already have one dtype (Python numbers adopt the tensor's).
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..scalar.dim import Dim, Max, Min, Size, dim_max, dim_min, known_eq, prod
from ..scalar.dtype import DType

if TYPE_CHECKING:
    from .ir import Value


def broadcast_size(a: Size, b: Size) -> Size:
    """The broadcast of two dims. Raises ValueError where they are constants that do not fit.

    Two different symbols may be equal at run time, or one of them 1: their broadcast is max(a, b), or 0 if one is 0.
    That they fit is checked at run time."""
    if a == b or (isinstance(b, int) and b == 1):
        return a
    if isinstance(a, int) and a == 1:
        return b
    if isinstance(a, int) and isinstance(b, int):
        raise ValueError(f"dimensions {a} and {b} do not broadcast")
    if isinstance(a, int):  # b is symbolic: 1 or a, if the model is valid
        return a
    if isinstance(b, int):
        return b
    if known_eq(a, b):
        return a
    parts = dict.fromkeys((*_broadcast_of(a), *_broadcast_of(b)))  # so that broadcasting is idempotent
    larger = dim_max(*parts)
    if larger in parts:  # the others derive from it, as min(n, 64) from n, so that they are 0 only together
        return larger
    return larger * dim_min(*parts, 1)


def _broadcast_of(size: Size) -> tuple[Size, ...]:
    """The sizes whose broadcast a size is; for any other size, itself."""
    if isinstance(size, Dim) and len(size.terms) == 1 and size.terms[0][0] == 1:
        atoms = size.terms[0][1]
        largest = next((x.args for x in atoms if isinstance(x, Max)), ())
        least = next((x.args for x in atoms if isinstance(x, Min)), ())
        if len(atoms) == 2 and largest and 1 in least and {*least} <= {*largest, 1}:
            return largest
    return (size,)


def broadcast_shapes(*shapes: Sequence[Size]) -> tuple[Size, ...]:
    """numpy's broadcast of shapes. Raises ValueError where constant dims clash."""
    rank = max((len(s) for s in shapes), default=0)
    out: list[Size] = [1] * rank
    for shape in shapes:
        for i, d in enumerate(shape, rank - len(shape)):
            out[i] = broadcast_size(out[i], d)
    return tuple(out)


class Tensor(abc.ABC):
    """Methods of graph values. Shapes are tuples of Size; axes may be negative."""

    __slots__ = ()
    shape: tuple[Size, ...]
    dtype: DType

    @abc.abstractmethod
    def emit(self, op: str, inputs: Sequence[Value], **attrs: Any) -> tuple[Value, ...]:
        """Makes a node and returns its outputs."""

    @abc.abstractmethod
    def const(self, data: Any, dtype: DType | None = None) -> Value:
        """A constant; dtype defaults to this value's."""

    @property
    @abc.abstractmethod
    def me(self) -> Value:
        """self, typed."""

    @property
    def rank(self) -> int:
        return len(self.shape)

    def axis(self, axis: int) -> int:
        """The axis as a non-negative number. Raises ValueError when out of range."""
        if not -self.rank <= axis < max(self.rank, 1):
            raise ValueError(f"axis {axis} is out of range for rank {self.rank}")
        return axis % max(self.rank, 1)

    # -- pointwise -----------------------------------------------------------------------------------------------

    def map(self, prim: str, *others: Value | float, dtype: DType | None = None) -> Value:
        """Applies a scalar primitive, with broadcasting. dtype: the target, for `cast` and `bitcast`."""
        args = [o if isinstance(o, Tensor) else self.const(o) for o in others]
        attrs = {"dtype": dtype} if dtype else {}
        return self.emit("map", [self.me, *args], prim=prim, **attrs)[0]

    def cast(self, dtype: DType) -> Value:
        return self.me if dtype == self.dtype else self.map("cast", dtype=dtype)

    def select(self, yes: Value | float, no: Value | float) -> Value:
        """`yes` where self (bool) is true, else `no`. At least one of them is a value."""
        like = yes if isinstance(yes, Tensor) else no
        assert isinstance(like, Tensor)
        args = [v if isinstance(v, Tensor) else like.const(v) for v in (yes, no)]
        return self.emit("map", [self.me, *args], prim="select")[0]

    def require(self, ok: Value, text: str) -> Value:
        """The same value; the run fails with `text` unless `ok` (bool, of its shape) is true everywhere."""
        return self.emit("map", [ok, self.me], prim="require", text=text)[0]

    def __add__(self, o: Value | float) -> Value:
        return self.map("add", o)

    def __sub__(self, o: Value | float) -> Value:
        return self.map("sub", o)

    def __mul__(self, o: Value | float) -> Value:
        return self.map("mul", o)

    def __truediv__(self, o: Value | float) -> Value:
        return self.map("div", o)

    def __radd__(self, o: float) -> Value:
        return self.const(o).map("add", self.me)

    def __rsub__(self, o: float) -> Value:
        return self.const(o).map("sub", self.me)

    def __rmul__(self, o: float) -> Value:
        return self.const(o).map("mul", self.me)

    def __rtruediv__(self, o: float) -> Value:
        return self.const(o).map("div", self.me)

    def __neg__(self) -> Value:
        return self.map("neg")

    def __lt__(self, o: Value | float) -> Value:
        return self.map("lt", o)

    def __le__(self, o: Value | float) -> Value:
        return self.map("le", o)

    def __gt__(self, o: Value | float) -> Value:
        return (o if isinstance(o, Tensor) else self.const(o)).map("lt", self.me)

    def __ge__(self, o: Value | float) -> Value:
        return (o if isinstance(o, Tensor) else self.const(o)).map("le", self.me)

    def exp(self) -> Value:
        return self.map("exp")

    def log(self) -> Value:
        return self.map("log")

    def sqrt(self) -> Value:
        return self.map("sqrt")

    def square(self) -> Value:
        return self.map("mul", self.me)

    # -- views ---------------------------------------------------------------------------------------------------

    def reshape(self, *shape: Size) -> Value:
        """Same elements in row-major order; a single -1 is inferred from the exact quotient."""
        dims = list(shape)
        if -1 in dims:
            i = dims.index(-1)
            rest = prod(d for j, d in enumerate(dims) if j != i)
            dims[i] = prod(self.shape) // rest if rest != 0 else 0
        return self.me if tuple(dims) == self.shape else self.emit("reshape", [self.me], shape=tuple(dims))[0]

    def flatten(self, axis: int = 0) -> Value:
        """As a matrix: the axes before `axis` by the axes from it on."""
        return self.reshape(prod(self.shape[:axis]), prod(self.shape[axis:]))

    def unsqueeze(self, *axes: int) -> Value:
        rank = self.rank + len(axes)
        where = {a % rank for a in axes}
        dims = iter(self.shape)
        return self.reshape(*(1 if i in where else next(dims) for i in range(rank)))

    def squeeze(self, *axes: int) -> Value:
        where = {self.axis(a) for a in axes}
        return self.reshape(*(d for i, d in enumerate(self.shape) if i not in where))

    def permute(self, *axes: int) -> Value:
        return self.me if axes == tuple(range(self.rank)) else self.emit("permute", [self.me], axes=axes)[0]

    def moveaxis(self, source: int, target: int) -> Value:
        order = [i for i in range(self.rank) if i != self.axis(source)]
        order.insert(self.axis(target), self.axis(source))
        return self.permute(*order)

    def broadcast(self, *shape: Size) -> Value:
        """numpy's broadcast_to: leading axes are added, dims of 1 are repeated."""
        return self.me if shape == self.shape else self.emit("broadcast", [self.me], shape=shape)[0]

    def ensure_shape(self, *shape: Size, text: str) -> Value:
        """The same value with this shape, which is checked at run time unless it is provable.

        Raises ValueError with `text` where the value cannot have this shape."""
        return self.me if shape == self.shape else self.emit("ensure_shape", [self.me], shape=shape, text=text)[0]

    def slice(self, starts: Sequence[Size], sizes: Sequence[Size], steps: Sequence[int] | None = None) -> Value:
        """Element i of an axis is start + i * step of the source; a negative step flips. All axes are given."""
        steps = tuple(steps or (1,) * self.rank)
        if tuple(sizes) == self.shape and steps == (1,) * self.rank:
            return self.me
        return self.emit("slice", [self.me], starts=tuple(starts), sizes=tuple(sizes), steps=steps)[0]

    def narrow(self, axis: int, start: Size, size: Size) -> Value:
        """The part [start, start + size) of one axis."""
        axis = self.axis(axis)
        starts: list[Size] = [0] * self.rank
        sizes = list(self.shape)
        starts[axis], sizes[axis] = start, size
        return self.slice(starts, sizes)

    def flip(self, *axes: int) -> Value:
        where = {self.axis(a) for a in axes}
        starts = [d - 1 if i in where else 0 for i, d in enumerate(self.shape)]
        return self.slice(starts, self.shape, [-1 if i in where else 1 for i in range(self.rank)])

    def pad(self, low: Sequence[Size], high: Sequence[Size], value: float | bool = 0) -> Value:
        """Constant padding on all axes, amounts >= 0."""
        if all(isinstance(p, int) and p == 0 for p in (*low, *high)):
            return self.me
        return self.emit("pad", [self.me], low=tuple(low), high=tuple(high), value=value)[0]

    def window(
        self, axes: Sequence[int], sizes: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
    ) -> Value:
        """Sliding windows: each of `axes` becomes the window's position, and an axis of `sizes[i]` is appended."""
        attrs = {"sizes": tuple(sizes), "strides": tuple(strides), "dilations": tuple(dilations)}
        return self.emit("window", [self.me], axes=tuple(self.axis(a) for a in axes), **attrs)[0]

    # -- reductions ----------------------------------------------------------------------------------------------

    def reduce(self, kind: str, axes: Sequence[int] | int | None = None, keepdims: bool = False) -> Value:
        """kind: add, mul, max, min, and, or (a combining primitive). axes None: all of them."""
        chosen = range(self.rank) if axes is None else [axes] if isinstance(axes, int) else axes
        where = tuple(sorted({self.axis(a) for a in chosen}))
        out = self.emit("reduce", [self.me], kind=kind, axes=where)[0] if where else self.me
        return out.unsqueeze(*where) if keepdims and where else out

    def sum(self, axes: Sequence[int] | int | None = None, keepdims: bool = False) -> Value:
        return self.reduce("add", axes, keepdims)

    def max(self, axes: Sequence[int] | int | None = None, keepdims: bool = False) -> Value:
        return self.reduce("max", axes, keepdims)

    def min(self, axes: Sequence[int] | int | None = None, keepdims: bool = False) -> Value:
        return self.reduce("min", axes, keepdims)

    def mean(self, axes: Sequence[int] | int | None = None, keepdims: bool = False) -> Value:
        """Sum over count; the count may be symbolic."""
        chosen = range(self.rank) if axes is None else [axes] if isinstance(axes, int) else axes
        count = prod(self.shape[self.axis(a)] for a in chosen)
        return self.sum(axes, keepdims) / self.const_size(count)

    def const_size(self, size: Size) -> Value:
        """A Size as a scalar of this value's dtype."""
        if isinstance(size, int):
            return self.const(size)
        return self.emit("size", [], value=size)[0].cast(self.dtype)

    # -- others --------------------------------------------------------------------------------------------------

    def matmul(self, other: Value, acc: DType | None = None) -> Value:
        """[..., M, K] x [..., K, N], batch axes broadcasting; acc: accumulating (and result) dtype."""
        return self.emit("matmul", [self.me, other], acc=acc or self.dtype)[0]

    def gather(self, indices: Sequence[Value], axes: Sequence[int]) -> Value:
        """numpy's x[..., i0, i1, ...] on any ascending `axes`.

        indices: of one dtype, broadcast to one shape I, values in [0, dim). They replace the axes: I's axes stand where
        the first of `axes` stood, the others keep their order."""
        return self.emit("gather", [self.me, *indices], axes=tuple(self.axis(a) for a in axes))[0]

    def take(self, index: Value, axis: int) -> Value:
        return self.gather([index], [axis])

    def wrap_index(self, dim: Size) -> Value:
        """Indices with negative ones counted from the end of an axis of `dim`."""
        return (self < 0).select(self + self.const_size(dim), self.me)
