"""What pydantic found wrong with a sweep, in one line: the place, the key, what is wrong, the fix."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from pydantic import ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from rdbench.errors import SpecError
from rdbench.spec.yaml import Document, KeyPath, error_at, kind
from rdbench.text import choose

KnownKeys = Callable[[KeyPath], Sequence[str]]
"""The keys that the mapping at a path may have; none if they are not known."""

# What pydantic's type errors ask for, and how that is written in YAML.
_EXPECTED = {
    "bool": ("true or false", "write true or false"),
    "int": ("a whole number", "write digits only, such as 5"),
    "float": ("a number", "write it plainly, such as 0.5"),
    **dict.fromkeys(("str", "string", "path"), ("text", "put it in quotes")),
    **dict.fromkeys(("tuple", "list"), ("a list", "write it as [..., ...]")),
    **dict.fromkeys(("dict", "model"), ("a mapping", "write it as {key: value}")),
}
_BOUNDS = {
    "greater_than_equal": "at least",
    "greater_than": "more than",
    "less_than_equal": "at most",
    "less_than": "less than",
}
_EXAMPLES: dict[str | int, str] = {
    "name": "name: my_sweep",
    "dataset": "dataset: mnist",
    "variants": "variants: [beta_vae, bs_vae]",
    "beta": "beta: [0.1, 1, 10]",
}


def _problem(problem: str, *path: str | int) -> InitErrorDetails:
    error = PydanticCustomError("problem", "{problem}", {"problem": problem})
    return InitErrorDetails(type=error, loc=path, input=None)


def fail(problem: str, *path: str | int) -> NoReturn:
    """Raise, from within a pydantic validator, a problem at ``path`` below the field being validated."""
    raise ValidationError.from_exception_data("sweep", [_problem(problem, *path)])


@contextmanager
def problems_at(*path: str | int) -> Iterator[None]:
    """Place the problems that are raised within below a key."""
    try:
        yield
    except ValidationError as error:
        problems = error.errors(include_url=False)
        moved = [_problem(details["ctx"]["problem"], *path, *details["loc"]) for details in problems]
        raise ValidationError.from_exception_data("sweep", moved) from None


def from_validation(
    error: ValidationError, document: Document, known_keys: KnownKeys, form: str = "'{}: ...'"
) -> SpecError:
    """Return the first problem in ``document.data`` by place, and how many more there are.

    ``form`` is how a key that is missing would be written; ``{}`` stands for it.
    """
    problems: dict[KeyPath, str] = {}
    codes: dict[KeyPath, str] = {}
    for details in error.errors(include_url=False):
        path = _written_path(details, document)
        problems.setdefault(path, explained(details, path, known_keys, form))
        codes.setdefault(path, details["type"])
    # Of the alternatives of a union, the one that got furthest is the one that was meant.
    outer = {path[:size] for path in problems for size in range(len(path))}
    inner = [path for path in problems if path not in outer]
    # A key that is missing is often one that was misspelt: the unknown key beside it is told first.
    misspelt = {at[:-1] for at in inner if codes[at] == "extra_forbidden"}
    path = min(inner, key=lambda at: (codes[at] == "missing" and at[:-1] in misspelt, document.place(at)))
    more = f" (and {len(inner) - 1} more)" if len(inner) > 1 else ""
    return error_at(document.place(path).text, path, problems[path] + more)


def _written_path(details: ErrorDetails, document: Document) -> KeyPath:
    """Return where a problem is, by keys that were written.

    Pydantic also names the alternatives of a union, and keys of a form ('mnist' for {name: mnist}) that
    was written shorter.
    """
    path: KeyPath = ()
    location = details["loc"]
    missing = location[-1:] if details["type"] == "missing" else ()
    for key in location[: len(location) - len(missing)]:
        if (*path, key) in document.places:
            path = (*path, key)
    return path + missing


def explained(
    details: ErrorDetails, path: KeyPath = (), known_keys: KnownKeys = lambda path: (), form: str = "{}"
) -> str:
    """Return what is wrong and the fix; the arguments are those of :func:`from_validation`."""
    code, value, context = details["type"], details["input"], details.get("ctx", {})
    if code == "problem":
        return str(context["problem"])
    if code == "missing":
        example = _EXAMPLES.get(path[0]) if len(path) == 1 else None
        return f"this key is required; add {repr(example) if example else form.format(path[-1])}"
    if code == "extra_forbidden":
        keys = known_keys(path[:-1])
        within = [setting for setting in known_keys(("grid",)) if setting.endswith(f".{path[-1]}")]
        if len(path) == 1 and within:
            return f"unknown key; did you mean {within[0]!r}?"
        return f"unknown key; {choose(path[-1], keys) if keys else 'remove it'}"
    if code == "literal_error":
        known = str(context["expected"]).split("'")[1::2]  # pydantic says "'a', 'b' or 'c'", or "1 or 3"
        fix = choose(value, known) if known else f"write {context['expected']}"
        return f"{kind(value)} is not known here; {fix}"
    if code in _BOUNDS:
        bound = next(iter(context.values()))
        shown = f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"
        return f"{kind(value)} is out of range; use {_BOUNDS[code]} {shown}"
    if code.endswith("too_short"):
        return f"has the wrong length; write at least {context['min_length']}"
    if code.endswith("too_long"):
        return f"has the wrong length; write at most {context['max_length']}"
    if (expected := code.removesuffix("_type").removesuffix("_from_float")) in _EXPECTED:
        return wrong_type(value, expected)
    # A dataset's own check words its message itself.
    return str(context.get("error", details["msg"]))


def wrong_type(value: object, expected: str) -> str:
    """Return what is wrong with a value that is not of a type, by its name as Python or pydantic has it."""
    what, fix = _EXPECTED[expected]
    if expected in ("tuple", "list") and type(value) in (int, float, str):
        fix = f"write it as [{kind(value)}]"
    return f"expected {what}, got {kind(value)}; {fix}"
