"""Full-covariance posterior: a Gaussian whose latents may be correlated, in place of a diagonal one."""

import torch
from torch import Tensor, nn

import rdbench
from rdbench.numerics.likelihood import kl_standard_normal
from rdbench.vae.networks import ConvNetwork


@rdbench.variant(
    "full_covariance",
    native="half",
    beta_rate=True,
    paper="Kingma & Welling, FnT Machine Learning 2019, sec. 2.5.1",
)
class FullCovariance(rdbench.Model):
    """sse + beta KL(N(mu, L L^T) || N(0, I)), L lower triangular with the diagonal exp(log_var / 2).

    KL = 1/2 (tr(L L^T) + mu^T mu - latent - ln det(L L^T))
       = sum of 1/2 (mu_i^2 + L_ii^2 - 1 - ln L_ii^2) + sum over i > j of 1/2 L_ij^2

    Mean and log variance (here: ln L_ii^2) are the reference encoder's. The entries below the diagonal come
    from a linear layer beside its last one, which starts at zero, as beta_vae. The network ``linear``, which
    has one variance for all images, has one L for all images too.
    """

    gaussian = False
    capturable = True
    places: Tensor

    def __init__(self, about: rdbench.About) -> None:
        super().__init__(about)
        size = about.latent
        self.register_buffer("places", torch.tril_indices(size, size, -1), persistent=False)
        below = size * (size - 1) // 2
        self.below: nn.Linear | nn.Parameter
        if isinstance(self.network, ConvNetwork) and below:
            self.below = nn.Linear(2 * size, below)
            nn.init.zeros_(self.below.weight)
            nn.init.zeros_(self.below.bias)
        else:
            self.below = nn.Parameter(torch.zeros(below))

    def encode(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return mean and ln L_ii^2, (batch, latent), and L below its diagonal, (batch, latent, latent)."""
        if isinstance(self.network, ConvNetwork) and isinstance(self.below, nn.Linear):
            features = self.network.encoder(images)
            with torch.autocast(images.device.type, enabled=False):  # as the network's own last layer
                features = features.to(self.below.weight.dtype)
                mean, log_var = self.network.posterior(features).chunk(2, 1)
                entries: Tensor = self.below(features)
        else:
            mean, log_var = self.network.encode(images)
            assert isinstance(self.below, nn.Parameter)
            entries = self.below.expand(len(mean), -1)
        lower = mean.new_zeros(*mean.shape, mean.shape[1])
        rows, columns = self.places
        lower[:, rows, columns] = entries
        return mean, log_var, lower

    def sample(self, posterior: tuple[Tensor, ...], noise: Tensor) -> Tensor:
        """Return mu + L noise, (batch, latent)."""
        mean, log_var, lower = posterior
        return mean + (log_var / 2).exp() * noise + (lower @ noise.unsqueeze(2)).squeeze(2)

    def rate(self, posterior: tuple[Tensor, ...], latents: Tensor) -> Tensor:
        """Return KL(N(mu, L L^T) || N(0, I)) of each image in nats, (batch,)."""
        mean, log_var, lower = posterior
        return kl_standard_normal(mean, log_var) + 0.5 * lower.square().sum((1, 2))
