"""Kernels and program to C, and C to native code."""
