"""Tuning: measures schedules of a model's kernels on this machine, and uses what was measured.

kernels.py finds the kernels of a model; trial.py builds and runs one of them with a schedule; search.py decides what to
try next; tuner.py goes over a model; choose.py looks schedules up when a model is compiled. The database is
runtime/store/tuning.py.
"""
