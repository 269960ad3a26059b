"""Figures as inline SVG: a matplotlib figure in, markup out, the same bytes for the same input.

Every figure is drawn 400 units wide, so that it is as legible on a phone (one a row) as on paper
(two a row). Text stays text. Colours are CSS variables of the page (light and dark); matplotlib
draws with stand-ins that are replaced.
"""

import io
import re
import warnings
from collections.abc import Callable, Iterable
from html import escape
from typing import TYPE_CHECKING, Any

from rewarddiff.writing import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 400
INK, MUTED, GRID, PAPER = "#010201", "#010202", "#010203", "#010204"
SERIES = tuple(f"#02010{i}" for i in range(1, 7))
GOOD, NEUTRAL, BAD = "#030101", "#030102", "#030103"
_VARIABLES = {
    INK: "--ink", MUTED: "--muted", GRID: "--line", PAPER: "--paper",
    GOOD: "--good", NEUTRAL: "--neutral", BAD: "--bad",
    **{colour: f"--series-{i}" for i, colour in enumerate(SERIES, 1)},
}  # fmt: skip
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 12,
    "axes.titlesize": 12,
    "axes.labelsize": 12,
    "xtick.labelsize": 11.5,
    "ytick.labelsize": 11.5,
    "legend.fontsize": 11.5,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "axes.formatter.useoffset": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "path.simplify": True,
}


def palette(names: Iterable[str]) -> dict[str, str]:
    """Return a colour for each name, the same in every figure of a page.

    The seventh name has the colour of the first.
    """
    return {name: SERIES[place % len(SERIES)] for place, name in enumerate(dict.fromkeys(names))}


def draw(height: float, label: str, paint: Callable[["Figure"], None]) -> str:
    """Return the markup of a drawing; figures with different labels share no ids."""
    from matplotlib import style
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with style.context(["default", _STYLE, {"svg.hashsalt": label}]), warnings.catch_warnings():
        # Glyphs that the measuring font lacks: the reader's browser has its own.
        warnings.simplefilter("ignore")
        figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
        FigureCanvasSVG(figure)
        paint(figure)
        stream = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(stream, format="svg", metadata=nothing)
    return printable(_inline(stream.getvalue(), label))


def _inline(svg: str, label: str) -> str:
    """Turn matplotlib's file into markup for a page: the drawing, and no id but those used."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>", "", svg, flags=re.DOTALL)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^\")]+)", svg))
    # Texts have < and > escaped.
    svg = re.sub(r"<[^>]*>", lambda tag: _tag(tag[0], used), svg)
    head = f'<svg viewBox="0 0 {_viewbox(svg)}" role="img" aria-label="{escape(label)}">'
    svg = re.sub(r"^<svg[^>]*>", lambda _: head, svg)
    svg = re.sub(r">\s+<", "><", svg)
    return re.sub(r"<defs></defs>|<g/>|<g></g>", "", svg).strip()


def _tag(tag: str, used: set[str]) -> str:
    """Return a tag with the page's colours and font, to a tenth of a unit.

    Without ids that nothing refers to.
    """
    tag = re.sub(r' id="([^"]*)"', lambda id: id[0] if id[1] in used else "", tag)
    tag = tag.replace("xlink:href=", "href=")
    tag = re.sub(r" font-family: [^;\"]*;?", "", tag)
    tag = re.sub(r"(font: [\d.]+px) [^;\"]*", r"\1", tag).replace("font: ", "font-size: ")
    tag = re.sub(r"#0[123]0[12]0\d", lambda colour: f"var({_VARIABLES[colour[0]]})", tag)
    tag = re.sub(r' transform="rotate\(-0 [^"]*"', "", tag)  # no turn at all
    return re.sub(r"-?\d+\.\d{2,}", lambda x: f"{float(x[0]):.1f}".removesuffix(".0"), tag)


def _viewbox(svg: str) -> str:
    size = re.search(r'viewBox="0 0 ([\d.]+ [\d.]+)"', svg)
    assert size, "matplotlib writes a view box"
    return size[1]
