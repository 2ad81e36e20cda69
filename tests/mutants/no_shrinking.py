"""A plugin of pytest: hypothesis draws the same each time, and looks for no smaller example."""

from hypothesis import Phase, settings

settings.register_profile(
    "mutants",
    phases=(Phase.explicit, Phase.generate),
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=100,
)
