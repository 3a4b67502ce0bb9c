"""What ``rdbench new`` writes: complete examples of what can be plugged in, to be changed into one's own."""

import ast
import json
import keyword
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import get_args

from rdbench import datasets, metrics
from rdbench.errors import UserError
from rdbench.metrics.features import FeatureName
from rdbench.registry import variants
from rdbench.registry.declaration import Kind as VariantKind
from rdbench.registry.plugins import WORDS
from rdbench.registry.plugins import Kind as PluginKind
from rdbench.storage import paths
from rdbench.storage.outputs import is_standard_output, output, write_output

Start = VariantKind | PluginKind
"""What there is a starting point of: a file of this folder for each, named after it."""

PLACEHOLDER, CLASS_PLACEHOLDER = "my_vae", "MyVae"
PLACEHOLDERS: dict[str, str] = {"metric": "my_metric", "dataset": "my_data", "features": "my_features"}
"""Of all but variants."""
_PLAIN = re.compile(r"[\w./-]+", re.ASCII)  # needs no quotes in YAML


def write(file: Path, kind: Start, name: str | None = None) -> str:
    """Write a starting point, never over an existing file, and return the name of what it defines.

    ``file`` ends in .py, or is standard output, see :func:`rdbench.storage.outputs.output`. By default what
    it defines is named as the file.

    Raises UserError: the name cannot be one, or the file cannot be written.
    """
    printed = is_standard_output(file)
    if file.suffix != ".py" and not printed:
        raise UserError(f"{file}: it is a Python file; write {file.with_suffix('.py')}")
    text = (Path(__file__).parent / f"{kind}.py").read_text(encoding="utf-8")
    placeholder = PLACEHOLDERS.get(kind, PLACEHOLDER)
    chosen = (placeholder if printed else file.stem) if name is None else name
    _check_name(chosen, kind, text)
    script = f"{chosen}.py" if printed else file.name
    text = re.sub(rf"\b{placeholder}(\.py)?\b", lambda match: script if match[1] else chosen, text)
    camel = "".join(part[:1].upper() + part[1:] for part in chosen.split("_")) or chosen
    text = text.replace(CLASS_PLACEHOLDER, camel)
    if printed:
        write_output(file, text)
        return chosen
    output(file)  # says what is wrong with its folder
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        raise UserError(f"{file} is there already and is left as it is; give another file name") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be written ({error.strerror}); give a folder that can be") from None
    return chosen


def _taken(kind: Start) -> list[str]:
    if kind == "metric":
        return metrics.names()
    if kind == "dataset":
        return datasets.names()
    return list(get_args(FeatureName)) if kind == "features" else variants.names()


def _check_name(name: str, kind: Start, text: str) -> None:
    """Refuse a name that the file could not define, or that means something else."""
    placeholder = PLACEHOLDERS.get(kind, PLACEHOLDER)
    what, prefix = WORDS.get(kind, "variant"), "my" if kind in PLACEHOLDERS else "vae"
    if not name.isidentifier() or keyword.iskeyword(name):
        better = re.sub(r"\W+", "_", name).strip("_").lower() or placeholder
        better = better if better.isidentifier() and not keyword.iskeyword(better) else f"{prefix}_{better}"
        raise UserError(f"{name!r} cannot name a Python function; give it one, such as --name {better}")
    if name in _taken(kind):
        raise UserError(f"there is a {what} named {name} already; choose another, such as --name my_{name}")
    used = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)} - {placeholder}
    if name in used:
        raise UserError(f"the starting point uses the name {name} itself; choose another by --name")


def next_steps(file: Path, name: str, kind: Start = "objective") -> list[str]:
    """Return the commands to run next: check it, sweep with it, see the report."""
    where = _from_here(file)
    place = where if os.sep in where else f"./{where}"
    reference = f"{place}:{name}"
    in_yaml = reference if _PLAIN.fullmatch(place) else json.dumps(reference, ensure_ascii=False)
    results, used = f"results/{name}", _USES.get(kind, "variants=[bs_vae, {}]").format(in_yaml)
    run = ["rdbench"] if shutil.which("rdbench") else ["uv", "run", "rdbench"]
    return [
        shlex.join([*run, "check", reference]),
        shlex.join([*run, "sweep", "quickstart", "--set"])
        + f" {shlex.quote(used)} --set train.epochs=10 --results {results}",
        shlex.join([*run, "report", results, "--out", f"{name}.html"]),
    ]


_USES = {
    "metric": "metrics=[{}]",
    "dataset": "dataset={}",
    "features": "metrics=[{{name: fd, features: {}}}]",
}
"""How a sweep of what was written names it; variants stand beside bs_vae."""


def _from_here(path: Path) -> str:
    """Return a path relative to the working directory where it lies below it, else absolute."""
    whole, here = path.resolve(), Path.cwd().resolve()
    near = whole.relative_to(here) if whole.is_relative_to(here) else whole
    return str(near) if paths.as_text(Path("/") / near) == str(Path("/") / near) else paths.as_text(whole)
