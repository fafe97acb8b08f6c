"""Lowering: groups of graph nodes become kernels, and a graph a program of steps."""
