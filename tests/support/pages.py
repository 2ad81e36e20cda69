"""HTML pages, as a strict reader and a browser see them."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

VOID = {"meta", "br", "img", "hr", "link", "input"}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Page(HTMLParser):
    """Reads a page, and fails where an element is not closed or an id comes twice.

    Attributes:
        ids: Of elements.
        links: What attributes point to.
        text: All text.
        tags: The names of elements.
    """

    def __init__(self, content: str) -> None:
        super().__init__(convert_charrefs=True)
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.tags: set[str] = set()
        self._open: list[str] = []
        self.feed(content)
        self.close()
        assert not self._open, self._open
        assert len(self.ids) == len(set(self.ids))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._attributes(tag, attrs)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._attributes(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        opened = self._open.pop()
        assert opened == tag, f"</{tag}> closes <{opened}>"

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += data

    def _attributes(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name in ("src", "href", "xlink:href", "action", "data", "poster"):
                self.links.append(value or "")
            elif name in ("style", "fill", "clip-path"):
                self.links += re.findall(r"url\(([^)]*)\)", value or "")


MEASURE = """<!DOCTYPE html>
<iframe style="width: {width}px; height: 2000px; border: 0" srcdoc="{content}"></iframe>
<script>
onload = () => {{
  const inside = document.querySelector('iframe').contentWindow, page = inside.document;
  const wide = [...page.querySelectorAll('body *')].filter(e =>
    e.getBoundingClientRect().right > {width} + 1 && !e.closest('pre, details'));
  const cut = [...page.querySelectorAll('svg text')].filter(e => {{
    const s = e.closest('svg').getBoundingClientRect(), t = e.getBoundingClientRect();
    return t.left < s.left - 2 || t.right > s.right + 2
      || t.top < s.top - 2 || t.bottom > s.bottom + 2;
  }});
  document.title = JSON.stringify({{
    width: inside.innerWidth, scroll: page.documentElement.scrollWidth,
    wide: wide.map(e => e.outerHTML.slice(0, 80)), cut: cut.map(e => e.textContent),
  }});
}};
</script>"""


def opened(path: Path, width: int, *options: str) -> tuple[str, str]:
    """What a browser has of a page of a width: its document, and what it complains of."""
    assert CHROMIUM is not None
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        f"--window-size={width},2000",
        *options,
        path.resolve().as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, "\n".join(complaints)


def measured(content: str, width: int, folder: Path) -> dict[str, Any]:
    """How wide a page is in a window of a width, and what does not fit into it."""
    path = folder / f"measured-{width}.html"
    # A browser's own window may not be as narrow as a telephone.
    path.write_text(MEASURE.format(width=width, content=html.escape(content)), encoding="utf-8")
    document, _ = opened(path, 1600, "--hide-scrollbars", "--dump-dom")
    found = re.search(r"<title>(.*?)</title>", document, flags=re.DOTALL)
    assert found is not None
    told: dict[str, Any] = json.loads(html.unescape(found[1]))
    return told
