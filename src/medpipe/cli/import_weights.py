"""``medpipe import-weights``: pickled weights to safetensors, without running code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def import_weights(
    file: Path,
    /,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    key: str | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Write the tensors of a torch.save file as safetensors; no code in it runs.

    Args:
        file: The pickled file: .pth, .pt, .ckpt.
        out: The safetensors file to write.
        key: Where in the file the state dictionary is, such as model or ema.state_dict.
        overwrite: Write also where the output holds something else.
    """
    from medpipe.training.pickled import import_pickled
    from medpipe.training.weights_problems import listed

    done = import_pickled(file, out, key=key, overwrite=overwrite)
    there = "" if done.written else ", which was there already with the same content"
    print(f"{len(done.names)} tensors, {done.size / 1e6:.1f} MB, in {done.path}{there}")
    if done.left_out:
        print(f"left out, being no tensors: {listed(done.left_out)}")
    if done.key:
        print(f"taken from {done.key!r} in {file}")
    if done.beside:
        print(f"left out beside it: {listed(done.beside)}")
    if done.others:
        print(f"tensors are also at {listed(map(repr, done.others))}: choose them with --key")
    layout = done.layout
    if layout is not None:
        print(f"recognised: {layout}")
        print("\n".join(["[network]", *layout.settings, ""]))
    print("[weights]")
    print(f'file = "{done.path.as_posix()}"')
    print(f'sha256 = "{done.sha256}"')
    if layout is None and done.wrappers:
        print(f"strip = {json.dumps(done.wrappers)}")
    if layout is not None:
        if layout.classes is not None:
            print(f'skip = ["{layout.skip}"]  # the last layer; keep it for the same outputs')
        print(f'first_layer = "mean"  # for images of other than {layout.channels} channels')
