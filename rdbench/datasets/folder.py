"""Any folder of images: ``{name: folder, path: photos, size: 64}``.

With ``train/`` and ``test/`` below the path (or ``Training/``, ``TEST/``) these are the splits, and other
subfolders are not used; with neither, a seeded fraction is held out. Other names of splits, such as ``val/``,
are refused. If every image that is used lies in a subfolder, these are the classes. Names that start with a
dot are ignored; every other file counts as an image.
"""

import hashlib
import math
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import numpy as np
from pydantic import BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticKnownError

from rdbench.datasets.base import DatasetInfo, DatasetOptions, RawSplit, Shape, Source
from rdbench.datasets.images import UnusableImageError, centre_crop_resize, file_split, printable
from rdbench.errors import DatasetError, UserError
from rdbench.storage import paths

if TYPE_CHECKING:
    from PIL.Image import Image

_BAD_FIX = "fix or remove them, or set on_bad: skip to leave them out"
_SIZE_FIX = "set wrong_size: resize or skip"

Role = Literal["train", "test", "other"]

_SPLIT = re.compile(
    r"(?<![a-z])(?:(?P<train>train(?:ing)?)|(?P<test>test(?:ing)?)|val(?:id(?:ation)?)?|eval(?:uation)?|dev)"
    r"(?:set)?(?![a-z])"
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def _whole(value: object) -> object:
    """Refuse ``true`` and ``3.0``, which are equal to one of the numbers to choose from."""
    if type(value) is not int:
        raise PydanticKnownError("literal_error", {"expected": "1 or 3"})
    return value


class FolderOptions(DatasetOptions):
    """Options of ``folder``."""

    path: str = Field(min_length=1)
    """The folder; relative to the data root. One that begins with ./ or ../ may lie beside the sweep file."""
    size: int = Field(ge=4, le=1024)  # height and width in pixels
    channels: Annotated[Literal[1, 3], BeforeValidator(_whole)] = 3
    test_fraction: float = Field(default=0.1, gt=0, lt=1)  # held out if there is no ``train/`` and ``test/``
    on_bad: Literal["refuse", "skip"] = "refuse"  # files that cannot be decoded
    wrong_size: Literal["resize", "refuse", "skip"] = "resize"
    """``resize``: centre-crop to a square, then bilinear to ``size``; the number of such images is noted."""
    augment: Literal["none", "flip"] = "none"

    @field_validator("path")
    @classmethod
    def _beside_the_sweep_file(cls, value: str, info: ValidationInfo) -> str:
        """Settle a path beside the sweep file. Any other stays as written, as trials are known by it."""
        context = info.context or {}
        if "folders" not in context or context.get("stored") or not value.startswith(("./", "../")):
            return value
        folders = (path for path in paths.candidates(value, context["folders"]) if path.is_dir())
        return next(map(paths.as_text, folders), value)


def _walk(folder: Path) -> list[tuple[str, int, int]]:
    """(path below ``folder`` with '/', bytes, modification time in ns) of every file, sorted."""
    files: list[tuple[str, int, int]] = []

    def visit(path: Path, prefix: str, parents: frozenset[tuple[int, int]]) -> None:
        status = path.stat()
        here = (status.st_dev, status.st_ino)
        if here in parents:
            raise DatasetError(f"folder: {path} links back to a folder it lies in; remove the link")
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    visit(Path(entry.path), f"{prefix}{entry.name}/", parents | {here})
                elif entry.is_file():
                    status = entry.stat()
                    files.append((prefix + entry.name, status.st_size, status.st_mtime_ns))
                else:
                    name = printable(entry.path)
                    raise DatasetError(f"folder: {name} is a broken link or no regular file; remove it")

    try:
        visit(folder, "", frozenset())
    except OSError as error:
        where = error.filename or folder
        raise DatasetError(f"folder: cannot read {where}: {error.strerror or error}") from None
    return sorted(files)


def _labels(names: list[str], classes: list[str]) -> np.ndarray | None:
    """The class of each file by its subfolder, -1 for a file beside them; None without subfolders."""
    if not classes:
        return None
    number = {name: index for index, name in enumerate(classes)}
    return np.array([number[name.partition("/")[0]] if "/" in name else -1 for name in names], np.int64)


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


def _split_names(names: Iterable[str]) -> tuple[list[SplitName], list[SplitName]]:
    """Of sibling folders, (those called nothing but a split, those taken for splits).

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


def _splits(path: Path) -> list[Path]:
    """Folders of (train, test), [] where there are none. Raises DatasetError where names tell no more."""
    splits = [path / "train", path / "test"]
    exists = [split.is_dir() for split in splits]
    if all(exists):
        return splits
    try:
        folders = [entry.name for entry in os.scandir(path) if entry.is_dir() and entry.name[0] != "."]
    except OSError as error:
        raise DatasetError(f"folder: cannot read {path}: {error.strerror or error}") from None
    bare, taken = _split_names(folders)
    train, test = ([path / split.name for split in bare if split.role == role] for role in ("train", "test"))
    if len(train) == len(test) == 1:
        return [*train, *test]
    if any(exists) and len(taken) == 1:
        has, lacks = ("train", "test") if exists[0] else ("test", "train")
        raise DatasetError(
            f"folder: {path} has {has}/ but no {lacks}/: add it, or point 'path' at {path / has} to have "
            "test_fraction of its images held out"
        )
    if taken:
        raise DatasetError(
            f"folder: {path} has {_listed(taken)}, as splits are called: name the one to train on train/ and"
            " the one to test on test/ (others beside these two are not used), or point 'path' at one of them"
            " to have test_fraction of its images held out"
        )
    return []


def _refuse_splits_within(path: Path, names: list[str]) -> None:
    """Raises DatasetError where splits lie deeper in a folder, whose images would be used as one."""
    inside: dict[str, set[str]] = {}
    for name in names:
        *parents, _ = name.split("/")
        for depth in range(1, len(parents)):
            inside.setdefault("/".join(parents[:depth]), set()).add(parents[depth])
    for place, folders in inside.items():
        _, taken = _split_names(folders)
        if len({split.role for split in taken}) > 1:
            raise DatasetError(
                f"folder: {path / printable(place)} has {_listed(taken)}, as splits are called: point 'path'"
                f" at it, or have train/ and test/ directly below {path}"
            )


def _listed(splits: list[SplitName]) -> str:
    return " and ".join(f"{printable(split.name)}/" for split in splits)


def _held_out(path: Path, names: list[str], fraction: float) -> tuple[list[str], list[str]]:
    if len(names) < 2:
        raise DatasetError(
            f"folder: {path} has {len(names)} images: at least 2 are needed to train and to test on"
        )
    order = np.random.RandomState(0).permutation(len(names))
    count = min(max(1, round(len(names) * fraction)), len(names) - 1)
    test, train = np.sort(order[:count]), np.sort(order[count:])
    return [names[i] for i in train], [names[i] for i in test]


def _source(options: FolderOptions, root: Path) -> Source:
    try:
        path = root / paths.local(options.path)
    except UserError as error:
        raise DatasetError(f"folder: {options.path} is not a folder; correct 'path' ({error})") from None
    if not os.path.isdir(path):  # noqa: PTH112 (Path.is_dir fails where one may not look)
        beside = ", nor is there one beside the sweep file" if options.path.startswith(("./", "../")) else ""
        raise DatasetError(
            f"folder: {path} is not a folder{beside}; correct 'path: {options.path}' (photos is below"
            " the data root, ./photos beside the sweep file)"
        )
    splits = _splits(path)
    listings = [_walk(split) for split in splits or [path]]
    named = [[name for name, _, _ in listing] for listing in listings]
    if not splits:
        _refuse_splits_within(path, named[0])
    digest = hashlib.sha256()
    for listing in listings:
        digest.update(b"split\0")
        for name, size, time in listing:
            digest.update(os.fsencode(name) + f"\0{size}\0{time}\0".encode())
    arrays = {"size", "channels", "test_fraction", "on_bad", "wrong_size"}
    settings = options.model_dump(include=arrays)
    identity = {"path": str(path.resolve()), "files": digest.hexdigest(), **settings}
    every_name = [name for names in named for name in names]
    classes = sorted({name.partition("/")[0] for name in every_name if "/" in name})
    if classes and not all("/" in name for name in every_name):
        identity["labels"] = 2  # what was prepared when a stray file took all labels away is prepared again

    def read() -> tuple[RawSplit, RawSplit]:
        for split, names in zip(splits or [path], named, strict=True):
            if not names:
                raise DatasetError(f"folder: {split} has no images")
        train, test = named if splits else _held_out(path, named[0], options.test_fraction)
        roots = splits or [path, path]
        return _split(roots[0], train, classes, options), _split(roots[1], test, classes, options)

    return Source(identity, read)


def _split(root: Path, names: list[str], classes: list[str], options: FolderOptions) -> RawSplit:
    size = options.size

    def fit(image: "Image") -> tuple["Image", bool]:
        if image.size == (size, size):
            return image, False
        if options.wrong_size != "resize":
            reason = f"{image.width}x{image.height}, not {size}x{size}"
            raise UnusableImageError(reason, _SIZE_FIX if options.wrong_size == "refuse" else None)
        return centre_crop_resize(image, min(image.size), size), True

    fix = _BAD_FIX if options.on_bad == "refuse" else None
    return file_split(root, names, _labels(names, classes), _shape(options), fit, fix)


def _shape(options: FolderOptions) -> Shape:
    return options.channels, options.size, options.size


def _default_model(options: FolderOptions) -> dict[str, object]:
    """As many widths as halvings bring the size down to 4, at least one and at most four."""
    halvings = math.ceil(math.log2(options.size / 4))
    return {"latent": 16 if options.size <= 16 else 64, "channels": [32, 64, 128, 256][: max(halvings, 1)]}


INFO = DatasetInfo(
    name="folder",
    summary="your own images: path, size, channels (1 or 3)",
    options=FolderOptions,
    shape=_shape,
    default_model=_default_model,
    augmentation=lambda options: options.augment,
    source=_source,
)
