"""`python -m bench <command> [arguments]`: hand over to the command's own module."""

from __future__ import annotations

import importlib
import sys

COMMANDS = {
    "demo": "compile ResNet-50, check its output, time it; needs no other engine",
    "zoo": "build the models that everything is measured on",
    "compare": "time whole models against onnxruntime and OpenVINO",
    "against": "time whole models, compiled here, against another commit's compiler",
    "ops": "time single operators the same way",
    "kernels": "matmul and convolution kernels alone, against the FMA peak",
    "cubins": "the GPU kernels of whole models, built without a GPU: registers, shared memory, spills",
    "gpu": "time whole models on an NVIDIA GPU against torch",
    "peak": "measure the machine: FMA peak and memory bandwidth",
    "startup": "import, compile and session time, overhead of run(), against their budgets",
    "scaling": "the time of the compiler against the number of nodes, against its budgets",
    "real": "models of published packages: first and later sessions, and runs, against onnxruntime",
    "quantized": "models quantised by onnxruntime's tools, against onnxruntime and the same models in f32",
    "half": "models of 16-bit floats, against the same in f32, onnxruntime and OpenVINO",
    "narrow": "products with weights of 2, 4 and 8 bits, against onnxruntime and the memory's bandwidth",
    "threads": "one session, eight threads: runs per second, and memory, against onnxruntime",
    "contend": "runs beside processes that keep the CPUs busy, with one thread and with two",
    "tune": "what autotuning gains on whole models, and kernel by kernel",
    "search": "the search of autotuning against random trials",
    "explain": "whether the sums and limits of `intaglio explain` hold",
    "report": "all tables, as Markdown, to bench/results",
}


def main(argv: list[str]) -> int:
    if not argv or argv[0] not in COMMANDS:
        print(__doc__, *(f"  {name:9} {text}" for name, text in COMMANDS.items()), sep="\n")
        return 2
    return int(importlib.import_module(f".{argv[0]}", __package__).main(argv[1:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
