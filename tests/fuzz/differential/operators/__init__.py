"""How to make a valid node of each operator: a table of generators by name.

A generator takes the `World`, chooses operands and attributes, and emits the node (and others, where an operator makes
sense only with them). What turns out not to be valid is rejected by the judges; a generator need not be right always.
"""

from . import control, heavy, pointwise, reductions, select, views
from .table import GENERATORS, LEFT_OUT

__all__ = ["GENERATORS", "LEFT_OUT", "control", "heavy", "pointwise", "reductions", "select", "views"]
