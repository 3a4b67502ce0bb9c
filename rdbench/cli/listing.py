"""The verbs that list variants and metrics, with defaults in YAML and meanings, and ``weights``."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from rdbench.cli import streams
from rdbench.storage.paths import local


def listed(
    name: str,
    summary: str,
    defaults: Mapping[str, object],
    option_meanings: Mapping[str, str],
    facts: Iterable[str] = (),
) -> list[str]:
    """Return the lines of one metric or variant; the second can be pasted into a sweep file."""
    options = "".join(f", {key}: {json.dumps(value)}" for key, value in defaults.items())
    more = "; ".join(filter(None, facts))
    return [
        f"{name}: {summary}",
        f"  {{name: {name}{options}}}" + (f"  [{more}]" if more else ""),
        *(f"    {key}: {option_meanings[key]}" for key in defaults if option_meanings.get(key)),
    ]


def list_variants() -> None:
    """List the variants a sweep file can name, and their options.

    These ship with rdbench or come from installed packages. One from your own file needs no entry here: name
    it ./my_vae.py:my_vae. 'rdbench new variant' writes a file to start from.

    Example: rdbench sweep quickstart --set 'variants=[bs_vae, {name: student_t, dof: 5}]'
    """
    from rdbench.registry import variants

    for name in variants.names():
        variant = variants.declared(name)
        defaults = {key: option.default for key, option in variant.options.items()}
        explained = {
            key: " ".join(filter(None, (option.meaning, option.range and f"[{option.range}]")))
            for key, option in variant.options.items()
        }
        native = f"native reading: {variant.native or 'none'}"
        facts = [variant.paper, native, f"{variant.kind}{', packs' * variant.packs}"]
        typer.echo("\n".join(listed(name, variant.summary, defaults, explained, facts)))


def list_metrics() -> None:
    """List the metrics a sweep file can name, and their options.

    One from your own file needs no entry here: name it ./my_metric.py:my_metric. 'rdbench new metric' writes
    a file to start from.

    Example: rdbench sweep quickstart --set 'metrics=[fd_classifier, {name: prdc, k: 3}]'
    """
    from rdbench import metrics
    from rdbench.registry import plugins
    from rdbench.registry.declaration import meanings

    for name in metrics.names():
        metric = metrics.get(name)
        defaults = metric.options(name=name).model_dump(mode="json", exclude={"name"})
        explained = meanings(metric.options.__doc__)
        typer.echo("\n".join(listed(name, metric.summary, defaults, explained)))
    for name, value in sorted(plugins.entry_points("metric").items()):
        typer.echo(f"{name}: of an installed package, {value}; 'rdbench check {name}' tells more")


def weights(
    file: Annotated[
        Path | None,
        typer.Option(help="A copy of the weights, if there is no internet.", parser=local, metavar="FILE"),
    ] = None,
) -> None:
    """Download the Inception weights that fid and kid need.

    They go into the cache; their hashes are checked. Weights already in the cache are not downloaded again.

    Example: rdbench weights --file ~/inception-2015-12-05.pt
    """
    from rdbench.metrics.features import weights as inception_weights

    streams.go_on_without_output()
    if file is not None:
        typer.echo(f"installed {inception_weights.install(file)}")
        return
    for which in inception_weights.PUBLISHED:
        typer.echo(f"{which}: {inception_weights.download(which)}")
