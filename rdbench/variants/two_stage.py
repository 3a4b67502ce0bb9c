"""Two-stage VAE: a second, small VAE learns the distribution of the first one's latents, and is sampled."""

import math
from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

import rdbench
from rdbench.numerics.likelihood import gaussian_nll, kl_standard_normal
from rdbench.vae.batches import Images
from rdbench.vae.training import learning_rate
from rdbench.variants.sigma_vae import SigmaVae


class SecondStage(nn.Module):
    """A VAE of latents: N(0, I) -> u -> z, with three hidden layers each way and one learned variance."""

    def __init__(self, latent: int, width: int) -> None:
        super().__init__()
        self.latent = latent
        self.encoder, self.decoder = _hidden(latent, width), _hidden(latent, width)
        self.posterior = nn.Linear(latent + width, 2 * latent)
        self.output = nn.Linear(latent + width, latent)
        self.log_variance = nn.Parameter(torch.zeros(()))

    def decode(self, u: Tensor) -> Tensor:
        """Return the mean of p(z|u), (batch, latent)."""
        mean: Tensor = self.output(torch.cat([u, self.decoder(u)], 1))  # the paper's skip connection
        return mean

    def loss(self, z: Tensor, noise: Tensor) -> Tensor:
        """Return -ln p(z|u) + KL(q(u|z) || N(0, I)) of each latent in nats, (batch,)."""
        mean, log_var = self.posterior(torch.cat([z, self.encoder(z)], 1)).chunk(2, 1)
        error = (z - self.decode(mean + noise * (log_var / 2).exp())).square().sum(1)
        nll: Tensor = gaussian_nll(error, self.log_variance.exp(), self.latent)
        rate: Tensor = kl_standard_normal(mean, log_var)
        return nll + rate

    def sample(self, count: int, generator: Generator) -> Tensor:
        """Return u ~ N(0, I), z ~ p(z|u), (count, latent)."""
        u, noise = torch.randn(2, count, self.latent, generator=generator, device=generator.device)
        z: Tensor = self.decode(u) + noise * (self.log_variance / 2).exp()
        return z


def _hidden(latent: int, width: int) -> nn.Sequential:
    sizes = [latent, width, width, width]
    return nn.Sequential(*(part for pair in pairwise(sizes) for part in (nn.Linear(*pair), nn.ReLU())))


class TwoStage(SigmaVae):
    """The first stage, sampled from the second."""

    gaussian = False

    def __init__(self, about: rdbench.About, width: int) -> None:
        super().__init__(about)
        self.second = SecondStage(about.latent, width)

    def prior(self, count: int, generator: Generator) -> Tensor:
        """Return latents of the second stage, (count, latent)."""
        return self.second.sample(count, generator)


@rdbench.variant("two_stage", native="own", beta_rate=True, paper="Dai & Wipf, ICLR 2019")
def two_stage(
    trial: rdbench.Run,
    data: rdbench.Dataset,
    *,
    second_epochs: Annotated[int, Field(ge=1, le=1_000_000)] = 100,
    width: Annotated[int, Field(ge=1, le=100_000)] = 1024,
) -> rdbench.TrialResult:
    """First sse / (2 s) + n/2 ln(2 pi s) + beta KL, s learned; then a VAE of z ~ q(z|x), the samples' source.

    The second stage's loss is |z - f(u)|^2 / (2 t) + latent/2 ln(2 pi t) + KL(q(u|z) || N(0, I)), t learned,
    over latents drawn anew in each epoch for all training images, unaugmented. Rate and distortion are the
    first stage's, against the prior N(0, I) that it was trained with; only samples come from the second:
    u ~ N(0, I), z ~ N(f(u), t I), then the first decoder's mean.

    Unlike the paper, the first stage has the sweep's network and recipe, and the second its batch size,
    learning rate (annealed by one cosine) and weight decay.

    Args:
        second_epochs: passes of the second stage over the training images' latents.
        width: of the three hidden layers of the second stage's encoder and decoder.
    """
    model = TwoStage(trial.about(data), width)
    model.second.requires_grad_(False)  # the first stage's optimizer leaves it alone
    diverged = trial.fit(model, data)
    if diverged is None:
        model.second.requires_grad_(True)
        diverged = _fit_second(model, trial, data, second_epochs)
    return rdbench.TrialResult(model, diverged=diverged)


def _fit_second(model: TwoStage, trial: rdbench.Run, data: rdbench.Dataset, epochs: int) -> str | None:
    recipe, images = trial.settings.train, Images(data.train, trial.device)
    order, noise = trial.generator("second/order"), trial.generator("second/noise", trial.device)
    parts = torch.arange(len(images)).split(recipe.batch_size)
    with torch.no_grad():
        encoded = [model.encode(images.batch(part)) for part in parts]
    mean, log_var = (torch.cat(values) for values in zip(*encoded, strict=True))
    optimizer = torch.optim.AdamW(model.second.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    batches = len(images) // recipe.batch_size
    for epoch in trial.resumable(epochs, [model.second, optimizer, order, noise]):
        latents = model.sample((mean, log_var), torch.randn(mean.shape, generator=noise, device=mean.device))
        index = torch.randperm(len(images), generator=order)[: batches * recipe.batch_size]
        total = torch.zeros((), device=mean.device)
        for step, chosen in enumerate(index.to(mean.device).split(recipe.batch_size), epoch * batches):
            optimizer.param_groups[0]["lr"] = learning_rate(recipe.lr, step, 2 * epochs * batches)
            draw = torch.randn(len(chosen), mean.shape[1], generator=noise, device=mean.device)
            loss = model.second.loss(latents[chosen], draw).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach()
        if not math.isfinite(total):
            return f"the second stage's loss became {float(total)} in epoch {epoch + 1} of {epochs}"
    return None
