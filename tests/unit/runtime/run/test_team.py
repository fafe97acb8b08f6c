"""The thread pool and the team (templates/c/pool.c), by a program whose every step needs what other threads wrote."""

from __future__ import annotations

import multiprocessing
import os
import random
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chance import fresh_seed

from intaglio import InferenceSession, SessionOptions
from intaglio.compiler.codegen.c.build import TEMPLATES


def session(artifacts: dict[str, Path], threads: int) -> InferenceSession:
    options = SessionOptions()
    options.intra_op_num_threads = threads
    return InferenceSession(artifacts["relay"], options)


def relay(session: InferenceSession, n: int, rounds: int, steps: int) -> tuple[Any, int]:
    """Runs and checks; returns the elements that each thread took, and how many threads there could be."""
    x = np.arange(n)
    feed = {"x": x, "rounds": np.zeros(rounds, bool), "steps": np.zeros(steps, bool)}
    y, taken, present = session.run(None, feed)
    assert np.array_equal(y, (x if rounds % 2 == 0 else x[::-1]) + rounds)
    count = int(sum(present[:64] == 1))
    return taken[:count], count


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize(("n", "rounds", "steps"), [(1, 4, 1), (7, 3, 2), (1000, 20, 30), (20000, 9, 3), (64, 300, 1)])
def test_every_element_once_in_every_round(
    artifacts: dict[str, Path], threads: int, n: int, rounds: int, steps: int
) -> None:
    relay(session(artifacts, threads), n, rounds, steps)


def test_more_steps_than_slots_between_two_barriers(artifacts: dict[str, Path]) -> None:
    relay(session(artifacts, 3), 5000, 4, 100)


def test_sizes_at_random(artifacts: dict[str, Path]) -> None:
    chosen = random.Random(fresh_seed())
    sessions = [session(artifacts, threads) for threads in (2, 4, 5)]
    for _ in range(60):
        relay(chosen.choice(sessions), chosen.randint(1, 3000), chosen.randint(1, 12), chosen.randint(1, 20))


def test_concurrent_runs(artifacts: dict[str, Path]) -> None:
    """Eight Python threads on sessions of different team sizes: all make progress, all are right."""
    sessions = [session(artifacts, threads) for threads in (1, 2, 4)]
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for i in range(25):
                relay(sessions[(number + i) % 3], 500 + number, 6, 2)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert failures == []


def test_a_busy_pool_lends_what_it_can(artifacts: dict[str, Path]) -> None:
    """With more callers than CPUs nobody waits: some run alone."""
    shared = session(artifacts, 4)
    counts: list[int] = []

    def work() -> None:
        for _ in range(20):
            counts.append(relay(shared, 100_000, 20, 1)[1])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(counts) == 160
    assert min(counts) == 1 and max(counts) <= 4


def _child(shared: InferenceSession, queue: Any) -> None:
    queue.put(relay(shared, 1000, 10, 2)[1])


def test_a_forked_child_starts_its_own_threads(artifacts: dict[str, Path]) -> None:
    shared = session(artifacts, 3)
    relay(shared, 1000, 10, 2)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [context.Process(target=_child, args=(shared, queue)) for _ in range(2)]
    for child in children:
        child.start()
    assert [queue.get(timeout=60) for _ in children] == [3, 3]
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    assert relay(shared, 1000, 10, 2)[1] == 3  # the parent's are still there


def test_fork_while_another_thread_runs(artifacts: dict[str, Path]) -> None:
    shared = session(artifacts, 2)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            relay(shared, 2000, 20, 1)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                try:
                    relay(shared, 100, 5, 1)
                    os._exit(0)
                finally:
                    os._exit(1)
            deadline = time.monotonic() + 30
            while (waited := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
                time.sleep(0.001)
            assert waited == (child, 0)
    finally:
        stop.set()
        thread.join()


def test_idle_threads_do_not_spin(artifacts: dict[str, Path]) -> None:
    shared = session(artifacts, 4)
    relay(shared, 1000, 10, 1)
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.2)
    assert time.process_time() - before < 0.02


def test_scratch(artifacts: dict[str, Path]) -> None:
    """Each thread has scratch memory of its own."""
    shared = InferenceSession(artifacts["affine"])
    for _ in range(20):
        y, z = shared.run(None, {"x": np.ones((900, 3), np.float32)})
        assert np.array_equal(y, [[1.5, 1.5, 13]] * 900) and np.array_equal(z, y.T)


STRESS = Path(__file__).parents[3] / "handmade" / "stress.c"


@pytest.fixture(scope="module")
def stress(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., float]:
    """Runs stress.c; returns the milliseconds of its slowest run. Fails where it found something wrong."""
    folder = tmp_path_factory.mktemp("stress")

    def run(*arguments: int, flags: Sequence[str] = ()) -> float:
        program = folder / "-".join(["stress", *flags])
        if not program.exists():
            command = ["gcc", "-std=gnu11", "-O1", "-g", *flags, f"-I{TEMPLATES}", str(STRESS)]
            subprocess.run([*command, "-o", str(program), "-lpthread"], check=True)
        done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and not done.stderr, done.stderr
        return float(done.stdout)

    return run


LATE = [(2, 1, 0), (8, 1, 0), (3, 4, 0), (2, 1, 500), (3, 2, 300), (8, 3, 100)]


@pytest.mark.parametrize(("threads", "callers", "late_us"), LATE)
def test_late_threads_neither_repeat_nor_miss_a_task(
    stress: Callable[..., float], threads: int, callers: int, late_us: int
) -> None:
    stress(60 if late_us else 600, threads, callers, late_us)


@pytest.mark.parametrize(("threads", "callers", "late_us"), LATE)
def test_no_two_threads_race(stress: Callable[..., float], threads: int, callers: int, late_us: int) -> None:
    """By gcc's ThreadSanitizer."""
    stress(20 if late_us else 60, threads, callers, late_us, flags=["-fsanitize=thread"])


def test_a_run_does_not_wait_for_a_thread_that_sleeps(stress: Callable[..., float]) -> None:
    """The worker sleeps a second before it claims anything, and there are three runs meanwhile."""
    assert stress(3, 2, 1, 1_000_000) < 1000
