"""The real core in a world of its own: machines, cables and disks that fail at random times.

`python -m tests.sim --seeds 2000` runs as many worlds and says which of them went wrong.
"""
