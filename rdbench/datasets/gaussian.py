"""A Gaussian source: its rate-distortion function has a closed form, so measured points have true values.

Zero mean, covariance Q diag(l) Q' with Q a seeded random rotation (Haar: QR of a Gaussian matrix, signs
fixed; Mezzadri 2007), so that no coordinate is an eigenvector by construction.
"""

import hashlib
import json
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from rdbench.datasets.base import Dataset, DatasetInfo, DatasetOptions, Shape, Split

RECIPE = 1  # raise when the same options come to mean other images
_ROWS = 4096  # drawn at a time in float64, to bound memory

Variance = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class PowerLaw(BaseModel):
    """Eigenvalues ``scale * i ** -decay`` for i = 1..dims."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    scale: Variance = 2.0
    decay: float = Field(default=1.2, ge=0, le=10)
    dims: int = Field(default=16, ge=1, le=8192)


class GaussianOptions(DatasetOptions):
    """Options of ``gaussian``."""

    eigenvalues: Annotated[tuple[Variance, ...], Field(min_length=1)] | PowerLaw = PowerLaw()
    train_images: int = Field(default=65536, ge=1)
    test_images: int = Field(default=65536, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**32)  # of the rotation and the samples


def spectrum(options: GaussianOptions) -> np.ndarray:
    """Eigenvalues of the covariance, float64 (n,), largest first."""
    if isinstance(options.eigenvalues, PowerLaw):
        law = options.eigenvalues
        return np.asarray(law.scale * np.arange(1, law.dims + 1, dtype=np.float64) ** -law.decay)
    return np.sort(np.array(options.eigenvalues, dtype=np.float64))[::-1].copy()


def rotation(n: int, seed: int) -> np.ndarray:
    """A random orthogonal matrix, float64 (n, n), uniform over all of them."""
    q, r = np.linalg.qr(np.random.RandomState([seed, 0]).standard_normal((n, n)))
    return np.asarray(q * np.sign(np.diag(r)))


def _generate(options: GaussianOptions) -> Dataset:
    values = spectrum(options)
    to_image = (rotation(len(values), options.seed) * np.sqrt(values)).T

    def split(stream: int, count: int) -> Split:
        # Each split has its own stream, drawn row by row: asking for more images keeps the first ones.
        random = np.random.RandomState([options.seed, stream])
        images = np.empty((count, len(values)), dtype=np.float32)
        for start in range(0, count, _ROWS):
            rows = images[start : start + _ROWS]
            rows[:] = random.standard_normal(rows.shape) @ to_image
        images.flags.writeable = False
        return Split(images.reshape(count, len(values), 1, 1), None)

    # Of what defines the images, not of their bytes: linear algebra libraries differ in the last bit.
    settings = [RECIPE, values.tolist(), options.train_images, options.test_images, options.seed]
    checksum = hashlib.sha256(json.dumps(settings).encode()).hexdigest()
    train, test = split(1, options.train_images), split(2, options.test_images)
    return Dataset("gaussian", train, test, checksum, augmentation="none", shape=_shape(options))


def _shape(options: GaussianOptions) -> Shape:
    return len(spectrum(options)), 1, 1


INFO = DatasetInfo(
    name="gaussian",
    summary="Gaussian vectors with known eigenvalues, made on the fly: the calibration source",
    options=GaussianOptions,
    shape=_shape,
    default_model=lambda options: {"name": "linear", "latent": min(_shape(options)[0], 12), "channels": []},
    augmentation=lambda options: "none",
    generate=_generate,
)
