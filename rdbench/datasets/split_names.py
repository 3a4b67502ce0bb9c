"""Which subfolders of a folder of images are splits, though they are not called ``train`` and ``test``."""

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

Role = Literal["train", "test", "other"]

_SPLIT = re.compile(
    r"(?<![a-z])(?:(?P<train>train(?:ing)?)|(?P<test>test(?:ing)?)|val(?:id(?:ation)?)?|eval(?:uation)?|dev)"
    r"(?:set)?(?![a-z])"
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class SplitName(NamedTuple):
    """A folder that is named for a split: which, and what its name says besides (``_images``, ``2017``)."""

    name: str
    role: Role
    rest: str


def _split_name(name: str) -> SplitName | None:
    text = _CAMEL.sub("_", name).casefold()
    found = _SPLIT.search(text)
    if found is None:
        return None
    role: Role = "train" if found["train"] else "test" if found["test"] else "other"
    return SplitName(name, role, text[: found.start()] + text[found.end() :])


def splits(names: Iterable[str]) -> tuple[list[SplitName], list[SplitName]]:
    """Return (those of sibling folders that are called nothing but a split, those taken for splits).

    ``Train`` and ``testing`` are the former. The latter are also ``test1``, and ``train_images`` where
    ``test_images`` or ``val_images`` lies beside it; but no ``bullet_train`` or ``testimony``.
    """
    known = [found for name in sorted(names) if (found := _split_name(name))]
    roles: dict[str, set[Role]] = {}
    for each in known:
        roles.setdefault(each.rest, set()).add(each.role)
    bare = [each for each in known if not each.rest]
    taken = [each for each in known if len(roles[each.rest]) > 1 or not any(map(str.isalpha, each.rest))]
    return bare, taken
