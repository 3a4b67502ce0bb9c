"""Code a folder of images into one file by a kept network, and decode it again.

A file of :func:`compress`, all numbers little-endian:

    8 bytes   ``rdbcode`` and the version of the format, 1
    4 bytes   length of the header
    header    JSON, by zlib: the trial, the SHA-256 of its network, names and shape of the images, the step
              and the model of each latent (:class:`rdbench.numerics.coding.NormalModel`), the SHA-256 of the
              pixels
    words     the range-coded indices of the latents, 32 bits each, a column of all images for each latent
    32 bytes  SHA-256 of everything before

Indices are the same on every machine; pixels are where the network rounds alike. So the pixels that come out
are compared with what the file says of them: a wrong image is never written.
"""

import hashlib
import io
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rdbench.commands.sample import KeptNetwork, kept_network
from rdbench.datasets.images import UnusableImageError, decode, printable
from rdbench.errors import ResultsError, StorageError
from rdbench.numerics import coding
from rdbench.storage.outputs import write_output
from rdbench.storage.paths import DataRoot
from rdbench.storage.places import Place
from rdbench.text import counted

if TYPE_CHECKING:
    from torch import Tensor

MAGIC, VERSION = b"rdbcode", 1
AT_ONCE = 500  # images passed through the network
DIGEST = 32  # bytes


@dataclass(frozen=True)
class Content:
    """What a file holds."""

    trial: str
    network: str
    shape: tuple[int, ...]
    names: tuple[str, ...]
    steps: tuple[float, ...]
    models: tuple[coding.NormalModel, ...]
    pixels: str
    words: coding.Words

    def to_bytes(self) -> bytes:
        """Write it."""
        header = {key: value for key, value in asdict(self).items() if key != "words"}
        text = zlib.compress(json.dumps(header, separators=(",", ":")).encode(), 9)
        start = MAGIC + bytes([VERSION]) + struct.pack("<I", len(text)) + text
        content = start + self.words.astype("<u4").tobytes()
        return content + hashlib.sha256(content).digest()


def read(content: bytes, where: str) -> Content:
    """Return what a file holds; ResultsError: it is none of ours, of a later format, or damaged."""
    if content[: len(MAGIC)] != MAGIC:
        raise ResultsError(f"{where}: is no file that rdbench compress wrote")
    version = content[len(MAGIC) : len(MAGIC) + 1]
    if version and version[0] > VERSION:
        raise ResultsError(f"{where}: its format is version {version[0]}; use a later rdbench than this one")
    body, digest = content[:-DIGEST], content[-DIGEST:]
    if len(content) < len(MAGIC) + 5 + DIGEST or hashlib.sha256(body).digest() != digest:
        raise ResultsError(f"{where}: is cut short or damaged (its checksum is another); get it again")
    start = len(MAGIC) + 5
    (length,) = struct.unpack("<I", body[start - 4 : start])
    try:
        header: dict[str, Any] = json.loads(zlib.decompress(body[start : start + length]))
        words = np.frombuffer(body[start + length :], "<u4").astype(np.uint32)
        models = tuple(coding.NormalModel(**model) for model in header.pop("models"))
        lists = {key: tuple(value) for key, value in header.items() if isinstance(value, list)}
        return Content(**(header | lists), models=models, words=words)
    except (ValueError, TypeError, KeyError, zlib.error):
        raise ResultsError(f"{where}: holds a header that no rdbench wrote") from None


def compress(
    root: Place, wanted: str, folder: Path, out: Place, data_root: Path | DataRoot, how: tuple[float, str]
) -> str:
    """Code the images of a folder into the file ``out``; ``how`` is (size of the steps, device).

    Returns:
        What came of it, in one line.

    Raises:
        ResultsError: there is no such trial or kept network; its posterior is no diagonal Gaussian; or an
            image is unreadable, or of another size.
        SpecError, DatasetError, StorageError: as :func:`rdbench.commands.sample.sample`.
    """
    step, device = how
    kept = kept_network(root, wanted, data_root, device)
    if not kept.model.gaussian or kept.model.rate_free:
        raise ResultsError(f"{kept.name} has no Gaussian posterior, whose mean would be coded; name another")
    images = _read_folder(folder, kept.shape)
    levels = np.stack(list(images.values()))
    means, deviations = _posteriors(kept, levels)
    steps = step * deviations.mean(0)
    try:
        columns = [coding.rounded(mean, size) for mean, size in zip(means.T, steps, strict=True)]
    except ValueError as error:
        raise ResultsError(f"{kept.name}: {error}; use larger steps (--step)") from None
    models = tuple(map(coding.NormalModel.of, columns))
    decoded = _decode(kept, columns, steps)
    words = coding.encode_latents(columns, models)
    content = Content(kept.trial.id, kept.digest, kept.shape, tuple(images), tuple(steps.tolist()), models,
                      _digest(decoded), words).to_bytes()  # fmt: skip
    write_output(out, content)
    mse = float(np.square((levels.astype(float) - decoded) / 255).mean())
    quality = f"{-10 * np.log10(mse):.2f} dB" if mse else "without loss"
    bits = 8 * len(content) / len(levels)
    return (
        f"{counted(len(levels), 'image')} by {kept.name} in {len(content):,} bytes: {bits:.1f} bits an image,"
        f" of which {32 * len(words) / len(levels):.1f} are latents; {quality}"
    )


def decompress(root: Place, file: Path, folder: Path, data_root: Path | DataRoot, device: str) -> str:
    """Decode a file into a folder of PNG images, and return what came of it, in one line.

    Raises:
        ResultsError: the file is none of ours or damaged; the results hold another network; the folder is not
            empty; or this machine decodes to other pixels than the one that wrote the file.
        SpecError, DatasetError, StorageError: as :func:`rdbench.commands.sample.sample`.
    """
    try:
        content = read(file.read_bytes(), str(file))
    except OSError as error:
        raise ResultsError(f"{file}: cannot be read ({error.strerror}); name a file of compress") from None
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ResultsError(f"{folder}: is not empty; name a new folder")
    kept = kept_network(root, content.trial, data_root, device)
    if kept.digest != content.network:
        raise ResultsError(
            f"{file}: was made by another training of {kept.name} than that of {root}; use the results it was"
            " made with"
        )
    columns = coding.decode_latents(content.words, len(content.names), content.models)
    decoded = _decode(kept, columns, np.array(content.steps))
    if _digest(decoded) != content.pixels:
        raise ResultsError(
            f"{file}: decodes to other pixels here than where it was made: this machine or device rounds the"
            " network differently; decode it on one like that (--device)"
        )
    _write_folder(folder, content.names, decoded)
    return f"{counted(len(decoded), 'image')} by {kept.name} written to {folder}"


def _read_folder(folder: Path, shape: tuple[int, ...]) -> Mapping[str, coding.Integers]:
    """Return the images of a folder by name, uint8 (channels, height, width), in the order of their names."""
    if not folder.is_dir():
        raise ResultsError(f"{folder}: is no folder; name one of images")
    images = {}
    for file in sorted(folder.iterdir()):
        if file.name.startswith(".") or not file.is_file():
            continue
        try:
            image = decode(file.read_bytes(), shape[0])
        except UnusableImageError as error:
            raise ResultsError(f"{folder}: {printable(file.name)}: {error}; remove it") from None
        if image.size != (shape[2], shape[1]):
            size = "x".join(map(str, image.size))
            raise ResultsError(
                f"{folder}: {printable(file.name)} has {size} pixels, and the network takes"
                f" {shape[2]}x{shape[1]}; resize it first"
            )
        pixels = np.asarray(image)
        name = file.stem if file.stem not in images else file.name
        images[name] = pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1)
    if not images:
        raise ResultsError(f"{folder}: holds no images")
    return images


def _posteriors(kept: KeptNetwork, levels: coding.Integers) -> tuple[coding.Floats, coding.Floats]:
    """Return posterior means and deviations, (images, latent)."""
    import torch

    means, deviations = [], []
    with torch.no_grad():
        for part in np.array_split(levels, range(AT_ONCE, len(levels), AT_ONCE)):
            mean, log_var = kept.model.encode(torch.from_numpy(part).to(kept.device).float() / 255)
            means.append(mean.double().cpu().numpy())
            deviations.append((log_var.double() / 2).exp().cpu().numpy())
    return np.concatenate(means), np.concatenate(deviations)


def _decode(kept: KeptNetwork, columns: Sequence[coding.Integers], steps: coding.Floats) -> coding.Integers:
    """Return the pixels that indices of latents decode to, uint8 (images, channels, height, width)."""
    import torch

    latents = torch.from_numpy(np.stack(columns, 1) * steps).float().to(kept.device)
    with torch.no_grad():
        # One by one: a batch of another size would round differently.
        parts = [_pixels(kept.model.mean(kept.model.decode(one[None]))) for one in latents]
    decoded: coding.Integers = torch.cat(parts).reshape(len(latents), *kept.shape).numpy()
    return decoded


def _pixels(images: "Tensor") -> "Tensor":
    import torch

    return images.float().clamp(0, 1).mul(255).round().to(torch.uint8).cpu()


def _digest(pixels: coding.Integers) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def _write_folder(folder: Path, names: Sequence[str], images: coding.Integers) -> None:
    from PIL import Image

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be made ({error.strerror})") from None
    for name, image in zip(names, images, strict=True):
        buffer = io.BytesIO()
        pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
        Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG")
        write_output(folder / f"{Path(name).name}.png", buffer.getvalue())  # never outside the folder
