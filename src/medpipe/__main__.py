"""``python -m medpipe``."""

from __future__ import annotations

from medpipe.cli import main

if __name__ == "__main__":
    main()
