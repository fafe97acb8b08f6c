"""Tuning on a cluster: who measures, what happens where workers end, and that records are those of a run without one.

The machines of the cluster are processes, each on an address of the loopback device of its own.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import distributed
import onnx
import pytest
from distributed import Client, LocalCluster, Nanny, Scheduler, SpecCluster
from unit.tune.subjects import perceptron

from intaglio.compiler.cli.main import main
from intaglio.compiler.options import Options
from intaglio.compiler.target import target
from intaglio.compiler.tune import cluster as stage
from intaglio.compiler.tune import tuner, workload
from intaglio.compiler.tune.choose import here
from intaglio.compiler.tune.cluster import Cluster, Worker, connected, described
from intaglio.compiler.tune.machines import Lost
from intaglio.compiler.tune.report import TuningReport
from intaglio.compiler.tune.session import random_feeds
from intaglio.compiler.tune.workload import Workload
from intaglio.runtime import cpus
from intaglio.runtime.errors import Fail
from intaglio.runtime.store import artifact, tuning

MEASURES = {"resources": {"measure": 1}}
OTHER_CPU = {"preload": ["from intaglio.runtime import cpus; cpus.identity = lambda: 'Another CPU 6 7'"]}
WITHOUT = {"preload": ["import sys; sys.modules['intaglio'] = None"]}
PINNED = "x86-64-v2" if cpus.architecture() == "x86_64" else "generic"  # which any machine can run

feeds = partial(random_feeds, {"n": 8}, 0)


def started(*workers: dict[str, Any]) -> SpecCluster:
    """A cluster; workers: the options of each."""
    common = {"nthreads": 1, "dashboard": False}
    specs = {
        number: {"cls": Nanny, "options": {"host": f"127.0.0.{number + 1}", **common, **options}}
        for number, options in enumerate(workers)
    }
    scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "port": 0, "dashboard_address": ":0"}}
    return SpecCluster(workers=specs, scheduler=scheduler)


@pytest.fixture(scope="module")
def machines() -> Iterator[SpecCluster]:
    """One that measures, one like it that only builds, and one with another CPU."""
    with started(MEASURES, {}, MEASURES | OTHER_CPU) as made:
        yield made


@pytest.fixture
def client(machines: SpecCluster) -> Iterator[Client]:
    """With all workers there: those that a test has ended are started again."""
    with Client(machines, set_as_default=False) as made:
        made.wait_for_workers(3, timeout=60)
        yield made


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INTAGLIO_TUNING", str(tmp_path / "tuning.jsonl"))
    return tmp_path / "tuning.jsonl"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(perceptron())
    return path


def process(client: Client, host: str = "127.0.0.1") -> int:
    """The number of the process of a machine's worker."""
    (found,) = (number for address, number in client.run(os.getpid).items() if f"{host}:" in address)
    return int(found)


# ---- Runs ------------------------------------------------------------------------------------------------------------


def measured(database: Path) -> set[tuple[Any, ...]]:
    return {record.key for record in tuning.read([database])}


def test_the_records_are_those_of_this_machine(
    client: Client, database: Path, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INTAGLIO_JOBS", "2")  # as many candidates at once as the cluster has threads that build
    command = ["tune", str(model), "--dim", "n=8", "--trials", "2", "--time", "5m", "--json"]
    assert main([*command, "--scheduler", client.scheduler.address]) == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert report["before"] > 0 and report["peak_flops"] > 0 and report["lost"] == {}
    there = measured(database)
    assert main([*command, "--database", str(database.with_name("here"))]) == 0
    assert there == measured(database.with_name("here")) and len(there) >= 5


def test_only_machines_of_the_place_measure(client: Client) -> None:
    def who() -> int:
        return os.getpid()

    with connected(client, "native", None) as cluster:
        assert cluster.place == here(target())
        assert {*cluster.measure(who, [()] * 4)} == {process(client)}


def test_a_pinned_target(client: Client, database: Path) -> None:
    report = tuner.tune(perceptron(), Options(target=PINNED), feeds, 300, trials=1, scheduler=client)
    place = here(target(PINNED))
    records = tuning.read([database])
    assert report.records >= 3 and {(r.cpu, r.target) for r in records} == {(place.cpu, place.target)}


@pytest.mark.slow
def test_on_one_machine_a_worker_that_ends_costs_nothing(database: Path) -> None:
    """Of two workers one measures; the other takes over."""
    ended: list[int] = []

    def progress(report: TuningReport, kernel: object, part: float) -> None:
        if report.records == 1 and not ended:
            ended.extend(cluster.measure(os.getpid, [()]))
            os.kill(ended[0], signal.SIGKILL)

    options: dict[str, Any] = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0", **MEASURES}
    with (
        LocalCluster(**options) as made,
        Client(made, set_as_default=False) as client,
        connected(client, "native", None) as cluster,
    ):
        report = tuner.tune(perceptron(), Options(), feeds, 300, trials=4, progress=progress, scheduler=client)
    assert ended and report.lost == {} and not report.interrupted and report.before > 0
    assert sorted(kernel.trials for kernel in report.kernels)[-2:] == [4, 4]


@pytest.mark.slow
def test_a_candidate_that_ends_every_worker_is_left_out(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "ATTEMPTS", 2)

    def run(number: int) -> int:
        if number == 1:
            time.sleep(1)  # a worker that ends while it starts is not started again
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    with connected(client, "native", None) as cluster:
        first, lost, last = cluster.measure(run, [(0,), (1,), (2,)])
    assert (first, last) == (0, 2)
    assert lost == Lost("the workers that ran it ended, 2 times")


def test_what_was_built_is_built_again(client: Client) -> None:
    """By the worker that is started in the place of the one that had it."""

    def build(folder: Path, text: str) -> None:
        (folder / "file").write_text(text)

    def read(folder: Path) -> str:
        return (folder / "file").read_text()

    with connected(client, "native", None) as cluster:
        for at_place in (True, False):
            made = cluster.build(build, [("a",), ("b",)], at_place)
            assert [*cluster.measure(read, [(each,) for each in made])] == ["a", "b"]
            for number in client.run(os.getpid).values():
                os.kill(number, signal.SIGKILL)
            assert [*cluster.measure(read, [(each,) for each in made])] == ["a", "b"]


def test_a_result_that_takes_long_to_fetch(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "POLL", 1e-3)
    with connected(client, "native", None) as cluster:
        (found,) = cluster.measure(bytes, [(50 << 20,)])
    assert len(found) == 50 << 20


def test_when_dask_gives_up() -> None:
    class Future:
        """A task whose workers have ended as often as Dask tries."""

        def result(self) -> None:
            raise distributed.KilledWorker("task", None, 3)

    cluster = cluster_of(worker())
    assert cluster._result(Future(), set()) == Lost("the workers that ran it ended, 4 times")


def test_a_scheduler_that_ends_is_told(database: Path) -> None:
    with started(MEASURES) as made, connected(made.scheduler_address, "native", None) as cluster:
        results = cluster.measure(time.sleep, [(0,), (60,)])
        assert next(results) is None
        made.close()
        with pytest.raises(Fail, match="The cluster's scheduler has ended"):
            next(results)


def test_errors_come_back(client: Client, database: Path) -> None:
    broken = partial(random_feeds, {"n": -1}, 0)
    with pytest.raises(ValueError, match="negative dimensions"):
        tuner.tune(perceptron(), Options(), broken, scheduler=client)


# ---- Who can measure -------------------------------------------------------------------------------------------------


class Answers:
    """A client of a cluster that has these workers."""

    def __init__(self, *workers: Worker) -> None:
        self.workers = {f"tcp://{worker.host}:1": worker for worker in workers}

    def run(self, *arguments: Any, **options: Any) -> dict[str, Worker]:
        return self.workers


def worker(host: str = "10.0.0.1", cpu: str = "", names: str = "native", **fields: Any) -> Worker:
    """This machine as a worker that measures."""
    place = here(target(names))
    made = Worker(
        version=stage.version(), host=host, place=replace(place, cpu=cpu or place.cpu), native=target().name, cannot="",
        architecture=cpus.architecture(), cpus=2, threads=4, slots=1,
    )  # fmt: skip
    return replace(made, **fields)


def cluster_of(*workers: Worker, names: str = "native", threads: int | None = None) -> Cluster:
    return Cluster(Answers(*workers), distributed, names, threads)


@pytest.mark.parametrize(("changes", "names", "threads", "reason"), [
    ({"slots": 0}, "native", None, "it has no resource `measure`"),
    ({"place": replace(here(target()), toolchain="")}, "native", None, "it has no C compiler"),
    ({"cannot": "its CPU lacks avx512f"}, PINNED, None, "its CPU lacks avx512f"),
    ({}, "native", 4, "4 threads are asked for"),
    ({"place": replace(here(target()), cpu="Z80")}, "native", None, "the native target is that of this machine"),
])  # fmt: skip
def test_without_a_machine_the_error_tells_what_there_is(
    changes: dict[str, Any], names: str, threads: int | None, reason: str
) -> None:
    with pytest.raises(Fail) as error:
        cluster_of(worker("10.0.0.1", **changes), worker("10.0.0.2", **changes), names=names, threads=threads)
    assert f"can measure for the target '{names}'. Its workers: 2 of " in error.value.text
    assert reason in error.value.text and "2 CPUs" in error.value.text


def test_without_workers() -> None:
    with pytest.raises(Fail, match="Its workers: none"):
        cluster_of()


def test_another_version() -> None:
    with pytest.raises(Fail, match=r"tcp://10.0.0.1:1 has Intaglio 0.0.1, sources 0, and this is 0"):
        cluster_of(worker(version="0.0.1, sources 0"))


def test_of_several_places_one_is_chosen() -> None:
    """This machine's, else that of the target's name, else that of most machines."""
    own = worker("10.0.0.1", names=PINNED)
    named = worker("10.0.0.2", "A", PINNED, native=PINNED)
    many = [worker(f"10.0.0.{number}", "B", PINNED, native="") for number in (3, 4)]
    assert cluster_of(*many, named, own, names=PINNED).place.cpu == cpus.identity()
    assert cluster_of(*many, named, names=PINNED).place.cpu == "A"
    assert cluster_of(worker("10.0.0.2", "A", PINNED, native=""), *many, names=PINNED).place.cpu == "B"


def test_threads() -> None:
    assert cluster_of(worker(cpus=8)).threads == 8
    assert cluster_of(worker(cpus=8), threads=4).threads == 4


def test_one_worker_of_a_machine_measures_and_others_build() -> None:
    twins = [worker("10.0.0.1"), worker("10.0.0.2"), worker("10.0.0.3", slots=0)]
    cluster = cluster_of(*twins)
    workers = {f"{worker.host}:{port}": worker for worker in twins for port in (1, 2)}
    measurers = cluster._measurers(workers)
    assert measurers == {"10.0.0.1": "10.0.0.1:1", "10.0.0.2": "10.0.0.2:1"}
    assert cluster._builders(workers, measurers) == ["10.0.0.3:1", "10.0.0.3:2"]
    workers = {address: worker for address, worker in workers.items() if worker.slots}
    assert cluster._builders(workers, measurers) == [*workers]  # where there is no other
    assert cluster.jobs == 4


def test_a_worker_tells_what_it_can() -> None:
    class Told:
        ip = "10.0.0.1"
        state = type("State", (), {"nthreads": 3, "total_resources": {"measure": 1.0}})

    told = described(PINNED, Told())
    assert told == worker(names=PINNED, cpus=cpus.usable(), threads=3)
    wide = {*target("x86-64-v4").required} <= cpus.features()
    assert wide == (described("x86-64-v4", Told()).cannot == "")
    other = "aarch64" if cpus.architecture() == "x86_64" else "x86-64-v2"
    assert described(other, Told()).cannot.startswith("its CPU lacks ")


def test_a_worker_without_intaglio(database: Path) -> None:
    with (
        started(WITHOUT) as made,
        pytest.raises(Fail, match=r"The worker tcp://\S+ has no Intaglio, or another version: "),
    ):
        tuner.tune(perceptron(), Options(), feeds, scheduler=made.scheduler_address)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense://"])
def test_no_scheduler(
    database: Path, model: Path, address: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "CONNECT", 0.2)
    assert main(["tune", str(model), "--scheduler", address]) == 1
    assert f"No scheduler of Dask answers at {address}: " in capsys.readouterr().err


def test_without_dask(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(Fail, match=r"pip install 'intaglio\[tune\]'"):
        tuner.tune(perceptron(), Options(), feeds, scheduler="tcp://127.0.0.1:8786")


# ---- What travels ----------------------------------------------------------------------------------------------------


def test_a_model_travels_with_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proto = onnx.load_from_string(perceptron())
    onnx.save(proto, tmp_path / "model.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    data = pickle.dumps(Workload(str(tmp_path / "model.onnx"), Options(), feeds, 1))
    for file in tmp_path.iterdir():
        file.unlink()
    there: Workload = pickle.loads(data)
    workload.compiled(tmp_path, there, ())
    loaded = artifact.load_directory(tmp_path)
    assert isinstance(there.model, bytes) and len(loaded.weights) >= 2 * 4 * 64**2
    assert there.feeds(loaded.manifest)["x"].shape == (8, 64)
