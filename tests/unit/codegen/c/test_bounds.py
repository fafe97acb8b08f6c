"""Checked accesses (templates/c/bounds.h): kernels that stay inside their buffers do not notice, and of one that has an
element less, by its extent, each kind of kernel tells.

The last element of every buffer is asked for wherever the case is known to use it: for loop nests by their
interpreter, which raises IndexError for buffers that are cut off.
"""

from __future__ import annotations

import ctypes
import random
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import fuzz.test_loopnest as nests
import numpy as np
import pytest
import unit.codegen.attentions as attentions
import unit.codegen.convolutions as convolutions
import unit.codegen.exact as exact
import unit.codegen.nonzeros as nonzeros
import unit.codegen.recurrences as recurrences
import unit.codegen.sorts as sorts
from native import COMPILERS, FLAGS
from unit.codegen.c import test_conv as convolution_tests
from unit.codegen.c import test_matmul as matmuls
from unit.codegen.c import test_nms as suppressions
from unit.codegen.c import test_trees as ensembles

from intaglio.compiler.codegen.c import (
    attention,
    conv,
    loopnest,
    matmul,
    nms,
    nonzero,
    recurrent,
    sort,
    trees,
)
from intaglio.compiler.frontend.ops.tree_records import records_of
from intaglio.compiler.graph.ops.trees import leaves
from intaglio.compiler.kernel import interp
from intaglio.compiler.kernel.ir import Kernel, Let, LoopNest, Param, Schedule, Stage, Store
from intaglio.compiler.kernel.packing import PLAIN
from intaglio.compiler.scalar.dim import Symbol, evaluate, symbols
from intaglio.compiler.scalar.dtype import BOOL, DTYPES, F16, F32, F64, I32, I64, DType
from intaglio.compiler.scalar.expr import Call, Const, Expr, Index, Load, Local
from intaglio.compiler.schedule import default
from intaglio.compiler.target import target

Array = np.ndarray[Any, Any]
HANDMADE = Path(__file__).parents[3] / "handmade" / "guarded.c"


@dataclass
class Problem:
    """A kernel on buffers, and the parameters of which it uses the last element."""

    module: ModuleType
    kernel: Kernel
    arrays: Sequence[Array]
    sizes: Sequence[int]
    uses: list[int] = field(default_factory=list)
    schedule: Schedule | None = None

    @property
    def how(self) -> Schedule | None:
        return self.schedule or default(self.kernel.body, target())


@dataclass(frozen=True)
class Checked:
    """A kernel with checks, in machine code."""

    library: ctypes.CDLL
    problem: Problem

    def __call__(self, extents: Sequence[int] | None = None, less_scratch: int = 0) -> tuple[str, int, int] | None:
        """Runs all tasks; what was outside: the pointer's name, index and extent. extents: of the buffers."""
        p = self.problem
        schedule = p.how
        values = dict(zip(p.kernel.sizes, p.sizes, strict=True))
        tasks = evaluate(p.module.tasks(p.kernel.body, schedule), values)
        needed = evaluate(p.module.scratch_bytes(p.kernel.body, schedule), values)
        memory = np.full(needed + 128, 0xFF, np.uint8)
        scratch = memory.ctypes.data + -memory.ctypes.data % 64
        told = [a.size for a in p.arrays] if extents is None else extents
        buf = (ctypes.c_void_p * (2 * len(p.arrays) + 1))(
            *(a.ctypes.data for a in p.arrays), *told, needed - less_scratch
        )
        sizes, report = (ctypes.c_int64 * max(len(p.sizes), 1))(*p.sizes), (ctypes.c_int64 * 3)()
        function = ctypes.cast(self.library.kernel, ctypes.c_void_p)
        ends = ctypes.c_int64(0), ctypes.c_int64(tasks), ctypes.c_void_p(scratch)
        if self.library.guarded(function, buf, sizes, *ends, report):
            return None
        return ctypes.string_at(report[0]).decode(), report[1], report[2]

    def scratch_bytes(self) -> int:
        p = self.problem
        values = dict(zip(p.kernel.sizes, p.sizes, strict=True))
        return evaluate(p.module.scratch_bytes(p.kernel.body, p.how), values)


Compile = Callable[..., Checked]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    folder, libraries = tmp_path_factory.mktemp("checked"), {}

    def compile(problem: Problem, compiler: str = "gcc") -> Checked:
        text = problem.module.source(problem.kernel, "kernel", problem.how)
        key = text, compiler
        if key not in libraries:
            stem = folder / f"kernel{len(libraries)}"
            stem.with_suffix(".c").write_text(text)
            flags = [*FLAGS, "-DINTAGLIO_CHECKED", "-O1", "-fno-openmp-simd", f"{stem}.c", str(HANDMADE)]
            subprocess.run([*COMPILERS[compiler], *flags, "-o", f"{stem}.so", "-lm"], check=True)
            libraries[key] = ctypes.CDLL(f"{stem}.so")
        return Checked(libraries[key], problem)

    return compile


def check(problem: Problem, compiled: Compile) -> None:
    kernel = compiled(problem)
    assert kernel() is None, "outside of what it was given"
    extents = [a.size for a in problem.arrays]
    for number in problem.uses:
        less = [e - (i == number) for i, e in enumerate(extents)]
        found = kernel(less)
        assert found is not None, f"no access of the last element of buffer {number}"
        assert (found[0], found[2]) == (f"b{number}", less[number])
        assert found[1] >= less[number]
    if kernel.scratch_bytes() and problem.uses:
        # What templates ask for is all used, but for the alignment of its end; a nest has many short rows.
        found = kernel(less_scratch=kernel.scratch_bytes() if problem.module is loopnest else 64)
        assert found is not None and found[0] in ("scratch", "bytes")


# -- loop nests ------------------------------------------------------------------------------------------------------


def used(kernel: Kernel, arrays: Sequence[Array], sizes: Sequence[int]) -> list[int]:
    """The parameters whose last elements the kernel uses, as its interpreter has it, which looks at both sides of a
    choice; C does not, so these are left out."""
    found = []
    for number in sorted(always(kernel)):
        cut = [a.reshape(-1).copy()[: a.size - (i == number)] for i, a in enumerate(arrays)]
        try:
            interp.run(kernel, cut, sizes)
        except IndexError:
            found.append(number)
    return found


def always(kernel: Kernel) -> set[int]:
    """The parameters that are written, or read other than on one side of a choice."""
    assert isinstance(kernel.body, LoopNest)
    found = {stage.store.buffer for stage in kernel.body.stages if stage.store}
    for stage in kernel.body.stages:
        lets = {let.symbol: let.value for let in stage.lets}
        todo = [stage.value]
        while todo:
            e = todo.pop()
            found |= {e.buffer} if isinstance(e, Load) else set()
            todo += e.children[:1] if isinstance(e, Call) and e.prim == "select" else e.children
            index = e.index if isinstance(e, (Load, Local)) else e.size if isinstance(e, Index) else 0
            todo += [lets[s] for s in symbols(index) & lets.keys()]
    return found


@pytest.mark.sample(10)
@pytest.mark.parametrize("seed", range(40))
def test_random_nests(seed: int, compiled: Compile) -> None:
    nest = nests.Nest(random.Random(seed), points=1 << 12)
    kernel = nests.blocked(nest) if seed % 10 == 9 else nest.kernel()
    sizes = [nest.sizes[s] for s in kernel.sizes]
    assert isinstance(kernel.body, LoopNest)
    loops = [s for stage in kernel.body.stages for s in (*stage.axes, *stage.reduce_axes)]
    runs = seed % 10 == 9 or all(nest.value(0 if s.extent is None else s.extent) for s in (*kernel.body.outer, *loops))
    # What does not depend on a loop that never runs, C need not look at, and the interpreter does.
    uses = used(kernel, nest.data, sizes) if runs else []
    check(Problem(loopnest, kernel, nest.data, sizes, uses), compiled)


N = Symbol("n")


def nest(*stages: Stage, outer: tuple[Symbol, ...] = (), dtypes: Sequence[DType] = (F32, F32)) -> Kernel:
    params = tuple(Param(d, N, i == len(dtypes) - 1) for i, d in enumerate(dtypes))
    return Kernel(params, (N,), LoopNest(outer, stages))


OUTER, EACH, R = Symbol("o", 0, N), Symbol("i", 0, N), Symbol("r", 0, N)
LET, INDEX = Symbol("t"), Load(0, EACH, I64)
WRONG: dict[str, tuple[Kernel, str, int]] = {  # each with the pointer, and an index
    "a load beyond": (nest(Stage(Load(0, EACH + 1, F32), Store(1, EACH), (EACH,))), "b0", 10),
    "a load before": (nest(Stage(Load(0, EACH - 1, F32), Store(1, EACH), (EACH,))), "b0", -1),
    "a store beyond": (nest(Stage(Load(0, EACH, F32), Store(1, 2 * EACH), (EACH,))), "b1", 10),
    "a store before": (nest(Stage(Load(0, EACH, F32), Store(1, EACH - 3), (EACH,))), "b1", -3),
    "in outer loops": (nest(Stage(Load(0, OUTER + 5, F32), Store(1, OUTER)), outer=(OUTER,)), "b0", 10),
    "bools": (nest(Stage(Load(0, EACH + 1, BOOL), Store(1, EACH), (EACH,)), dtypes=(BOOL, BOOL)), "b0", 10),
    "half": (nest(Stage(Load(0, EACH + 1, F16), Store(1, EACH), (EACH,)), dtypes=(F16, F16)), "b0", 10),
    "a reduction": (nest(Stage(Load(0, R + 1, F32), Store(1, 0), (), (R,), "add")), "b0", 10),
    "a maximum": (nest(Stage(Load(0, R + 1, F32), Store(1, 0), (), (R,), "max")), "b0", 10),
    "columns": (nest(Stage(Load(0, EACH + R, F32), Store(1, EACH), (EACH,), (R,), "add")), "b0", 10),
    "a scan": (nest(Stage(Load(0, EACH + 1, F32), Store(1, EACH), (EACH,), scan="add")), "b0", 10),
    "a combination": (nest(Stage(Load(0, EACH, F32), Store(1, EACH + 4, "add"), (EACH,))), "b1", 10),
    "a row": (
        nest(Stage(Load(0, EACH, F32), None, (EACH,)), Stage(Local(0, R + 1, F32), Store(1, R), (R,))), "s0", 10
    ),
    "an index from data": (
        nest(
            Stage(Load(1, LET, F32), Store(2, EACH), (EACH,), lets=(Let(LET, INDEX),)), dtypes=(I64, F32, F32)
        ), "b1", 12345,
    ),
    "a masked load": (
        nest(Stage(Load(0, EACH + 1, F32, Call("lt", (Load(1, EACH, F32), Const(2.0, F32)), BOOL), Const(0.0, F32)),
                   Store(2, EACH), (EACH,)), dtypes=(F32, F32, F32)), "b0", 10,
    ),
}  # fmt: skip


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("name", WRONG)
def test_wrong_nests(name: str, compiler: str, compiled: Compile) -> None:
    kernel, pointer, index = WRONG[name]
    arrays: list[Array] = [np.ones(10, p.dtype.to_numpy()) for p in kernel.params]
    arrays[0][7] = 12345 if arrays[0].dtype == np.int64 else 1
    kept = [np.array([a, a]) for a in arrays]  # so that what lies behind is ours
    problem = Problem(loopnest, kernel, [k[0] for k in kept], [10])
    assert compiled(problem, compiler)() == (pointer, index, 10)
    assert all((k[1] == a).all() for k, a in zip(kept, arrays)), "it wrote outside"


def test_masked_loads_that_are_off_are_nowhere(compiled: Compile) -> None:
    off = Call("lt", (Load(1, EACH, F32), Const(0.0, F32)), BOOL)
    value: Expr = Load(0, EACH + 5, F32, off, Const(3.0, F32))
    kernel = nest(Stage(value, Store(2, EACH), (EACH,)), dtypes=(F32, F32, F32))
    arrays = [np.ones(10, np.float32) for _ in kernel.params]
    assert compiled(Problem(loopnest, kernel, arrays, [10]))() is None
    assert (arrays[2] == 3).all()


# -- templates -------------------------------------------------------------------------------------------------------

PRODUCTS = [{}, {"m": 2}, {"n": 64}, {"acc": F64}, {"acc": I32}, {"a_type": F16, "b_type": F16}]


@pytest.mark.sample(10)
@pytest.mark.parametrize("b", ["packed", "rows", "columns"])
@pytest.mark.parametrize("a", ["rows", "columns", "scaled"])
@pytest.mark.parametrize("how", PRODUCTS, ids=str)
def test_matmul(a: str, b: str, how: dict[str, Any], compiled: Compile) -> None:
    case = replace(matmuls.Case(13, 70, 29, 1 if b == "packed" else 2, a, b), **how)
    packing = matmuls._packing(case)
    arrays, sizes = matmuls._arrays(case, packing)
    uses = [0, 1, *([2] if a == "scaled" else []), 3, 4, 5]
    if packing and case.b_type and case.n % packing.nr:
        uses.remove(1)  # panels are read in place, to their ends, but where they are converted
    check(Problem(matmul, matmuls._kernel(case, packing), arrays, sizes, uses), compiled)


CONVOLUTIONS = {
    **convolutions.SHAPES,
    **{f"{name}, an expression": replace(convolutions.SHAPES[name], scaled=True) for name in ("3x3", "depthwise")},
    **{f"{n}, {d}": replace(convolutions.SHAPES[n], dtype=d) for n in ("3x3", "depthwise") for d in (F64, I32)},
    "3x3, half": replace(convolutions.SHAPES["3x3"], x_type=F16),
    **{
        f"winograd, {scaled=}": convolutions.Case((9, 7), 32, 70, (3, 3), winograd=True, scaled=scaled)
        for scaled in (False, True)
    },
}


@pytest.mark.sample(9)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution(name: str, compiled: Compile) -> None:
    case = CONVOLUTIONS[name].filled()
    packing = convolution_tests.how(case, target())[0]
    x, w, *others = convolutions.arrays_of(case)
    kernel, sizes = convolutions.kernel(case, packing)
    one, taps = np.zeros_like(x), np.zeros_like(w)
    one.reshape(-1)[-1] = 1
    reached = convolved(case, one, np.ones_like(w))  # with strides, no tap may meet the last pixel
    taps[(-1,) * len(case.taps)] = 1  # nor the last tap any pixel
    weighted = convolved(case, np.ones_like(x), taps) or not case.depthwise
    uses = [*[0] * reached, *[1] * weighted, *[2] * (case.scaled and reached), 3, 4, 5]
    check(Problem(conv, kernel, [x, packing.pack(w), *others], sizes, uses), compiled)


def convolved(case: convolutions.Case, x: Array, w: Array) -> bool:
    """Whether anything but zeros comes out, where nothing is added."""
    kernel, sizes = convolutions.kernel(case, PLAIN)
    _, _, scale, *added, y = convolutions.arrays_of(case)
    arrays = [x, w, np.ones_like(scale), *map(np.zeros_like, added), np.zeros_like(y)]
    return bool(exact.meant(kernel, arrays, sizes)[-1].any())


@pytest.mark.sample(5)
@pytest.mark.parametrize("case", attentions.CASES, ids=str)
def test_attention(case: attentions.Case, compiled: Compile) -> None:
    kernel, sizes = attentions.kernel_of(case)
    arrays = attentions.arrays_of(case, np.random.default_rng(0))
    last_key = case.causal is None or case.m - 1 + case.causal >= case.n - 1
    uses = [0, *([1, 2] if last_key else []), 3, *([4] if case.mask and last_key else [])]
    check(Problem(attention, kernel, arrays, sizes, uses), compiled)


@pytest.mark.sample(7)
@pytest.mark.parametrize("case", recurrences.CASES, ids=str)
def test_recurrent(case: recurrences.Case, compiled: Compile) -> None:
    kernel, sizes = recurrences.kernel_of(case)
    arrays = recurrences.arrays_of(case, np.random.default_rng(0))
    if "lengths" in arrays:
        arrays["lengths"][:] = case.time
    uses = [i for i, name in enumerate(arrays) if not (name == "peephole" and case.input_forget)]
    check(Problem(recurrent, kernel, [*arrays.values()], sizes, uses), compiled)


@pytest.mark.parametrize("name", sorts.NUMERIC)
@pytest.mark.parametrize(("n", "k"), [(1, 1), (40, 40), (300, 5), (300, 50), (900, 900)])
def test_sort(name: str, n: int, k: int, compiled: Compile) -> None:
    case = sorts.Case(DTYPES[name], True, n, k)
    kernel, sizes = sorts.kernel_of(case)
    x = sorts.random(case, np.random.default_rng(0))
    values = np.zeros((case.outer, k, case.inner), x.dtype)
    check(Problem(sort, kernel, [x, values, np.zeros(values.shape, np.int64)], sizes, [0, 1, 2]), compiled)


@pytest.mark.parametrize(("n", "columns"), [(2, 1), (40, 3), (300, 2)])
def test_sort_of_tuples(n: int, columns: int, compiled: Compile) -> None:
    x = np.zeros((n, columns), np.float32)  # so that all of them are looked at
    arrays = [x, np.zeros(n, np.int64), np.zeros(n, np.bool_)]
    check(Problem(sort, sorts.kernel_of_tuples(F32), arrays, [n, columns], [0, 1, 2]), compiled)


@pytest.mark.parametrize("computed", [False, True])
def test_nonzero(computed: bool, compiled: Compile) -> None:
    arrays = nonzeros.arrays(300, 1, computed)
    check(Problem(nonzero, nonzeros.kernel_of(computed), arrays, [300], [0, 1, 2]), compiled)


@pytest.mark.parametrize(("n", "most"), [(1, 1), (300, 300)])
def test_nms(n: int, most: int, compiled: Compile) -> None:
    """All boxes are taken, as none overlaps another one."""
    arrays = suppressions.arrays(F32, 2, 3, n, most)
    arrays[0] = np.arange(2 * n * 4, dtype=np.float32).reshape(2, n, 4)
    arrays[3][:] = -np.inf
    arrays[1] = np.abs(arrays[1])
    kernel = suppressions.kernel_of(F32, True)
    check(Problem(nms, kernel, arrays, [2, 3, n, most], [0, 1, 2, 3, 4, 5]), compiled)


@pytest.mark.parametrize("name", ["one weight", "all targets", "some targets"])
def test_trees(name: str, compiled: Compile) -> None:
    """A row ends in the leaf of the last record."""
    form, rng = ensembles.FORMS[name], random.Random(0)
    for _ in range(100):
        _, forest = ensembles.forest_of(form, rng)
        records = records_of(forest, np.float32, "add")
        x = form.rows(rng, 500)
        if (leaves(x, *records.tables[:2]) == len(records.tables[1]) - 1).any():
            break
    arrays, sizes = ensembles.arrays_of(records, x, form.targets, 1, 16)
    kernel, uses = ensembles.kernel_of(records, F32, "add"), [1, 2, len(arrays) - 1]
    check(Problem(trees, kernel, arrays, sizes, uses, ensembles.HOW), compiled)


def test_without_checks_nothing_is_left_of_them(tmp_path: Path) -> None:
    """The text that is compiled has the accesses alone."""
    kernel, _ = attentions.kernel_of(attentions.CASES[0])
    (tmp_path / "kernel.c").write_text(attention.source(kernel, "kernel", default(kernel.body, target())))
    command = [*COMPILERS["gcc"], *FLAGS, "-E", "-P", "kernel.c"]
    plain = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert not any(each in plain for each in ("extent", "intaglio_inside", "intaglio_lines", "intaglio_outside"))
    checked = subprocess.run([*command, "-DINTAGLIO_CHECKED"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert checked.stdout.count("intaglio_inside") > 40
