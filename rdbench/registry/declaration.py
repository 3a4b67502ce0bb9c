"""What a variant's source says of it, read without running it: so a sweep file is checked without torch.

A variant is declared by a decorator above a function or a class::

    @rdbench.variant("student_t", native="own", paper="Takahashi et al. 2018")
    class StudentT(rdbench.Model):
        '''The decoder is a Student-t with one learned scale.'''

        def __init__(self, about, *, dof: float = 4.0): ...

What stands below it decides what it is (:data:`Kind`); its options are the keyword-only parameters. A range
is part of the type, ``dof: Annotated[float, Field(gt=0)] = 4.0`` with pydantic's ``Field``, and is read too.
"""

import ast
import inspect
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rdbench.errors import SpecError
from rdbench.numerics.likelihood import OWN, READINGS

_SECTIONS = ("Args:", "Attributes:")


_ENTRY = re.compile(r" {4}(\w+): (.+)")


def meanings(docstring: str | None) -> dict[str, str]:
    """Return what the sections ``Args`` and ``Attributes`` of a docstring say of each name, in one line."""
    found: dict[str, str] = {}
    inside, name = False, ""
    for line in inspect.cleandoc(docstring or "").splitlines():
        if line[:1].strip():  # not indented: a section begins or ends
            inside = line in _SECTIONS
        elif inside and (entry := _ENTRY.fullmatch(line)):
            name = entry[1]
            found[name] = entry[2]
        elif inside and name and line.strip():
            found[name] += f" {line.strip()}"
    return {name: text.replace("``", "'") for name, text in found.items()}


Kind = Literal["objective", "model", "trial"]
"""``objective``: a function (sse, rate, beta, n); ``model``: a class, a :class:`rdbench.Model`; ``trial``: a
function (trial, data) that trains as it likes."""

FIRST_PARAMETERS: dict[tuple[str, ...], Kind] = {
    ("sse", "rate", "beta", "n"): "objective",
    ("trial", "data"): "trial",
}
RESERVED = {"name", "options", "code", "source", "betas"}
TYPES: dict[str, type] = {"int": int, "float": float, "bool": bool, "str": str}
BOUNDS = {
    "gt": (operator.gt, "more than"),
    "ge": (operator.ge, "at least"),
    "lt": (operator.lt, "less than"),
    "le": (operator.le, "at most"),
}
"""How a range is written, as pydantic's ``Field`` has it: the comparison, and its words."""

USAGE = (
    "a variant is a function (sse, rate, beta, n) or (trial, data), or a class, below a line"
    ' @rdbench.variant("name", ...)'
)


@dataclass(frozen=True)
class Option:
    """An option of a variant: its type, its default, what the docstring says of it, "" for nothing, and its
    range by the words of :data:`BOUNDS`."""

    type: type
    default: Any
    meaning: str = ""
    bounds: Mapping[str, float] = field(default_factory=dict)

    def out_of_range(self, value: Any) -> str:
        """Return what to use instead, such as "more than 0", of a value out of the range; else ""."""
        within = all(BOUNDS[bound][0](value, limit) for bound, limit in self.bounds.items())
        return "" if within else self.range

    @property
    def range(self) -> str:
        """The range in words; "" where there is none."""
        return " and ".join(f"{BOUNDS[bound][1]} {limit:,}" for bound, limit in self.bounds.items())


@dataclass(frozen=True)
class Declaration:
    """A variant as its source declares it.

    Attributes:
        name: what it is registered as.
        symbol: of the function or class.
        kind: what it is.
        native: the reading of sigma^2 whose distortion its loss minimises, up to constants; "own" for a
            likelihood of its own; None if there is none.
        paper: where it comes from, and ``summary``: the first line of its docstring.
        curve: one training gives a point at every beta of a sweep.
        options: by name, in order.
    """

    name: str
    symbol: str
    kind: Kind
    native: str | None
    paper: str
    summary: str
    curve: bool = False
    options: dict[str, Option] = field(default_factory=dict)

    @property
    def packs(self) -> bool:
        """Whether trials of it train side by side in one network."""
        return self.kind == "objective"


def declarations(text: str, where: str) -> list[Declaration]:
    """Return the variants that a Python source declares.

    Args:
        text: the source.
        where: what to call it in an error.

    Raises:
        SpecError: it is not Python, or a variant in it is declared wrongly; names the line.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise SpecError(f"{where}:{line}: not Python ({getattr(error, 'msg', None) or error})") from None
    found = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and _called(decorator) == "variant":
                    found.append(_declaration(node, decorator, where))
                    _need_own_words(found, f"{where}:{decorator.lineno}")
    return found


def _need_own_words(found: list[Declaration], at: str) -> None:
    """Refuse a variant whose name or symbol is another's too: one identity must not mean two variants."""
    *before, last = found
    for other in before:
        if shared := {last.name, last.symbol} & {other.name, other.symbol}:
            raise SpecError(f"{at}: {shared.pop()!r} is the name or symbol of two variants here; rename one")


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _declaration(node: ast.FunctionDef | ast.ClassDef, decorator: ast.Call, where: str) -> Declaration:
    at = f"{where}:{decorator.lineno}"
    given: dict[str, Any] = {}
    try:
        given = {keyword.arg or "**": ast.literal_eval(keyword.value) for keyword in decorator.keywords}
        positional = [ast.literal_eval(value) for value in decorator.args]
    except ValueError:
        raise SpecError(f"{at}: write the decorator's arguments as plain values, so that they can be read"
                        " without running the file") from None  # fmt: skip
    if unknown := given.keys() - {"name", "native", "paper", "curve"}:
        raise SpecError(f"{at}: variant() takes no {', '.join(sorted(unknown))}; it takes name, native, paper"
                        " and curve")  # fmt: skip
    name = positional[0] if positional else given.get("name")
    if not isinstance(name, str) or not name:
        raise SpecError(f'{at}: the variant is not named; write @rdbench.variant("name")')
    if not re.fullmatch(r"[A-Za-z_]\w{0,99}", name, re.ASCII):
        raise SpecError(f"{at}: {name!r} is no name; use letters, digits and _, a letter first")
    native = given.get("native")
    if native is not None and native not in (*READINGS, OWN):
        known = ", ".join((*READINGS, OWN))
        raise SpecError(f"{at}: there is no reading {native!r}; native is one of {known}, or left out")
    kind, parameters = _kind(node, where)
    docstring = ast.get_docstring(node) or ""
    summary = docstring.split("\n")[0]
    options = _options(parameters, where, meanings(docstring)) if parameters else {}
    curve = bool(given.get("curve", False))
    if curve and kind != "trial":
        raise SpecError(f"{at}: curve=True is for a function (trial, data), which returns its points")
    return Declaration(name, node.name, kind, native, str(given.get("paper", "")), summary, curve, options)


def _kind(node: ast.FunctionDef | ast.ClassDef, where: str) -> tuple[Kind, ast.arguments | None]:
    """Return what a definition is, and the parameters that may hold its options."""
    if isinstance(node, ast.ClassDef):
        own = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
        return "model", own[0].args if own else None
    names = tuple(parameter.arg for parameter in (*node.args.posonlyargs, *node.args.args))
    if names not in FIRST_PARAMETERS:
        raise SpecError(f"{where}:{node.lineno}: {node.name}({', '.join(names)}) is no variant; {USAGE}")
    return FIRST_PARAMETERS[names], node.args


def _options(parameters: ast.arguments, where: str, told: dict[str, str]) -> dict[str, Option]:
    found = {}
    for parameter, default in zip(parameters.kwonlyargs, parameters.kw_defaults, strict=True):
        at = f"{where}:{parameter.lineno}: option {parameter.arg}"
        if parameter.arg in RESERVED:
            raise SpecError(f"{at}: the name means something else in a sweep file; choose another")
        annotation, bounds = _bounded(parameter.annotation, at)
        kind = TYPES.get(getattr(annotation, "id", ""))
        if kind is None or default is None:
            example = f"{parameter.arg}: float = 1.0"
            raise SpecError(f"{at}: give it a type (int, float, bool or str) and a default, as in {example}")
        try:
            value = ast.literal_eval(default)
        except ValueError:
            raise SpecError(f"{at}: write its default as a plain value") from None
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise SpecError(f"{at}: its default {value!r} is no {kind.__name__}")
        option = Option(kind, value, told.get(parameter.arg, ""), bounds)
        if bounds and kind not in (int, float):
            raise SpecError(f"{at}: a range is for int or float, not for {kind.__name__}")
        if option.out_of_range(value):
            raise SpecError(f"{at}: its default {value!r} is not within its range")
        found[parameter.arg] = option
    return found


def _bounded(annotation: ast.expr | None, at: str) -> tuple[ast.expr | None, dict[str, float]]:
    """Return the type and the bounds of ``Annotated[float, Field(gt=0)]``; else the annotation, and none."""
    match annotation:
        case ast.Subscript(ast.Name("Annotated") | ast.Attribute(attr="Annotated"), of):
            pass
        case _:
            return annotation, {}
    match of:
        case ast.Tuple([plain, ast.Call(ast.Name("Field") | ast.Attribute(attr="Field"), [], keywords)]):
            limits = {str(each.arg): _number(each.value) for each in keywords}
            bounds = {name: limit for name, limit in limits.items() if limit is not None and name in BOUNDS}
            if bounds.keys() == limits.keys():
                return plain, bounds
    mend = "Annotated[float, Field(gt=0, le=1)], with gt, ge, lt or le and plain numbers"
    raise SpecError(f"{at}: write its range as {mend}")


def _number(node: ast.expr) -> int | float | None:
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return None
    return value if type(value) in (int, float) else None
