"""AdamW that leaves torch's compiler alone, whose import takes a core for more than a second."""

from collections.abc import Callable
from typing import Any

import torch

_TORCHS = {"inner", "_use_grad", "wrapper"}
"""Names of its wrappers: two mark a method for the compiler; the third runs hooks, and instances add it."""


def _unmarked(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method without those wrappers; any other that a version of torch may have stays."""
    while getattr(getattr(method, "__code__", None), "co_name", "") in _TORCHS:
        method = method.__wrapped__  # type: ignore[attr-defined]
    return method


class AdamW(torch.optim.AdamW):
    """``torch.optim.AdamW`` with the same arguments and numbers, bit for bit.

    That one marks its methods as not to be compiled, and imports the compiler to do so: at the first step of
    every process that trains, although nothing here compiles an optimizer. These are the same methods without
    the marks. ``differentiable`` is not offered: its steps are never differentiated.
    """

    add_param_group = _unmarked(torch.optim.AdamW.add_param_group)
    zero_grad = _unmarked(torch.optim.AdamW.zero_grad)
    state_dict = _unmarked(torch.optim.AdamW.state_dict)
    load_state_dict = _unmarked(torch.optim.AdamW.load_state_dict)
    step = torch.no_grad()(_unmarked(torch.optim.AdamW.step))
