"""What many tables need of a section, computed once."""

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from rdbench.report.sections import Section

P = ParamSpec("P")
T = TypeVar("T")


def once(compute: Callable[Concatenate[Section, P], T]) -> Callable[Concatenate[Section, P], T]:
    """Decorate a function of a section that many tables need, so that it computes each result once.

    Its further arguments are hashable. Callers share what it returns, and must not change it.
    """

    @functools.wraps(compute)
    def remembered(section: Section, /, *args: P.args, **kwargs: P.kwargs) -> T:
        key = (compute, args, *sorted(kwargs.items()))
        if key not in section.computed:
            section.computed[key] = compute(section, *args, **kwargs)
        result: T = section.computed[key]
        return result

    return remembered
