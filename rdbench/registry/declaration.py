"""What a variant's source says of it, read without running it: so a sweep file is checked without torch.

A variant is declared by a decorator above a function or a class::

    @rdbench.variant("student_t", native="own", paper="Takahashi et al. 2018")
    class StudentT(rdbench.Model):
        '''The decoder is a Student-t with one learned scale.'''

        def __init__(self, about, *, dof: float = 4.0): ...

What stands below it decides what it is (:data:`Kind`); its options are the keyword-only parameters. A range
is part of the type, ``dof: Annotated[float, Field(gt=0)] = 4.0`` with pydantic's ``Field``, and is read too,
as are choices, ``format: Literal["jpeg", "png"] = "jpeg"``.
"""

import ast
import inspect
import operator
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rdbench.errors import SpecError
from rdbench.numerics.likelihood import OWN, STORED_READINGS
from rdbench.registry.imports import last_name, parse

_SECTIONS = ("Args:", "Attributes:")
_ENTRY = re.compile(r" {4}(\w+): (.+)")


def meanings(docstring: str | None) -> dict[str, str]:
    """Return what the sections ``Args`` and ``Attributes`` of a docstring say of each name, in one line."""
    texts: dict[str, str] = {}
    inside, name = False, ""
    for line in inspect.cleandoc(docstring or "").splitlines():
        if line[:1].strip():  # not indented: a section begins or ends
            inside = line in _SECTIONS
        elif inside and (entry := _ENTRY.fullmatch(line)):
            name = entry[1]
            texts[name] = entry[2]
        elif inside and name and line.strip():
            texts[name] += f" {line.strip()}"
    return {name: text.replace("``", "'") for name, text in texts.items()}


Kind = Literal["objective", "model", "trial"]
"""A function (sse, rate, beta, n), a class on :class:`rdbench.Model`, a function (trial, data)."""

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
    """An option of a variant: ``meaning`` is the docstring's, ``bounds`` go by :data:`BOUNDS`; of text,
    ``choices`` may be all it can be.
    """

    type: type
    default: Any
    meaning: str = ""
    bounds: Mapping[str, float] = field(default_factory=dict)
    choices: tuple[str, ...] = ()

    def out_of_range(self, value: Any) -> str:
        """Return what to use instead, such as "more than 0", of a value out of the range; else ""."""
        if self.choices:
            return "" if value in self.choices else self.range
        within = all(BOUNDS[bound][0](value, limit) for bound, limit in self.bounds.items())
        return "" if within else self.range

    @property
    def range(self) -> str:
        """The range in words; "" where there is none."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        return " and ".join(f"{BOUNDS[bound][1]} {limit:,}" for bound, limit in self.bounds.items())


@dataclass(frozen=True)
class Declaration:
    """A variant as its source declares it; more in :func:`rdbench.registry.variants.variant`."""

    name: str  # what it is registered as
    symbol: str  # the name of the function or class
    kind: Kind
    native: str | None
    paper: str
    summary: str  # the first line of its docstring
    curve: bool = False
    options: dict[str, Option] = field(default_factory=dict)
    closed_form: bool = False
    beta_rate: bool = False
    capturable: bool = False  # of a model: its class says so

    @property
    def packs(self) -> bool:
        """Whether trials of it train side by side, their steps captured as one."""
        return self.kind == "objective" or (self.capturable and not self.closed_form)


def declarations(text: str, where: str) -> list[Declaration]:
    """Return the variants that a Python source declares; ``where`` names it in an error.

    SpecError, which names the line: it is not Python, or a variant in it is declared wrongly.
    """
    declared: list[Declaration] = []
    for node in parse(text, where).body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and last_name(decorator.func) == "variant":
                variant = _declaration(node, decorator, where)
                taken = {name for other in declared for name in (other.name, other.symbol)}
                # One identity must not mean two variants.
                if shared := taken & {variant.name, variant.symbol}:
                    raise SpecError(
                        f"{where}:{decorator.lineno}: {shared.pop()!r} is the name or symbol of two variants"
                        " here; rename one"
                    )
                declared.append(variant)
    return declared


def _plain(node: ast.expr, problem: str) -> Any:
    """Return a value that is written out; raise the problem of one that would have to be computed."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise SpecError(problem) from None


def _declaration(node: ast.FunctionDef | ast.ClassDef, decorator: ast.Call, where: str) -> Declaration:
    at = f"{where}:{decorator.lineno}"
    problem = (
        f"{at}: write the decorator's arguments as plain values, so that they can be read without running"
        " the file"
    )
    given = {keyword.arg or "**": _plain(keyword.value, problem) for keyword in decorator.keywords}
    positional = [_plain(value, problem) for value in decorator.args]
    if unknown := given.keys() - {"name", "native", "paper", "curve", "closed_form", "beta_rate"}:
        takes = "it takes name, native, paper, curve, closed_form and beta_rate"
        raise SpecError(f"{at}: variant() takes no {', '.join(sorted(unknown))}; {takes}")
    name = positional[0] if positional else given.get("name")
    if not isinstance(name, str) or not name:
        raise SpecError(f'{at}: the variant is not named; write @rdbench.variant("name")')
    if not re.fullmatch(r"[A-Za-z_]\w{0,99}", name, re.ASCII):
        raise SpecError(f"{at}: {name!r} is no name; use letters, digits and _, a letter first")
    native, known = given.get("native"), (*STORED_READINGS, OWN)
    if native is not None and native not in known:
        raise SpecError(
            f"{at}: there is no reading {native!r}; native is one of {', '.join(known)}, or left out"
        )
    beta_rate = given.get("beta_rate", False)
    if not isinstance(beta_rate, bool) or (beta_rate and native is None):
        raise SpecError(
            f"{at}: beta_rate=True is for a loss that is the distortion of its native reading + beta rate;"
            " name that reading, or leave beta_rate out"
        )
    kind, parameters = _kind(node, where)
    docstring = ast.get_docstring(node) or ""
    options = read_options(parameters, where, meanings(docstring)) if parameters else {}
    curve = bool(given.get("curve", False))
    if curve and kind != "trial":
        raise SpecError(f"{at}: curve=True is for a function (trial, data), which returns its points")
    closed_form = bool(given.get("closed_form", False))
    if closed_form and kind != "model":
        raise SpecError(f"{at}: closed_form=True is for a class, whose method solve sets the weights")
    summary, paper = docstring.split("\n")[0], str(given.get("paper", ""))
    flags = {"curve": curve, "closed_form": closed_form, "beta_rate": beta_rate}
    flags["capturable"] = kind == "model" and _says_capturable(node)
    return Declaration(name, node.name, kind, native, paper, summary, options=options, **flags)


def _says_capturable(node: ast.FunctionDef | ast.ClassDef) -> bool:
    """Tell whether a class' body holds the line ``capturable = True``."""
    line = ast.dump(ast.parse("capturable = True").body[0])
    return any(ast.dump(part) == line for part in node.body)


def _kind(node: ast.FunctionDef | ast.ClassDef, where: str) -> tuple[Kind, ast.arguments | None]:
    """Return what a definition is, and the parameters that may hold its options."""
    if isinstance(node, ast.ClassDef):
        functions = (part for part in node.body if isinstance(part, ast.FunctionDef))
        return "model", next((function.args for function in functions if function.name == "__init__"), None)
    names = tuple(parameter.arg for parameter in (*node.args.posonlyargs, *node.args.args))
    if names not in FIRST_PARAMETERS:
        raise SpecError(f"{where}:{node.lineno}: {node.name}({', '.join(names)}) is no variant; {USAGE}")
    return FIRST_PARAMETERS[names], node.args


def read_options(
    parameters: ast.arguments, where: str, texts: Mapping[str, str], reserved: Collection[str] = RESERVED
) -> dict[str, Option]:
    """Return the options that the keyword-only parameters of a function are, by name.

    ``where`` is its file, ``texts`` what its docstring says of each, ``reserved`` names that none may have.
    SpecError, which names the line: one has no type or default that can be read, or such a name.
    """
    options = {}
    for parameter, default in zip(parameters.kwonlyargs, parameters.kw_defaults, strict=True):
        name, at = parameter.arg, f"{where}:{parameter.lineno}: option {parameter.arg}"
        if name in reserved:
            raise SpecError(f"{at}: the name means something else in a sweep file; choose another")
        annotation, bounds = _bounded(parameter.annotation, at)
        choices = _choices(annotation, at)
        kind = str if choices else TYPES.get(getattr(annotation, "id", ""))
        if kind is None or default is None:
            example = f"{name}: float = 1.0"
            raise SpecError(f"{at}: give it a type (int, float, bool or str) and a default, as in {example}")
        value = _plain(default, f"{at}: write its default as a plain value")
        value = float(value) if kind is float and type(value) is int else value
        if type(value) is not kind:
            raise SpecError(f"{at}: its default {value!r} is no {kind.__name__}")
        if bounds and kind not in (int, float):
            raise SpecError(f"{at}: a range is for int or float, not for {kind.__name__}")
        options[name] = Option(kind, value, texts.get(name, ""), bounds, choices)
        if options[name].out_of_range(value):
            raise SpecError(f"{at}: its default {value!r} is not within its range")
    return options


def _choices(annotation: ast.expr | None, at: str) -> tuple[str, ...]:
    """Return the words of ``Literal["jpeg", "png"]``; none of another annotation."""
    if not isinstance(annotation, ast.Subscript) or last_name(annotation.value) != "Literal":
        return ()
    problem = f'{at}: write its choices as text, as in Literal["jpeg", "png"]'
    words = _plain(annotation.slice, problem)
    words = words if isinstance(words, tuple) else (words,)
    if not all(isinstance(word, str) for word in words):
        raise SpecError(problem)
    return words


def _bounded(annotation: ast.expr | None, at: str) -> tuple[ast.expr | None, dict[str, float]]:
    """Return the type and the bounds of ``Annotated[float, Field(gt=0)]``; else the annotation, and none."""
    if not isinstance(annotation, ast.Subscript) or last_name(annotation.value) != "Annotated":
        return annotation, {}
    example = "Annotated[float, Field(gt=0, le=1)], with gt, ge, lt or le and plain numbers"
    problem = f"{at}: write its range as {example}"
    match annotation.slice:
        case ast.Tuple([plain, ast.Call(ast.Name("Field") | ast.Attribute(attr="Field"), [], keywords)]):
            limits = {str(keyword.arg): _plain(keyword.value, problem) for keyword in keywords}
            if limits.keys() <= BOUNDS.keys() and all(type(end) in (int, float) for end in limits.values()):
                return plain, limits
    raise SpecError(problem)
