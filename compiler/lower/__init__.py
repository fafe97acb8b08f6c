"""Lowering: a graph becomes a program of steps, and each fused group of its nodes a kernel."""
