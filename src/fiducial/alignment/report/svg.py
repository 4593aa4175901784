"""How plots of the report look, and how they become small pieces of SVG that follow the page's colours.

Plots are drawn with stand-in colours, one for each role. On the page a stand-in becomes a CSS variable, so one drawing
serves light, dark and print. In a picture that stands alone it is the colour for light surroundings, and a style sheet
inside turns it over in dark ones.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from fiducial.core.errors import UsageError

__all__ = [
    "FIRST",
    "GRID",
    "INK",
    "LAST",
    "MIDDLE",
    "MUTED",
    "PAPER",
    "PICTURES",
    "ROLES",
    "WEAK",
    "check_picture",
    "drawing",
    "encoded",
    "inline",
    "standalone",
]


class Role(NamedTuple):
    """What a colour stands for.

    Args:
        name: of the CSS variable.
        stand_in: colour that is drawn, and then replaced by the variable.
        light: colour on a light ground.
        dark: colour on a dark ground.
    """

    name: str
    stand_in: str
    light: str
    dark: str


#: Orange and blue are Okabe and Ito's: people with any colour vision tell them apart, and they differ in lightness.
ROLES = (
    Role("ink", "#010101", "#1f2328", "#e6edf3"),
    Role("muted", "#020202", "#59636e", "#9ba5b0"),
    Role("grid", "#030303", "#d9dee4", "#343b44"),
    Role("first", "#040404", "#d55e00", "#f0894a"),
    Role("last", "#050505", "#0072b2", "#5cb3ea"),
    Role("middle", "#060606", "#98a2ad", "#6b7682"),
    Role("weak", "#070707", "#b0568a", "#dd90ba"),
    Role("paper", "#080808", "#ffffff", "#0d1117"),
)
#: Names by which plots call the colours.
INK, MUTED, GRID, FIRST, LAST, MIDDLE, WEAK, PAPER = (f"report:{role.name}" for role in ROLES)

#: What the name of a picture may end with.
PICTURES = (".svg", ".png")

_FAMILY = "-apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif"
#: Left, right, bottom, top, in points.
_MARGINS = (58.0, 14.0, 40.0, 8.0)
_RC = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": INK,
    "axes.labelsize": 10.5,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 10.0,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.0,
    "path.simplify": False,
    "text.color": INK,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "svg.fonttype": "none",
}


@contextmanager
def drawing(width: float, height: float, *, light: bool = False, left: float = _MARGINS[0]) -> Iterator[Any]:
    """A matplotlib figure of so many points, in the report's style.

    Args:
        width: points; what is shown on a phone has 420 or less.
        height: points.
        light: draw in the colours for a light ground, and not in their stand-ins; several plots in one figure.
        left: margin for what is said of the vertical axis, points.
    """
    import matplotlib as mpl
    from matplotlib.colors import get_named_colors_mapping
    from matplotlib.figure import Figure

    named = get_named_colors_mapping()
    for role in ROLES:
        named[f"report:{role.name}"] = role.light if light else role.stand_in
    with mpl.rc_context(_RC):
        figure = Figure(figsize=(width / 72.0, height / 72.0), layout="constrained" if light else None)
        if not light:
            # Fixed margins let plots line up on the page, and take half the time of fitted ones.
            _, right, bottom, top = _MARGINS
            figure.subplots_adjust(left / width, bottom / height, 1.0 - right / width, 1.0 - top / height)
        yield figure


def inline(figure: Any, name: str) -> str:
    """A figure as SVG for inside a page.

    Args:
        figure: drawn with :func:`drawing`.
        name: unique on the page; goes before every id. The element ``NAME-title`` says what is
            drawn, ``NAME-text`` how to read it.
    """
    svg = _bare(_raw(figure), name)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)
    for role in ROLES:
        svg = svg.replace(role.stand_in, f"var(--{role.name})")
    return svg.replace("<svg", f'<svg role="img" aria-labelledby="{name}-title" aria-describedby="{name}-text"', 1)


def standalone(figure: Any, title: str) -> str:
    """A figure as an SVG file, for light and dark surroundings.

    Light colours are written out and dark ones laid over them, so that a program that knows no style sheets still
    draws a good picture.

    Args:
        figure: drawn with :func:`drawing`, light.
        title: what a screen reader says.
    """
    from markupsafe import escape

    svg = _bare(_raw(figure), "picture")
    rules = [
        f'[style*="{what}: {role.light}"]{{{what}:{role.dark}!important}}'
        for role in ROLES
        for what in ("fill", "stroke")
    ]
    style = f"<style>text{{font-family:{_FAMILY}}}@media(prefers-color-scheme:dark){{{''.join(rules)}}}</style>"
    head, opening, rest = svg.partition(">")
    width, height = (f"{72 * inches:.0f}" for inches in figure.get_size_inches())
    return f'{head} width="{width}" height="{height}" role="img"{opening}<title>{escape(title)}</title>{style}{rest}\n'


def check_picture(path: Path) -> None:
    """See that a picture can have this name.

    Raises:
        UsageError: it ends with something else than .svg or .png.
    """
    if path.suffix not in PICTURES:
        raise UsageError(f"{path}: a picture is .svg or .png", hint="end its name with one of them")


def encoded(figure: Any, title: str, suffix: str) -> bytes:
    """A figure as a file: ".svg" as of :func:`standalone`, or ".png" in light colours."""
    if suffix == ".svg":
        return standalone(figure, title).encode()
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=160)
    return content.getvalue()


def _raw(figure: Any) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def _bare(svg: str, name: str) -> str:
    """Take away what a page does not need, and keep ids apart from those of other figures."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (?:xmlns:xlink|width|height|version)="[^"]*"', "", svg, count=4)
    svg = svg.replace("xlink:href=", "href=")
    svg = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"(font: (?:[a-z]+ )?[\d.]+px) [^;\"]*", r"\1 sans-serif", svg)
    # A hundredth of a point is finer than any screen.
    svg = re.sub(r'(?<==")[^"]*\.\d{3}[^"]*', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), svg)
    return re.sub(r"\s*\n\s*", "\n", svg).strip()
