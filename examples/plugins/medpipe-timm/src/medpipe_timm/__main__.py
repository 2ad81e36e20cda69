"""``python -m medpipe_timm MODEL``: what a network's weights are, and a configuration for them."""

from __future__ import annotations

import sys

from medpipe.plugin import MedpipeError


def configuration(model: str) -> str:
    """Sections of a configuration that use a network as it was trained, with comments.

    Args:
        model: timm's name of the network.

    Raises:
        MedpipeError: timm can't be imported, or has no such network.
    """
    from medpipe_timm.encoders import facts

    about = facts(model)
    name = f"{about.architecture}.{about.tag}" if about.tag else model
    sides = ", ".join(map(str, about.input_size[1:]))
    published = about.hf_hub_id or about.url
    head = about.classifier if isinstance(about.classifier, str) else (about.classifier or [""])[0]
    sizes = "other sizes too, one at a time" if about.fixed_input_size else "any other size too"
    return f"""\
# {name}: {published or "no weights are published"}, licence: {about.license or "see there"}
# Made for {sides.replace(", ", " x ")} pixels; it takes {sizes}.
[network]
step = "timm"
model = "{name}"
weights = "{"pretrained" if published else "none"}"

[[transform]]
step = "load_image"
axes = "hw"
[[transform]]
step = "ensure_channel_first"
[[transform]]
step = "repeat_channel" # of grey images; leave it out for colours
repeats = {about.input_size[0]}
[[transform]]
step = "resize"
spatial_size = [{sides}]
[[transform]]
step = "scale_intensity_range" # of 8 bits
a_min = 0
a_max = 255
b_min = 0
b_max = 1
[[transform]]
step = "normalize_intensity"
subtrahend = {list(about.mean)}
divisor = {list(about.std)}
channel_wise = true
[[transform]]
step = "to_tensor"

[trainer]
step = "supervised"
learning_rate = 1e-3
[[trainer.parameters]]
match = '^(?!{head.replace(".", chr(92) + ".")}\\.)' # all but the last layer
learning_rate = 1e-4
"""


def main(arguments: list[str]) -> int:
    """Print the configuration."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("python -m medpipe_timm MODEL, such as convnext_tiny", file=sys.stderr)
        return 2
    try:
        print(configuration(arguments[0]), end="")
    except MedpipeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
