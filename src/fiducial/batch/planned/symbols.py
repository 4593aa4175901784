"""Placeholders in the place of a job's own values, so that one text describes a million jobs.

A template is rendered once with placeholders, ``@{file}`` and ``@{file:05}``, which the runner fills in on the node.
That gives the same as rendering for each job only where a template puts values in their places and does nothing else
with them; whether it does is seen in its syntax tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jinja2 import nodes

from fiducial.core.variables import Late, is_template, syntax_tree, variables_in

__all__ = ["Symbol", "dependent", "only_places", "plain", "strings"]


class Symbol:
    """A value that only the node knows.

    Put into a text it is a placeholder; as a value by itself it stays what it is, and the node puts a number or a text.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return _Text(self.name)


class _Text(str):
    """A placeholder that can still be asked for zeros in front, which is what ``pad`` does."""

    name: str

    def __new__(cls, name: str) -> _Text:
        text = super().__new__(cls, f"@{{{name}}}")
        text.name = name
        return text

    def zfill(self, width: Any) -> str:
        return f"@{{{self.name}:{width:02d}}}"


def plain(value: Any) -> Any:
    """A tree with placeholders as JSON can hold it."""
    if isinstance(value, Symbol):
        return {"@": value.name}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def strings(value: Any) -> Iterator[str]:
    """All texts in a tree."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from strings(item)


def dependent(names: Iterable[str], late: Iterable[Late]) -> set[str]:
    """Names whose values depend on one of these: themselves, and variables that refer to them."""
    found = set(names)
    for variable in late:  # each comes after those that it refers to
        if variable.needs & found:
            found.add(variable.name)
    return found


def only_places(text: str, names: Iterable[str], symbols: Iterable[str]) -> bool:
    """Whether a template does no more with these names than to put their values in their places.

    Args:
        names: such as ``file``, or ``inputs.ntuples`` for one of the inputs.
        symbols: those that may be padded.
    """
    if not is_template(text):
        return True
    wanted, padded = frozenset(names), frozenset(symbols)
    if not variables_in(text) & {name.partition(".")[0] for name in wanted}:
        return True
    for child in syntax_tree(text).body:
        parts = child.nodes if isinstance(child, nodes.Output) else [child]
        if not all(_is_placed(part, wanted, padded) for part in parts):
            return False
    return True


def _is_placed(node: nodes.Node, names: frozenset[str], symbols: frozenset[str]) -> bool:
    if not _uses(node, names):
        return True
    match node:
        case nodes.Name() | nodes.TemplateData():
            return True
        case nodes.Getattr() | nodes.Getitem():
            return bool(_path(node))
        case nodes.Concat():
            return all(_is_placed(part, names, symbols) for part in node.nodes)
        case nodes.Filter(name="pad"):
            return isinstance(node.node, nodes.Name) and node.node.name in symbols and _constant(node.args)
        case nodes.Filter(name="join"):
            return bool(node.node and _path(node.node)) and [_value(word) for word in node.args] == [" "]
    return False


def _uses(node: nodes.Node, names: frozenset[str]) -> bool:
    path = _path(node)
    if path:
        return path in names or path.partition(".")[0] in names or (path in ("inputs", "outputs") and _any(path, names))
    return any(_uses(child, names) for child in node.iter_child_nodes())


def _any(base: str, names: frozenset[str]) -> bool:
    """Whether one of the names lies below a base, all of which is used."""
    return any(name.startswith(f"{base}.") for name in names)


def _path(node: nodes.Node) -> str:
    """``inputs.raw`` for a name, an attribute or an item of one; empty for anything else."""
    match node:
        case nodes.Name():
            return node.name
        case nodes.Getattr(node=nodes.Name(name=base)):
            return f"{base}.{node.attr}"
        case nodes.Getitem(node=nodes.Name(name=base), arg=nodes.Const(value=item)):
            return f"{base}.{item}"
    return ""


def _constant(words: list[nodes.Expr]) -> bool:
    return len(words) == 1 and isinstance(_value(words[0]), int)


def _value(node: nodes.Expr) -> Any:
    return node.value if isinstance(node, nodes.Const) else None
