"""``fiducial alignment``: simulate, reconstruct and align a tracker: FASER's, or one from a geometry file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fiducial.cli import geometry as geometries
from fiducial.cli import recipe as recipes
from fiducial.cli.lazy import subject_app

app = subject_app(no_args_is_help=True, help="Simulate, reconstruct and align a tracker.")
app.add_typer(recipes.app, name="recipe")
app.add_typer(geometries.app, name="geometry")

Constants = Annotated[Path, typer.Option(help="Constants in (inputforalign.txt); an empty file stands for none.")]
Stations = Annotated[
    int | None, typer.Option(help="How many, from the last. FASER: 3, without the one in front (IFT), or 4; default 3.")
]
GeometryFile = Annotated[
    Path | None, typer.Option("--geometry", "-g", help="Geometry file of the detector; by default FASER's tracker.")
]
Misaligned = Annotated[
    float, typer.Option(min=0, help="Factor on the size of all displacements; 0 for a perfect tracker.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def simulate(
    raw: Annotated[Path, typer.Argument(help="Folder of raw files; <year>/<run>/ are made in it.")],
    run: Annotated[int, typer.Option("--run", "-r", min=0, help="Number of the run.")],
    files: Annotated[str, typer.Option("--files", "-f", help="450, or 450-460 for the ten files 450 to 459.")],
    year: Annotated[int, typer.Option("--year", "-y", help="Year of the run.")] = 2023,
    events: Annotated[int, typer.Option(min=1, help="Muons in each file.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Of the misalignment and the muons.")] = 1,
    truth: Annotated[Path | None, typer.Option(help="Where the truth goes; by default beside the files.")] = None,
    misaligned: Misaligned = 1.0,
    geometry: GeometryFile = None,
    json_: Json = False,
) -> None:
    """Make raw files of muons in a tracker that is not where it should be."""
    from fiducial.alignment.tracker.geometryfile import find_geometry
    from fiducial.alignment.tracker.raw import raw_path, write_raw
    from fiducial.alignment.tracker.simulation import misalign, simulate, write_truth
    from fiducial.core.filerange import parse_range

    numbers, known = parse_range(files), find_geometry(geometry)
    misalignment = known.misalignment.scaled(misaligned)
    displaced = misalign(known.detector, misalignment, seed)
    paths = [raw_path(raw, year, run, number, known.prefix) for number in numbers]
    truth = truth or paths[0].parent / "truth.json"
    write_truth(truth, displaced, seed=seed, misalignment=misalignment)
    for number, path in zip(numbers, paths, strict=True):
        write_raw(
            path,
            simulate(
                known.detector,
                displaced,
                run=run,
                file=number,
                events=events,
                seed=seed,
                beam=known.beam,
                response=known.response,
            ),
        )
    show({"truth": str(truth), "files": [str(path) for path in paths], "events": events * len(paths)}, json_)


@app.command()
def truth(
    output: Annotated[Path, typer.Argument(help="File to write, e.g. truth.json.")],
    seed: Annotated[int, typer.Option(min=0, help="Of the misalignment.")] = 1,
    misaligned: Misaligned = 1.0,
    geometry: GeometryFile = None,
) -> None:
    """Write where a simulated tracker really is, without any muons."""
    from fiducial.alignment.tracker.geometryfile import find_geometry
    from fiducial.alignment.tracker.simulation import misalign, write_truth

    known = find_geometry(geometry)
    misalignment = known.misalignment.scaled(misaligned)
    write_truth(output, misalign(known.detector, misalignment, seed), seed=seed, misalignment=misalignment)


@app.command()
def reconstruct(
    raw: Annotated[Path, typer.Argument(help="Raw file.")],
    constants: Constants,
    output: Annotated[Path, typer.Option("--output", "-o", help="Ntuple, e.g. kfalignment_011705_00450.root.")],
    stations: Stations = None,
    geometry: GeometryFile = None,
    json_: Json = False,
) -> None:
    """Fit the tracks of a raw file and write what an alignment needs to know of them."""
    from fiducial.alignment.constants.values import fingerprint, read_constants
    from fiducial.alignment.tracker.geometryfile import find_geometry
    from fiducial.alignment.tracker.ntuple import write_ntuple
    from fiducial.alignment.tracker.raw import read_raw
    from fiducial.alignment.tracker.reconstruction import reconstruct
    from fiducial.storage.replace import keep_apart

    keep_apart([output], [raw, constants, geometry])
    found = find_geometry(geometry)
    known = read_constants(constants, found.detector)
    data = read_raw(raw, found.detector.channels)
    output.unlink(missing_ok=True)
    table, lost = reconstruct(found.detector, data, known, stations, found.finding)
    write_ntuple(output, table, fingerprint(known))
    numbers = {"events": len(data.counts), "tracks": len(table.counts), "hits": int(table.counts.sum())}
    show({"output": str(output), **numbers, **{f"events_lost_{reason}": n for reason, n in lost.items()}}, json_)


@app.command()
def solve(
    ntuples: Annotated[list[Path], typer.Option(help="Ntuples, or folders of them; may be repeated.")],
    constants: Constants,
    output_dir: Annotated[Path, typer.Option(help="For the fit's own files, e.g. 3millepede.")],
    new_constants: Annotated[Path, typer.Option(help="Constants out; written last, only if all went well.")],
    stations: Stations = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="Name of a recipe (see `recipe list`), or its file; by default the geometry's, one-fit."),
    ] = None,
    geometry: GeometryFile = None,
    truth: Annotated[Path | None, typer.Option(help="Truth of a simulation, to judge the result by.")] = None,
    metrics: Annotated[
        Path | None, typer.Option(envvar="FIDUCIAL_METRICS", help="Numbers for the workflow's decisions, as JSON.")
    ] = None,
    summary: Annotated[
        Path | None, typer.Option(help="Summary of the iteration; by default summary.json in the output folder.")
    ] = None,
    keep_records: Annotated[bool, typer.Option(help="Keep the fit's binary input.")] = True,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the fit.")] = 1,
    pede: Annotated[
        str | None, typer.Option("--pede", help="Let this pede fit; overrides the setting alignment.pede.")
    ] = None,
    json_: Json = False,
) -> None:
    """Fit the parameters of one iteration and add them to the constants."""
    from fiducial.alignment.iteration.recipe import find_recipe
    from fiducial.alignment.iteration.solve import Outputs, find_ntuples
    from fiducial.alignment.iteration.solve import solve as run
    from fiducial.alignment.iteration.summary import Setup
    from fiducial.alignment.iteration.summary import metrics as numbers
    from fiducial.alignment.tracker.geometryfile import find_geometry
    from fiducial.cli.fit import kernels_told, pede_setting
    from fiducial.storage.replace import keep_apart

    outputs = Outputs(output_dir, new_constants, summary or output_dir / "summary.json", metrics, keep_records)
    keep_apart([new_constants, outputs.summary, metrics], [Path(recipe) if recipe else None, geometry])
    known = find_geometry(geometry)
    setup = Setup(stations, known.detector, find_recipe(recipe or known.recipe), threads, pede or pede_setting())
    with kernels_told():
        result = run(find_ntuples(ntuples), constants, outputs, setup, truth)
    show({"constants": str(new_constants), "summary": str(outputs.summary), **numbers(result)}, json_)


@app.command()
def report(
    summaries: Annotated[list[Path], typer.Argument(metavar="SUMMARY", help="summary.json of each iteration.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page, e.g. report.html.")],
    title: Annotated[str, typer.Option(help="Title of the page.")] = "Alignment",
    picture: Annotated[Path | None, typer.Option(help="Draw one wide figure too, .svg or .png.")] = None,
    threshold: Annotated[float, typer.Option(help="Largest shift over its error that counts as converged.")] = 0.3,
    json_: Json = False,
) -> None:
    """Write a page that shows whether an alignment is good: one file of HTML, complete in itself."""
    from fiducial.alignment.report.page import Report, write_report

    show(write_report(summaries, Report(output, title, picture, threshold)), json_)


@app.command()
def join(
    work: Annotated[Path, typer.Argument(help="The campaign's folder, for small files.")],
    data: Annotated[Path, typer.Argument(help="Its folder for data.")],
    iteration: Annotated[str, typer.Argument(help="The iteration's folder in both, e.g. iter01.")],
    ntuples: Annotated[str, typer.Option(help="Folder of the ntuples in both, e.g. iter01/2kfalignment.")],
    fit: Annotated[str, typer.Option(help="Folder of the fit in both, e.g. iter01/3millepede.")],
    begin: Annotated[
        bool, typer.Option("--begin", help="Before anything is there: only a link in the work folder, to the ntuples.")
    ] = False,
    json_: Json = False,
) -> None:
    """Let two folders of a campaign show each other's files of one iteration, by symbolic links."""
    from fiducial.alignment.faser.folders import join as link

    made = link(work.absolute(), data.absolute(), iteration=iteration, ntuples=ntuples, fit=fit, begin=begin)
    show({"links": len(made)}, json_)


@app.command()
def tidy(
    done: Annotated[Path, typer.Option(help="Constants of the iteration that followed: it is done.")],
    constants: Annotated[list[Path] | None, typer.Argument(help="Files of constants to remove.")] = None,
    ntuples: Annotated[Path | None, typer.Option(help="Folder whose ntuples of the run's files are removed.")] = None,
    run: Annotated[int, typer.Option(help="Run number.")] = 0,
    files: Annotated[str, typer.Option(help="Numbers of files, half open: 450-460 are ten.")] = "0",
    json_: Json = False,
) -> None:
    """Remove what an iteration has left, when the one that followed is done."""
    from fiducial.alignment.faser.folders import remove_files
    from fiducial.alignment.tracker.raw import ntuple_name
    from fiducial.core.filerange import parse_range

    names = [ntuple_name(run, file) for file in parse_range(files)] if ntuples else []
    removed, size = remove_files([*((ntuples or Path()) / name for name in names), *(constants or ())], done)
    show({"removed": removed, "bytes": size}, json_)


def show(content: dict[str, object], as_json: bool) -> None:
    """Print names and values, one a line, or as JSON."""
    if as_json:
        from fiducial.cli.output import print_json

        print_json(content)
        return
    for name, value in content.items():
        for line in value.items() if isinstance(value, dict) else [(name, value)]:
            text = f"{line[1]:.6g}" if isinstance(line[1], float) else line[1]
            typer.echo(f"{line[0]:<22} {text}")
