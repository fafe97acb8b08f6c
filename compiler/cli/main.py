"""The command line: `intaglio compile | run | inspect | explain | report | verify | bisect | tune | cache | doctor |
completion`.

In: arguments. Out: text for people, or JSON for programs (`--json`), on stdout; progress and errors on stderr.
Exit codes: 0 success, 1 failure (one line says why; `--debug` shows the traceback), 2 invalid arguments. Without a
command the help is printed, on stderr and with the code 2: a script that lost its command must not go on.
The commands only call the compiler and the runtime, and print.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import signal
import statistics
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ...runtime import log
from ...runtime.api.load import load
from ...runtime.api.metadata import NodeArg
from ...runtime.api.options import PRECISION, TARGET, SessionOptions
from ...runtime.api.session import InferenceSession
from ...runtime.errors import BY_NAME, InvalidArgument
from ...runtime.store import artifact, cache, tuning
from ...runtime.store.artifact import Artifact
from .. import driver
from ..check.bisect import bisect
from ..check.verify import verify
from ..explain.page import page
from ..explain.steps import Report, explained, measure
from ..frontend.load import load_model
from ..inputs import Feeds, declared, random_inputs, read_inputs, sizes
from ..options import Options
from ..package import writer as package
from ..precision import PARTS as PRECISIONS
from ..progress import Progress
from ..roofline import limits_of
from ..tables import megabytes, number, table
from ..target import NAMES as TARGETS
from ..target import targets
from ..tune import tuner
from ..tune.report import Live
from ..tune.session import random_feeds
from . import bisect as bisected
from . import completion, doctor, emit, explain, tune
from . import inspect as inspect_model
from . import verify as verified


class Parser(argparse.ArgumentParser):
    """argparse, with errors of one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # names of files need not be text
    arguments = _parser().parse_args(argv)
    try:
        with _ended_by_signals():
            return int(arguments.command(arguments))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `intaglio ... | head`: nobody reads the rest
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if arguments.debug:
            traceback.print_exc()
        print(f"intaglio: error: {_message(error)}", file=sys.stderr)
        return 1


def _message(error: Exception) -> str:
    if isinstance(error, tuple(BY_NAME.values())):
        return str(getattr(error, "text", error))
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error} (this is a fault of Intaglio; --debug shows where)"


# ---- The commands ----------------------------------------------------------------------------------------------------


def compile_command(arguments: argparse.Namespace) -> int:
    """Compiles a model ahead of time: to one file, to C or a library for programs in C, or both."""
    wanted = _emitted(arguments)
    if not arguments.output and not wanted:
        arguments.output = Path(arguments.model).with_suffix(".intaglio")
    options = Options(**_settings(arguments))
    start = time.perf_counter()
    with Progress() as progress:
        if arguments.output:
            with cache.workspace() as directory:
                unit = driver.compile_model(arguments.model, options, directory, progress)
                package.pack(directory, arguments.output)
        else:
            unit = driver.lower_model(arguments.model, options, progress)
        if wanted:
            emit.write(unit, wanted, Path(arguments.model).stem, progress)
    for warning in unit.warnings:
        log.log(log.WARNING, warning)
    summary = inspect_model.summary(unit)
    summary["slow"] = unit.warnings
    summary["seconds"] = dict(unit.seconds)
    summary["total seconds"] = time.perf_counter() - start
    summary["written"] = [str(path) for path in (arguments.output, wanted and wanted.path) if path]
    if arguments.json:
        return _print_json(summary)
    print(f"{arguments.model} -> {', '.join(summary['written'])}")
    print(inspect_model.summary_text(summary))
    print("  " + ", ".join(f"{name} {number(seconds)} s" for name, seconds in unit.seconds.items() if seconds >= 0.05))
    print(f"  {number(summary['total seconds'])} s in all")
    return 0


def _emitted(arguments: argparse.Namespace) -> emit.Wanted | None:
    """What --emit asks for. Raises InvalidArgument where options say how, and there is no --emit."""
    if not arguments.emit:
        if arguments.embed or arguments.threads:
            raise InvalidArgument("--embed and --threads are options of --emit")
        return None
    kind, *folders = arguments.emit
    path = Path(folders[0] if folders else f"{Path(arguments.model).stem}_{kind}")
    return emit.Wanted(kind, path, arguments.embed, arguments.threads != 1)


def run_command(arguments: argparse.Namespace) -> int:
    """Runs a model, or a compiled one, on inputs from files or on random ones."""
    session = InferenceSession(arguments.model, _options(arguments))
    feeds = _feeds(session.get_inputs(), session.get_modelmeta().custom_metadata_map, arguments)
    times = []
    with Progress() as progress:
        for number_of_run in range(arguments.repeat):
            progress("run", number_of_run, arguments.repeat)
            start = time.perf_counter()
            results = session.run(arguments.output_name or None, feeds)
            times.append(time.perf_counter() - start)
    names = arguments.output_name or [each.name for each in session.get_outputs()]
    outputs = dict(zip(names, results))
    if arguments.output:
        _save(arguments.output, outputs)
    median = statistics.median(times)
    if arguments.json:
        return _print_json(
            {
                "seconds": median,
                "outputs": {
                    name: {"dtype": str(value.dtype), "shape": value.shape, "values": value.tolist()}
                    for name, value in outputs.items()
                },
            }
        )
    rows = [[name, str(value.dtype), _shape(value.shape), _digest(value)] for name, value in outputs.items()]
    print(table(["output", "type", "shape", "values"], rows, left=4))
    runs = f"median of {len(times)} runs" if len(times) > 1 else "one run, the first"
    print(f"{number(median * 1e3)} ms ({runs})")
    return 0


def inspect_command(arguments: argparse.Namespace) -> int:
    """Shows what a model becomes: interface, graph, kernels, memory; or what of it cannot be compiled."""
    if artifact.is_artifact(arguments.model):
        description = inspect_model.artifact_summary(artifact.load(arguments.model))
        return _print_json(description) if arguments.json else _print(inspect_model.artifact_text(description))
    options = Options(**_settings(arguments))
    if arguments.stage:
        with Progress() as progress:
            text = inspect_model.stage_text(arguments.model, options, arguments.stage, progress)
        return _print(text)
    with Progress() as progress:
        unit = driver.lower_model(arguments.model, options, progress)
    description = inspect_model.describe(unit)
    return _print_json(description) if arguments.json else _print(inspect_model.text(description))


def explain_command(arguments: argparse.Namespace) -> int:
    """Says where the time goes: in words, in groups of kernels, and of each kernel its ONNX nodes, cost, schedule, time
    against the machine's limits, and why fusion stopped."""
    with Progress() as progress:
        report = _explained(arguments, load(arguments.model, _options(arguments)), progress)[0]
    return _print_json(explain.as_json(report)) if arguments.json else _print(explain.text(report, arguments.steps))


def _explained(arguments: argparse.Namespace, loaded: Artifact, progress: Progress) -> tuple[Report, dict[str, int]]:
    """The report of a compiled model, and the sizes of its symbols."""
    manifest = loaded.manifest
    specs = declared(manifest)
    feeds = _feeds(specs, manifest["modelmeta"]["custom_metadata_map"], arguments)
    threads = arguments.threads or SessionOptions().threads()
    run = None if arguments.no_run else partial(measure, loaded, feeds, threads, arguments.repeat, progress)
    dims = sizes(specs, feeds)
    return explained(loaded, dims, partial(limits_of, threads), run, progress), dims


def report_command(arguments: argparse.Namespace) -> int:
    """Writes a page about a model: where the time goes, timeline, roofline, plan of memory, kernels, accuracy."""
    options, accuracy = _options(arguments), ""
    loaded = load(arguments.model, options)
    with Progress() as progress:
        made, dims = _explained(arguments, loaded, progress)
        if not arguments.no_verify and not artifact.is_artifact(arguments.model):
            progress("verify")
            found = verify(arguments.model, _given(arguments), dict(arguments.dim), options, arguments.seed)
            accuracy = verified.text(found)
    arguments.output.write_text(page(made, loaded.notes(), Path(arguments.model).name, dims, accuracy))
    summary = {"written": str(arguments.output), "latency": made.measured.latency if made.measured else None}
    return _print_json(summary) if arguments.json else _print(f"{arguments.model} -> {arguments.output}")


def verify_command(arguments: argparse.Namespace) -> int:
    """Compares outputs with other engines and with float64. Exit code 1 where they differ by more than roundings do."""
    options = _options(arguments)
    _check_model_dims(arguments.model, [name for name, _ in arguments.dim])
    report = verify(arguments.model, _given(arguments), dict(arguments.dim), options, arguments.seed, arguments.runs)
    _print_json(report.as_json()) if arguments.json else _print(verified.text(report))
    return int(not report.agrees)


def bisect_command(arguments: argparse.Namespace) -> int:
    """Finds the first wrong value: stage of the compiler, kernel, ONNX nodes, and the smallest part that shows it."""
    options = _options(arguments)
    _check_model_dims(arguments.model, [name for name, _ in arguments.dim])
    how = dict(arguments.dim), options, arguments.seed, arguments.against, arguments.output
    with Progress() as progress:
        found = bisect(arguments.model, _given(arguments), *how, progress)
    _print_json(found.as_json()) if arguments.json else _print(bisected.text(found))
    return int(bool(found.stage))


def tune_command(arguments: argparse.Namespace) -> int:
    """Measures schedules of a model's kernels, here or on a cluster; compilations use what is faster than the rules."""
    if arguments.model is None:
        return _database(arguments)
    sizes_to_tune = tune.combinations(arguments.dim)
    _check_model_dims(arguments.model, [name for name, _ in arguments.dim])
    options = Options(**_options(arguments).compiler_settings(arguments.model))
    reports = []
    for sizes_now in sizes_to_tune:
        feeds, seconds = partial(random_feeds, sizes_now, arguments.seed), arguments.time / len(sizes_to_tune)
        limits = seconds, arguments.trials, arguments.threads
        with Live() as live:
            rest = arguments.database, arguments.resume, live, arguments.scheduler
            report = tuner.tune(arguments.model, options, feeds, *limits, *rest)
        reports.append(report)
        if not arguments.json:
            if sizes_now:
                print(", ".join(f"{name} = {size}" for name, size in sizes_now.items()))
            print(report)
        if arguments.html:
            arguments.html.write_text("\n".join(report.html() for report in reports))
        if report.interrupted:
            break
    if arguments.json:
        _print_json([report.as_json() for report in reports])
    return 130 if report.interrupted else 0


def _database(arguments: argparse.Namespace) -> int:
    """What `tune` does without a model: --show, --export, --import, --prune."""
    path, *_ = files = tuning.files(database=arguments.database)
    if arguments.export:
        count = tune.export(files, arguments.export)
        return _print_json({"exported": count}) if arguments.json else _print(f"{count} records to {arguments.export}")
    if arguments.import_:
        count = sum(tuning.merge(path, other) for other in arguments.import_)
        return _print_json({"imported": count}) if arguments.json else _print(f"{count} new records in {path}")
    if arguments.prune:
        count = tuning.prune(path)
        return _print_json({"pruned": count}) if arguments.json else _print(f"{count} lines removed from {path}")
    if not arguments.show:
        raise InvalidArgument("tune what? Give a model, or one of --show, --export, --import, --prune")
    found = tune.show(files)
    return _print_json(found) if arguments.json else _print(tune.show_text(found))


def cache_list(arguments: argparse.Namespace) -> int:
    """Lists the compiled models that are kept, the one used last first."""
    entries = cache.entries()
    if arguments.json:
        return _print_json([{**asdict(entry), "path": str(entry.path)} for entry in entries])
    rows = [
        [
            entry.source or "(bytes)",
            entry.key[:12],
            megabytes(entry.bytes),
            time.strftime("%F %R", time.localtime(entry.used)),
        ]
        for entry in entries
    ]
    if rows:
        print(table(["model", "key", "size", "last used"], rows, left=2))
    print(f"{cache.root()}: {len(entries)} models, {megabytes(sum(entry.bytes for entry in entries))}")
    return 0


def cache_explain(arguments: argparse.Namespace) -> int:
    """Says whether a model is in the cache, and if not, what differs from what is."""
    settings = _settings(arguments)
    text = cache.explain(arguments.model, settings)
    found = cache.find(arguments.model, settings)
    if found is not None:
        text += explain.schedules_text(found.notes())
    return _print_json({"hit": text.startswith("hit"), "text": text}) if arguments.json else _print(text)


def cache_prune(arguments: argparse.Namespace) -> int:
    """Removes what was not used for the longest time, down to the limit."""
    freed = cache.prune(limit=arguments.bytes)
    return _print_json({"freed": freed}) if arguments.json else _print(f"freed {megabytes(freed)}")


def cache_clear(arguments: argparse.Namespace) -> int:
    """Empties the cache."""
    freed = cache.clear()
    return _print_json({"freed": freed}) if arguments.json else _print(f"freed {megabytes(freed)}")


def doctor_command(arguments: argparse.Namespace) -> int:
    """Checks the machine: CPU, threads, C compiler, cache. Exit code 1 where a model could not be compiled or run."""
    with Progress() as progress:
        findings = doctor.examine(progress)
    if arguments.json:
        _print_json([asdict(finding) for finding in findings])
    else:
        rows = [[f.topic, f.mark, f.text + (f"; remedy: {f.remedy}" if f.remedy else "")] for f in findings]
        print(table(["", "", ""], rows, left=3).lstrip("\n"))
    return int(any(finding.ok is False for finding in findings))


def completion_command(arguments: argparse.Namespace) -> int:
    """Prints a script that completes commands, options and files, for a shell to read when it starts."""
    return _print(completion.script(_parser(), arguments.shell))


def _help(parser: Parser, _: argparse.Namespace) -> int:
    """What is done where no command is named."""
    parser.print_help(sys.stderr)
    return 2


# ---- Shared helpers --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end a command as Ctrl-C does, with the shell's exit code: no process and no file is left.

    Signals that the parent process has set to be ignored, as nohup does, or that have a handler, are left alone."""

    def end(number: int, _: object) -> NoReturn:
        raise SystemExit(128 + number)

    handled = []
    if threading.current_thread() is threading.main_thread():
        signals = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
        handled = [each for each in signals if signal.getsignal(each) is signal.SIG_DFL]
    for each in handled:
        signal.signal(each, end)
    try:
        yield
    finally:
        for each in handled:
            signal.signal(each, signal.SIG_DFL)


def _options(arguments: argparse.Namespace) -> SessionOptions:
    """The options of a session, with --target and --precision."""
    options = SessionOptions()
    if arguments.precision:
        options.add_session_config_entry(PRECISION, arguments.precision)
    if arguments.target:
        options.add_session_config_entry(TARGET, arguments.target)
    return options


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The compiler settings of a session with the dimensions of --dim fixed, so that both share cache entries."""
    options = _options(arguments)
    _check_model_dims(arguments.model, [name for name, _ in arguments.dim])
    for name, size in arguments.dim:
        options.add_free_dimension_override_by_name(name, size)
    return options.compiler_settings(arguments.model)


def _check_model_dims(model: str, names: Sequence[str]) -> None:
    """Raises InvalidArgument for a name that no input of the model has; without names nothing is read."""
    if names:
        _check_dims(names, [type.shape or () for type in load_model(model).graph.inputs.values()])


def _check_dims(names: Sequence[str], shapes: Iterable[Iterable[object]]) -> None:
    """Raises InvalidArgument for a name that is in no shape."""
    known = {dim for shape in shapes for dim in shape if isinstance(dim, str)}
    for name in names:
        if name not in known:
            has = ", ".join(sorted(known)) or "none"
            raise InvalidArgument(f"the model has no symbolic dimension '{name}' (it has {has})")


def _feeds(specs: Sequence[NodeArg], metadata: dict[str, str], arguments: argparse.Namespace) -> Feeds:
    """The inputs from files; inputs without a file are random."""
    _check_dims([name for name, _ in arguments.dim], [spec.shape for spec in specs])
    feeds = read_inputs(arguments.input, specs)
    missing = [spec for spec in specs if spec.name not in feeds]
    dims = dict(arguments.dim) | sizes(specs, feeds)  # random inputs have the sizes of the others
    return feeds | random_inputs(missing, dims, metadata, arguments.seed)


def _given(arguments: argparse.Namespace) -> Feeds:
    """The inputs from files, of an ONNX model."""
    graph = load_model(arguments.model).graph
    named = [NodeArg.of(name, "", list(type.shape or ())) for name, type in graph.inputs.items()]
    return read_inputs(arguments.input, [each for each in named if each.name not in graph.initializers])


def _save(path: Path, outputs: Feeds) -> None:
    """Saves all outputs to an .npz, or a single one to an .npy."""
    if path.suffix == ".npz":
        np.savez(path, **outputs)  # type: ignore[arg-type]  # numpy's stub takes the names for its own parameters
    elif path.suffix == ".npy" and len(outputs) == 1:
        np.save(path, next(iter(outputs.values())))
    else:
        raise InvalidArgument(
            f"cannot write {len(outputs)} outputs to {path}: give an .npz, or an .npy for a single one"
        )


def _digest(value: np.ndarray[Any, Any], shown: int = 4) -> str:
    """The first values, and the range of all."""
    flat = value.reshape(-1)
    first = " ".join(f"{each:.6g}" if value.dtype.kind == "f" else str(each) for each in flat[:shown].tolist())
    if flat.size <= shown:
        return first
    return f"{first} ... " + (f"in [{flat.min():.6g}, {flat.max():.6g}]" if value.dtype.kind in "fiu" else "")


def _shape(shape: Sequence[object]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _print(text: str) -> int:
    print(text)
    return 0


def _print_json(value: Any) -> int:
    json.dump(value, sys.stdout, indent=2, default=str)
    print()
    return 0


# ---- The arguments ---------------------------------------------------------------------------------------------------


def _parser() -> Parser:
    common = Parser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    common.add_argument("--json", action="store_true", help="print JSON, for programs")
    model = Parser(add_help=False)
    model.add_argument("model", help="an ONNX file; to run, inspect and explain also a compiled model")
    dim = Parser(add_help=False)
    dim.add_argument(
        "--dim", action="append", default=[], type=_dim, metavar="NAME=SIZE", help="size of a symbolic dimension"
    )
    target = Parser(add_help=False)
    target.add_argument(
        "--target",
        type=_target,
        metavar="NAMES",
        help=f"what to compile for, with commas between: a CPU ({', '.join(TARGETS)}; default: this one), and GPUs "
        "such as cuda:sm_90 or hip:gfx942",
    )
    target.add_argument("--precision", choices=tuple(PRECISIONS), help="of products of float32 (default: exact)")
    inputs = Parser(add_help=False)
    inputs.add_argument(
        "-i",
        "--input",
        action="append",
        default=[],
        metavar="[NAME=]FILE",
        help=".npy, .npz or .pb; what is missing is random",
    )
    inputs.add_argument("--seed", type=int, default=0, help="of random inputs")

    parser = Parser(prog="intaglio", description="Compiles ONNX models to native code.")
    parser.add_argument("--version", action="version", version=f"intaglio {doctor.version('intaglio')}")
    parser.set_defaults(command=partial(_help, parser))
    commands = parser.add_subparsers(metavar="command")

    def add(to: Any, name: str, function: Any, *parents: Parser) -> Parser:
        parser: Parser = to.add_parser(
            name, parents=[common, *parents], help=function.__doc__, description=function.__doc__
        )
        parser.set_defaults(command=function)
        return parser

    compile_parser = add(commands, "compile", compile_command, model, dim, target)
    compile_parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="the artifact (default: MODEL.intaglio)"
    )
    compile_parser.add_argument(
        "--emit", nargs="+", action=_Emit, metavar=("{c,so}", "DIR"),
        help="write C sources, or a library, for programs in C (default: MODEL_c, MODEL_so)",
    )  # fmt: skip
    compile_parser.add_argument(
        "--embed", nargs="?", choices=("asm", "plain"), const="asm",
        help="of --emit: link the weights in, by the assembler (default) or as an array",
    )  # fmt: skip
    compile_parser.add_argument(
        "--threads", type=int, choices=(1,), help="of --emit: no threads but the caller's, and none of their functions"
    )
    run_parser = add(commands, "run", run_command, model, inputs, dim, target)
    run_parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="save outputs: .npz, or .npy for one")
    run_parser.add_argument(
        "--repeat", type=_positive, default=1, metavar="N", help="run so often; tells the median time"
    )
    run_parser.add_argument("--output-name", action="append", metavar="NAME", help="only this output; may be repeated")
    inspect_parser = add(commands, "inspect", inspect_command, model, dim, target)
    inspect_parser.add_argument("--stage", metavar="NAME", help=f"print this stage's text: {', '.join(driver.STAGES)}")
    measured = Parser(add_help=False)
    measured.add_argument("--repeat", type=_positive, metavar="N", help="run so often to measure")
    measured.add_argument("--threads", type=_positive, metavar="N", help="of a run (default: all)")
    explain_parser = add(commands, "explain", explain_command, model, inputs, dim, target, measured)
    explain_parser.add_argument("--no-run", action="store_true", help="do not measure")
    explain_parser.add_argument("--steps", action="store_true", help="show all steps, in their order")

    report_parser = add(commands, "report", report_command, model, inputs, dim, target, measured)
    report_parser.set_defaults(no_run=False)
    report_parser.add_argument(
        "-o", "--output", type=Path, default=Path("report.html"), metavar="FILE", help="the page"
    )
    report_parser.add_argument("--no-verify", action="store_true", help="do not compare with other engines")

    verify_parser = add(commands, "verify", verify_command, model, inputs, dim, target)
    verify_parser.add_argument("--runs", type=_positive, default=1, metavar="N", help="as many random inputs")

    bisect_parser = add(commands, "bisect", bisect_command, model, inputs, dim, target)
    bisect_parser.add_argument(
        "--against", default="float64", metavar="WHAT",
        help="float64 (default), onnxruntime, reference, strict, level=N, or ours@ARTIFACT",
    )  # fmt: skip
    bisect_parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="write the smallest part, its inputs and a script",
    )

    tune_parser = add(commands, "tune", tune_command, target)
    tune_parser.add_argument("model", nargs="?", help="an ONNX file")
    tune_parser.add_argument(
        "--dim", action="append", default=[], type=tune.dim, metavar="NAME=SIZES",
        help="sizes of a symbolic dimension: 1,8 or 16..512, the powers of two between them",
    )  # fmt: skip
    tune_parser.add_argument("--time", type=tune.duration, default=300.0, help="for all sizes, such as 5m (default)")
    tune_parser.add_argument("--trials", type=_positive, metavar="N", help="at most, for each kernel")
    tune_parser.add_argument("--threads", type=_positive, metavar="N", help="of a run (default: all)")
    tune_parser.add_argument("--database", type=Path, metavar="FILE", help="to add measurements to (INTAGLIO_TUNING)")
    tune_parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="of a Dask cluster to measure on, such as tcp://host:8786"
    )
    tune_parser.add_argument("--resume", action="store_true", help="do not measure again what was measured before")
    tune_parser.add_argument("--html", type=Path, metavar="FILE", help="write the report as a page, with plots")
    tune_parser.add_argument("--seed", type=int, default=0, help="of random inputs")
    tune_parser.add_argument("--show", action="store_true", help="show what was measured")
    tune_parser.add_argument("--export", type=Path, metavar="FILE", help="write all records in use to a file")
    tune_parser.add_argument(
        "--import", dest="import_", type=Path, nargs="+", metavar="FILE", help="add the records of files"
    )
    tune_parser.add_argument("--prune", action="store_true", help="remove records that later ones replace")

    cache_parser = commands.add_parser("cache", help="The compiled models that are kept.")
    cache_parser.set_defaults(command=partial(_help, cache_parser))
    cache_commands = cache_parser.add_subparsers(metavar="action")
    add(cache_commands, "list", cache_list)
    add(cache_commands, "explain", cache_explain, model, dim, target)
    prune_parser = add(cache_commands, "prune", cache_prune)
    prune_parser.add_argument(
        "--bytes", type=_positive, metavar="N", help="keep so much (default: INTAGLIO_CACHE_SIZE, or 20 GiB)"
    )
    add(cache_commands, "clear", cache_clear)
    add(commands, "doctor", doctor_command)
    completion_parser = add(commands, "completion", completion_command)
    completion_parser.add_argument("shell", choices=completion.SHELLS)
    return parser


class _Emit(argparse.Action):
    """--emit c [DIR], or --emit so [DIR]."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        if values[0] not in emit.KINDS or len(values) > 2:
            parser.error(f"argument --emit: expected c or so, and at most a folder, not {' '.join(values)}")
        namespace.emit = values


def _dim(text: str) -> tuple[str, int]:
    name, equals, size = text.partition("=")
    if not (name and equals and size.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected NAME=SIZE, not '{text}'")
    return name, int(size)


def _target(text: str) -> str:
    try:
        targets(text)
    except InvalidArgument as error:
        raise argparse.ArgumentTypeError(error.text) from None
    return text


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a positive integer, not '{text}'")
    return int(text)
