"""The verbs about what is plugged in: check it, and write a new one from a template."""

from typing import Annotated, Literal

import typer
from typer import Argument, Option

from rdbench.cli import streams
from rdbench.cli.options import Device
from rdbench.errors import UserError

EXIT_NOT_CONFORMING = 1

Reference = Annotated[
    str, Argument(help="A registered name, package.module:symbol, or file.py:symbol.", metavar="REFERENCE")
]
Options = Annotated[
    list[str] | None,
    Option("--set", help="An option of it, e.g. --set dof=5. Repeatable.", metavar="OPTION=VALUE"),
]
Traceback = Annotated[
    bool, Option("--traceback", help="Show the full traceback of an exception in its code.")
]
File = Annotated[str, Argument(help="The Python file to write, - for standard output.", metavar="FILE.py")]
CheckedKind = Annotated[
    Literal["variant", "metric", "dataset", "features"] | None,
    Option("--as", help="What it is checked as; default: what stands there."),
]
What = Annotated[
    Literal["variant", "metric", "dataset", "features"],
    Argument(help="What to write.", metavar="variant|metric|dataset|features"),
]
Kind = Annotated[
    Literal["objective", "model", "trial"] | None,
    Option(help="Of a variant, see above; default: objective."),
]
Name = Annotated[
    str | None, Option(help="Name of what is written; default: that of the file.", metavar="NAME")
]


def check(
    reference: Reference,
    set_: Options = None,
    device: Device = "cpu",
    kind: CheckedKind = None,
    traceback: Traceback = False,
) -> None:
    """Check a variant, before a sweep spends hours on it.

    Metrics, datasets and feature networks of your own are checked too: that their code runs, what it gives,
    and that it gives the same again.

    Of a variant: about fifteen checks, a line each, in a few seconds, on 128 digits of 8x8 with 4 latents and
    channels [8, 16]: what it declares; the shapes of all it returns; finite losses and gradients at beta 1e-4
    to 1e3; that the rate is the KL divergence if the model says ``gaussian`` (diagonal posterior, standard
    normal prior), else not negative; that evaluation has no side effects; that a trial is reproducible to the
    last digit, in this process and in a fresh one that has only its source text, like a worker on another
    machine.
    "imports" lists your files that it runs from: an edit of any makes it a new variant.

    "ok": holds; "note": worth knowing; "FAIL": what to fix, and where. Exit code 1: a check failed.

    Examples:

      rdbench check bs_vae

      rdbench check ./my_vae.py:my_vae --set floor=0.01

      rdbench check my_package.vaes:MyVae --traceback

      rdbench check ./my_metric.py:sharpness
    """
    from rdbench.commands import check as conformance

    findings = []
    for finding in conformance.check(reference, set_ or [], device, kind=kind):
        findings.append(finding)
        typer.echo(str(finding))
        if traceback and finding.trace:
            typer.echo(finding.trace)
    typer.echo(conformance.summary(reference.rpartition(":")[2], findings))
    if any(finding.status == "FAIL" for finding in findings):
        raise typer.Exit(EXIT_NOT_CONFORMING)


def new(what: What, file: File, kind: Kind = None, name: Name = None) -> None:
    """Write a variant, metric, dataset or features to start from.

    What is written is complete and commented. An existing file is not overwritten (exit code 2). Of a
    variant, choose the simplest kind that fits:

      objective   a loss of each image from its squared error and rate; packs on a GPU

      model       a custom prior, posterior, likelihood or loss; the usual training

      trial       a custom training loop, for any other VAE

    Examples:

      rdbench new variant my_vae.py

      rdbench new variant variants/heavy_tails.py --kind model

      rdbench new metric my_metric.py
    """
    from rdbench.commands import new as starts
    from rdbench.storage.outputs import STANDARD_OUTPUT, is_standard_output
    from rdbench.storage.paths import local

    if kind and what != "variant":
        raise UserError(f"--kind {kind}: is of a variant; leave it out for a {what}")
    start = what if what != "variant" else kind or "objective"
    target = STANDARD_OUTPUT if file == "-" else local(file)
    if not (printed := is_standard_output(target)):
        streams.go_on_without_output()
    chosen = starts.write(target, start, name)
    if printed:
        return
    typer.echo(f"{start} {chosen} written to {file}; next:")
    for line in starts.next_steps(target, chosen, start):
        typer.echo(f"  {line}")
