"""What tests start as a process of its own, to kill it: ``download`` or ``extract``."""

from __future__ import annotations

import sys
from pathlib import Path


def main(what: str, source: str, target: str, sha256: str) -> None:
    from medpipe.plugin import download, extract_archive

    print("begins", flush=True)  # noqa: T201
    if what == "download":
        download(source, Path(target), sha256=sha256, most_bytes=10**8)
    else:
        extract_archive(Path(source), Path(target))
    print("done", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
