"""A workflow as one SVG that needs nothing else: boxes in rows, labelled edges, a frame around what is iterated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from xml.sax.saxutils import escape, quoteattr

from fiducial.core.graph.layout import Edge, Link, Node, job_words, layout, loop_words, previous_edges
from fiducial.core.workflow import Workflow

__all__ = ["svg_graph"]

_BOX = 54  # height of a box
_ROW = 118  # from row to row
_GAP = 36  # between boxes of a row
_MARGIN = 28
_FRAME = 22  # from the outermost boxes of the iteration to its frame
_LOOP_SIDE = 150  # room to the right of the boxes, where the lines to the next iteration go up
_TITLE = 24  # room for the words of the frame
_LANES = 50  # the part of it that the lines themselves take
_LETTER = 8.4
_WIDEST_ROW = 1100

# Colours that are readable on white and on black; a page in dark mode gets its own.
_STYLE = """
svg{font-family:system-ui,"DejaVu Sans",sans-serif}
svg{--paper:#fff;--ink:#1f2933;--soft:#5f6b78;--box:#f3f5f7;--line:#8a96a3;--loop:#2f6f9f}
@media (prefers-color-scheme:dark){
svg{--paper:#14191e;--ink:#e6eaee;--soft:#9aa7b4;--box:#28313a;--line:#7d8a97;--loop:#79b8e6}}
.paper{fill:#fff;fill:var(--paper)}
.box{fill:#f3f5f7;fill:var(--box);stroke:#8a96a3;stroke:var(--line)}
.iterated{stroke:#2f6f9f;stroke:var(--loop)}
.name{fill:#1f2933;fill:var(--ink);font-size:14px;font-weight:600}
.jobs,.label{fill:#5f6b78;fill:var(--soft);font-size:12px}
.label{font-size:11px}
.edge{fill:none;stroke:#8a96a3;stroke:var(--line);stroke-width:1.5}
.matching{stroke-width:3}
.frame{fill:none;stroke:#2f6f9f;stroke:var(--loop);stroke-dasharray:6 4}
.loop{fill:none;stroke:#2f6f9f;stroke:var(--loop);stroke-width:1.5;stroke-dasharray:2 3}
.title{fill:#2f6f9f;fill:var(--loop);font-size:12px}
.label,.title{stroke:#fff;stroke:var(--paper);stroke-width:4px;paint-order:stroke}
.tip{fill:#8a96a3;fill:var(--line)}
.looptip{fill:#2f6f9f;fill:var(--loop)}
"""
_MARKERS = "".join(
    f'<marker id="{name}" class="{css}" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="9" markerHeight="9" '
    'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L8 4L0 8z"/></marker>'
    for name, css in (("tip", "tip"), ("looptip", "looptip"))
)


def svg_graph(workflow: Workflow, counts: Mapping[str, int]) -> str:
    """Draw a workflow as SVG.

    Args:
        counts: jobs of each step, where they are known.

    Raises:
        WorkflowError: the steps wait for each other in a circle.
    """
    return _Drawing(workflow, counts).draw()


class _Drawing:
    def __init__(self, workflow: Workflow, counts: Mapping[str, int]) -> None:
        self.workflow = workflow
        self.jobs = {name: job_words(step, counts.get(name)) for name, step in workflow.steps.items()}
        self.previous = previous_edges(workflow)
        self.layout = layout(workflow, lambda name: self._box_width(name) + _GAP, _WIDEST_ROW)
        self.inner = self._inner_width()
        self.x = dict(self._columns())

    def draw(self) -> str:
        width = self.inner + 2 * _MARGIN + 2 * _FRAME + (_LOOP_SIDE if self.previous else 0)
        width = max(width, len(loop_words(self.workflow)) * 7 + 2 * _MARGIN + 60) if self.layout.loop else width
        height = len(self.layout.rows) * _ROW - (_ROW - _BOX) + 2 * _MARGIN + 2 * _FRAME
        height += _TITLE if self.layout.loop else 0
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
            f'height="{height:.0f}" role="img" aria-label={quoteattr(f"workflow {self.workflow.name}")}>',
            f"<style>{_STYLE}</style><defs>{_MARKERS}</defs>",
            f'<rect class="paper" width="{width:.0f}" height="{height:.0f}"/>',
            *map(self._link, self.layout.links),
            *map(self._previous, self.previous),
            *self._frame(width),
            *map(self._box, self.workflow.steps),
            *map(self._label, [link for link in self.layout.links if link.last]),
            "</svg>",
        ]
        return "\n".join(parts) + "\n"

    def _box_width(self, name: str) -> float:
        return max(96.0, max(len(name) * 1.1, len(self.jobs[name]) * 0.9) * _LETTER + 28)

    def _width(self, node: Node) -> float:
        return 8.0 if node.edge else self._box_width(node.step)

    def _row_width(self, nodes: list[Node]) -> float:
        return sum(self._width(node) + _GAP for node in nodes) - _GAP

    def _inner_width(self) -> float:
        return max(map(self._row_width, self.layout.rows))

    def _columns(self) -> Iterator[tuple[Node, float]]:
        """The middle of every node."""
        for nodes in self.layout.rows:
            x = _MARGIN + _FRAME + (self.inner - self._row_width(nodes)) / 2
            for node in nodes:
                yield node, x + self._width(node) / 2
                x += self._width(node) + _GAP

    def _top(self, node: Node) -> float:
        row = node.row if node.edge else self.layout.row_of[node.step]
        below = self.layout.loop is not None and row > self.layout.loop[1]
        return _MARGIN + _FRAME + row * _ROW + (_TITLE if below else 0)

    def _box(self, name: str) -> str:
        node, width = Node(name), self._box_width(name)
        x, y = self.x[node], self._top(node)
        css = "box iterated" if self.workflow.steps[name].iterate else "box"
        return (
            f'<rect class="{css}" x="{x - width / 2:.1f}" y="{y:.1f}" width="{width:.1f}" height="{_BOX}" rx="8"/>'
            f'<text class="name" x="{x:.1f}" y="{y + 23:.1f}" text-anchor="middle">{escape(name)}</text>'
            f'<text class="jobs" x="{x:.1f}" y="{y + 41:.1f}" text-anchor="middle">{escape(self.jobs[name])}</text>'
        )

    def _ends(self, link: Link) -> tuple[float, float, float, float]:
        return self._exit(link), self._top(link.upper) + _BOX, self._entry(link), self._top(link.lower) - 1

    def _exit(self, link: Link) -> float:
        return self._spread(link, [other for other in self.layout.links if other.upper == link.upper], link.upper)

    def _entry(self, link: Link) -> float:
        return self._spread(link, [other for other in self.layout.links if other.lower == link.lower], link.lower)

    def _spread(self, link: Link, links: list[Link], node: Node) -> float:
        """Where an edge touches a box: edges side by side, in the order of their other ends."""
        if node.edge:
            return self.x[node]
        links.sort(key=lambda other: self.x[other.upper if other.lower == node else other.lower])
        step = min(self._width(node) / (len(links) + 1), 48.0)
        return self.x[node] + (links.index(link) - (len(links) - 1) / 2) * step

    def _link(self, link: Link) -> str:
        x1, y1, x2, y2 = self._ends(link)
        bend = (y2 - y1) * 0.5
        passing = f" V{self._top(link.lower) + _BOX:.1f}" if link.lower.edge else ""
        css = "edge matching" if link.edge.matching else "edge"
        tip = ' marker-end="url(#tip)"' if link.last else ""
        curve = f"M{x1:.1f} {y1:.1f}C{x1:.1f} {y1 + bend:.1f} {x2:.1f} {y2 - bend:.1f} {x2:.1f} {y2:.1f}{passing}"
        return f'<path class="{css}" d="{curve}"{tip}/>'

    def _label(self, link: Link) -> str:
        _, _, x, y = self._ends(link)
        word = "matching" if link.edge.matching else "all"
        left = x < self.x[link.lower] - 1
        place = f'x="{x - 7:.1f}" text-anchor="end"' if left else f'x="{x + 7:.1f}"'
        return f'<text class="label" {place} y="{y - 10:.1f}">{word}</text>'

    def _previous(self, edge: Edge) -> str:
        """A line up the right side, from a step to the one that takes its file in the next iteration."""
        source, target = Node(edge.source), Node(edge.target)
        x1 = self.x[source] + self._box_width(edge.source) / 2
        x2 = self.x[target] + self._box_width(edge.target) / 2
        y1, y2 = self._top(source) + _BOX * 0.6, self._top(target) + _BOX * 0.4
        lane = self._lane(edge)
        if y1 < y2:  # both in one row, or downwards: leave above, arrive below
            y1, y2 = y1 - _BOX * 0.2, y2 + _BOX * 0.2
        curve = f"M{x1:.1f} {y1:.1f}H{lane - 8:.1f}Q{lane:.1f} {y1:.1f} {lane:.1f} {(y1 + y2) / 2:.1f}"
        curve += f"Q{lane:.1f} {y2:.1f} {lane - 8:.1f} {y2:.1f}H{x2 + 1:.1f}"
        path = f'<path class="loop" d="{curve}" marker-end="url(#looptip)"/>'
        if edge != self.previous[-1]:
            return path
        middle = (y1 + y2) / 2 + 4
        return f'{path}<text class="title" x="{lane + 8:.1f}" y="{middle:.1f}">next iteration</text>'

    def _lane(self, edge: Edge) -> float:
        right = _MARGIN + _FRAME + self.inner
        return right + _LANES * (self.previous.index(edge) + 1) / (len(self.previous) + 1) + 12

    def _frame(self, width: float) -> list[str]:
        if self.layout.loop is None:
            return []
        first, last = self.layout.loop
        top = _MARGIN + _FRAME + first * _ROW - _FRAME - 14
        height = (last - first) * _ROW + _BOX + 2 * _FRAME + _TITLE
        title = f"repeated {loop_words(self.workflow)}"
        return [
            f'<rect class="frame" x="{_MARGIN / 2}" y="{top:.1f}" width="{width - _MARGIN:.1f}" height="{height:.1f}" '
            'rx="12"/>',
            f'<text class="title" x="{_MARGIN / 2 + 12}" y="{top + height - 10:.1f}">{escape(title)}</text>',
        ]
