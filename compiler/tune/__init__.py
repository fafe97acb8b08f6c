"""Tuning: measures schedules of a model's kernels on this machine, and uses what was measured.

kernels.py finds the kernels of a model; trial.py builds and runs one of them with a schedule; search.py decides what to
try next; workload.py compiles and compares whole models; tuner.py goes over a model; machines.py says where all of that
runs, here or on a cluster (cluster.py); choose.py looks schedules up when a model is compiled. The database is
runtime/store/tuning.py.
"""
