"""Figures as SVG inside of a page: text that can be searched, colours of the page.

Matplotlib is imported inside functions.
"""

from __future__ import annotations

import html
import io
import re
from typing import TYPE_CHECKING

from medpipe.report.style import VARIABLES, settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PIXELS_AN_INCH = 96


def svg(figure: Figure, name: str, title: str) -> str:
    """A figure as an ``<svg>`` element.

    Its colours are the page's CSS variables, its font is the page's, and its ids begin with the
    name, so that many figures fit into one page.

    Args:
        figure: In the colours of `medpipe.report.style`; other colours stay as they are.
        name: Unique in the page: lower case letters, digits and hyphens.
        title: What is to be seen, for screen readers.
    """
    with settings():
        import matplotlib as mpl

        mpl.rcParams["svg.hashsalt"] = name  # ids that are the same for the same figure
        content = io.StringIO()
        figure.savefig(content, format="svg", transparent=True, metadata={"Date": None})
    text = content.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    text = re.sub(r"font: (?:([a-z]+|\d{3}) )?([\d.]+)px [^;\"]*", _font, text)
    text = re.sub(r"\bid=\"", f'id="{name}-', text)
    text = re.sub(r"(xlink:)?href=\"#", f'href="#{name}-', text)
    text = text.replace("url(#", f"url(#{name}-")
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    width, height = (round(side * PIXELS_AN_INCH) for side in figure.get_size_inches())
    # Nothing else would say where the namespace of a drawing comes from, and HTML knows it.
    said = html.escape(title, quote=True)
    start = (
        f'<svg role="img" aria-label="{said}" viewBox="{_view_box(text)}" '
        f'width="{width}" height="{height}" style="max-width:{width}px">'
    )
    return start + re.sub(r"\n\s*", "\n", text[text.index(">") + 1 :]).strip()


def _font(found: re.Match[str]) -> str:
    weight = f"font-weight: {found[1]}; " if found[1] else ""
    return f"{weight}font-size: {found[2]}px"


def _view_box(text: str) -> str:
    found = re.search(r'viewBox="([^"]*)"', text)
    return found[1] if found else "0 0 1 1"
