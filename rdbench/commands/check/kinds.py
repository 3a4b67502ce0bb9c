"""What a reference names: a variant, a metric, a dataset or a feature network."""

import ast
from typing import Any, Literal

from rdbench.errors import SpecError
from rdbench.metrics.base import INPUTS, Metric
from rdbench.registry import imports, plugins
from rdbench.registry.declaration import FIRST_PARAMETERS, declarations
from rdbench.registry.imports import last_name
from rdbench.registry.plugins import GROUPS, Plugin
from rdbench.registry.source import locate

Kind = Literal["variant", "metric", "dataset", "features"]


def kind_of(reference: str) -> Kind:
    """Return what a reference names, by what stands there; its code is run where that does not tell.

    What cannot be told, or is not there, is a variant: to be refused as one. SpecError: there is no such
    file, or it does not define the symbol.
    """
    for kind in GROUPS:
        if reference in plugins.entry_points(kind):
            return kind
    if ":" not in reference:
        return "features" if reference.endswith((".pt", ".pth", ".ts")) else "variant"
    path, module, symbol = locate(reference, (), "what is yours")
    text = imports.read(path)
    try:
        if declarations(text, str(path)):
            return "variant"
    except SpecError:
        return "variant"
    return _of_source(Plugin("metric", symbol, path, module, text))


def _of_source(plugin: Plugin) -> Kind:
    node = plugin.node
    for decorator in getattr(node, "decorator_list", ()):
        if isinstance(decorator, ast.Call) and last_name(decorator.func) == "metric":
            return "metric"
    if plugin.inputs is None:
        return _of_thing(_run(plugin), isinstance(node, ast.ClassDef))
    required = plugin.inputs[: plugin.required]
    if required == ("images",):
        return "features" if _gives_vectors(_run(plugin)) else "metric"
    if not required or required == ("split",):
        return "features" if not required and _makes_network(plugin) else "dataset"
    of_a_variant = {name for parameters in FIRST_PARAMETERS for name in parameters} - {*INPUTS}
    if of_a_variant & {*required}:
        return "variant"
    return "features" if len(required) == 1 and required[0] not in INPUTS else "metric"


def _run(plugin: Plugin) -> Any:
    return plugins.runnable(plugin)


def _of_thing(thing: object, is_class: bool) -> Kind:
    if isinstance(thing, Metric):
        return "metric"
    methods = dir(thing)
    if "__getitem__" in methods or "__iter__" in methods:
        return "dataset"
    return "features" if "forward" in methods or ("__call__" in methods and not is_class) else "dataset"


def _gives_vectors(function: Any) -> bool:
    """Tell whether a function of images gives a vector of each, as a feature network does."""
    import torch

    try:
        given = function(torch.rand(4, 1, 8, 8))
        return len(given) == 4 and len(given.shape) > 1
    except Exception:  # whatever it raises is told once it is checked
        return False


def _makes_network(plugin: Plugin) -> bool:
    """Tell whether a function without arguments gives something to call, and no images."""
    if any(isinstance(node, ast.Yield | ast.YieldFrom) for node in ast.walk(plugin.node)):
        return False
    try:
        made = _run(plugin)()
    except Exception:  # as above
        return False
    return callable(made) and "__getitem__" not in dir(made)
