"""Fuzz tests run kernels under Triton's interpreter by the fixtures of its own tests."""

from unit.codegen.triton.conftest import check_triton, run_triton

__all__ = ["check_triton", "run_triton"]
