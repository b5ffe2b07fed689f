"""The pipeline on Ray: the only package that imports it.

cluster.py     find or start a cluster; who gets which resources
nodes.py       nodes that are there, and may come         provision.py  asks for nodes, waits, gives back
sampler.py     actors that draw blocks                    buffer.py   the actor that owns and hands out blocks
stream.py      one stream inside the buffer               shelf.py    its blocks in the object store
feed.py        a learner's thread that fetches blocks     learner.py  Ray Train loop of an agent
modeler.py     Ray Train loop of a world model            artifacts.py, leases.py  one builder per world model
trial.py       one configuration, end to end              sweep.py    many of them under Ray Tune
load.py, throughput.py     how much the buffer bears, how samplers add up
faults/        processes killed, memory and disk taken away, and what becomes of a sweep
"""

from dwm_ray.distributed.cluster import settings

settings.apply()
