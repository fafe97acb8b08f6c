"""Models as C by itself: small ones, how they are built, and whether they compute what sessions do.

In: a model, a C compiler. Out: the checksums of outputs, as the example of the folder prints them, to compare with
those of a session on the same fresh random inputs.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
from chance import fresh_seed
from onnx import numpy_helper

from intaglio import InferenceSession, SessionOptions
from intaglio.compiler.driver import lower_model
from intaglio.compiler.export import folder
from intaglio.compiler.export.folder import Embedding, Folder
from intaglio.compiler.options import Options
from intaglio.runtime.api.options import TARGET as ENTRY

Array = np.ndarray[Any, Any]

TARGET = "x86-64-v3"  # of tests that run the code: valgrind, too, knows its instructions
WARNINGS = ["-Wall", "-Wextra", "-Werror"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1", "-fexpensive-optimizations", "-g"]

HEAD = '<ir_version: 10, opset_import: ["" : 21]>'
# Of fixed sizes: a convolution, a pool, a product; values of f16.
STATIC = f"""{HEAD} static (float[1, 3, 12, 12] x, float16[5] h) => (float[1, 7] y, float16[5] z)
<float[8, 3, 3, 3] w, float[8] b, float[8, 7] v> {{
    c = Conv <pads = [1, 1, 1, 1]> (x, w, b)
    r = Relu (c)
    p = GlobalAveragePool (r)
    f = Flatten (p)
    y = MatMul (f, v)
    z = Tanh (h)
}}"""
# Of two sizes: softmax over products, a norm, integers and booleans.
DYNAMIC = f"""{HEAD} dynamic (float[batch, length, 16] x, bool[batch, length] mask, int32[batch] int) =>
    (float[batch, length, 16] y, bool[batch, length] register, int32[batch] twice)
<float[16, 16] w, float[16] g> {{
    q = MatMul (x, w)
    t = Transpose <perm = [0, 2, 1]> (x)
    s = MatMul (q, t)
    a = Softmax (s)
    o = MatMul (a, x)
    n = LayerNormalization (o, g)
    y = Gelu (n)
    register = Not (mask)
    twice = Add (int, int)
}}"""
# Loops and branches; a shape that depends on data, one that is in the data of an input; an index to be checked.
CONTROL = f"""{HEAD} control (float[n, 4] x, int64 trips, bool flip, int64[2] size, int64 index) =>
    (float[n, 4] y, int64[2, found] places, float[rows, columns] wide, float last, float[n] column)
<float[4, 4] w, float level> {{
    yes = Constant <value = bool {{1}}> ()
    looped = Loop (trips, yes, x) <body = body (int64 i, bool go, float[n, 4] state) => (bool more, float[n, 4] next) {{
        product = MatMul (state, w)
        next = Tanh (product)
        sum = ReduceSum <keepdims = 0> (next)
        limit = Constant <value = float {{1000000.0}}> ()
        more = Less (sum, limit)
    }}>
    y = If (flip) <
        then_branch = yes () => (float[n, 4] negative) {{ negative = Neg (looped) }},
        else_branch = no () => (float[n, 4] same) {{ same = Add (looped, x) }}
    >
    positive = Greater (y, level)
    places = NonZero (positive)
    last = ReduceMax <keepdims = 0> (x)
    wide = Expand (last, size)
    column = Gather <axis = 1> (x, index)
}}"""


def model(text: str, seed: int = 7) -> onnx.ModelProto:
    """The model of a text; what it declares beside inputs and outputs are random weights."""
    made = onnx.parser.parse_model(text)
    rng = np.random.default_rng(seed)
    for each in made.graph.value_info:
        tensor = each.type.tensor_type
        array = rng.standard_normal([dim.dim_value for dim in tensor.shape.dim])
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        made.graph.initializer.append(numpy_helper.from_array(np.asarray(array, dtype), each.name))
    return made


def feeds(name: str, least: int = 1) -> dict[str, Array]:
    """Random inputs of one of the models above. least: of the sizes; from a hundred on there is work for threads."""
    rng = np.random.default_rng(fresh_seed())
    normal = rng.standard_normal
    if name == "static":
        return {"x": normal((1, 3, 12, 12), np.float32), "h": normal(5).astype(np.float16)}
    if name == "dynamic":
        batch, length = int(rng.integers(1, 5)), least + int(rng.integers(40))
        return {
            "x": normal((batch, length, 16), np.float32),
            "mask": rng.random((batch, length)) < 0.5,
            "int": rng.integers(-1000, 1000, batch, np.int32),
        }
    n = least * least + int(rng.integers(60))
    return {
        "x": normal((n, 4), np.float32),
        "trips": np.array(rng.integers(1, 6)),
        "flip": np.array(rng.random() < 0.5),
        "size": rng.integers(1, 9, 2),
        "index": np.array(rng.integers(0, 4)),
    }


MODELS = {"static": STATIC, "dynamic": DYNAMIC, "control": CONTROL}
# The names in C of inputs, where they differ.
RENAMED = {"int": "int_"}


def write(
    path: Path, name: str, target: str = TARGET, embed: Embedding | None = None, is_threaded: bool = True
) -> Folder:
    """The folder of one of the models above."""
    unit = lower_model(model(MODELS[name]).SerializeToString(), Options(target=target))
    return folder.write(unit, path, name, embed, is_threaded)


def session(name: str, threads: int = 1, target: str = TARGET) -> InferenceSession:
    """A session of one of them, for the same target."""
    options = SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry(ENTRY, target)
    return InferenceSession(model(MODELS[name]).SerializeToString(), options)


def checksum(array: Array) -> str:
    """FNV-1a of the bytes, as main.c.j2 prints it."""
    value = 0xCBF29CE484222325
    for byte in array.tobytes():
        value = (value ^ byte) * 0x100000001B3 % (1 << 64)
    return f"{value:016x}"


def make(path: Path, cc: Sequence[str], flags: Sequence[str] = (), *targets: str) -> None:
    """Builds by the folder's Makefile; warnings are errors."""
    variables = [f"CC={' '.join(cc)}", f"CFLAGS={' '.join([*WARNINGS, *flags])}"]
    ran = subprocess.run(["make", "-s", "-j2", *variables, *targets], cwd=path, capture_output=True, text=True)
    assert not ran.returncode, ran.stdout + ran.stderr


def run(
    program: Sequence[str],
    fed: Mapping[str, Array],
    outputs: Sequence[Array],
    folder: Path,
    *more: str,
    exact: bool = True,
) -> None:
    """Runs an example on inputs, which become files. Fails unless it prints `outputs`, bit by bit where `exact`, else
    with the first elements up to rounding."""
    arguments = [*more]
    for name, array in fed.items():
        file = folder / f"{RENAMED.get(name, name)}.in"
        file.write_bytes(array.tobytes())
        arguments.append(f"{file.stem}={file.name}")
    ran = subprocess.run([*program, *arguments], cwd=folder, capture_output=True, text=True)
    assert not ran.returncode, ran.stdout + ran.stderr
    lines = [re.findall(r"\[(.*)\] (\w{16})(.*)", line)[0] for line in ran.stdout.splitlines()]
    assert [shape for shape, _, _ in lines] == [", ".join(map(str, each.shape)) for each in outputs]
    for (_, found, first), output in zip(lines, outputs):
        if exact:
            assert found == checksum(output), ran.stdout
        elif output.dtype == np.float32:
            np.testing.assert_allclose(np.array(first.split(), np.float32), output.reshape(-1)[:4], 1e-4, 1e-5)


def dims(name: str, fed: Mapping[str, Array]) -> list[str]:
    """The sizes of a feed, as arguments of the example."""
    if name == "dynamic":
        return [f"batch={fed['x'].shape[0]}", f"length={fed['x'].shape[1]}"]
    return [f"n={fed['x'].shape[0]}"] if name == "control" else []


def zig(*arguments: str) -> list[str]:
    """The clang of the package `ziglang`, for a plain CPU, and without the checks that it adds by itself."""
    spec = importlib.util.find_spec("ziglang")
    assert spec and spec.submodule_search_locations
    return [str(Path(next(iter(spec.submodule_search_locations)), "zig")), "cc", "-fno-sanitize=undefined", *arguments]


@cache
def compilers() -> dict[str, list[str]]:
    """Those of this machine."""
    found = {name: [name] for name in ("gcc", "clang") if shutil.which(name)}
    return {**found, "zig": zig("-mcpu=baseline")} if importlib.util.find_spec("ziglang") else found


def emulator(cpu: str) -> str | None:
    """A program that runs those of another CPU."""
    return shutil.which(f"qemu-{cpu}") or shutil.which(f"qemu-{cpu}-static")


assert sys.byteorder == "little" and os.name == "posix"
