"""Variables and templates: Jinja2, strict and sandboxed.

An unknown variable is an error that names the place and the nearest known name. Where the same variable is set in
several places, the narrowest wins: job instance > job > campaign > parent campaign > workflow > site.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.meta import find_undeclared_variables
from jinja2.runtime import StrictUndefined, Undefined
from jinja2.sandbox import SandboxedEnvironment

from fiducial.core.errors import WorkflowError

__all__ = [
    "FILTERS",
    "Late",
    "Scope",
    "evaluate",
    "expression_names",
    "fill",
    "is_template",
    "nearest",
    "pad",
    "render",
    "syntax_tree",
    "unknown_names",
    "value_of",
    "variables_in",
]

T = TypeVar("T")

_SINGLE = re.compile(r"\{\{(.*)\}\}", re.DOTALL)


def pad(value: Any, width: int) -> str:
    """``{{ 450 | pad(5) }}`` is ``00450``."""
    return str(value).zfill(width)


def _environment() -> SandboxedEnvironment:
    environment = SandboxedEnvironment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)
    environment.filters["pad"] = pad
    # Jinja's own globals (lipsum, cycler …) have no use here and would hide a forgotten variable.
    environment.globals = {"range": environment.globals["range"]}
    return environment


_ENVIRONMENT = _environment()

#: Names of the filters that templates may use.
FILTERS = frozenset(_ENVIRONMENT.filters)


def nearest(name: str, known: Iterable[str]) -> str:
    """A phrase that suggests the known name closest to ``name``; empty when none is close."""
    import difflib  # only a mistake needs it

    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else ""


def is_template(text: Any) -> bool:
    """Whether rendering ``text`` can change it."""
    return isinstance(text, str) and ("{{" in text or "{%" in text or "{#" in text)


def _with_globals(context: Mapping[str, Any]) -> dict[str, Any]:
    """What a template may use, for `Template.new_context` with ``shared``: else Jinja copies more than it renders."""
    return {**_ENVIRONMENT.globals, **context}


@lru_cache(maxsize=4096)
def _template(text: str) -> Callable[[Mapping[str, Any]], str]:
    compiled = _ENVIRONMENT.from_string(text)
    root = compiled.root_render_func
    return lambda context: "".join(root(compiled.new_context(_with_globals(context), shared=True)))


@lru_cache(maxsize=4096)
def _expression(text: str) -> Callable[[Mapping[str, Any]], Any]:
    compiled = _ENVIRONMENT.compile_expression(text, undefined_to_none=False)
    if text.isidentifier() and expression_names(text):  # the most frequent: a name
        return lambda context: context[text] if text in context else compiled(context)
    return lambda context: compiled(context)


@lru_cache(maxsize=4096)
def _single_expression(text: str) -> str | None:
    """The expression in a text that is nothing but ``{{ expression }}``."""
    match = _SINGLE.fullmatch(text.strip())
    if match is None:
        return None
    body = _ENVIRONMENT.parse(text.strip()).body
    alone = len(body) == 1 and isinstance(body[0], nodes.Output) and len(body[0].nodes) == 1
    return match[1].strip() if alone else None


def syntax_tree(text: str) -> nodes.Template:
    """What Jinja makes of a template.

    Raises:
        WorkflowError: the template's syntax is off.
    """
    try:
        return _ENVIRONMENT.parse(text)
    except TemplateSyntaxError as error:
        raise _bad_syntax(error, text) from None


def _bad_syntax(error: TemplateSyntaxError, text: str) -> WorkflowError:
    message = error.message or ""
    unknown = re.fullmatch(r"No (filter|test) named '(.+)'\.", message)
    if unknown is None:
        return WorkflowError(f"template syntax: {message} in '{_shorten(text)}'")
    known = FILTERS if unknown[1] == "filter" else _ENVIRONMENT.tests
    return WorkflowError(f"unknown {unknown[1]} '{unknown[2]}' in '{_shorten(text)}'", hint=nearest(unknown[2], known))


@lru_cache(maxsize=4096)
def variables_in(text: str) -> frozenset[str]:
    """Names that a template takes from outside.

    Raises:
        WorkflowError: the template's syntax is off.
    """
    tree = syntax_tree(text)
    try:
        return frozenset(find_undeclared_variables(tree)) - {"range"}
    except TemplateSyntaxError as error:
        raise _bad_syntax(error, text) from None


def unknown_names(text: str, known: Iterable[str]) -> list[str]:
    """Names that a template takes from outside and that are not known."""
    return sorted(variables_in(text) - frozenset(known))


def _shorten(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "…"


def _undefined(error: UndefinedError, text: str, context: Mapping[str, Any], where: str) -> WorkflowError:
    name = re.search(r"'([^']+)' is undefined|has no attribute '([^']+)'", str(error))
    return _unknown((name[1] or name[2]) if name else "?", text, context, where)


def _unknown(name: str, text: str, context: Mapping[str, Any], where: str) -> WorkflowError:
    hint = nearest(name, context) or "known here: " + ", ".join(sorted(map(str, context)))
    return WorkflowError(f"{where}: unknown variable '{name}' in '{_shorten(text)}'", hint=hint)


def _guarded(text: str, context: Mapping[str, Any], where: str, work: Callable[[], T]) -> T:
    try:
        return work()
    except UndefinedError as error:
        raise _undefined(error, text, context, where) from None
    except (TemplateError, SecurityError) as error:
        raise WorkflowError(f"{where}: {error} in '{_shorten(text)}'") from None
    except (TypeError, ValueError, ZeroDivisionError, KeyError, OverflowError) as error:
        raise WorkflowError(f"{where}: cannot evaluate '{_shorten(text)}': {error}") from None


def render(text: str, context: Mapping[str, Any], where: str) -> str:
    """Fill in a template.

    Args:
        where: names the place in messages, e.g. ``steps.reco.command``.

    Raises:
        WorkflowError: an unknown variable, or an expression that cannot be evaluated.
    """
    if not is_template(text):
        return text
    return _guarded(text, context, where, lambda: _template(text)(context))


def value_of(text: Any, context: Mapping[str, Any], where: str) -> Any:
    """Like `render`, but ``{{ expression }}`` alone keeps its type: a list stays a list, a number a number."""
    if not is_template(text):
        return text
    expression = _guarded(text, context, where, lambda: _single_expression(text))
    if expression is None:
        return render(text, context, where)
    return evaluate(expression, context, where)


def evaluate(expression: str, context: Mapping[str, Any], where: str) -> Any:
    """The value of an expression such as ``fit.max_shift < 0.1``.

    Raises:
        WorkflowError: an unknown name, or an expression that cannot be evaluated.
    """
    value = _guarded(expression, context, where, lambda: _expression(expression)(context))
    if isinstance(value, Undefined):
        raise _unknown(str(value._undefined_name), expression, context, where)
    return value


def expression_names(expression: str) -> frozenset[str]:
    """Names that an expression takes from outside."""
    return variables_in("{{ " + expression + " }}")


@dataclass(frozen=True, slots=True)
class Late:
    """A variable that is filled in for each job.

    Args:
        needs: names that it refers to.
        own: whether the job's step sets it.
    """

    name: str
    value: Any
    needs: frozenset[str]
    where: str
    own: bool


class Scope:
    """Variables that may refer to each other, resolved once; those that need a job's own names wait for the job.

    Args:
        layers: mappings from the widest (site) to the narrowest (job); later ones win.
        names: values that are simply there (campaign, folder …).
        later: names that only a job will know (iteration, file …).

    Raises:
        WorkflowError: variables that refer to each other in a circle, or to an unknown name.
    """

    def __init__(self, layers: Iterable[Mapping[str, Any]], names: Mapping[str, Any], later: Iterable[str]) -> None:
        merged: dict[str, Any] = {}
        for layer in layers:
            merged.update(layer)
        self.later = frozenset(later)
        self.known: dict[str, Any] = dict(names)
        self._waiting: list[tuple[str, Any]] = []
        self._resolve(merged)

    def _resolve(self, merged: dict[str, Any]) -> None:
        for name in _ordered(merged):
            needs = _needs(merged[name])
            if needs & self.later or any(needs & {waiting} for waiting, _ in self._waiting):
                self._waiting.append((name, merged[name]))
            else:
                self.known[name] = fill(merged[name], self.known, f"variables.{name}")

    def late(self, own: Mapping[str, Any], where: str) -> list[Late]:
        """What each job of a step must fill in, in order: the step's ``own`` variables and those that waited."""
        waiting = {name: value for name, value in self._waiting if name not in own}
        both = {**waiting, **own}
        places = {name: f"{where}.variables.{name}" if name in own else f"variables.{name}" for name in both}
        return [Late(name, both[name], _needs(both[name]), places[name], name in own) for name in _ordered(both)]

    def context(self, names: Mapping[str, Any], late: Iterable[Late] | None = None) -> dict[str, Any]:
        """Everything a template may use, ``names`` (of a job, or the iteration) being the strongest.

        Args:
            late: what a step's jobs fill in; the workflow's own variables where there is no step.
        """
        context = {**self.known, **names}
        for variable in self.late({}, "") if late is None else late:
            if variable.name in names:
                continue
            # One of the workflow may refer to the fan-out of another step; whoever uses it here is told so.
            if variable.own or variable.needs <= context.keys():
                context[variable.name] = fill(variable.value, context, variable.where)
        return context

    @property
    def names(self) -> frozenset[str]:
        """Every name that can be known."""
        return frozenset(self.known) | {name for name, _ in self._waiting} | self.later


def _needs(value: Any) -> frozenset[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        return frozenset().union(*map(_needs, value))
    return variables_in(value) if is_template(value) else frozenset()


def fill(value: Any, context: Mapping[str, Any], where: str) -> Any:
    """`value_of` through lists and tables."""
    if isinstance(value, Mapping):
        return {key: fill(item, context, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, context, where) for item in value]
    return value_of(value, context, where)


def _ordered(merged: Mapping[str, Any]) -> list[str]:
    """Names in an order in which each follows those it refers to."""
    order: list[str] = []
    path: list[str] = []

    def visit(name: str) -> None:
        if name in order:
            return
        if name in path:
            circle = " -> ".join([*path[path.index(name) :], name])
            raise WorkflowError(f"variables refer to each other in a circle: {circle}")
        path.append(name)
        for needed in sorted(_needs(merged[name]) & merged.keys()):
            visit(needed)
        path.pop()
        order.append(name)

    for name in merged:
        visit(name)
    return order
