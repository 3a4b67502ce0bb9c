"""Pages of the documentation that are written from the code: sweep file, command line, Python, columns.

mkdocs calls the ``on_`` functions (``hooks`` in mkdocs.yml). Nothing is written to disk.
"""

import json
import posixpath
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import rdbench
from rdbench import datasets, metrics
from rdbench.cli.app import app
from rdbench.registry.declaration import meanings
from rdbench.report.glossary import terms
from rdbench.results.parquet import TABLES
from rdbench.spec.search_options import SEARCHES, STOPS
from rdbench.spec.settings import ModelSpec, Resources, SweepSettings, TrainSpec

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ("is_my_vae_better", "fig3")


def sweep_file() -> str:
    """Return the page of the keys of a sweep file, from the models that validate it."""
    parts = [
        "# The sweep file\n\nEvery key, with its default, from the code that reads it."
        " [Write a sweep](../how-to/sweep.md) has an example of most. A mistake is one line that names the"
        " file, the line, the key and the fix. Variants and their options: `rdbench variants`.\n",
        keys("The sweep", SweepSettings),
        keys("train", TrainSpec),
        keys("model", ModelSpec, "Defaults are the dataset's own."),
        keys("resources", Resources),
    ]
    for what, kinds in (("search", SEARCHES), ("stop", STOPS)):
        parts += [keys(f"{what}: {{name: {name}}}", model) for name, model in kinds.items()]
    for name in datasets.names():
        info = datasets.get(name)
        parts.append(keys(f"dataset: {{name: {name}}}", info.options, info.summary))
    for name in metrics.names():
        metric = metrics.get(name)
        parts.append(keys(f"metrics: [{{name: {name}}}]", metric.options, metric.summary))
    return "\n".join(parts)


def keys(title: str, model: type[BaseModel], lead: str = "") -> str:
    """Return a section of the keys of a model: name, default and what it is."""
    told: dict[str, str] = {}
    for base in reversed(model.__mro__):
        told |= meanings(base.__doc__)
    rows = []
    for name, field in model.model_fields.items():
        if name == "name" and model not in (SweepSettings, ModelSpec):
            continue
        rows.append((f"`{name}`", _default(field), _cell(told.get(name) or COMMON.get(name, ""))))
    return f"## {title}\n\n{lead and lead + chr(10) * 2}{_table(('key', 'default', 'what it is'), rows)}"


COMMON = {
    "train_images": "a random subset of this size, the same for every trial; null is all",
    "test_images": "a random subset of this size, the same for every trial; null is all",
    "validation": "training images to choose on: a number, a share, or `published`",
    "weights": "a local file of Inception's weights, in place of the published ones",
}
"""What the docstrings of single models leave to their base."""


def _default(field: Any) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        return "see below"
    return f"`{json.dumps(list(value) if isinstance(value, tuple) else value, default=str)}`"


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in lines)


def _cell(text: str) -> str:
    """Return text for a cell of a table: no sign of Markdown's means anything but code."""
    text = text.replace("``", "`").replace("|", "\\|").replace("<", "&lt;")
    return re.sub(r"(?<!\w)'([^']+)'", r"`\1`", text)


def command_line() -> str:
    """Return the page of the command line, from the verbs themselves."""
    main = typer.main.get_command(app)
    parts = ["# The command line\n\n`rdbench COMMAND --help` says the same. Exit codes: [Write a sweep]"
             "(../how-to/sweep.md).\n"]  # fmt: skip
    return "\n".join([*parts, *(_verb(name, verb) for name, verb in verbs(main))])


def verbs(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the name of each verb and the verb, those of groups by both their names."""
    below = getattr(command, "commands", {})
    for key in below:
        yield from verbs(below[key], f"{name} {key}".strip())
    if not below:
        yield name, command


def _verb(name: str, verb: Any) -> str:
    rows = []
    for parameter in verb.params:
        if parameter.name == "help":
            continue
        option = parameter.opts[0].startswith("-")
        names = ", ".join(parameter.opts) if option else parameter.metavar or parameter.name.upper()
        rows.append((f"`{names}`", _cell(getattr(parameter, "help", "") or "")))
    text = re.sub(r"(?m)^ +(rdbench .*)$", r"    \1", verb.help.replace("<", "&lt;"))
    text = re.sub(r"Example: (rdbench .*)", r"Example:\n\n    \1", text)
    return f"## rdbench {name}\n\n{text}\n\n" + (_table(("argument or option", ""), rows) if rows else "")


def python() -> str:
    """Return the page of the public names, which mkdocstrings fills."""
    homes = dict(rdbench._HOMES)
    names = [name for name in rdbench.__all__ if name in homes]
    parts = ["# Python\n\nWhat `import rdbench` offers. Errors are `rdbench.errors.UserError`: one line.\n"]
    parts += [f"## rdbench.{name}\n\n::: rdbench.{homes[name]}.{name}\n" for name in names]
    plots = "".join(f"### rdbench.plot.{name}\n\n::: rdbench.report.plot.{name}\n\n" for name in PLOTS)
    return "\n".join([*parts, f"## rdbench.plot\n\n{plots}"])


PLOTS = ("rate_distortion", "fig3", "over_beta", "training")


def columns() -> str:
    """Return the columns of each table of a results folder, with their types."""
    parts = ["\n## Columns\n"]
    for table, text in TABLES.items():
        pairs = [column.split(":") for column in text.split()]
        listed = ", ".join(f"`{name}` ({kind})" for name, kind in pairs)
        parts.append(f"**`{table}`**: {listed}.\n")
    return "\n".join(parts)


def notebook(name: str) -> str:
    """Return a notebook as a page: its text and its code."""
    cells = json.loads((ROOT / f"docs/notebooks/{name}.ipynb").read_text())["cells"]
    parts = ["".join(cell["source"]) if cell["cell_type"] == "markdown"
             else f"```python\n{''.join(cell['source'])}\n```" for cell in cells]  # fmt: skip
    return "\n\n".join([*parts, f"The notebook itself: `docs/notebooks/{name}.ipynb`."]) + "\n"


def glossary() -> str:
    """Return the page of the terms that the report explains, in alphabetical order."""
    rows = [
        f"| {', '.join((term.term, *term.also))} | {term.meaning} |"
        for term in sorted(terms(), key=lambda term: term.term.lower())
    ]
    lead = "The terms of a report. On its page each is explained where it first stands in a section."
    return "\n".join(["# Glossary", "", lead, "", "| term | meaning |", "|---|---|", *rows, ""])


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are written from the code."""
    pages = {
        "reference/sweep-file.md": sweep_file(),
        "reference/command-line.md": command_line(),
        "reference/python.md": python(),
        "reference/glossary.md": glossary(),
    } | {f"notebooks/{name}.md": notebook(name) for name in NOTEBOOKS}
    for name in NOTEBOOKS:
        files.remove(files.get_file_from_path(f"notebooks/{name}.ipynb"))
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Add the columns to the page of tables; of a link out of the documentation keep words and path."""
    source = page.file.src_uri
    if source == "reference/tables.md":
        markdown += columns()

    def linked(match: re.Match[str]) -> str:
        text, target = match[1], match[2]
        path = posixpath.normpath(
            posixpath.join(posixpath.dirname(f"docs/{source}"), target.partition("#")[0])
        )
        if target.startswith(("http", "#", "mailto:")) or not path:
            return match[0]
        if path.endswith(".ipynb"):
            return f"[{text}]({target[:-6]}.md)"
        return match[0] if path.startswith("docs/") else f"{text} (`{path}`)"

    return re.sub(r"(?<!!)\[([^\]\[]+)\]\(([^)\s]+)\)", linked, markdown)
