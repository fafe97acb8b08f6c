"""The machines of a Dask cluster: builds go to any that has the C compiler, measurements to those of one place.

In: the address of a scheduler, or a client. Out: a `Cluster`, which the tuner uses like this machine. What is built
stays where it was, as files' contents, until it is measured. A worker measures if it has Dask's resource `measure`; of
each machine only one is asked, and that for one measurement at a time. Nothing of a run is kept on the workers: if one
ends, what it was at is done again by another, a few times.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

from ...runtime import VERSION, cpus
from ...runtime.errors import Fail, NotFound
from ...runtime.store import cache, fingerprint
from ..codegen.c import toolchain
from ..target import target, targets
from .choose import Place, place
from .machines import Call, Folder, Lost, built, opened

MEASURE = "measure"  # the resource of workers that measure
ATTEMPTS = 3  # times that all workers which could measure may end meanwhile
PATIENCE = 60.0  # seconds until they are back
POLL = 0.5  # seconds between looks at who is there
CONNECT = 10.0  # seconds


@dataclass(frozen=True)
class Worker:
    """What a worker tells of itself. version: of Intaglio, with its sources; native: the name of its own target;
    cannot: why it cannot run the code; cpus: that it may use; threads: tasks at once; slots: of the resource."""

    version: str
    host: str
    place: Place
    architecture: str
    native: str
    cannot: str
    cpus: int
    threads: int
    slots: float

    @property
    def text(self) -> str:
        compiler = self.place.toolchain or "no C compiler"
        return f"{self.place.cpu}, {self.native}, {self.cpus} CPUs, {compiler}"


def version() -> str:
    """Of Intaglio and its sources: what equal ones build is the same."""
    return f"{VERSION}, sources {fingerprint.compiler(cache.root() / 'notes')[:12]}"


def described(names: str, dask_worker: Any) -> Worker:
    """The worker in whose process this runs, for a target."""
    wanted, _ = targets(names)
    try:
        compiler = toolchain.find(cache.root() / "objects").version
    except NotFound:
        compiler = ""
    missing = sorted({*wanted.required} - cpus.features())
    if wanted.architecture not in ("", cpus.architecture()):
        missing = [wanted.architecture]
    return Worker(
        version=version(),
        host=dask_worker.ip,
        place=place(wanted, compiler),
        architecture=cpus.architecture(),
        native=target().name,
        cannot=f"its CPU lacks {' '.join(missing)}" if missing else "",
        cpus=cpus.usable(),
        threads=dask_worker.state.nthreads,
        slots=dask_worker.state.total_resources.get(MEASURE, 0),
    )


@contextlib.contextmanager
def connected(scheduler: Any, names: str, threads: int | None) -> Iterator[Cluster]:
    """The machines of a cluster. scheduler: an address, or a `distributed.Client`; names: the target; threads: of a
    run, None for all CPUs. Raises Fail where it cannot measure for the target, and says what workers there are."""
    distributed = _distributed()
    if not isinstance(scheduler, str):
        yield Cluster(scheduler, distributed, names, threads)
        return
    try:
        client = distributed.Client(scheduler, timeout=CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise Fail(f"No scheduler of Dask answers at {scheduler}: {error}") from None
    with client:
        yield Cluster(client, distributed, names, threads)


def _distributed() -> Any:
    try:
        import distributed
    except ImportError:
        raise Fail(
            "Tuning on a cluster needs the package `distributed`: `pip install 'intaglio[tune]'` installs it."
        ) from None
    return distributed


class Cluster:
    """As `machines.Machines`. The place is this machine's if the cluster has such machines, which the native target
    demands; else that of machines which have the CPU of the target's name; else that of most machines."""

    def __init__(self, client: Any, distributed: Any, names: str, threads: int | None) -> None:
        self._client, self._distributed, self._names, self._asked = client, distributed, names, threads
        self._waiting = futures.ThreadPoolExecutor()
        workers = self._workers()
        groups: dict[tuple[Place, int], list[Worker]] = {}
        for worker in workers.values():
            if not self._refusal(worker):
                groups.setdefault(self._group(worker), []).append(worker)
        if not groups:
            raise self._nobody(workers)

        def preference(group: tuple[Place, int]) -> tuple[bool, bool, int]:
            own = group[0].cpu == cpus.identity()
            return own, groups[group][0].native == targets(names)[0].name, len({w.host for w in groups[group]})

        self.place, self.threads = best = max(groups, key=preference)
        self._architecture = groups[best][0].architecture
        measurers = self._measurers(workers)
        self.jobs = max(len(measurers), sum(workers[each].threads for each in self._builders(workers, measurers)))

    def share(self, data: Any) -> Any:
        """What stands for a task that returns the data: what a worker only keeps ends with it."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph")  # the data are of this machine
            return self._client.submit(_same, data, pure=False)

    def build(self, function: Callable[..., str | None], calls: Sequence[Call], at_place: bool = False) -> list[Any]:
        """Where no other machines than those that measure have the C compiler, all is built before it returns."""
        workers, measurers = self._present()
        made = [_Build(function, call, at_place) for call in calls]
        for each in made:
            self._start(each, workers, measurers)
        if any(workers[address].host in measurers for each in made for address in each.asked):
            for each in made:
                self._called(each.future.exception, [each.asked])
        return made

    def measure(self, function: Callable[..., Any], calls: Sequence[Call]) -> Iterator[Any]:
        """Dask gives the tasks of a worker that ended to the others that were named to it. Where there are none left,
        one is handed in alone, for new workers, as are those that were started again, then the others: it may be one of
        them that ends workers."""
        waiting = [*calls]
        while waiting:
            tasks, asked = self._submitted(function, waiting)
            while tasks and (found := self._result(tasks[0], asked)) is not _GONE:
                yield found
                del tasks[0], waiting[0]
            if waiting:
                self._client.cancel(tasks)
                yield self._alone(function, waiting.pop(0))

    def _alone(self, function: Callable[..., Any], call: Call) -> Any:
        """What one call returns whose workers have ended once."""
        for _ in range(ATTEMPTS - 1):
            (future,), asked = self._submitted(function, [call])
            found = self._result(future, asked)
            if found is not _GONE:
                return found
        return Lost(f"the workers that ran it ended, {ATTEMPTS} times")

    def _submitted(self, function: Callable[..., Any], calls: Sequence[Call]) -> tuple[list[Any], list[set[str]]]:
        """Futures, and the addresses of the workers that may run them, and of those that may build their arguments."""
        workers, measurers = self._present()
        builds = [each for call in calls for each in call if isinstance(each, _Build)]
        for each in builds:
            self._start(each, workers, measurers)
        options = {"workers": [*measurers.values()], "resources": {MEASURE: 1}, "pure": False}
        arguments = ([each.future if isinstance(each, _Build) else each for each in call] for call in calls)
        tasks = [self._client.submit(_measured, function, *each, **options) for each in arguments]
        return tasks, [{*measurers.values()}, *(each.asked for each in builds)]

    def _start(self, build: _Build, workers: Mapping[str, Worker], measurers: Mapping[str, str]) -> None:
        """Hands a build in, unless there is a worker that has it, or may do it again."""
        if not build.asked & workers.keys():
            build.asked = {*(measurers.values() if build.at_place else self._builders(workers, measurers))}
            options = {"workers": [*build.asked], "resources": {MEASURE: 1} if build.at_place else None, "pure": False}
            build.future = self._client.submit(_built, build.function, *build.call, **options)

    def _result(self, future: Any, asked: Sequence[set[str]]) -> Any:
        """What a task returns; `_GONE` where it has no workers any more."""
        called = self._called(future.result, asked)
        if called is None:
            future.cancel()
            return _GONE
        try:
            return called.result()
        except self._distributed.CancelledError as error:
            raise _ended(error) from None
        except self._distributed.KilledWorker as error:
            return Lost(f"the workers that ran it ended, {error.allowed_failures + 1} times")

    def _called(self, wait: Callable[[], Any], asked: Sequence[set[str]]) -> futures.Future[Any] | None:
        """Calls a function that waits for a task; None where none of some workers are there any more."""
        called = self._waiting.submit(wait)
        while not futures.wait([called], POLL).done:
            there = self._told(self._client.nthreads).keys()
            if not all(each & there for each in asked):
                return None
        return called

    # ---- Who is there ------------------------------------------------------------------------------------------------

    def _present(self) -> tuple[dict[str, Worker], dict[str, str]]:
        """The workers, and those that measure. Raises Fail where the latter do not come back."""
        end = time.monotonic() + PATIENCE
        while not (found := self._measurers(workers := self._workers())):
            if time.monotonic() > end:
                raise self._nobody(workers)
            time.sleep(POLL)
        return workers, found

    def _workers(self) -> dict[str, Worker]:
        """The workers by their addresses. Raises Fail for one that cannot be of use, and says why."""
        found: dict[str, Worker] = {}
        for address, answer in self._told(self._client.run, described, self._names, on_error="return").items():
            if isinstance(answer, OSError):
                continue  # it ends
            if not isinstance(answer, Worker):
                raise Fail(f"The worker {address} has no Intaglio, or another version: {answer}")
            if answer.version != version():
                raise Fail(f"The worker {address} has Intaglio {answer.version}, and this is {version()}.")
            found[address] = answer
        return found

    def _told(self, question: Callable[..., Any], *arguments: Any, **options: Any) -> dict[str, Any]:
        """What the scheduler answers."""
        try:
            return dict(question(*arguments, **options))
        except (OSError, AttributeError) as error:  # a client that has given up has no scheduler
            raise _ended(error) from None

    def _group(self, worker: Worker) -> tuple[Place, int]:
        """The place of a worker, and the threads of a run there."""
        return worker.place, self._asked or worker.cpus

    def _refusal(self, worker: Worker) -> str:
        """Why a worker does not measure, "" if it may."""
        own = place(targets(self._names)[0], "")
        if worker.slots < 1:
            return f"it has no resource `{MEASURE}`"
        if worker.cannot or not worker.place.toolchain:
            return worker.cannot or "it has no C compiler"
        if self._asked and worker.cpus < self._asked:
            return f"{self._asked} threads are asked for"
        if self._names.startswith("native") and (worker.place.cpu, worker.place.target) != (own.cpu, own.target):
            return f"the native target is that of this machine, {own.cpu}; name another by --target"
        return ""

    def _measurers(self, workers: Mapping[str, Worker]) -> dict[str, str]:
        """The workers that measure, one of each host, by their hosts."""
        mine = {
            a: w for a, w in workers.items() if not self._refusal(w) and self._group(w) == (self.place, self.threads)
        }
        return {mine[address].host: address for address in sorted(mine, reverse=True)}

    def _builders(self, workers: Mapping[str, Worker], measurers: Mapping[str, str]) -> list[str]:
        """The workers with the C compiler: those of other hosts than measure, if there are any."""
        mine = {
            address: worker
            for address, worker in workers.items()
            if (worker.place.toolchain, worker.architecture) == (self.place.toolchain, self._architecture)
        }
        return [address for address, worker in mine.items() if worker.host not in measurers] or [*mine]

    def _nobody(self, workers: Mapping[str, Worker]) -> Fail:
        counts = Counter(
            f"{worker.text} ({self._refusal(worker) or 'of another place'})" for worker in workers.values()
        )
        there = "; ".join(f"{count} of {text}" for text, count in counts.items()) or "none"
        return Fail(f"No worker of the cluster can measure for the target '{self._names}'. Its workers: {there}.")


_GONE = object()


@dataclass
class _Build:
    """What stands for the folder of a call that builds. asked: the addresses of the workers that may run its future."""

    function: Callable[..., str | None]
    call: Call
    at_place: bool
    asked: set[str] = field(default_factory=set)
    future: Any = None


def _ended(error: Exception) -> Fail:
    return Fail(f"The cluster's scheduler has ended: {error}")


# ---- What workers do -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Files:
    """A built artifact that travels: what its files hold, by their names."""

    contents: dict[str, bytes]


def _same(data: Any) -> Any:
    return data


def _built(function: Callable[..., str | None], *arguments: Any) -> Files | str:
    """What a call builds, or the text that it returns."""
    made = built(function, arguments)
    return made if isinstance(made, str) else Files({each.name: each.read_bytes() for each in made.path.iterdir()})


def _measured(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a call returns that takes folders."""
    folders = [_unpacked(each) if isinstance(each, Files) else each for each in arguments]
    return function(*map(opened, folders))


def _unpacked(files: Files) -> Folder:
    folder = Folder()
    for name, content in files.contents.items():
        (folder.path / name).write_bytes(content)
    return folder
