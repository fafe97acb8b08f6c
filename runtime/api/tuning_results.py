"""Measured schedules in the form of onnxruntime's tuning results, to carry them from one machine to another.

A result is {"ep": "CPUExecutionProvider", "results": {kernel: {number: record}}, "validators": {...}}: a kernel is a
digest, and a record a line of the database (store/tuning.py) as text. Validators are what has to be equal where it is
used.
"""

from __future__ import annotations

from typing import Any

from .. import cpus
from ..provider_names import CPU
from ..store import tuning
from ..store.artifact import Artifact
from ..store.tuning import Record

VERSION = "INTAGLIO_TUNING_VERSION"


def of(artifact: Artifact, path: str | None) -> list[dict[str, Any]]:
    """The records of the schedules that a compiled model uses; empty where it uses none."""
    steps = artifact.notes()["steps"]
    used = [(step["kernel"], step["measured"]) for step in steps if "measured" in step]
    results: dict[str, dict[str, str]] = {}
    for record in tuning.read(tuning.files(path or b"")) if used else ():
        if (record.code, record.schedule) in used:
            kernel = results.setdefault(record.kernel, {})
            kernel[str(len(kernel))] = tuning.line(record).decode().strip()
    return [{"ep": CPU, "results": results, "validators": _validators()}] if results else []


def _validators() -> dict[str, str]:
    return {VERSION: str(tuning.VERSION), "CPU": cpus.identity()}


def add(results: list[dict[str, Any]], error_on_invalid: bool) -> bool:
    """Adds the records to the user's database; returns whether there were any. Raises RuntimeError, if asked to, for
    results that cannot be used here."""
    records: list[Record] = []
    for number, result in enumerate(results):
        reason, found = _records(result)
        if reason and error_on_invalid:
            raise RuntimeError(f"Error in execution: Invalid TuningResults (index={number}). {reason}")
        records += found
    tuning.append(tuning.files()[0], records)
    return bool(records)


def _records(result: dict[str, Any]) -> tuple[str, list[Record]]:
    """Why a result cannot be used, "" if it can, and its records."""
    validators = result.get("validators", {})
    if result.get("ep") != CPU or VERSION not in validators:  # onnxruntime's own
        return f"{result.get('ep', '')} does not support TunableOp.", []
    for name, value in _validators().items():
        if validators.get(name) != value:
            return f"{name} is {validators.get(name)}, and here {value}.", []
    lines = [line for kernel in result.get("results", {}).values() for line in kernel.values()]
    parsed = [tuning.parsed(str(line).encode()) for line in lines]
    wrong = next((each for each in parsed if isinstance(each, str)), "")
    return (f"A record {wrong}." if wrong else ""), [each for each in parsed if isinstance(each, Record)]
