"""The mutation test: changes at random places of the code, and whether a test fails for each.

``python -m tests.mutants --help`` says what it does; `docs/explanation/reliability.md` what came of
it. It needs Linux and ``pip install -e ".[test,mutants]"``, and is no part of CI.
"""
