"""Fault injection by real signals and resource limits on the processes of real runs: `pipelines/benchmark.py faults`.

    harness    a cluster, sweeps in separate processes, the processes of their actors, and their leftovers
    checks     progress and row accounting of a run folder; outcomes, the rows of the table
    killed, resumed, limits    the scenarios; `scenarios` runs all of them

Nothing is simulated: processes are killed by SIGKILL, the kernel limits memory and file sizes, and a disk is full.
Only processes of sweeps that were started here are affected.
"""
