"""Precision, recall, density and coverage: where samples lie among the nearest neighbours of real ones.

With B(x) the ball about x that reaches to its k-th nearest neighbour within its own set,

    precision   share of fakes that lie in the ball of any real sample
    recall      share of real samples that lie in the ball of any fake
    density     how many balls of real samples a fake lies in, on average, divided by k
    coverage    share of real samples whose ball holds a fake

Kynkäänniemi et al., "Improved precision and recall metric for assessing generative models", NeurIPS 2019
(the first two); Naeem et al., "Reliable fidelity and diversity metrics for generative models", ICML 2020
(the others). As in the code published with the latter, a ball is open: what lies exactly on its surface is
outside, and a ball about a sample with k exact copies is empty.

Distances are taken in float64 and compared as float32. Squares of distances come from matrix products, which
float32 would spoil for near neighbours far from the origin. Equal distances must also compare as equal, as
where a fake is the very neighbour that a radius was taken from, though rounding differs from one product to
the next: float32 is coarser than that. For the same reason samples count as one that are closer than
float32's resolution of their distance from the mean.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rdbench.numerics.kid import check_features

if TYPE_CHECKING:
    from torch import Tensor

RESOLUTION = 2.0**-23  # of float32
CHUNK = 500  # rows of distances at once: 40 MB of float64 against 10,000 samples; on a CPU, 1,000 are slower


@dataclass(frozen=True)
class Prdc:
    """The four numbers: in [0, 1], but density 0 or more, about 1 where the distributions are the same.

    The standard errors are over the fakes, the real samples held fixed. Recall and coverage have none so
    cheap: each of their terms depends on all the fakes.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    precision_error: float
    density_error: float


def prdc(real: "Tensor", fake: "Tensor", k: int = 5, chunk: int = CHUNK) -> Prdc:
    """Return precision, recall, density and coverage of ``fake`` with respect to ``real``.

    Both are (samples, features) of any floating type, on one device, where all is computed. Recall and
    coverage depend on the counts: compare at equal ones only. A ball reaches to the ``k``-th nearest
    neighbour, the sample itself not counted. ``chunk`` rows of distances are held at once, which changes no
    result.

    ValueError: the features do not fit each other, are not finite, or a set has no k-th neighbour.
    """
    import torch

    check_features(real, fake)
    if not 1 <= k < min(len(real), len(fake)):
        raise ValueError(f"{min(len(real), len(fake))} samples have no neighbour number {k}")
    # Centred: a large common mean would cost the products digits.
    centre = real.detach().double().mean(0)
    real, fake = real.detach().double() - centre, fake.detach().double() - centre

    real_radii, fake_radii = _radii(real, k, chunk), _radii(fake, k, chunk)
    balls = torch.zeros(len(fake), dtype=torch.int64, device=fake.device)
    recalled, covered = 0, 0
    for rows, radii in zip(torch.split(real, chunk), torch.split(real_radii, chunk), strict=True):
        distances = _distances(rows, fake)
        balls += (distances < radii[:, None]).sum(0)
        recalled += int((distances < fake_radii).any(1).sum())
        covered += int((distances.amin(1) < radii).sum())
    within, density = (balls > 0).double(), balls.double() / k
    return Prdc(
        precision=float(within.mean()),
        recall=recalled / len(real),
        density=float(density.mean()),
        coverage=covered / len(real),
        precision_error=float(within.std()) / math.sqrt(len(fake)),
        density_error=float(density.std()) / math.sqrt(len(fake)),
    )


def _radii(samples: "Tensor", k: int, chunk: int) -> "Tensor":
    """Return the distance of each sample to its k-th nearest neighbour, float32 (samples,)."""
    import torch

    radii = []
    for start, rows in zip(range(0, len(samples), chunk), torch.split(samples, chunk), strict=True):
        distances = _distances(rows, samples)
        distances.diagonal(start).fill_(math.inf)  # none is its own neighbour
        radii.append(distances.topk(k, largest=False).values[:, -1])
    return torch.cat(radii)


def _distances(rows: "Tensor", columns: "Tensor") -> "Tensor":
    """Return Euclidean distances, float32 (rows, columns), of float64 (rows, d) and (columns, d)."""
    import torch

    norms = rows.square().sum(1)[:, None] + columns.square().sum(1)
    squares = torch.addmm(norms, rows, columns.T, alpha=-2)
    squares.masked_fill_(squares <= RESOLUTION**2 * norms, 0)
    return squares.sqrt_().float()
