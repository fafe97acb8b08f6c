"""Compiles Triton kernels for GPUs that need not be there: `python assembler.py`, one job a line on stdin.

A job is {"text", "arguments", "warps", "stages", "backend", "arch"}; the answer to it, a line on stdout, is {"wgmma":
whether the assembly has instructions of that name, "spills": bytes, "shared": bytes}. Buffers are aligned, as those of
programs. A process of its own, as Triton's interpreter is on in the one of the tests.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


def compiled(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    file = folder / "kernel.py"
    file.write_text(job["text"])
    spec = importlib.util.spec_from_file_location("kernel", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    arguments = job["arguments"]
    aligned = {(i,): [["tt.divisibility", 16]] for i, kind in enumerate(arguments) if kind.startswith("*")}
    source = ASTSource(module.kernel, dict(zip(module.kernel.arg_names, arguments)), {}, aligned)
    cuda = job["backend"] == "cuda"
    target = GPUTarget(job["backend"], job["arch"], 32 if cuda else 64)
    made = triton.compile(source, target=target, options={"num_warps": job["warps"], "num_stages": job["stages"]})
    if not cuda:
        spills = re.search(r"\.private_segment_fixed_size:\s+(\d+)", made.asm["amdgcn"])
        assert spills is not None
        return {"wgmma": False, "spills": int(spills[1]), "shared": made.metadata.shared}
    binary = folder / "kernel.cubin"
    binary.write_bytes(made.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    told = subprocess.run([tool, "--dump-resource-usage", binary], capture_output=True, text=True, check=True).stdout
    used = dict(re.findall(r"\b(STACK|LOCAL):(\d+)", told))
    spilled = int(used["STACK"]) + int(used["LOCAL"])
    return {"wgmma": "wgmma.mma_async" in made.asm["ptx"], "spills": spilled, "shared": made.metadata.shared}


with tempfile.TemporaryDirectory() as scratch:
    for line in sys.stdin:
        print(json.dumps(compiled(json.loads(line), Path(scratch))), flush=True)
