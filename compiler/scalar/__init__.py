"""Scalars: integer expressions (dims and indices), dtypes, scalar expressions and the primitive table.

The lowest layer: it imports nothing else of the project.
"""
