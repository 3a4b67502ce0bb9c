"""The verbs about variants: which there are, whether one is right, and how to begin one; no logic."""

from typing import Annotated, Literal

import typer

from rdbench.cli import streams

EXIT_NOT_CONFORMING = 1

new_app = typer.Typer(
    help="Begin something of your own: 'rdbench new variant my_vae.py'.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@new_app.callback()
def _new() -> None:
    pass


def check(
    reference: Annotated[
        str,
        typer.Argument(
            help="A registered name, package.module:symbol, or file.py:symbol.", metavar="REFERENCE"
        ),
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="An option of the variant, e.g. --set dof=5.", metavar="OPTION=VALUE"),
    ] = None,
    device: Annotated[
        str, typer.Option(help="'cpu' or 'cuda'; 'auto' is the GPU if there is one.", metavar="DEVICE")
    ] = "cpu",
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show the whole traceback of an exception in the variant.")
    ] = False,
) -> None:
    """Check that a variant keeps what the harness counts on, before a sweep spends hours on it.

    Some fifteen checks, a line each, in a few seconds on 128 digits of 8x8, with 4 latents and channels
    [8, 16]: what it declares; the shapes of all it returns; finite losses and gradients at beta 1e-4 to 1e3;
    that the rate is the KL divergence where the model says ``gaussian`` (a diagonal posterior, a standard
    normal prior), and else not negative; that
    evaluation changes nothing; that a trial repeats to the last digit, here and in a fresh process that has
    its source text alone, as a worker on another machine. "imports" lists the files of yours that it runs
    from: an edit of any makes it another variant.

    "ok" holds, "note" is worth knowing, "FAIL" says what to mend, and where. Exit code 1 if any fails.

    Examples:

      rdbench check bs_vae

      rdbench check ./my_vae.py:my_vae --set floor=0.01

      rdbench check my_package.vaes:MyVae --traceback
    """
    from rdbench.commands import check as conformance

    findings = []
    for finding in conformance.check(reference, set_ or [], device):
        findings.append(finding)
        typer.echo(str(finding))
        if traceback and finding.trace:
            typer.echo(finding.trace)
    typer.echo(conformance.summary(reference.rpartition(":")[2], findings))
    if any(finding.status == "FAIL" for finding in findings):
        raise typer.Exit(EXIT_NOT_CONFORMING)


@new_app.command("variant")
def new_variant(
    file: Annotated[
        str, typer.Argument(help="The Python file to write, - for standard output.", metavar="FILE.py")
    ],
    kind: Annotated[
        Literal["objective", "model", "trial"],
        typer.Option(help="What it is to be; see above."),
    ] = "objective",
    name: Annotated[
        str | None, typer.Option(help="Of the variant; by default that of the file.", metavar="NAME")
    ] = None,
) -> None:
    """Write a commented, complete variant to begin with. A file that is there is left alone (exit code 2).

    Choose the simplest kind that fits:

      objective   a loss of each image from its squared error and rate; packs on a GPU

      model       a prior, posterior, likelihood or loss of its own; the usual training

      trial       a training loop of its own; all else that is a VAE

    Examples:

      rdbench new variant my_vae.py

      rdbench new variant variants/heavy_tails.py --kind model
    """
    from rdbench.commands import new
    from rdbench.storage.outputs import STANDARD_OUTPUT, is_standard_output
    from rdbench.storage.paths import local

    target = STANDARD_OUTPUT if file == "-" else local(file)
    if not (printed := is_standard_output(target)):
        streams.go_on_without_output()
    chosen = new.write(target, kind, name)
    if printed:
        return
    typer.echo(f"{kind} {chosen} written to {file}; next:")
    for line in new.next_steps(target, chosen):
        typer.echo(f"  {line}")
