"""The verbs on results that train nothing: ``report``, ``status``, ``compare`` and ``compact``; no logic."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rdbench.cli import streams
from rdbench.cli.options import Results

EXIT_GATE_FAILED = 4


class ReportFormat(StrEnum):
    """What ``rdbench report`` writes."""

    html = "html"
    svg = "svg"
    png = "png"
    csv = "csv"
    latex = "latex"
    json = "json"


class ComparisonFormat(StrEnum):
    """How ``rdbench compare`` writes."""

    markdown = "markdown"
    json = "json"
    text = "text"


def report(
    results: Annotated[
        list[str] | None,
        typer.Argument(
            help="Results folders or addresses (s3://bucket/prefix); by default every one below results/.",
            metavar="[RESULTS]...",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            help="The page to write, - for standard output; by default report.html in the (only) results"
            " folder, or here. With another --format than html: the folder to write, by default export in"
            " the (only) results folder, or here.",
            metavar="PATH",
        ),
    ] = None,
    format_: Annotated[
        list[ReportFormat] | None,
        typer.Option(
            "--format",
            help="html: one offline page, the default; svg, png: each chart; csv, latex: each table; json:"
            " all tables in one file. Repeatable.",
        ),
    ] = None,
    title: Annotated[
        str,
        typer.Option(help="The HTML page's heading; by default it names the sweeps.", metavar="TEXT"),
    ] = "",
) -> None:
    """Write one offline HTML page from results folders, or their charts and tables as files.

    Files of the same names are replaced; links, devices and named pipes are written through.

    Examples:

      rdbench report results/quickstart --out report.html --title "Digits, 30 epochs"

      rdbench report results/mnist results/celeba --format svg --format latex --out paper/figures
    """
    from rdbench.commands.status import all_results
    from rdbench.report import make_report
    from rdbench.storage.outputs import is_standard_output, output, output_folder
    from rdbench.storage.places import place

    folders = [place(each) for each in results] if results else [*all_results()]
    formats = list(dict.fromkeys(format_ or [ReportFormat.html]))
    near = folders[0] if len(folders) == 1 else Path()
    if formats != [ReportFormat.html]:
        from rdbench.report.export import FORMATS, export, summary

        files = [each for each in FORMATS if each in formats]
        folder = near / "export" if out is None else output_folder(out)
        page = folder / "report.html"
        streams.go_on_without_output()
        typer.echo(f"{summary(export(folders, folder, files))} written to {folder}")
    else:
        page = near / "report.html" if out is None else output(out)
        if not is_standard_output(page):
            streams.go_on_without_output()
    if ReportFormat.html in formats:
        made = make_report(folders, page, title)
        typer.echo(f"report written to {made}", err=is_standard_output(made))


def status(results: Results) -> None:
    """Say how the trials of a results folder stand, and name those that did not end well.

    Example: rdbench status results/quickstart
    """
    from rdbench.commands.status import status_lines
    from rdbench.storage.places import place

    for line in status_lines(place(results)):
        typer.echo(line)


def compare(
    a: Annotated[
        str, typer.Argument(help="The results folder of before, or its address: the baseline.", metavar="A")
    ],
    b: Annotated[str, typer.Argument(help="The results folder of after, or its address.", metavar="B")],
    format_: Annotated[
        ComparisonFormat,
        typer.Option("--format", help="markdown, to paste; json; text, the sentences alone."),
    ] = ComparisonFormat.markdown,
    out: Annotated[
        str | None,
        typer.Option(help="The file to write; by default, and for -, standard output.", metavar="FILE"),
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-if", help="A condition that must not hold, see above. Repeatable.", metavar="CONDITION"
        ),
    ] = None,
) -> None:
    """Compare two results folders: differences with intervals, BD-rate, and a verdict on each metric.

    What is compared: variants and betas that both have, of one dataset, protocol and data; settings that
    differ are listed.

    A condition of --fail-if is QUANTITY OPERATOR NUMBER with > >= < or <=. The gate fails where it holds for
    any variant (and beta), and where the quantity was not measured on both sides. It goes by the mean over
    seeds, not by the interval: leave room for their spread. Quantities:

      bd_rate: BD-rate of B against A in per cent, of MSE and of the distortion under every reading.

      bd_rate.mse, bd_rate.half, .beta_half, .optimal, .optimal_shared, .own: one of these alone.

      delta.NAME: the mean of B less that of A, in the metric's unit; with % after the number, of A's mean.

    NAME is elbo_READING, rate, mse, psnr, or a proxy metric's as the comparison names it. An ELBO, IWAE, PSNR
    or KID takes no %, as its zero means nothing. A gate on bd_rate fails, too, where the curves overlap by
    less than 75%, and sees the best of each side alone: put delta.mse beside it.

    Exit code 0: compared, and no gate failed; 4: a gate failed; 2: the request was wrong.

    Examples:

      rdbench compare results/before results/after > comparison.md

      rdbench compare results/before results/after --fail-if 'bd_rate > 2' --fail-if 'delta.elbo_optimal < -5'

      rdbench compare results/before results/after --fail-if 'delta.fid > 3%' --format json --out changes.json
    """
    from rdbench.report.compare.compare import compare as compare_results
    from rdbench.report.compare.gates import check_gate, parse_gate, render
    from rdbench.storage.outputs import is_standard_output, output, write_output
    from rdbench.storage.places import place

    gates = [parse_gate(text) for text in fail_if or []]
    target = None if out is None else output(out)
    if target is not None and not is_standard_output(target):
        streams.go_on_without_output()
    found = compare_results([place(a)], [place(b)])
    outcomes = [check_gate(gate, found) for gate in gates]
    text = render(found, outcomes, format_.value)
    if target is None:
        typer.echo(text, nl=False)
    else:
        write_output(target, text)
        typer.echo(f"comparison written to {out}", err=is_standard_output(target))
    if target is not None or format_ is ComparisonFormat.json:
        for outcome in outcomes:
            typer.echo(str(outcome), err=True)  # not into the JSON
    if not all(outcome.passed for outcome in outcomes):
        raise typer.Exit(EXIT_GATE_FAILED)


def compact(results: Results) -> None:
    """Merge the files of a results folder, one a trial and table, into files of up to 1,000 trials.

    For folders of thousands of trials, and for buckets, where every file costs two requests to read. The
    tables hold the same rows afterwards, for rdbench and any other reader, and sweeps go on into the folder
    as before. It waits for nobody: while a sweep is at work there, it says so and does nothing.

    Example: rdbench compact s3://bucket/results/celeba_rd
    """
    from rdbench.results.compact import compact as compact_results
    from rdbench.storage.places import place

    streams.go_on_without_output()
    before, after = compact_results(place(results), typer.echo)
    typer.echo(f"{before} before, {after} now in {results}")
