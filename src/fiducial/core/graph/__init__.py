"""A workflow drawn: as text for a terminal, as SVG for a page."""

from __future__ import annotations

from fiducial.core.graph.svg import svg_graph
from fiducial.core.graph.text import text_graph

__all__ = ["svg_graph", "text_graph"]
