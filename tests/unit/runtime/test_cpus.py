"""How many CPUs a process may use, in the control groups of containers and systems, and how the system runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from intaglio.runtime import cpus
from intaglio.runtime.cpus import cgroup_quota


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def quota_v1(folder: str, quota: int) -> dict[str, str]:
    return {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": "100000\n"}


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2.0),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 0.5),
        ("0::/user/job\n", {"user/job/cpu.max": "max 100000\n", "user/cpu.max": "300000 100000\n"}, 3.0),
        ("0::/user/job\n", {"user/job/cpu.max": "100000 100000\n", "user/cpu.max": "300000 100000\n"}, 1.0),
        ("0::/not/visible/in/container\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/../../elsewhere\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("4:cpu,cpuacct:/docker/1\n", quota_v1("cpu,cpuacct", 250000), 2.5),
        ("4:cpu,cpuacct:/\n", quota_v1("cpu", -1), None),
        ("5:memory:/\n", {"memory/cpu.cfs_quota_us": "100000\n"}, None),
        ("0::/\n", {"cpu.max": "nonsense\n"}, None),
        ("", {}, None),
    ],
)  # fmt: skip
def test_quota(tmp_path: Path, membership: str, files: dict[str, str], expected: float | None) -> None:
    root = tmp_path / "cgroup"
    root.mkdir()
    write(root, files)
    (tmp_path / "self").write_text(membership)
    assert cgroup_quota(root, tmp_path / "self") == expected


def test_no_control_groups(tmp_path: Path) -> None:
    assert cgroup_quota(tmp_path, tmp_path / "absent") is None


def test_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(cpus.os, "sched_getaffinity"):
        pytest.skip("the system has no affinity")
    monkeypatch.setattr(cpus.os, "sched_getaffinity", lambda _: set(range(8)))
    for quota, expected in ((None, 8), (2.0, 2), (0.2, 1), (1.5, 2), (64.0, 8)):
        monkeypatch.setattr(cpus, "cgroup_quota", lambda quota=quota: quota)
        assert cpus.usable() == expected


def test_caches(tmp_path: Path) -> None:
    def write_cache(index: int, level: str, kind: str, size: str, ways: str = "8", cpus: str = "0") -> None:
        told = {"level": level, "type": kind, "size": size, "ways_of_associativity": ways, "shared_cpu_list": cpus}
        write(tmp_path, {f"index{index}/{name}": f"{text}\n" for name, text in told.items()})

    assert cpus.caches(tmp_path) == {}
    write_cache(0, "1", "Data", "48K", "12", "0,64")
    write_cache(1, "1", "Instruction", "32K")
    write_cache(2, "2", "Unified", "2048K", "16", "0-1,64-65")
    write_cache(3, "3", "Unified", "", "16")
    write_cache(4, "4", "Unified", "65536K", "0")
    write(tmp_path, {"index5/level": "5\n"})
    assert cpus.caches(tmp_path) == {1: cpus.Cache(48 << 10, 12, 2), 2: cpus.Cache(2 << 20, 16, 4)}


def test_cores(tmp_path: Path) -> None:
    """CPUs 0 and 2 are threads of one core, 1 and 3 of another."""
    siblings = {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}
    write(tmp_path, {f"cpu{n}/topology/thread_siblings_list": f"{text}\n" for n, text in siblings.items()})
    assert [cpus.cores(numbers, tmp_path) for numbers in ({0}, {0, 1}, {0, 2}, range(4))] == [1, 2, 1, 2]
    assert cpus.cores({0, 4}, tmp_path) is None


def test_governors(tmp_path: Path) -> None:
    names = {0: "performance", 1: "powersave"}
    write(tmp_path, {f"cpu{n}/cpufreq/scaling_governor": f"{name}\n" for n, name in names.items()})
    assert cpus.governors({0}, tmp_path) == {"performance"}
    assert cpus.governors({0, 1, 2}, tmp_path) == {"performance", "powersave"}
    assert cpus.governors({2}, tmp_path) == frozenset()


@pytest.mark.parametrize("text", ["always [madvise] never", "[always] madvise never", "always madvise [never]", ""])
def test_huge_pages(text: str, tmp_path: Path) -> None:
    write(tmp_path, {"enabled": f"{text}\n"})
    (chosen,) = [word[1:-1] for word in text.split() if word.startswith("[")] or [""]
    assert cpus.huge_pages(tmp_path / "enabled") == chosen
    assert cpus.huge_pages(tmp_path / "absent") == ""


def test_affinity() -> None:
    assert cpus.affinity() and (cpus.cores(cpus.affinity()) or 1) <= len(cpus.affinity())
