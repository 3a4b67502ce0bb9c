"""The verbs on results that train nothing: ``report``, ``watch``, ``status``, ``compare`` and ``compact``."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Argument, Option

from rdbench.cli import streams
from rdbench.cli.options import Results
from rdbench.errors import ResultsError, need
from rdbench.text import counted

EXIT_GATE_FAILED = 4

ReportFormat = StrEnum(
    "ReportFormat", ["html", "svg", "png", "pdf", "vega", "csv", "latex", "json", "curves"]
)
ComparisonFormat = Literal["markdown", "json", "text", "html"]

ResultsList = Annotated[
    list[str] | None,
    Argument(help="Results folders or addresses (s3://bucket/prefix); default: every one below results/."),
]
ReportOut = Annotated[
    str | None,
    Option(
        help="The HTML file, - for standard output; with another --format, the folder. Default: report.html"
        " or export, in the results folder if there is only one, else here.",
        metavar="PATH",
    ),
]
ReportFormats = Annotated[
    list[ReportFormat] | None,
    Option(
        "--format",
        help="html (default): a page; svg, png, pdf, vega: charts; csv, latex, json: tables;"
        " curves: rate and distortion as --reference reads them. Repeatable.",
    ),
]
Title = Annotated[str, Option(help="Heading of the page; default: the names of the sweeps.", metavar="TEXT")]
RateFloor = Annotated[
    float | None,
    Option(
        help="Rates up to it are left out where curves are compared: BD-rate, the claims. Default: 0.01.",
        metavar="NATS",
    ),
]
References = Annotated[
    list[str] | None,
    Option(
        "--reference",
        help="A curve to show and compare with: CompressAI's results as JSON, or a CSV. Repeatable.",
        metavar="FILE",
    ),
]
Before = Annotated[str, Argument(help="The baseline: a results folder or address.", metavar="A")]
After = Annotated[str, Argument(help="The results folder or address to compare with it.", metavar="B")]
ComparisonFormats = Annotated[
    ComparisonFormat,
    Option(
        "--format",
        help="markdown: tables to paste; json; text: sentences only; html: a page with both curves.",
    ),
]
ComparisonOut = Annotated[
    str | None, Option(help="The file to write; default, and for -: standard output.", metavar="FILE")
]
FailIf = Annotated[
    list[str] | None,
    Option("--fail-if", help="Fail if this condition holds, see above. Repeatable.", metavar="CONDITION"),
]
Port = Annotated[int, Option(min=0, max=65535, help="Port on 127.0.0.1; 0 for any free one.", metavar="PORT")]


def report(
    results: ResultsList = None,
    out: ReportOut = None,
    format_: ReportFormats = None,
    title: Title = "",
    rate_floor: RateFloor = None,
    reference: References = None,
) -> None:
    """Write the report of results folders: one offline HTML page.

    With another --format: its charts and tables as files. Existing files of the same names are replaced;
    links, devices and named pipes are written through.

    Examples:

      rdbench report results/quickstart --out report.html --title "Digits, 30 epochs"

      rdbench report results/mnist results/celeba --format svg --format latex --out paper/figures

      rdbench report results/quickstart --reference jpeg.json --reference mine.csv

    A CSV of a reference has the first line rate,unit,distortion,unit,name, and a line a point. Units of the
    rate: nats per image, bits per image, bits per pixel; of the distortion: dB (PSNR), MSE, or nats per image
    at optimal_train (or another reading).
    """
    from rdbench.commands.status import all_results
    from rdbench.report import make_report
    from rdbench.storage.outputs import is_standard_output, output, output_folder
    from rdbench.storage.places import place

    folders = [place(folder) for folder in results] if results else [*all_results()]
    formats = list(dict.fromkeys(format_ or [ReportFormat.html]))
    near = folders[0] if len(folders) == 1 else Path()
    if formats != [ReportFormat.html]:
        from rdbench.report.export import FORMATS, export
        from rdbench.report.references import read_all

        folder = near / "export" if out is None else output_folder(out)
        page = folder / "report.html"
        streams.go_on_without_output()
        files = export(
            folders, folder, [kind for kind in FORMATS if kind in formats], rate_floor, read_all(reference)
        )
        typer.echo(f"{counted(len(files), 'file')} written to {folder}")
    else:
        page = near / "report.html" if out is None else output(out)
        if not is_standard_output(page):
            streams.go_on_without_output()
    if ReportFormat.html in formats:
        made = make_report(folders, page, title, rate_floor, reference or ())
        typer.echo(f"report written to {made}", err=is_standard_output(made))


def watch(results: Results, port: Port = 0) -> None:
    """Serve the report of a results folder while its sweep runs.

    Prints the address to open: only this machine can. It ends when the sweep is done, and on Ctrl-C; a sweep
    that runs goes on.

    Example: rdbench watch results/quickstart
    """
    need("report")
    from rdbench.commands.watch import serve
    from rdbench.storage.places import place

    streams.go_on_without_output()
    try:
        serve(place(results), typer.echo, port)
    except OSError as error:
        raise ResultsError(
            f"--port {port}: cannot be served ({error.strerror}); leave it out for a free port"
        ) from None


def status(results: Results) -> None:
    """Count the trials of a results folder, and list what failed.

    Those that diverged or were stopped are listed, too. Then a line a variant: its range of rates, its best
    PSNR, its best ELBO at the variance of training images; and what the trials show most clearly.

    Example: rdbench status results/quickstart
    """
    from rdbench.commands.status import status_lines
    from rdbench.commands.summary import summary_lines
    from rdbench.storage.places import place

    root = place(results)
    for line in (*status_lines(root), *summary_lines(root)):
        typer.echo(line)


def compare(
    a: Before,
    b: After,
    format_: ComparisonFormats = "markdown",
    out: ComparisonOut = None,
    fail_if: FailIf = None,
    reference: References = None,
) -> None:
    """Compare two results folders, with intervals and verdicts.

    Compared are the variants and betas that both have, on the same dataset, protocol and data; settings that
    differ are listed.

    --fail-if takes QUANTITY OPERATOR NUMBER, with > >= < or <=. The gate fails if the condition holds for any
    variant (and beta), or if the quantity was not measured on both sides. It uses the mean over seeds, not
    the interval: leave room for the spread. Quantities:

      bd_rate: BD-rate of B against A in per cent, of MSE and of the distortion under every reading.

      bd_rate.mse, bd_rate.half, .beta_half, .optimal, .optimal_train, .optimal_shared, .own: one alone.

      delta.NAME: mean of B minus mean of A, in the metric's unit; with % after the number, relative to A.

    NAME is elbo_READING, rate, mse, psnr, or a proxy metric as the comparison names it. ELBO, IWAE, PSNR and
    KID take no %: their zero means nothing. A gate on bd_rate also fails where the curves overlap by less
    than 75%, and sees only the best of each side: add one on delta.mse.

    Exit code 0: compared, and no gate failed; 4: a gate failed; 2: invalid request.

    Examples:

      rdbench compare results/before results/after > comparison.md

      rdbench compare results/before results/after --format html --out comparison.html

      rdbench compare results/before results/after --fail-if 'bd_rate > 2' --fail-if 'delta.elbo_optimal < -5'

      rdbench compare results/before results/after --fail-if 'delta.fid > 3%' --format json --out changes.json
    """
    if not _gates_pass(a, b, format_, out, fail_if or [], reference or []):
        raise typer.Exit(EXIT_GATE_FAILED)


def _gates_pass(
    a: str, b: str, format_: ComparisonFormat, out: str | None, fail_if: list[str], references: list[str]
) -> bool:
    """Write the comparison and, where it does not hold them, the outcomes of the gates."""
    from rdbench.report.compare.compare import compare as compare_results
    from rdbench.report.compare.gates import check_gate, parse_gate, render
    from rdbench.report.references import read_all
    from rdbench.storage.outputs import is_standard_output, output, write_output
    from rdbench.storage.places import place

    gates = [parse_gate(text) for text in fail_if]
    target = None if out is None else output(out)
    if target is not None and not is_standard_output(target):
        streams.go_on_without_output()
    comparison = compare_results([place(a)], [place(b)], read_all(references))
    outcomes = [check_gate(gate, comparison) for gate in gates]
    if format_ == "html":
        from rdbench.report.compare.page import as_html

        text = as_html(comparison, a, b, outcomes)
    else:
        text = render(comparison, outcomes, format_)
    if target is None:
        typer.echo(text, nl=False)
    else:
        write_output(target, text)
        typer.echo(f"comparison written to {out}", err=is_standard_output(target))
    if target is not None or format_ == "json":
        for outcome in outcomes:
            typer.echo(str(outcome), err=True)  # not into the JSON
    return all(outcome.passed for outcome in outcomes)


def compact(results: Results) -> None:
    """Merge the small files of a results folder.

    One file a trial and table becomes one for up to 1,000 trials. For folders of thousands of trials, and for
    buckets, where every file costs two requests to read. The rows stay the same, and sweeps can continue in
    the folder. If a sweep is running there, it says so and does nothing.

    Example: rdbench compact s3://bucket/results/celeba_rd
    """
    from rdbench.results.compact import compact as compact_results
    from rdbench.storage.places import place

    streams.go_on_without_output()
    before, after = compact_results(place(results), typer.echo)
    typer.echo(f"{before} before, {after} now in {results}")
