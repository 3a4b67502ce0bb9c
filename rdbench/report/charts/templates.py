"""Templates of charts: drawn by Altair ahead of time, shipped in one file, read by the report.

Altair takes a second to import and a tenth of a second a template, which is most of the time of a small
report. So ``templates.json.gz`` holds what Altair draws for every template and every choice of its arguments,
and only a template whose code has changed since is drawn anew, and then kept in the cache. After a change to
the code of a template: ``python tools/templates.py``.
"""

import functools
import gzip
import hashlib
import importlib
import importlib.metadata
import itertools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rdbench.report.charts.chart import Spec
from rdbench.storage import paths
from rdbench.storage.cache import cached

Draw = Callable[..., Spec]

PREPARED = Path(__file__).with_name("templates.json.gz")
MODULES = ("amortisation", "beta", "curve_plot", "decoders", "latents", "search", "training")
"""Modules of this folder with templates."""
SHARED = ("chart", "layers")
"""Modules of this folder that templates are made of, besides their own."""

_all: dict[str, tuple[str, Callable[[], Spec]]] = {}
"""Of every template its module, and what draws it."""


def template(*choices: Sequence[str | bool]) -> Callable[[Draw], Draw]:
    """Decorate a function that draws a template by Altair, so that it is drawn ahead of time.

    Args:
        choices: all values of each argument, by position. A call with others is drawn when it is made.
    """

    def decorate(draw: Draw) -> Draw:
        module = draw.__module__.rpartition(".")[2]

        def name(*arguments: str | bool) -> str:
            return "-".join(map(str, (f"{module}{draw.__name__}", *arguments)))

        @functools.cache
        def drawn(*arguments: str | bool) -> Spec:
            key, code = name(*arguments), _code(module)
            prepared = _prepared().get(key)
            if prepared is not None and prepared["code"] == code:
                return dict(prepared["spec"])
            altair = importlib.metadata.version("altair")
            file = in_cache(f"{key}-{code}-{altair}.json")
            return cached(file, lambda: json.dumps(_by_altair(draw, *arguments)), json.loads)

        for arguments in itertools.product(*choices):
            _all[name(*arguments)] = module, functools.partial(_by_altair, draw, *arguments)
        return drawn

    return decorate


def in_cache(name: str) -> Path:
    """Return where the report keeps a file of the cache."""
    return paths.cache_root() / "report" / name


def draw_all() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (name, {"code", "spec"}) of every template, drawn now: what the file has to hold."""
    for module in MODULES:
        importlib.import_module(f"{__package__}.{module}")
    for name, (module, draw) in sorted(_all.items()):
        yield name, {"code": _code(module), "spec": draw()}


def write(file: Path = PREPARED) -> None:
    """Draw all templates into a file; the same code gives the same bytes."""
    text = json.dumps(dict(draw_all()), indent=0)
    file.write_bytes(gzip.compress(text.encode(), mtime=0))


def _by_altair(draw: Draw, *arguments: str | bool) -> Spec:
    os.environ.update(paths.home_variable())  # Altair cannot be imported without
    return draw(*arguments)


@functools.cache
def _prepared() -> dict[str, Any]:
    try:
        return dict(json.loads(gzip.decompress(PREPARED.read_bytes())))
    except (OSError, ValueError, EOFError):
        return {}


@functools.cache
def _code(module: str) -> str:
    """Return a hash of the code that the templates of a module are made by."""
    files = [Path(__file__).with_name(f"{name}.py") for name in (*SHARED, module)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
