"""Kernels to Triton, and Triton to cubins."""
