"""The kernel IR: loops over scalar expressions. Both code generators print it; `interp.py` defines its meaning.

    kernel  ::= Kernel(params, sizes, body)
    body    ::= LoopNest(outer, stages)                     pointwise, row, reduction, scan, gather, scatter kernels
              | Matmul(...) | Conv(...) | Attention(...) | Recurrent(...)                   template kernels
              | Sort(...) | Nonzero(...) | Nms(...) | Trees(...)
    stage   ::= Stage(axes, reduce_axes, reduce, scan, lets, value, store)

A LoopNest runs its stages in order, once for each point of the outer domain; points are independent of each other
and may run in parallel, in any order. A stage evaluates `value` at each point of its inner axes:

    no reduce:  for axes: result[axes] = value
    reduce:     for axes: result[axes] = reduce over reduce_axes of value        (the identity if these are empty)
    scan:       result[axes] = prefix combination of value along the last axis

A stage with a `store` writes its result to a buffer. A stage without one keeps it for later stages of the same outer
point, which read it as Local(slot, index): slot is the stage's position, index the row-major position in axes
(0 if there are none). Loop variables are `Symbol`s whose `extent` is the loop's bound; an inner extent may mention
outer variables. Kernels are closed: the free symbols of a body are `Kernel.sizes`, its buffers `Kernel.params`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from ..scalar.dim import Size, Symbol
from ..scalar.dtype import BOOL, F32, F64, DType
from ..scalar.expr import Acc, Expr, Index
from .packing import Packing


@dataclass(frozen=True, slots=True)
class Param:
    """A buffer parameter, row-major and contiguous; `size` is its number of elements."""

    dtype: DType
    size: Size
    written: bool


@dataclass(frozen=True, slots=True)
class Let:
    """Binds `symbol`, which occurs in indices of loads and stores, to an integer expression at a point of a stage."""

    symbol: Symbol
    value: Expr


@dataclass(frozen=True, slots=True)
class Store:
    """Destination of a stage: params[buffer][index]; `combine` is a primitive for read-modify-write (scatter)."""

    buffer: int
    index: Size
    combine: str | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a LoopNest, or one epilogue store of a template kernel; see the module docstring."""

    value: Expr
    store: Store | None
    axes: tuple[Symbol, ...] = ()
    reduce_axes: tuple[Symbol, ...] = ()
    reduce: str | None = None
    scan: str | None = None
    lets: tuple[Let, ...] = ()


FAULTS = 63  # that a kernel distinguishes: bits of one integer


@dataclass(frozen=True, slots=True)
class LoopNest:
    """The general kernel. One task is one point of `outer`."""

    outer: tuple[Symbol, ...]
    stages: tuple[Stage, ...]


@dataclass(frozen=True, slots=True)
class Blocks:
    """Runs of `size` rows of B that share a scale and a zero point: numbers of the parameters with these.

    zero_bits: of a zero point, an unsigned integer; 32 if they are floats."""

    size: int
    scale: int
    zero: int
    zero_bits: int


@dataclass(frozen=True, slots=True)
class Matmul:
    """acc[batch, m, n] = sum over k of a * b, accumulated in `acc`; then the epilogue at each (batch, m, n).

    a, b: expressions at (batch, m, k) and (batch, k, n); usually a plain affine Load, which templates read in place. On
    the host they are of the types that operands.multiplied tells.
    packing: how the weights in b's buffer are packed, or None; with a packing, b's Load names only the buffer.
    blocks: if given, b's buffer has unsigned integers, and B is (b - zero[k // size, n]) * scale[k // size, n].
    epilogue: stages without inner axes, in terms of the symbols batch, m, n and Acc().
    """

    batch: tuple[Symbol, ...]
    m: Symbol
    n: Symbol
    k: Symbol
    a: Expr
    b: Expr
    acc: DType
    epilogue: tuple[Stage, ...]
    packing: Packing | None = None
    blocks: Blocks | None = None


@dataclass(frozen=True, slots=True)
class Conv:
    """Channels-last convolution: acc[n, *out, c] = sum over taps, i of x[n, *in, g*IC + i] * w[taps, i, c].

    x: expression at (n, *spatial, channel), where `spatial` are symbols for the input position and `channel` for the
    input channel (all groups); usually a plain Load, and of the type that operands.multiplied tells. Positions outside
    [0, extent) count as `fill`, an expression of x's type without symbols, or zero.
    in = out * strides + tap * dilations - pads. groups divides both channel counts; groups == channels with one output
    channel each is depthwise. w: number of the buffer parameter of the weights, packed as `packing` says.
    epilogue: stages without inner axes, in terms of n, out, c (all groups) and Acc().
    """

    n: Symbol
    spatial: tuple[Symbol, ...]
    channel: Symbol
    out: tuple[Symbol, ...]
    c: Symbol
    taps: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[Size, ...]
    groups: int
    x: Expr
    w: int
    acc: DType
    epilogue: tuple[Stage, ...]
    packing: Packing
    fill: Expr | None = None


@dataclass(frozen=True, slots=True)
class Attention:
    """acc[batch, m, dv] = sum over n of softmax over n (scale * q . k + mask)[batch, m, n] * v[batch, n, dv].

    q at (batch, m, d), k at (batch, n, d), v at (batch, n, dv): expressions, usually plain affine Loads.
    mask: f32 expression at (batch, m, n) that is added to the scores, or None. causal: None, or a Size `offset`:
    n > m + offset is excluded (so templates may skip those blocks; mask need not repeat it).
    A row with all positions excluded gives zeros if `zero_rows`, else NaN; a row without positions gives zeros.
    epilogue: stages without inner axes, in terms of batch, m, dv and Acc().
    """

    batch: tuple[Symbol, ...]
    m: Symbol
    n: Symbol
    d: Symbol
    dv: Symbol
    q: Expr
    k: Expr
    v: Expr
    mask: Expr | None
    scale: float
    causal: Size | None
    epilogue: tuple[Stage, ...]
    zero_rows: bool = False

    @property
    def acc(self) -> DType:
        """The type in which scores and sums are computed."""
        return F64 if self.q.dtype == F64 else F32


@dataclass(frozen=True, slots=True)
class Recurrent:
    """An LSTM, GRU or RNN layer over time, with its input projections already computed.

    kind: "lstm", "gru", "gru_linear_before_reset" or "rnn"; G = 4, 3, 3, 1 gates in ONNX's order (iofc, zrh).
    Buffers (parameter numbers; -1 where absent), row-major: xw [T, B, D, G, H] = x W + Wb + Rb (for
    linear_before_reset without the Rb of gate h), r [D, H, G, H] = R transposed (k-major), rb [D, H] (the Rb of gate h,
    linear_before_reset only), peephole [D, 3, H] (lstm: i, o, f), h0 and c0 [D, B, H], lengths [B] i64; outputs y [T,
    B, D, H], yh and yc [D, B, H]. Beyond its length a sequence's y is 0, and its states keep their values. direction:
    "forward", "reverse" or "bidirectional" (D = 2). activations: per direction the functions (f, g[, h]) as
    expressions of Var("x"); clip: float or None; input_forget: whether the LSTM's gates are coupled.
    """

    kind: str
    direction: str
    time: Size
    batch: Size
    hidden: Size
    xw: int
    r: int
    rb: int
    peephole: int
    h0: int
    c0: int
    lengths: int
    y: int
    yh: int
    yc: int
    activations: tuple[tuple[Expr, ...], ...]
    clip: float | None
    input_forget: bool
    dtype: DType


@dataclass(frozen=True, slots=True)
class Sort:
    """Stable sort of rows: for each outer point, sorts x[outer, i] over i and writes the first values and indices.

    x: expression at (outer, i). values, indices: stores at (outer, j), j being the output position, or None; as many
    are written as j's extent. NaN is the largest value. begins: a store at (outer, j) of whether an element differs
    from the one before it, or None. column: if given, x is at (outer, i, column), and tuples are sorted
    lexicographically; all of them are kept (j has the extent of i), and values is None.
    """

    outer: tuple[Symbol, ...]
    i: Symbol
    j: Symbol
    x: Expr
    descending: bool
    values: Store | None
    indices: Store | None
    index_dtype: DType
    begins: Store | None = None
    column: Symbol | None = None

    @property
    def stores(self) -> tuple[Stage, ...]:
        """The stores at each (outer, j), in terms of i; Acc() is whether the element differs from the one before it."""
        results = ((self.x, self.values), (Index(self.i), self.indices), (Acc(BOOL), self.begins))
        return tuple(Stage(value, store) for value, store in results if store is not None)


@dataclass(frozen=True, slots=True)
class Nonzero:
    """The positions i where `mask` (bool, at i) is true, ascending.

    places: a store of the j-th position at j, whose extent is that of i; the rest of the buffer has any contents.
    count: a store of their number."""

    i: Symbol
    j: Symbol
    mask: Expr
    places: Store
    count: Store


@dataclass(frozen=True, slots=True)
class Nms:
    """Non-maximum suppression: for each outer point, a row of scores, selects boxes i in descending order of score.

    A box is left out if its intersection over union with a box selected before exceeds `overlap`; equal scores keep
    the order of i. score: expression at (outer, i); boxes of scores up to `least`, if given, are left out. top, left,
    bottom, right: the corners at (outer, i). overlap, least: expressions at (outer). places: a store at (outer, j) of
    the j-th box, for at most as many as j's extent; counts: a store at (outer) of their number. All expressions are of
    one type, in which boxes are compared.
    """

    outer: tuple[Symbol, ...]
    i: Symbol
    j: Symbol
    score: Expr
    top: Expr
    left: Expr
    bottom: Expr
    right: Expr
    overlap: Expr
    least: Expr | None
    places: Store
    counts: Store


@dataclass(frozen=True, slots=True)
class Trees:
    """acc[part, row, target] = the target's weights in the leaves that the row reaches, combined over a part's trees.

    kind: "add", "min" or "max", which combines in f64, in the order of the trees. Part p has the trees
    [p trees / parts, (p + 1) trees / parts). x: expression at `place`, a position in the rows of `columns` numbers.
    Buffers (parameter numbers; -1 where absent): roots, nodes, weights, owners; their meaning, and that of `relations`
    and `missing`, is in graph/ops/trees.py. steps: an estimate of the nodes on a row's path. epilogue: stages without
    inner axes, in terms of part, row, target and Acc().
    """

    part: Symbol
    row: Symbol
    target: Symbol
    place: Symbol
    columns: Size
    x: Expr
    roots: int
    nodes: int
    weights: int
    owners: int
    kind: str
    relations: tuple[int, int]
    missing: bool
    trees: Size
    steps: Size
    epilogue: tuple[Stage, ...]


Body = LoopNest | Matmul | Conv | Attention | Recurrent | Sort | Nonzero | Nms | Trees


@dataclass(frozen=True, slots=True)
class Kernel:
    """The unit of launching: a body, its formal integer parameters `sizes` and its formal buffers `params`.

    A lowered kernel's sizes are the model's symbols; `schedule/close.py` generalises them.
    faults: the number of demands on data that it checks (`Require`)."""

    params: tuple[Param, ...]
    sizes: tuple[Symbol, ...]
    body: Body
    faults: int = 0


class Schedule:
    """How a kernel is executed; `compiler/schedule/` defines a subclass for each kind of body."""

    __slots__ = ()


Scheduled = tuple[Kernel, Schedule | None]


@dataclass(frozen=True, slots=True)
class Launch:
    """A kernel applied to actual buffers (numbers of the program) and actual sizes; `origin` names its ONNX nodes.

    device: whether it runs on the accelerator; refusal: why not, if there is an accelerator. faults: the program's
    check for each of the kernel's faults. schedule: None if there is nothing to choose."""

    kernel: Kernel
    buffers: tuple[int, ...]
    sizes: tuple[Size, ...]
    origin: tuple[str, ...]
    device: bool = False
    refusal: str = ""
    faults: tuple[int, ...] = ()
    schedule: Schedule | None = None

    @property
    def scheduled(self) -> Scheduled:
        """The kernel with its schedule, which decide the printed code."""
        return self.kernel, self.schedule


@dataclass(frozen=True, slots=True)
class Copy:
    """Copies a buffer to its twin in the other memory; `origin` names the ONNX nodes that need it there."""

    source: int
    target: int
    origin: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HostCall:
    """Calls a function of the runtime (runtime/host/) on buffers of the host; `origin` names its ONNX nodes.

    arguments: pairs of a name and a constant; takes, gives: the ONNX type of each buffer's elements, or "object"."""

    function: str
    arguments: tuple[tuple[str, Any], ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    takes: tuple[str, ...]
    gives: tuple[str, ...]
    shapes: tuple[tuple[Size, ...], ...]  # of the inputs, then of the outputs
    origin: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bind:
    """From here on, `symbol` is the value of the i64 scalar in `buffer`."""

    symbol: Symbol
    buffer: int


@dataclass(frozen=True, slots=True)
class Check:
    """The run fails unless the program's check of this number holds."""

    number: int


@dataclass(frozen=True, slots=True)
class Branch:
    """Runs one of two lists of steps; `condition` is the buffer of a bool scalar."""

    condition: int
    then: tuple[Step, ...]
    otherwise: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """Runs `body` while the bool in the buffer `condition` (None: true) holds, at most `trips` (None: any) times.

    symbol: the number of the iteration, from 0; count: the buffer of an i64 scalar that receives the number of
    iterations. rows: buffers of which each iteration writes a part, so that they live from one to the next."""

    symbol: Symbol
    trips: Size | None
    condition: int | None
    count: int
    rows: tuple[int, ...]
    body: tuple[Step, ...]


Step: TypeAlias = "Launch | HostCall | Copy | Bind | Check | Branch | Loop"
