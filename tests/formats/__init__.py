"""The reader against files of independent writers: sound, contradictory and damaged ones.

``python -m tests.formats --help`` says what it does; `docs/explanation/reliability.md` what came of
it. Each format is a module here with `EXAMPLES` (a hypothesis strategy of `Written`) and `SMALL`
(whole files whose every byte is damaged, as `Small`).
"""
