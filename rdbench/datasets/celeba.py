"""CelebA: 162,770 + 19,962 aligned faces (Liu et al. 2015), centre crop 148, resized to 3x64x64.

Train is partition 0 and test partition 2 of the published split; partition 1 is prepared where ``validation:
published`` asks for it. It is not downloaded: its one host turns downloads away once a daily quota is spent.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from rdbench.datasets.base import PUBLISHED, DatasetInfo, DatasetOptions, RawSplit, Shape, Source
from rdbench.datasets.images import UnusableImageError, centre_crop_resize, file_split
from rdbench.datasets.torchvision_files import file_times
from rdbench.errors import DatasetError

if TYPE_CHECKING:
    from PIL.Image import Image

FOLDER = "celeba"
IMAGES = "img_align_celeba"
PARTITION = "list_eval_partition.txt"
SHAPE: Shape = (3, 64, 64)
CROP = 148
RAW_SIZE = (178, 218)  # width and height of an aligned image

_FIX = f"extract {IMAGES}.zip again"


def _fit(image: "Image") -> tuple["Image", bool]:
    if min(image.size) < CROP:
        raise UnusableImageError(f"{image.width}x{image.height}, smaller than the crop of {CROP}", _FIX)
    return centre_crop_resize(image, CROP, SHAPE[1]), image.size != RAW_SIZE


def _partition(path: Path) -> dict[str, list[str]]:
    """File names of each partition, in the published order."""
    names: dict[str, list[str]] = {"0": [], "1": [], "2": []}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2 or words[1] not in names or Path(words[0]).name != words[0]:
            raise DatasetError(
                f"{path}:{number}: expected a file name and 0, 1 or 2; put the published file there"
            )
        names[words[1]].append(words[0])
    return names


def _source(options: DatasetOptions, root: Path) -> Source:
    folder = root / FOLDER
    # A folder's time changes when files come or go: no need to ask for 202,599 files at every load.
    times = file_times("celeba", folder, (PARTITION, IMAGES), f"put {PARTITION} and {IMAGES}/*.jpg into")

    validation = {"validation": True} if options.validation == PUBLISHED else {}

    def read() -> list[RawSplit]:
        names = _partition(folder / PARTITION)
        used = ("0", "2", "1") if validation else ("0", "2")
        return [file_split(folder / IMAGES, names[part], None, SHAPE, _fit, _FIX) for part in used]

    # RAW_SIZE: what was prepared before sizes were checked is prepared again.
    return Source({"files": times, "folder": str(folder), "raw_size": RAW_SIZE} | validation, read)


INFO = DatasetInfo(
    name="celeba",
    summary="162,770 + 19,962 aligned faces, cropped and resized to 3x64x64",
    shape=lambda options: SHAPE,
    default_model=lambda options: {"latent": 64, "channels": [32, 64, 128, 256]},
    augmentation=lambda options: "flip",
    sizes=(162_770, 19_962),
    validation_size=19_867,
    raw_size=RAW_SIZE,
    source=_source,
)
