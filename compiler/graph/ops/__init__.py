"""The closed set of tensor operations, by family; importing this package fills `ir.OPS`.

Each operation is one block: `infer` (shapes and dtypes of the outputs, from inputs and attrs; raises
ValueError where ranks or dtypes do not fit), `demands` (what it asks of sizes: all that a kernel takes for
granted is among it) and `evaluate` (its meaning in numpy). Families: leaves, pointwise, views,
indexing, reductions, linear (matmul and convolution), attention, recurrent, nms, trees, control (branch
and loop).

Adding an operation is adding a block here and its lowering in `lower/groups.py`; nothing else lists them.
"""

from . import attention, control, indexing, leaves, linear, nms, pointwise, recurrent, reductions, trees, views

__all__ = [
    "attention", "control", "indexing", "leaves", "linear", "nms", "pointwise", "recurrent", "reductions", "trees",
    "views",
]  # fmt: skip
