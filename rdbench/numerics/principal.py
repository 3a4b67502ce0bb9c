"""Mean and largest principal components of images that are read in batches, never all at once.

Up to :data:`EXACT` values an image the whole covariance is summed and decomposed. Above, its largest
eigenpairs come from subspace iteration on a random start (Halko, Martinsson & Tropp, SIAM Review 2011,
Algorithm 4.4): each pass over the images multiplies the covariance with a block of vectors, so memory is that
of a few such blocks.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from rdbench.numerics.seeding import generator

EXACT = 2048  # values an image: the covariance has 34 MB, and its decomposition takes seconds
TOLERANCE = 1e-6  # by how much of itself the variance of the components may still grow in a last pass
PASSES = 30  # at most

Batches = Callable[[], Iterable[Tensor]]
"""A pass over the images, the same each time: batches (batch, ...), float32, on one device."""


@dataclass(frozen=True)
class Components:
    """The eigendecomposition of the images' covariance, their squares divided by the number of images.

    Attributes:
        mean: (n,), float64.
        variances: the largest eigenvalues, descending, >= 0, (count,), float64, in squared units of a value.
        vectors: their eigenvectors in columns, (n, count), orthonormal, float64.
        trace: the sum of all eigenvalues, which is the images' mean squared distance from their mean.
    """

    mean: Tensor
    variances: Tensor
    vectors: Tensor
    trace: float


def principal_components(images: Batches, count: int, exact_to: int = EXACT) -> Components:
    """Return the mean, the ``count`` largest eigenpairs of the covariance, and its trace.

    Where they are not exact they are the eigenpairs of the covariance within a subspace: orthonormal vectors
    and the variances that the images have along them, to float32's rounding (1e-6 of the largest). Only the
    subspace falls short of the best one, by a few times :data:`TOLERANCE` of its variance.

    Args:
        images: gives a pass over them; it is called several times.
        count: of components, at least 1; more than an image has values is as many as it has.
        exact_to: how many values an image may have for an exact decomposition.
    """
    number, total = 0, torch.zeros(1, dtype=torch.float64)
    for batch in images():
        number += len(batch)
        total = total.to(batch.device) + batch.flatten(1).sum(0, dtype=torch.float64)
    mean = total / number
    decompose = _exact if len(mean) <= exact_to else _by_subspace_iteration
    return decompose(images, number, mean, min(count, len(mean)))


def _exact(images: Batches, number: int, mean: Tensor, count: int) -> Components:
    covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64, device=mean.device)
    for batch in images():
        centred = batch.flatten(1).double() - mean
        covariance += centred.T @ centred / number
    trace = float(covariance.trace())
    if not covariance.isfinite().all():
        return _without_components(mean, count)
    variances, vectors = torch.linalg.eigh(covariance)
    rounding = len(mean) * torch.finfo(torch.float64).eps
    return Components(mean, *_largest(variances, vectors, count, rounding), trace)


def _by_subspace_iteration(images: Batches, number: int, mean: Tensor, count: int) -> Components:
    n, width = len(mean), min(len(mean), 2 * count + 16)  # wider than asked for: then few passes suffice
    start = torch.randn(n, width, generator=generator(0, "principal components"), dtype=torch.float64)
    basis = torch.linalg.qr(start.to(mean.device))[0]
    before = 0.0
    for _ in range(PASSES):
        image, trace = _covariance_times(images, number, mean, basis)
        if not image.isfinite().all():
            return _without_components(mean, count)
        within = basis.T @ image
        variances, rotation = torch.linalg.eigh((within + within.T) / 2)
        captured, vectors = float(variances[-count:].sum()), basis @ rotation
        if captured - before <= TOLERANCE * captured:
            break
        before, basis = captured, torch.linalg.qr(image)[0]
    return Components(mean, *_largest(variances, vectors, count, torch.finfo(torch.float32).eps), trace)


def _covariance_times(images: Batches, number: int, mean: Tensor, basis: Tensor) -> tuple[Tensor, float]:
    """Return the covariance times a block of vectors (n, width), float64, and its trace."""
    product, square = torch.zeros_like(basis), torch.zeros((), dtype=torch.float64, device=basis.device)
    narrow_mean, narrow_basis = mean.float(), basis.float()
    for batch in images():
        centred = batch.flatten(1) - narrow_mean
        product += centred.T @ (centred @ narrow_basis)
        square += centred.square().sum(1).double().sum()
    return product / number, float(square / number)


def _largest(variances: Tensor, vectors: Tensor, count: int, rounding: float) -> tuple[Tensor, Tensor]:
    """Return the largest of ascending eigenpairs, descending; below ``rounding`` of the first they are 0."""
    chosen = variances.flip(0)[:count]
    zero = torch.zeros_like(chosen)
    return torch.where(chosen > rounding * chosen[0], chosen, zero), vectors.flip(1)[:, :count]


def _without_components(mean: Tensor, count: int) -> Components:
    """Return the components of images that are not finite: their trace says so."""
    none = torch.full((count,), torch.nan, dtype=torch.float64, device=mean.device)
    return Components(mean, none, none.expand(len(mean), count), torch.nan)
