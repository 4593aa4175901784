"""A workflow in characters: boxes, lines between them, and a frame around what is iterated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fiducial.core.graph.layout import Link, Node, job_words, layout, loop_words, previous_edges
from fiducial.core.workflow import Workflow

__all__ = ["text_graph"]

_WIDTH = 100
_GAP = 3
_NORTH, _EAST, _SOUTH, _WEST = 1, 2, 4, 8
_LINES = " ╵╶└╷│┌├╴┘─┴┐┤┬┼"  # by the directions in which a line leaves the character
_ALL, _MATCHING = "▼", "▽"
_ASCII = str.maketrans({**dict.fromkeys("└┌├┘┴┐┤┬┼", "+"), "│": "|", "╵": "|", "╷": "|", "─": "-", "╴": "-", "╶": "-"})
_ASCII |= str.maketrans({_ALL: "v", _MATCHING: "o", "↻": "@", "…": "~"})


def text_graph(workflow: Workflow, counts: Mapping[str, int], *, ascii_only: bool = False) -> str:
    """Draw a workflow in at most 100 columns.

    Args:
        counts: jobs of each step, where they are known.
        ascii_only: for terminals that know nothing else.

    Raises:
        WorkflowError: the steps wait for each other in a circle.
    """
    drawing = _Drawing(workflow, counts).draw()
    return drawing.translate(_ASCII) if ascii_only else drawing


class _Canvas:
    """Characters and lines by column and row; lines that meet are joined."""

    def __init__(self) -> None:
        self.lines: dict[tuple[int, int], int] = {}
        self.signs: dict[tuple[int, int], str] = {}

    def vertical(self, x: int, top: int, bottom: int) -> None:
        for y in range(top, bottom + 1):
            ends = (_NORTH if y > top else 0) | (_SOUTH if y < bottom else 0)
            self.lines[x, y] = self.lines.get((x, y), 0) | ends

    def horizontal(self, y: int, left: int, right: int) -> None:
        for x in range(left, right + 1):
            ends = (_WEST if x > left else 0) | (_EAST if x < right else 0)
            self.lines[x, y] = self.lines.get((x, y), 0) | ends

    def box(self, left: int, top: int, right: int, bottom: int) -> None:
        for y in (top, bottom):
            self.horizontal(y, left, right)
        for x in (left, right):
            self.vertical(x, top, bottom)

    def write(self, x: int, y: int, text: str) -> None:
        for place, sign in enumerate(text):
            self.signs[x + place, y] = sign

    def text(self) -> str:
        cells = {place: _LINES[ends] for place, ends in self.lines.items()} | self.signs
        height = max(y for _, y in cells) + 1
        rows = [[" "] * (_WIDTH + 1) for _ in range(height)]
        for (x, y), sign in cells.items():
            rows[y][min(x, _WIDTH)] = sign
        return "\n".join("".join(row).rstrip() for row in rows)


class _Drawing:
    def __init__(self, workflow: Workflow, counts: Mapping[str, int]) -> None:
        self.workflow = workflow
        self.words = {name: self._words(name, counts.get(name)) for name in workflow.steps}
        self.layout = layout(workflow, lambda name: self._box_width(name) + _GAP, _WIDTH - 4)
        self.canvas = _Canvas()
        self.x = self._columns()
        self.bottom: dict[Node, int] = {}

    def draw(self) -> str:
        y = top = 0
        first, last = self.layout.loop or (-1, -1)
        for row, nodes in enumerate(self.layout.rows):
            if row == first:
                top = y
                y += 1
            if row:
                y = self._channel(self._links(row - 1), y)
            y = self._boxes(nodes, y)
            if row == last:
                self._frame(top, y, self._links(first - 1))
                y += 1
        return "\n".join([self.canvas.text().rstrip(), *self._legend()]) + "\n"

    def _words(self, name: str, count: int | None) -> list[str]:
        step = self.workflow.steps[name]
        words = [name, job_words(step, count)]
        sources = [edge.source for edge in previous_edges(self.workflow) if edge.target == name]
        if sources:
            words.append(f"↻ previous {', '.join(sources)}")
        return [word if len(word) <= _WIDTH - 12 else word[: _WIDTH - 13] + "…" for word in words]

    def _box_width(self, name: str) -> int:
        return max(11, max(map(len, self.words[name])) + 4)

    def _width(self, node: Node) -> int:
        return 1 if node.edge else self._box_width(node.step)

    def _columns(self) -> dict[Node, int]:
        """The middle column of every node; for long edges, of every row they pass."""
        gaps = [self._gap(row) for row in self.layout.rows]
        totals = [
            sum(self._width(node) + gap for node in row) - gap for row, gap in zip(self.layout.rows, gaps, strict=True)
        ]
        middle = max(totals) // 2 + 3
        columns: dict[Node, int] = {}
        for row, total, gap in zip(self.layout.rows, totals, gaps, strict=True):
            x = middle - total // 2
            for node in row:
                columns.setdefault(node, x + self._width(node) // 2)
                x += self._width(node) + gap
        return columns

    def _gap(self, row: Sequence[Node]) -> int:
        """Characters between neighbours: fewer where lines pass that had no part in the choice of rows."""
        room = _WIDTH - 6 - sum(self._width(node) for node in row)
        return min(_GAP, max(1, room // max(1, len(row) - 1)))

    def _links(self, row: int) -> list[Link]:
        here = set(self.layout.rows[row]) if row >= 0 else set()
        return [link for link in self.layout.links if link.upper in here]

    def _boxes(self, nodes: Sequence[Node], y: int) -> int:
        height = 2 + max((len(self.words[node.step]) for node in nodes if not node.edge), default=0)
        for node in nodes:
            x = self.x[node]
            self.bottom[node] = y + height - 1
            if node.edge:
                self.canvas.vertical(x, y - 1, y + height - 1)
                continue
            width = self._box_width(node.step)
            left = x - width // 2
            self.canvas.box(left, y, left + width - 1, y + height - 1)
            for place, word in enumerate(self.words[node.step]):
                self.canvas.write(left + (width - len(word)) // 2, y + 1 + place, word)
        return y + height

    def _entry(self, link: Link) -> int:
        """The column where a link arrives; both kinds at one box keep apart, on the sides that they come from."""
        x = self.x[link.lower]
        arriving = [other for other in self.layout.links if other.lower == link.lower]
        kinds = {other.edge.matching for other in arriving}
        if not link.last or len(kinds) == 1:
            return x
        sources = {kind: [self.x[o.upper] for o in arriving if o.edge.matching is kind] for kind in kinds}
        mean = {kind: sum(columns) / len(columns) for kind, columns in sources.items()}
        mine, other = link.edge.matching, not link.edge.matching
        return x - 2 if (mean[mine], mine) < (mean[other], other) else x + 2

    def _channel(self, links: Sequence[Link], y: int) -> int:
        """The lines between two rows: each node's on a height of its own; returns where the next row begins."""
        if not links:
            return y
        bent = self._by_height(links)
        bottom = y + max(len(bent), 1)
        for link in links:
            start, end = self.x[link.upper], self._entry(link)
            turn = y + bent.index(link.upper) if link.upper in bent else y
            self.canvas.vertical(start, self.bottom[link.upper], turn)
            self.canvas.horizontal(turn, min(start, end), max(start, end))
            self.canvas.vertical(end, turn, bottom)
            if link.last:
                self.canvas.write(end, bottom, _MATCHING if link.edge.matching else _ALL)
        return bottom + 1

    def _by_height(self, links: Iterable[Link]) -> list[Node]:
        """Nodes whose lines turn, those first whose column another one's line comes down in."""
        bent = list(dict.fromkeys(link.upper for link in links if self.x[link.upper] != self._entry(link)))
        arrivals = {node: {self._entry(link) for link in links if link.upper == node} for node in bent}
        order: list[Node] = []
        while bent:
            free = (n for n in bent if not any(self.x[other] in arrivals[n] for other in bent if other != n))
            chosen = next(free, bent[0])
            order.append(chosen)
            bent.remove(chosen)
        return order

    def _frame(self, top: int, bottom: int, entering: Sequence[Link]) -> None:
        title = f" ↻ {loop_words(self.workflow)} "
        columns = [place[0] for place in self.canvas.lines if top <= place[1] <= bottom]
        left, right = max(min(columns) - 2, 0), min(max(columns) + 2, _WIDTH - 1)
        # The title stands where no line crosses the frame, if there is such a place.
        crossings = [left, *(self.x[link.upper] for link in entering)]
        start = max(crossings) + 2 if max(crossings) + len(title) + 3 < _WIDTH else left + 2
        right = max(right, min(start + len(title) + 1, _WIDTH - 1))
        self.canvas.box(left, top, right, bottom)
        self.canvas.write(start, top, title[: right - start - 1])

    def _legend(self) -> list[str]:
        kinds = {link.edge.matching for link in self.layout.links}
        words = {False: f"{_ALL} when all jobs are done", True: f"{_MATCHING} each job when its matching one is done"}
        return ["", "   ".join(words[kind] for kind in sorted(kinds))] if kinds else []
