"""The memory plan: buffers share memory where their lives and their sizes allow it, and never else."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from intaglio.compiler.kernel.ir import Bind, Branch, Copy, Kernel, Launch, Loop, LoopNest, Step
from intaglio.compiler.kernel.program import Buffer
from intaglio.compiler.plan.memory import Arena, aligned, plan
from intaglio.compiler.scalar.dim import Size, Symbol
from intaglio.compiler.scalar.dtype import BOOL, F32, I64, DType

B, N = Symbol("b"), Symbol("n")
KERNEL = Kernel((), (), LoopNest((), ()))


def launch(*buffers: int) -> Launch:
    return Launch(KERNEL, buffers, (), ())


def arena(sizes: Sequence[Size], steps: Sequence[Step], bound: Sequence[Symbol] = (), dtype: DType = F32) -> Arena:
    return plan([Buffer("arena", i, dtype, size) for i, size in enumerate(sizes)], steps, bound)


def chain(count: int) -> list[Step]:
    """Each step reads what the one before wrote."""
    return [launch(0), *(launch(i, i + 1) for i in range(count - 1)), launch(count - 1)]


def test_two_slots_are_enough_for_a_chain() -> None:
    made = arena([100] * 5, chain(5))
    assert [made.slot[i] for i in range(5)] == [0, 1, 0, 1, 0]
    assert [made.offset(i) for i in range(5)] == [0, 448, 0, 448, 0]  # whole cache lines of 100 floats
    assert made.size == 896


def test_what_is_alive_at_once_is_apart() -> None:
    made = arena([8] * 3, [launch(0), launch(1), launch(0, 1, 2), launch(2)])
    assert len(set(made.slot.values())) == 3
    assert made.lifetimes == {0: (0, 2), 1: (1, 2), 2: (2, 3)}


@pytest.mark.parametrize(("sizes", "slots", "size"), [
    ([16, 100, 16], [0, 1, 0], 64 + 448),
    ([16, 100, 20], [0, 1, 0], 128 + 448),  # the slot grows
    ([N, 2 * N, N], [0, 1, 0], aligned(4 * N) + aligned(8 * N)),
    ([N, 2 * N, 3 * N], [0, 1, 0], aligned(12 * N) + aligned(8 * N)),
    ([N, N, B], [0, 1, 2], 2 * aligned(4 * N) + aligned(4 * B)),  # nothing is known of which one is larger
])  # fmt: skip
def test_a_slot_is_shared_where_it_provably_fits(sizes: list[Size], slots: list[int], size: Size) -> None:
    made = arena(sizes, chain(3))
    assert [made.slot[i] for i in range(3)] == slots
    assert made.size == size


def test_the_tightest_of_the_free_slots() -> None:
    made = arena([16, 1000, 16, 16], [launch(0, 1), launch(2), launch(3), launch(2, 3)])
    assert made.slot[2] == made.slot[0]  # not the one of 1000
    assert made.slot[3] == made.slot[1]


def test_types_may_differ() -> None:
    buffers = [Buffer("arena", 0, I64, 8), Buffer("arena", 1, F32, 8), Buffer("arena", 2, BOOL, 64)]
    made = plan(buffers, chain(3))
    assert made.slot[2] == made.slot[0] and made.size == 128


def test_only_intermediate_values_are_planned() -> None:
    buffers = [Buffer(kind, i, F32, 8) for i, kind in enumerate(("input", "weight", "arena", "output"))]
    assert plan(buffers, [launch(0, 1, 2), launch(2, 3)]).slot == {2: 0}


def test_each_side_has_its_own_memory() -> None:
    buffers = [Buffer("arena", 0, F32, 8), Buffer("arena", 1, F32, 8, device=True, twin=0)]
    steps = [launch(0), Copy(0, 1), launch(1)]
    assert plan(buffers, steps).slot == {0: 0}
    assert plan(buffers, steps, device=True).slot == {1: 0}


def test_what_a_late_size_makes_known_is_a_region_of_its_own() -> None:
    made = arena([8, N, B * N, 8], [launch(0), Bind(N, 0), launch(1), launch(2), launch(3)], [N])
    assert [made.region(i) for i in range(4)] == [0, 1, 1, 0]
    assert made.sizes == (64, aligned(4 * N) + aligned(4 * B * N))


def test_what_a_loop_finds_stays_until_its_end() -> None:
    """The next iteration reads it again; what an iteration makes may take turns."""
    count, found, made_inside, later, after = range(5)
    body = (launch(found, made_inside), launch(made_inside, later), launch(later))
    steps = [launch(found), Loop(Symbol("i", 0, 7), 7, None, count, (), body), launch(after)]
    made = arena([8] * 5, steps)
    assert made.slot[found] not in (made.slot[made_inside], made.slot[later])
    assert made.slot[after] in (made.slot[found], made.slot[made_inside], made.slot[later], made.slot[count])


def test_sides_of_a_branch_are_not_alive_at_once_with_each_others() -> None:
    condition, one, other = range(3)
    steps = [launch(condition), Branch(condition, (launch(one), launch(one)), (launch(other), launch(other)))]
    made = arena([8] * 3, steps)
    assert made.slot[one] == made.slot[other]
