"""The fault suite: real runs, killed and hindered at every operation on the disk.

``python -m tests.faults --help`` says what it does; `docs/explanation/reliability.md` what came of
it.
"""
