"""A process that calls triton.compile: `python worker.py`, one job a line on stdin, one answer a line on stdout.

It imports nothing of the project, so that it starts as fast as triton does. In: a job, the dictionary of `build._work`.
Out: OUTPUT.bin, the binary, and OUTPUT.json with the other fields of `build.Binary`; the answer is the same JSON, or
{"error": text}.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

ALIGNMENT = 16  # bytes: of all buffers


def compile_kernel(job: dict[str, Any]) -> dict[str, int]:
    """Compiles one kernel, writes its files, and returns the contents of OUTPUT.json."""
    spec = importlib.util.spec_from_file_location(job["name"], job["source"])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function = getattr(module, job["name"])
    signature = dict(zip(function.arg_names, job["arguments"]))
    aligned = {(i,): [["tt.divisibility", ALIGNMENT]] for i, t in enumerate(job["arguments"]) if t.startswith("*")}
    source = ASTSource(function, signature, {}, aligned)
    gpu = GPUTarget(job["backend"], job["arch"], job["warp"])
    for stages in range(job["stages"], 0, -1):  # fewer blocks in flight, if they do not fit shared memory
        kernel = triton.compile(source, target=gpu, options={"num_warps": job["warps"], "num_stages": stages})
        if kernel.metadata.shared <= job["most_shared"]:
            break
    code = kernel.asm["cubin" if job["backend"] == "cuda" else "hsaco"]
    output = Path(job["output"])
    output.with_name(output.name + ".bin").write_bytes(code)
    facts = {
        "threads": kernel.metadata.num_warps * job["warp"],
        "shared": kernel.metadata.shared,
        "scratch": getattr(kernel.metadata, "global_scratch_size", 0),
        "wgmma": kernel.asm.get("ptx", "").count("wgmma.mma_async"),
        **(_resources(output) if job["backend"] == "cuda" else _amd_resources(kernel.asm["amdgcn"])),
    }
    output.with_name(output.name + ".json").write_text(json.dumps(facts))
    return facts


def _resources(output: Path) -> dict[str, int]:
    """Registers and spilled bytes of a thread, from the disassembler of the CUDA toolkit that triton contains."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    command = [str(tool), "--dump-resource-usage", str(output.with_name(output.name + ".bin"))]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    usage = {name: int(value) for name, value in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", text)}
    return {"registers": usage.get("REG", 0), "spills": usage.get("STACK", 0) + usage.get("LOCAL", 0)}


def _amd_resources(assembly: str) -> dict[str, int]:
    def number(name: str) -> int:
        match = re.search(rf"\.{name}:\s+(\d+)", assembly)
        return int(match[1]) if match else 0

    return {"registers": number("vgpr_count"), "spills": number("private_segment_fixed_size")}


def main() -> None:
    for line in sys.stdin:
        try:
            answer: dict[str, Any] = compile_kernel(json.loads(line))
        except Exception as error:  # whatever Triton raises is an answer
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
