"""What pydantic found wrong with a sweep, said in one line: the place, the key, what is wrong, the mend."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from pydantic import ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from rdbench.errors import SpecError
from rdbench.spec.yaml import Document, KeyPath, error_at, kind
from rdbench.text import choose

__all__ = ["choose", "fail", "from_validation", "problems_at", "words", "wrong_type"]

# What pydantic's type errors ask for, and how that is written in YAML.
_EXPECTED = {
    "bool": ("true or false", "write true or false"),
    "int": ("a whole number", "write digits only, such as 5"),
    "float": ("a number", "write it plainly, such as 0.5"),
    "str": ("text", "put it in quotes"),
    "string": ("text", "put it in quotes"),
    "path": ("text", "put it in quotes"),
    "tuple": ("a list", "write it as [..., ...]"),
    "list": ("a list", "write it as [..., ...]"),
    "dict": ("a mapping", "write it as {key: value}"),
    "model": ("a mapping", "write it as {key: value}"),
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


def fail(problem: str, *path: str | int) -> NoReturn:
    """Raise, from within a pydantic validator, a problem at ``path`` below the field being validated."""
    error = PydanticCustomError("problem", "{problem}", {"problem": problem})
    details = InitErrorDetails(type=error, loc=path, input=None)
    raise ValidationError.from_exception_data("sweep", [details])


@contextmanager
def problems_at(*path: str | int) -> Iterator[None]:
    """Have the problems that are raised within placed below a key."""
    try:
        yield
    except ValidationError as error:
        found: list[InitErrorDetails] = [
            {
                "type": PydanticCustomError("problem", "{problem}", {"problem": each["ctx"]["problem"]}),
                "loc": (*path, *each["loc"]),
                "input": each["input"],
            }
            for each in error.errors(include_url=False)
        ]
        raise ValidationError.from_exception_data("sweep", found) from None


def from_validation(
    error: ValidationError,
    document: Document,
    known_keys: Callable[[KeyPath], Sequence[str]],
    form: str = "'{}: ...'",
) -> SpecError:
    """Return the first problem by place, and how many more there are.

    Args:
        error: what pydantic raised for ``document.data``.
        document: the data and where each value was written.
        known_keys: the keys allowed in the mapping at a path; none if they are not known.
        form: how a key that is missing would be written; ``{}`` stands for it.
    """
    problems: dict[KeyPath, str] = {}
    for details in error.errors(include_url=False):
        path = _written_path(details, document)
        problems.setdefault(path, words(details, path, known_keys, form))
    # Of the alternatives of a union, the one that got furthest is the one that was meant.
    outer = {path[:size] for path in problems for size in range(len(path))}
    path, text = min(
        ((path, text) for path, text in problems.items() if path not in outer),
        key=lambda problem: document.place(problem[0]),
    )
    more = len(problems.keys() - outer) - 1
    return error_at(document.place(path).text, path, f"{text} (and {more} more)" if more else text)


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


def words(
    details: ErrorDetails,
    path: KeyPath,
    known_keys: Callable[[KeyPath], Sequence[str]],
    form: str = "'{}: ...'",
) -> str:
    """Return what is wrong and the mend."""
    code, value, context = details["type"], details["input"], details.get("ctx", {})
    if code == "problem":
        return str(context["problem"])
    if code == "missing":
        example = _EXAMPLES.get(path[0]) if len(path) == 1 else None
        return f"this key is required; add {repr(example) if example else form.format(path[-1])}"
    if code == "extra_forbidden":
        keys = known_keys(path[:-1])
        return f"unknown key; {choose(path[-1], keys) if keys else 'remove it'}"
    if code == "literal_error":
        known = str(context["expected"]).split("'")[1::2]  # pydantic says "'a', 'b' or 'c'", or "1 or 3"
        mend = choose(value, known) if known else f"write {context['expected']}"
        return f"{kind(value)} is not known here; {mend}"
    if code in _BOUNDS:
        bound = next(iter(context.values()))
        shown = f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"
        return f"{kind(value)} is out of range; use {_BOUNDS[code]} {shown}"
    if code.endswith(("too_short", "too_long")):
        bound = (
            f"least {context['min_length']}" if "min_length" in context else f"most {context['max_length']}"
        )
        return f"has the wrong length; write at {bound}"
    if (expected := code.removesuffix("_type").removesuffix("_from_float")) in _EXPECTED:
        return wrong_type(value, expected)
    # A dataset's own check: its message is the dataset's to word.
    reason: object = context.get("error", details["msg"])
    return str(reason)


def wrong_type(value: object, expected: str) -> str:
    """Return what is wrong with a value that is not of a type, by its name as Python or pydantic has it."""
    what, mend = _EXPECTED[expected]
    if expected in ("tuple", "list") and type(value) in (int, float, str):
        mend = f"write it as [{kind(value)}]"
    return f"expected {what}, got {kind(value)}; {mend}"
