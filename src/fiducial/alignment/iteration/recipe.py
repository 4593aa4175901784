"""A recipe: everything that a solve step is told besides its data, in one file of TOML that can be edited.

What its keys mean and what they are by default stands with the models below; ``fiducial alignment recipe show NAME``
prints a recipe that comes with the package, with comments, to be taken as a start. Where a default is not said to be
ours it is what FASER's converter and steering files have.
"""

from __future__ import annotations

from dataclasses import fields
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    model_validator,
)

from fiducial.alignment.iteration.patterns import mistake
from fiducial.alignment.steering.keywords import METHODS, match_keyword, suggestion
from fiducial.alignment.tomlfile import is_file, read_model
from fiducial.alignment.tracker.numbering import AXES, LAYER_AXES, Scheme
from fiducial.core.errors import ConfigurationError, NotFoundError

__all__ = ["Constraint", "Cuts", "FitOptions", "Parameters", "Presigma", "Recipe", "Step", "find_recipe"]
__all__ += ["load_recipe", "recipe_names", "recipe_text"]

#: Names of FASER's own files and notes for recipes that come with the package.
_OTHER_NAMES = {"fixside": "faser-4st-layers", "fixlayer": "faser-4st-sides"}

Axis = Literal["x", "y", "z", "rx", "ry", "rz"]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


#: An upper limit, which may be inf: then there is none.
_Limit = Annotated[float, Field(gt=0, allow_inf_nan=True)]


def _checked_pattern(pattern: str) -> str:
    if found := mistake(pattern):
        raise ValueError(found)
    return pattern


Pattern = Annotated[str, AfterValidator(_checked_pattern)]


class Cuts(_Table):
    """Which tracks and hits are used. The values are those of FASER's converter, but for the last.

    An upper limit of inf is none.

    Args:
        max_chi2: largest chi2 of a track.
        min_pz: smallest momentum along the beam, GeV.
        max_pz: largest momentum along the beam, GeV.
        min_hits: fewest hits on a track, before hits are dropped.
        max_residual: largest distance of a hit from its track, mm.
        max_tilt: largest derivative by rx or ry of the layer, mm/rad.
        failed: derivatives below this stand for a failed extrapolation.
        min_used: fewest hits that must be left of a track; with five there would be nothing to learn from it.
    """

    max_chi2: _Limit = 2000.0
    min_pz: float = 100.0
    max_pz: _Limit = 5000.0
    min_hits: int = Field(15, ge=1)
    max_residual: _Limit = 0.05
    max_tilt: _Limit = 2.0
    failed: float = -9000.0
    min_used: int = Field(6, ge=1)


class Parameters(_Table):
    """Which parameters the records name, by level; their labels count the axes in the order given.

    FASER's converter has flags for that, which are understood too: ``dumpstations``, ``dump6ndf_stations``,
    ``dumplayers``, ``dump6ndf_layers``, ``dumpz_layers``, ``dump6ndf_modules``, ``use_sidebyside``.

    Args:
        stations: axes of stations.
        layers: axes of layers.
        modules: axes of modules, about the middle of each side.
        sides: axes of sides: a shift along the measured direction, or nothing.
        first_station: digit of station 0 in labels.
    """

    stations: tuple[Axis, ...] = ()
    layers: tuple[Axis, ...] = LAYER_AXES  # type: ignore[assignment]  # they are literals
    modules: tuple[Axis, ...] = ("rz",)
    sides: tuple[Literal["x"], ...] = ("x",)
    first_station: int = Field(1, ge=0, le=9)

    @model_validator(mode="before")
    @classmethod
    def _translate_flags(cls, given: Any) -> Any:
        return _from_flags(given) if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for level in ("stations", "layers", "modules", "sides"):
            axes = getattr(self, level)
            if len(set(axes)) < len(axes):
                raise ValueError(f"{level}: an axis stands twice")
        twice = [axis for axis in ("x", "y") if self.sides and axis in self.modules]
        if twice:
            both = " and ".join(twice)
            raise ValueError(f"modules: {both} together with sides' x: a module's shift follows from its two sides")
        if len(self.modules) + len(self.sides) > 9:
            raise ValueError("modules: labels have one digit for the parameters of sides and modules together")
        return self

    @property
    def scheme(self) -> Scheme:
        """How they are numbered."""
        return Scheme(**{field.name: getattr(self, field.name) for field in fields(Scheme)})


_FLAGS: dict[str, bool] = {
    "dumpstations": False,
    "dump6ndf_stations": True,
    "dumplayers": True,
    "dump6ndf_layers": True,
    "dumpz_layers": False,
    "dump6ndf_modules": False,
    "use_sidebyside": True,
}


def _from_flags(given: dict[str, Any]) -> dict[str, Any]:
    """Replace flags of FASER's converter by what they stand for."""
    flags = {name: value for name, value in given.items() if name in _FLAGS}
    if not flags:
        return given
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise ValueError(f"{name}: {value!r} is neither true nor false")
    on = _FLAGS | flags
    if on["dump6ndf_modules"] and on["use_sidebyside"]:
        raise ValueError("dump6ndf_modules with use_sidebyside: constants know modules, but not sides, beyond a shift")
    few = ("y", "rz")
    layers = (AXES if on["dumpz_layers"] else LAYER_AXES) if on["dump6ndf_layers"] else few
    modules = AXES if on["dump6ndf_modules"] else ("rz",) if on["use_sidebyside"] else ("x", "rz")
    meant = {
        "stations": (AXES if on["dump6ndf_stations"] else few) if on["dumpstations"] else (),
        "layers": layers if on["dumplayers"] else (),
        "modules": modules,
        "sides": ("x",) if on["use_sidebyside"] else (),
    }
    twice = next((name for name in meant if name in given), None)
    if twice:
        raise ValueError(f"{twice}: give either this or FASER's flags ({', '.join(flags)})")
    return {name: value for name, value in given.items() if name not in _FLAGS} | meant


class Presigma(_Table):
    """What parameters may move by in one fit: shifts in mm, rotations in rad; 0 for no limit."""

    shift: float = Field(0.05, ge=0)
    turn: float = Field(0.005, ge=0)


def _words(given: Any) -> Any:
    return given.split() if isinstance(given, str) else given


class Constraint(_Table):
    """A weighted sum of parameters that stays zero, or one such sum for each of some groups.

    Args:
        parameters: what is summed.
        each: whether there is a constraint for each "station", "layer", "module", "stack" (modules of one number, one
            behind the other) or "axis"; several with blanks between.
        weights: "one"; "z" of the layer, about the mean of all; "bending", how far a bent track is there from the line
            through the layers ``line``; "stereo", the sign of a side's angle.
        line: keys of the two different layers that "bending" is measured from.
        skip_last: leaves out the last group, where it follows from the others.
    """

    parameters: tuple[Pattern, ...]
    each: Annotated[tuple[Literal["station", "layer", "module", "stack", "axis"], ...], BeforeValidator(_words)] = ()
    weights: Literal["one", "z", "bending", "stereo"] = "one"
    line: tuple[str, str] | None = None
    skip_last: bool = False

    @model_validator(mode="after")
    def _has_line(self) -> Self:
        if self.weights == "bending" and self.line is None:
            raise ValueError('line: \'bending\' is measured from a line through two layers, e.g. ["11", "31"]')
        if self.line is not None and self.line[0] == self.line[1]:
            raise ValueError(f"line: layer '{self.line[0]}' stands twice, and a line needs two")
        return self


def _known_method(name: str) -> str:
    if match_keyword(name, METHODS) is None:
        near, known = suggestion(name, METHODS), ", ".join(METHODS)
        raise ValueError(f"there is no method '{name}'{f', {near}' if near else f'; known: {known}'}")
    return name


class FitOptions(_Table):
    """Keywords of the fit's steering file.

    Args:
        method: how the equations are solved.
        iterations: steps of one fit at most.
        limit: expected decrease of chi2 that ends them.
        hugecut: tracks whose chi2 is more than this times the three-sigma limit are dropped. Very wide, because in the
            first iteration all tracks fit badly.
        entries: parameters with fewer hits stay where they are.
        skipemptycons: whether constraints without a free parameter are left out.
        printcounts: whether millepede.res tells the number of hits.
        lines: further lines of the steering file, as they are.
    """

    method: Annotated[str, AfterValidator(_known_method)] = "inversion"
    iterations: int = Field(3, ge=1)
    limit: float = Field(0.001, ge=0)
    hugecut: float = Field(2000.0, ge=1)
    entries: int = Field(50, ge=0)
    skipemptycons: bool = True
    printcounts: bool = True
    lines: tuple[str, ...] = ()


class StepOptions(FitOptions):
    """Keywords of one step. Those that it does not give are the recipe's, whatever stands here."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StepOptions) and self.given() == other.given()

    def given(self) -> dict[str, Any]:
        """The keywords that the step gives."""
        return self.model_dump(exclude_unset=True)


def _named(name: str) -> str:
    if not name.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"'{name}' is no name of a folder: letters, digits, - and _")
    return name


class Step(_Table):
    """One fit. What it does not fit stays where earlier steps have brought it.

    Args:
        name: of the step, and of the folder for its files.
        free: parameters that are fitted.
        fixed: of these, the ones that are not.
        presigma: instead of the recipe's.
        fit: keywords that replace the recipe's.
    """

    name: Annotated[str, AfterValidator(_named)] = "fit"
    free: tuple[Pattern, ...] = ("*",)
    fixed: tuple[Pattern, ...] = ()
    presigma: Presigma | None = None
    fit: Annotated[StepOptions, PlainSerializer(StepOptions.given)] = StepOptions()


def _listed(steps: Any) -> Any:
    return steps if isinstance(steps, list | tuple) else [steps]


class Recipe(_Table):
    """How an iteration is solved.

    Args:
        format: of the file, 1.
        description: in a sentence.
        cuts: on tracks and hits.
        parameters: which ones there are.
        presigma: what they may move by.
        constraints: sums that stay zero; in a step those are in force that have a free parameter.
        fit: keywords of the steering file.
        steps: the fits, one after the other.
        determined: a parameter counts as well determined when its error is less than this times its presigma: then
            the hits, and not the presigma, decide what it is (at 0.2 they have 96 % of the weight).
    """

    format: Literal[1] = 1
    description: str = ""
    cuts: Cuts = Cuts()
    parameters: Parameters = Parameters()
    presigma: Presigma = Presigma()
    constraints: tuple[Constraint, ...] = ()
    fit: FitOptions = FitOptions()
    steps: Annotated[tuple[Step, ...], BeforeValidator(_listed), Field(min_length=1)] = (Step(),)
    determined: float = Field(0.2, gt=0, le=1)
    _name: str = PrivateAttr("")

    @model_validator(mode="after")
    def _steps_fit(self) -> Self:
        names = [step.name for step in self.steps]
        if len(set(names)) < len(names):
            raise ValueError(f"steps: two have the name '{next(n for n in names if names.count(n) > 1)}'")
        return self

    @property
    def name(self) -> str:
        """Of the recipe, or of its file."""
        return self._name

    def options(self, step: Step) -> FitOptions:
        """Keywords of a step's steering file."""
        return self.fit.model_copy(update=step.fit.given())


def recipe_names() -> list[str]:
    """Recipes that come with the package."""
    return sorted(entry.name.removesuffix(".toml") for entry in _folder().iterdir() if entry.name.endswith(".toml"))


def recipe_text(name: str) -> str:
    """The text of a recipe that comes with the package, or of a file.

    Raises:
        NotFoundError: there is none of that name.
    """
    if is_file(name):
        return Path(name).read_text("utf-8")
    name = _OTHER_NAMES.get(name, name)
    if name not in recipe_names():
        raise NotFoundError(f"there is no recipe '{name}'", hint=f"known: {', '.join(recipe_names())}; or give a file")
    return str((_folder() / f"{name}.toml").read_text("utf-8"))


def _folder() -> Any:
    return resources.files("fiducial.alignment.iteration") / "recipes"


def find_recipe(name: str) -> Recipe:
    """A recipe by its name, or from a file: whatever has a slash or ends in ``.toml`` is a file.

    Raises:
        NotFoundError: there is no such recipe, or no such file.
        ConfigurationError: the file cannot be taken as it is; file, line and key are named.
    """
    if is_file(name):
        return load_recipe(Path(name))
    return _recipe(recipe_text(name), f"recipe {name}", _OTHER_NAMES.get(name, name))


def load_recipe(path: Path) -> Recipe:
    """A recipe from a file.

    Raises:
        NotFoundError: there is no such file.
        ConfigurationError: it cannot be taken as it is; file, line and key are named.
    """
    if not path.is_file():
        raise NotFoundError(f"{path}: no such recipe", hint=f"known by name: {', '.join(recipe_names())}")
    try:
        return _recipe(path.read_bytes().decode("utf-8"), str(path), path.stem)
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: is not UTF-8 text") from None


def _recipe(text: str, where: str, name: str) -> Recipe:
    recipe = read_model(Recipe, text, where, hint="`fiducial alignment recipe show one-fit` shows a complete one")
    recipe._name = name
    return recipe
