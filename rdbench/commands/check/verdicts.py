"""What a check may say, and how it says what it expected."""

import json
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from rdbench.errors import UserError
from rdbench.text import in_words


class CheckError(Exception):
    """What is wrong, and what it must be; ``at`` is the method to point at, "" the variant itself."""

    def __init__(self, message: str, at: str = "") -> None:
        super().__init__(message)
        self.at = at


class Note(str):
    """What is worth knowing, and no fault."""


@dataclass(frozen=True)
class Finding:
    """What came of one check; ``trace`` is the traceback of an exception in the author's code."""

    status: Literal["ok", "FAIL", "note"]
    check: str
    text: str
    trace: str = ""

    def __str__(self) -> str:
        # What an error elsewhere advises is what is being done here.
        text = re.sub(r"; try 'rdbench check [^']*'", "", self.text)
        return f"{self.status:4}  {self.check}: {text}"


def examined(
    function: Callable[[Any], str], subject: Any, place_of: Callable[[BaseException], str]
) -> Finding:
    """Return what comes of one check; an exception of the author's code is a failure.

    ``place_of`` gives file:line of what is at fault, or "".
    """
    name = function.__name__.removeprefix("model_").replace("_", " ")
    try:
        text = function(subject)
    except CheckError as wrong:
        return Finding("FAIL", name, ": ".join(filter(None, (place_of(wrong), str(wrong)))))
    except UserError as error:  # which says where by itself
        return Finding("FAIL", name, str(error).partition("; try 'rdbench check")[0])
    except (Exception, SystemExit) as error:
        trace = "".join(traceback.format_exception(error))
        return Finding("FAIL", name, ": ".join(filter(None, (place_of(error), in_words(error)))), trace)
    return Finding("note" if isinstance(text, Note) else "ok", name, text)


def measured(tables: dict[str, Any]) -> str:
    """Return what a trial measured, or why it diverged, as text that is equal where every digit is."""
    return json.dumps([tables["trials"][0]["error"], tables.get("points", [])])


def need(holds: bool, message: str, at: str = "") -> None:
    """Fail with a message unless something holds."""
    if not holds:
        raise CheckError(message, at)


def need_tensor(what: str, value: object, shape: tuple[int, ...], meaning: str, at: str = "") -> None:
    """Fail unless a value is a float32 tensor of a shape."""
    must = f"must be float32 {shape}, {meaning}"
    if not isinstance(value, Tensor):
        raise CheckError(f"{what} is a {type(value).__name__}; it {must}", at)
    need(tuple(value.shape) == shape, f"{what} has shape {tuple(value.shape)}; it {must}", at)
    kind = str(value.dtype).removeprefix("torch.")
    need(value.dtype == torch.float32, f"{what} is {kind}; it {must}", at)


def need_finite(what: str, values: Tensor, where: str, at: str = "") -> None:
    """Fail unless all values are finite."""
    wrong = values[~values.isfinite()]
    if len(wrong):
        raise CheckError(f"{what} is {wrong[0].item()} {where}; it must be finite", at)


def listed(names: list[str]) -> str:
    """Return names in a line, the first three of them."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
