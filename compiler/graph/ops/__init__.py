"""The closed set of tensor operations, by family; importing this package fills `ir.OPS`.

Each operation is one block: `infer` (shapes and dtypes of the outputs, from inputs and attrs; raises ValueError where
ranks or dtypes do not fit), `demands` (the conditions on sizes, including all that a kernel relies on) and `evaluate`
(its meaning in numpy). Families: leaves, pointwise, views, indexing, reductions, linear (matmul and convolution),
attention, recurrent, nms, trees, control (branch and loop), host (functions of the runtime).

To add an operation, add a block here, and its lowering in `lower/elements.py`, or `lower/bodies.py` where it is heavy;
nothing else lists them. What else passes and fusion ask of it are its `traits`.
"""

from . import attention, control, host, indexing, leaves, linear, nms, pointwise, recurrent, reductions, trees, views

__all__ = [
    "attention", "control", "host", "indexing", "leaves", "linear", "nms", "pointwise", "recurrent", "reductions",
    "trees", "views",
]  # fmt: skip
