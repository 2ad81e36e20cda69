"""The two sides, each started as a process of its own: ``python -m benchmarks.sides.script``."""
