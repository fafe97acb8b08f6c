"""What `intaglio doctor` says of a machine that makes models slower, each time with a remedy, and of one that does not.

The machine is told by functions of runtime/cpus.py, which read folders of the system (test_cpus.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from intaglio.compiler.cli import doctor
from intaglio.compiler.cli import main as cli
from intaglio.runtime import cpus

POOLS = ("OMP_WAIT_POLICY", "KMP_BLOCKTIME", "GOMP_SPINCOUNT", "OPENBLAS_NUM_THREADS")


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., dict[str, doctor.Finding]]:
    """A machine of four cores that is fit, but for what the test says; returns what is found, by topic."""
    for name in (*POOLS, "ORT_INTRA_OP_NUM_THREADS", "INTAGLIO_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("INTAGLIO_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(doctor, "version", lambda name: doctor.NOT_INSTALLED)
    monkeypatch.setattr(doctor, "_compiler", list)  # is tested by test_main.py, and takes a while

    def found(
        *, threads: int = 4, cores: int | None = 4, quota: float | None = None, governors: tuple[str, ...] = (),
        pages: str = "always", free: int = 1 << 40, flags: int = 0, blas: str = "mkl", **environment: str
    ) -> dict[str, doctor.Finding]:  # fmt: skip
        monkeypatch.setattr(cpus, "affinity", lambda: frozenset(range(threads)))
        monkeypatch.setattr(cpus, "cores", lambda numbers: cores)
        monkeypatch.setattr(cpus, "cgroup_quota", lambda: quota)
        monkeypatch.setattr(cpus, "governors", lambda numbers: frozenset(governors))
        monkeypatch.setattr(cpus, "huge_pages", lambda: pages)
        monkeypatch.setattr(os, "statvfs", lambda folder: SimpleNamespace(f_bavail=free, f_frsize=1, f_flag=flags))
        monkeypatch.setattr(doctor, "_blas", lambda: blas)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return {finding.topic: finding for finding in doctor.examine()}

    return found


def advised(found: dict[str, doctor.Finding]) -> dict[str, str]:
    return {topic: finding.remedy for topic, finding in found.items() if finding.mark == "advice"}


def test_nothing_to_say(machine: Callable[..., dict[str, doctor.Finding]]) -> None:
    found = machine(governors=("performance",))
    assert advised(found) == {}
    assert found["clock"].mark == found["memory"].mark == found["cache"].mark == "ok"
    assert advised(machine(cores=None, pages="")) == {}


@pytest.mark.parametrize(
    ("facts", "topic", "said", "remedy"),
    [
        ({"threads": 8}, "cores", "8 threads share 4 cores", "INTAGLIO_NUM_THREADS=4"),
        ({"quota": 3.5}, "quota", "the quota of 3.5 CPUs", "INTAGLIO_NUM_THREADS=3"),
        ({"quota": 0.5}, "quota", "1 threads use up the quota of 0.5 CPUs", "INTAGLIO_NUM_THREADS=1"),
        ({"governors": ("powersave", "performance")}, "clock", "the governor powersave", "cpupower"),
        ({"pages": "madvise"}, "memory", "only for programs that ask", "hugetlb=1"),
        ({"pages": "never"}, "memory", "no huge pages", "transparent_hugepage"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "openmp", "(OMP_WAIT_POLICY=ACTIVE)", "OMP_WAIT_POLICY=passive"),
        ({"KMP_BLOCKTIME": "200"}, "openmp", "(KMP_BLOCKTIME=200)", "OMP_WAIT_POLICY=passive"),
        ({"GOMP_SPINCOUNT": "infinite"}, "openmp", "(GOMP_SPINCOUNT=infinite)", "OMP_WAIT_POLICY=passive"),
        ({"blas": "scipy-openblas"}, "openblas", "4 threads", "OPENBLAS_NUM_THREADS=1"),
        ({"free": 10_000_000}, "room", "room for 10.0 MB", "INTAGLIO_CACHE_DIR"),
        ({"INTAGLIO_CACHE_SIZE": "5000000"}, "room", "room for 5.00 MB", "INTAGLIO_CACHE_SIZE"),
        ({"flags": os.ST_NOEXEC}, "code", "noexec", "INTAGLIO_CACHE_DIR"),
    ],
)  # fmt: skip
def test_each_has_a_remedy(
    machine: Callable[..., dict[str, doctor.Finding]], facts: dict[str, object], topic: str, said: str, remedy: str
) -> None:
    found = machine(**facts)
    assert list(advised(found)) == [topic]
    assert said in found[topic].text and remedy in found[topic].remedy


def test_libraries_that_poll_unasked(
    machine: Callable[..., dict[str, doctor.Finding]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "version", lambda name: "2.0" if name == "torch" else doctor.NOT_INSTALLED)
    assert "(torch)" in machine()["openmp"].text
    assert "openmp" not in machine(OMP_WAIT_POLICY="passive")
    assert "openblas" not in machine(blas="scipy-openblas", OPENBLAS_NUM_THREADS="1")


def test_advice_is_no_failure(
    machine: Callable[..., dict[str, doctor.Finding]], capsys: pytest.CaptureFixture[str]
) -> None:
    machine(pages="never")
    assert cli.main(["doctor"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("memory")]
    assert "advice" in line and "; remedy: " in line
