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
    match = _SPLIT.search(text)
    if match is None:
        return None
    role: Role = "train" if match["train"] else "test" if match["test"] else "other"
    return SplitName(name, role, text[: match.start()] + text[match.end() :])


def splits(names: Iterable[str]) -> tuple[list[SplitName], list[SplitName]]:
    """Return (those of sibling folders that are called nothing but a split, those taken for splits).

    ``Train`` and ``testing`` are the former. The latter are also ``test1``, and ``train_images`` where
    ``test_images`` or ``val_images`` lies beside it; but no ``bullet_train`` or ``testimony``.
    """
    known = [split for name in sorted(names) if (split := _split_name(name))]
    roles: dict[str, set[Role]] = {}
    for split in known:
        roles.setdefault(split.rest, set()).add(split.role)
    bare = [split for split in known if not split.rest]
    taken = [split for split in known if len(roles[split.rest]) > 1 or not any(map(str.isalpha, split.rest))]
    return bare, taken
