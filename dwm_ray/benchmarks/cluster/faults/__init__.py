"""Faults, provoked by real signals and limits on the processes of real runs: `pipelines/benchmark.py faults`.

    arena     a cluster, sweeps in processes of their own, their actors' processes, what they leave behind
    witness   what a run folder says: updates, blocks drawn, whether every row is accounted for
    outcome   one line of the table
    killed  resumed  storage  memory     the scenarios; suite: all of them in order

Nothing is simulated: a process is killed by SIGKILL, memory and file sizes are limited by the kernel, a disk is full.
Only processes of sweeps that were started here are ever touched.
"""
