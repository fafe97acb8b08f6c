"""`python -m bench zoo [names] [--small] [--dir D]`: build the eleven models to measure.

In: `recipes.py` and a fixed seed. Out: one ONNX file each, written whole or not at all, skipped where the
same recipe built it before.

Full-size models go to the zoo folder with their weights in `<name>.onnx.data`, as torch.onnx.export does
by default. `--small` writes narrow ones of two layers or so to tests/data, weights inside, so that tests
need no exporter.

The weights are drawn such that activations stay near unit scale and every parameter matters: as
`transformers` starts them, biases are 0, norms are 1 and ConvNeXt's layer scale is 1e-6, and a comparison
would prove little.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import onnx
import torch
import transformers as hf
from torch import nn

from .inputs import random_inputs
from .models import SMALL_DIR, zoo_dir
from .recipes import RECIPES

RECIPE = "2"  # raise it when a recipe changes: every model is then built again


class FirstOutput(nn.Module):
    """The first tensor that a model returns: logits or the last hidden state."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        outputs = self.model(*args)
        return outputs if isinstance(outputs, torch.Tensor) else outputs[0]


@torch.no_grad()
def randomise(model: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
    """Draw every parameter so that activations keep about unit scale; fit batch norms to random data.

    `args` are inputs that the model accepts; only their shapes count.
    """
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if "bias" in name:
                parameter.normal_(0, 0.1)
            elif parameter.squeeze().ndim < 2:  # norms, layer scales, class tokens
                parameter.uniform_(0.5, 1.5)
            else:
                transposed = isinstance(module, hf.pytorch_utils.Conv1D)  # GPT-2's, the one with [in, out]
                fan_in = len(parameter) if transposed else parameter[0].numel()
                parameter.normal_(0, fan_in**-0.5)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # a plain average over the passes
        norm.train()
    for _ in range(2 if norms else 0):
        model(*(torch.randn(8, *arg.shape[1:]) for arg in args))
    model.eval()


def build(name: str, folder: Path, small: bool = False) -> Path:
    """Export one model to `folder`/`name`.onnx, unless this recipe already has. The file appears whole."""
    file = folder / f"{name}.onnx"
    size = "small" if small else "full"
    recipe = f"{RECIPE} {size} torch {torch.__version__} transformers {hf.__version__}"
    if file.exists() and _metadata(file).get("recipe") == recipe:
        return file
    torch.manual_seed(0)
    source, inputs = RECIPES[name](small)
    model = FirstOutput(source).eval()
    ranges = {f"range.{i.name}": f"0:{i.below}" for i in inputs if i.below is not None}
    args = tuple(map(torch.from_numpy, random_inputs(inputs, {"batch": 2, "sequence": 9}, ranges).values()))
    randomise(model, args)
    _check_scale(name, model, args)
    program = torch.onnx.export(
        model,
        args,
        dynamo=True,
        verbose=False,
        input_names=[i.name for i in inputs],
        output_names=["output"],
        dynamic_shapes=(
            tuple({axis: dim for axis, dim in enumerate(i.shape) if isinstance(dim, str)} for i in inputs),
        ),
    )
    assert program is not None
    program.model.metadata_props.update(recipe=recipe, **ranges)
    if small:  # each node carries a stack trace, together larger than the weights
        for node in program.model.graph:
            node.metadata_props.clear()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        program.save(Path(temporary) / file.name, external_data=not small)
        weights_first = sorted(Path(temporary).iterdir(), reverse=True)  # since the model names them
        for part in weights_first:
            os.replace(part, folder / part.name)
    return file


def _metadata(file: Path) -> dict[str, str]:
    return {p.key: p.value for p in onnx.load(file, load_external_data=False).metadata_props}


@torch.no_grad()
def _check_scale(name: str, model: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
    spread = float(model(*args).std())
    print(f"  {name}: standard deviation of the output {spread:.3g}")
    if not 1e-2 < spread < 1e2:
        raise ValueError(f"{name}: at a standard deviation of {spread:g}, comparing outputs proves little")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench zoo", description="Build the models to measure.")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(RECIPES)}; all if none is given")
    parser.add_argument("--small", action="store_true", help="the small ones of the tests")
    parser.add_argument("--dir", type=Path, help="where to write (default: the zoo folder, or tests/data)")
    options = parser.parse_args(argv)
    folder = options.dir or (SMALL_DIR if options.small else zoo_dir())
    for name in options.names or RECIPES:
        file = build(name, folder, options.small)
        size = sum(part.stat().st_size for part in folder.glob(f"{name}.onnx*"))
        print(f"{file}  {size / 1e6:.2f} MB")
    return 0
