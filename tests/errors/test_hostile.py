"""Models made to do harm: names that try to be code or paths, sizes that try to exhaust, damaged bytes, killed
compilers.

The right outcome is a right result or an exception of runtime.errors; never a crash, a hang, or a file outside the
cache.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from chance import fresh_seed
from onnx import TensorProto, helper, numpy_helper
from onnx_suite import pool

import intaglio
from bench.models import SMALL_DIR
from intaglio.compiler.driver import lower_model
from intaglio.compiler.options import Options
from intaglio.runtime.errors import BY_NAME, InvalidArgument

ERRORS = tuple(BY_NAME.values())
EVIL = "EVILMARK"
NAMES = {
    "quotes": f"\"'{EVIL}'\"",
    "newlines": f'\n#include "{EVIL}"\n\r\n',
    "end of comment": f"*/ {EVIL}(); /*",
    "string escape": f'\\"); {EVIL}("\\',
    "template": f"{{{{ {EVIL}.__class__ }}}} {{% include '/etc/passwd' %}}",
    "format": f"%s%n{{{EVIL}}}{{0}}",
    "path": f"../../../../{EVIL}",
    "absolute path": f"/tmp/{EVIL}",
    "long": EVIL * 1250,
    "NUL": f"a\0{EVIL}",
    "not ASCII": f"ünï\u202e{EVIL}\U0001f48e",
    "trigraph": f"??/{EVIL}??/\n",
    "C keyword": "while",
    "our own": "intaglio_run",
}


def named(name: str) -> onnx.ModelProto:
    """max(x @ w + b, 0) in two nodes and a function, with `name` in each place that has one."""
    w, b = np.eye(3, dtype=np.float32) * 2, np.ones(3, np.float32)
    nodes = [
        helper.make_node("Gemm", [f"x{name}", f"w{name}", f"b{name}"], [f"h{name}"], f"g{name}", doc_string=name),
        helper.make_node(f"f{name}", [f"h{name}"], [f"y{name}"], f"r{name}", domain=f"d{name}"),
    ]
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(f"d{name}", 1)]
    inner = helper.make_node("Relu", [f"p{name}"], [f"q{name}"], f"i{name}")
    function = helper.make_function(f"d{name}", f"f{name}", [f"p{name}"], [f"q{name}"], [inner], opsets[:1])
    graph = helper.make_graph(
        nodes, f"graph{name}",
        [helper.make_tensor_value_info(f"x{name}", TensorProto.FLOAT, [f"n{name}", 3])],
        [helper.make_tensor_value_info(f"y{name}", TensorProto.FLOAT, [f"n{name}", 3])],
        [numpy_helper.from_array(w, f"w{name}"), numpy_helper.from_array(b, f"b{name}")], doc_string=name,
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=opsets, functions=[function], ir_version=10, producer_name=name)
    made.domain, made.doc_string = name, name
    helper.set_model_props(made, {f"key{name}": name})
    return made


@pytest.mark.parametrize("kind", NAMES)
def test_names_are_only_names(kind: str) -> None:
    name = NAMES[kind]
    session = intaglio.InferenceSession(named(name).SerializeToString())
    assert session.get_inputs()[0].name == f"x{name}" and session.get_outputs()[0].name == f"y{name}"
    assert session.get_inputs()[0].shape == [f"n{name}", 3]
    assert session.get_modelmeta().graph_name == f"graph{name}"
    assert session.get_modelmeta().custom_metadata_map == {f"key{name}": name}
    x = np.array([[1, -1, 0], [-2, 3, 5]], np.float32)
    (y,) = session.run([f"y{name}"], {f"x{name}": x})
    np.testing.assert_array_equal(y, np.maximum(2 * x + 1, 0))
    with pytest.raises(InvalidArgument) as caught:
        session.run(None, {f"x{name}": x[0]})
    assert f"x{name}" in str(caught.value)


@pytest.mark.parametrize("kind", [kind for kind, name in NAMES.items() if EVIL in name])
def test_no_name_reaches_the_sources(kind: str) -> None:
    unit = lower_model(named(NAMES[kind]).SerializeToString(), Options())
    assert unit.sources is not None
    assert all(EVIL not in source.text for source in unit.sources.files)


def _tree(folder: Path) -> dict[str, tuple[int, int]]:
    """All files and folders: size and time of change."""
    found = {}
    for path in folder.rglob("*"):
        stat = path.lstat()
        found[str(path.relative_to(folder))] = (stat.st_size, stat.st_mtime_ns)
    return found


def _python(code: str, cache: Path, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "INTAGLIO_CACHE_DIR": str(cache), **options.pop("env", {})}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


RUN = """
import sys, numpy as np, intaglio
session = intaglio.InferenceSession(sys.argv[1])
shape = [d if isinstance(d, int) else 2 for d in session.get_inputs()[0].shape]
print(session.run(None, {session.get_inputs()[0].name: np.ones(shape, np.float32)})[0].sum())
"""


def test_nothing_is_written_outside_the_cache(tmp_path: Path) -> None:
    folders = {key: tmp_path / key for key in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "work")}
    for folder in folders.values():
        folder.mkdir()
    for kind in ("path", "absolute path"):
        onnx.save(named(NAMES[kind]), folders["work"] / f"{kind}.onnx")
    before = {key: _tree(folder) for key, folder in folders.items()}
    env = {key: str(folder) for key, folder in folders.items() if key != "work"}
    for kind in ("path", "absolute path"):
        process = _python(RUN, tmp_path / "cache", f"{kind}.onnx", env=env, cwd=folders["work"])
        _, complaints = process.communicate(timeout=120)
        assert process.returncode == 0, complaints
    assert {key: _tree(folder) for key, folder in folders.items()} == before
    assert not list(Path("/tmp").glob(f"*{EVIL}*")) and not list(tmp_path.glob(f"*{EVIL}*"))


# ---- Damage --------------------------------------------------------------------------------------------------------


def _damaged(seed: int) -> tuple[str, bytes]:
    """A model with some bytes changed, cut out, doubled, or its end cut off."""
    rng = random.Random(seed)
    name = rng.choice(["mlp", "lstm", "whisper"])
    data = bytearray((SMALL_DIR / f"{name}.onnx").read_bytes())
    for _ in range(rng.choice([1, 1, 3, 20])):
        if len(data) < 100:
            break
        # Half of the places are near an end, where the structure is: in between there are weights.
        near = rng.randrange(min(4000, len(data)))
        at = rng.choice([near, len(data) - 1 - near, rng.randrange(len(data))])
        length = rng.randrange(1, 50)
        what = rng.randrange(5)
        if what < 2:
            data[at] = rng.randrange(256)
        elif what == 2:
            del data[at : at + length]
        elif what == 3:
            data[at:at] = data[at : at + length]
        else:
            del data[max(at, 1) :]
    return name, bytes(data)


def _compile_damaged(seed: int) -> str:
    """What is wrong with how a damaged model is treated; "" for nothing."""
    name, data = _damaged(seed)
    try:
        lower_model(data, Options())
    except ERRORS as error:
        return "" if len(str(error)) > 40 else f"{name} says only: {error}"
    except BaseException as error:
        return f"{name}: {type(error).__name__}: {error}"
    return ""


def test_damaged_models_are_refused_or_compiled() -> None:
    rng = random.Random(fresh_seed())
    seeds = [rng.randrange(1 << 32) for _ in range(120)]
    failures = [
        f"seed {seed}: {result.how if isinstance(result, pool.Ended) else result}"
        for seed, result in pool.run(_compile_damaged, seeds, jobs=1, seconds=60)
        if isinstance(result, pool.Ended) or result
    ]
    assert not failures, "\n".join(failures)


def test_every_truncation_of_a_small_model() -> None:
    data = named("").SerializeToString()
    for length in range(1, len(data)):
        try:
            lower_model(data[:length], Options())
        except ERRORS as error:
            assert len(str(error)) > 40, (length, error)


# ---- Exhaustion ----------------------------------------------------------------------------------------------------

HUGE = 1 << 40


def _bomb(op: str, inputs: dict[str, Any], **attributes: Any) -> bytes:
    """One node, its inputs constants; a graph input `x` of one float comes first unless it is named ''."""
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in inputs.items() if name != "x"]
    node = helper.make_node(op, list(inputs), ["y"], "bomb", **attributes)
    declared = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])] if "x" in inputs else []
    kind = TensorProto.INT64 if op == "Range" else TensorProto.FLOAT
    outputs = [helper.make_tensor_value_info("y", kind, None)]
    graph = helper.make_graph([node], "g", declared, outputs, initializers)
    opsets = [helper.make_opsetid("", 21)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


def _doubling(depth: int) -> bytes:
    """Each node joins the one before with itself: 2^depth elements out of one."""
    nodes = [helper.make_node("Concat", [f"v{i}", f"v{i}"], [f"v{i + 1}"], axis=0) for i in range(depth)]
    inputs = [helper.make_tensor_value_info("v0", TensorProto.FLOAT, [1])]
    outputs = [helper.make_tensor_value_info(f"v{depth}", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return bytes(model.SerializeToString())


def _billion_laughs(depth: int) -> bytes:
    """Functions that each call the next one ten times."""
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("d", 1)]
    functions = []
    for i in range(depth):
        inside = f"f{i + 1}" if i + 1 < depth else "Neg"
        calls = [
            helper.make_node(inside, [f"t{k}"], [f"t{k + 1}"], domain="d" if inside != "Neg" else "") for k in range(10)
        ]
        functions.append(helper.make_function("d", f"f{i}", ["t0"], ["t10"], calls, opsets))
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in ("x", "y")]
    graph = helper.make_graph([helper.make_node("f0", ["x"], ["y"], domain="d")], "g", value[:1], value[1:])
    made = helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=10)
    return bytes(made.SerializeToString())


BOMBS = {
    "ConstantOfShape": lambda: _bomb("ConstantOfShape", {"shape": np.array([HUGE])}),
    "ConstantOfShape in several dims": lambda: _bomb("ConstantOfShape", {"shape": np.array([1 << 20] * 4)}),
    "ConstantOfShape of a negative": lambda: _bomb("ConstantOfShape", {"shape": np.array([-(1 << 62)])}),
    "Expand": lambda: _bomb("Expand", {"x": 0, "shape": np.array([HUGE, 1])}),
    "Tile": lambda: _bomb("Tile", {"x": 0, "repeats": np.array([HUGE])}),
    "Range": lambda: _bomb("Range", {"start": np.int64(0), "limit": np.int64(HUGE), "delta": np.int64(1)}),
    "Pad": lambda: _bomb("Pad", {"x": 0, "pads": np.array([HUGE, HUGE])}),
    "doubling": lambda: _doubling(45),
    "functions": lambda: _billion_laughs(12),
}


def _run_bomb(name: str) -> str:
    try:
        session = intaglio.InferenceSession(BOMBS[name]())
        feeds = {each.name: np.zeros(1, np.float32) for each in session.get_inputs()}
        session.run(None, feeds)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return "it ran"


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n == "functions")) for n in BOMBS])
def test_sizes_that_no_memory_holds(name: str) -> None:
    ((_, result),) = pool.run(_run_bomb, [name], jobs=1, seconds=60)
    assert isinstance(result, str), result.how
    assert result.startswith(("Fail", "InvalidArgument", "InvalidGraph", "NotImplemented", "RuntimeException")), result


# ---- Processes -----------------------------------------------------------------------------------------------------


def _entries(cache: Path) -> list[Path]:
    return list((cache / "models").iterdir()) if (cache / "models").exists() else []


@pytest.mark.sample(2)
@pytest.mark.parametrize("seconds", [0.5, 1.2, 2.5])
def test_a_compilation_killed_half_way(tmp_path: Path, seconds: float) -> None:
    model, cache = SMALL_DIR / "convnext.onnx", tmp_path / "cache"
    process = _python(RUN, cache, model, start_new_session=True)
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGKILL)  # its C compilers with it
    process.communicate()
    again = _python(RUN, cache, model)
    _, complaints = again.communicate(timeout=300)
    assert again.returncode == 0, complaints
    assert len(_entries(cache)) == 1
    assert not list((cache / "tmp").iterdir())


def test_processes_that_compile_the_same_model(tmp_path: Path) -> None:
    processes: Sequence[subprocess.Popen[str]] = [
        _python(RUN, tmp_path / "cache", SMALL_DIR / "resnet50.onnx") for _ in range(3)
    ]
    results = {process.communicate(timeout=300) for process in processes}
    assert all(process.returncode == 0 for process in processes), results
    assert len({out for out, _ in results}) == 1
    assert len(_entries(tmp_path / "cache")) == 1


# ---- Sizes that come with the data ---------------------------------------------------------------------------------


def _shaped_by_data(nodes: Sequence[onnx.NodeProto], rank: int) -> bytes:
    """y = nodes(x, shape): the sizes of what is in between are elements of an input."""
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"]),
        helper.make_tensor_value_info("shape", TensorProto.INT64, [rank]),
    ]
    axis = numpy_helper.from_array(np.int64(1), "axis")
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(list(nodes), "g", inputs, outputs, [axis])
    opsets = [helper.make_opsetid("", 21)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


SHAPED = {
    "Expand": (
        [helper.make_node("Expand", ["x", "shape"], ["e"]), helper.make_node("CumSum", ["e", "axis"], ["c"])], 1,
    ),
    "Reshape": (
        [helper.make_node("Reshape", ["x", "shape"], ["r"]), helper.make_node("Softmax", ["r"], ["c"], axis=0)], 4,
    ),
}  # fmt: skip
# Products of the first four are 0, 0, 4 and 4 modulo 2^64.
SIZES = [
    (1 << 33, 1 << 31), (1 << 62, 4), ((1 << 62) + 1, 4), ((1 << 61) + 1, 4), (-(1 << 63), 1), (-7, -7), (1 << 40, 1),
]  # fmt: skip


def _run_shaped(item: tuple[str, tuple[int, int]]) -> str:
    name, sizes = item
    nodes, n = SHAPED[name]
    try:
        session = intaglio.InferenceSession(
            _shaped_by_data([*nodes, helper.make_node("ReduceMax", ["c"], ["y"], keepdims=0)], 2)
        )
        session.run(None, {"x": np.ones(n, np.float32), "shape": np.array(sizes)})
    except BaseException as error:
        return type(error).__name__
    return "it ran"


@pytest.mark.parametrize("name", SHAPED)
def test_sizes_in_the_data_that_wrap_around(name: str) -> None:
    outcomes = dict(pool.run(_run_shaped, [(name, sizes) for sizes in SIZES], jobs=1, seconds=60))
    for item, result in outcomes.items():
        assert result in ("InvalidArgument", "RuntimeException", "Fail"), (item, result)
