"""Multi-Rate VAE: one training gives the whole rate-distortion curve, by weights that respond to beta."""

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

import rdbench
from rdbench.errors import SpecError
from rdbench.vae.models import Standard
from rdbench.vae.networks import ConvNetwork, GaussianNetwork


class Gate(nn.Module):
    """The response of a layer's units to beta: a factor in [0, 1) for each; ``root`` as in multi_rate."""

    def __init__(self, units: int, root: bool) -> None:
        super().__init__()
        self.affine = nn.Linear(1, units)
        self.root = root

    def forward(self, log_beta: Tensor) -> Tensor:
        """Return the factors at ln beta, (units,)."""
        x: Tensor = self.affine(log_beta.view(1))
        return (1 - x.exp()).relu().sqrt() if self.root else x.sigmoid()


class MultiRate(rdbench.Model):
    """The reference network with a gate at each layer, trained at a beta drawn for every batch."""

    capturable = True
    log_beta: Tensor
    beta: Tensor

    def __init__(self, about: rdbench.About, betas: tuple[float, ...], draws: Generator, root: bool) -> None:
        super().__init__(about)
        self.low, self.high = math.log(min(betas)), math.log(max(betas))
        self.draws = draws
        # Of the batch, where a captured step reads them.
        for name in ("log_beta", "beta"):
            self.register_buffer(name, torch.zeros(()), persistent=False)
        self.set_beta(math.log(betas[0]))
        self.gates = nn.ModuleDict()
        for name, layer in self._layers():
            decoder = name.startswith(("decoder", "output"))
            gate = Gate(len(layer.bias), root and decoder)  # type: ignore[arg-type]
            self.gates[name.replace(".", "/")] = gate

    def set_beta(self, log_beta: float) -> None:
        """Compute at this ln beta from now on."""
        self.log_beta.fill_(log_beta)
        self.beta.fill_(math.exp(log_beta))

    def before_step(self) -> None:
        """Draw the beta of the next batch, log-uniformly."""
        drawn = torch.rand((), generator=self.draws).item()
        self.set_beta(self.low + (self.high - self.low) * drawn)

    def get_extra_state(self) -> Tensor:
        """Return the state of the generator of betas, for checkpoints."""
        return self.draws.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Take it back."""
        self.draws.set_state(state.cpu())

    def _layers(self) -> Iterator[tuple[str, nn.Module]]:
        """Yield the layers that give pre-activations: every BatchNorm, and the last layers without one."""
        for name, layer in self.network.named_modules():
            if isinstance(layer, _BatchNorm) or name in ("posterior", "output"):
                yield name, layer

    def weights(self) -> dict[str, Tensor]:
        """Return the gated weights and biases, each times its unit's factor."""
        gated: dict[str, Tensor] = {}
        for name, layer in self._layers():
            with torch.autocast(self.log_beta.device.type, enabled=False):  # bf16 would round ln beta
                factor = self.gates[name.replace(".", "/")](self.log_beta)
            outputs = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
            for what, parameter in layer.named_parameters():
                shape = [1] * parameter.ndim
                shape[outputs if parameter.ndim > 1 else 0] = -1
                gated[f"{name}.{what}"] = parameter * factor.view(shape)
        return gated

    def forward(self, images: Tensor, noise: Tensor) -> rdbench.Terms:
        """Encode, sample, decode, at the beta that was set or drawn last."""
        reconstruction, *posterior = functional_call(self.network, self.weights(), (images, noise))
        latents = self.sample(tuple(posterior), noise)
        sse = (images - reconstruction).square().flatten(1).sum(1)
        rate = self.rate(tuple(posterior), latents)
        return rdbench.Terms(reconstruction, tuple(posterior), latents, sse, rate, reconstruction)

    def loss(self, images: Tensor, terms: rdbench.Terms, beta: float) -> Tensor:
        """Return sse + beta rate at the batch's beta, (batch,)."""
        return terms.sse + self.beta * terms.rate

    @torch.no_grad()
    def at(self, beta: float) -> GaussianNetwork:
        """Return the reference network at a beta; its BatchNorm statistics are still to be measured."""
        self.set_beta(math.log(beta))
        network = self.about.network()
        network.load_state_dict(self.network.state_dict() | self.weights())
        return network


@rdbench.variant("multi_rate", native="half", beta_rate=True, curve=True, paper="Bae et al., ICLR 2023")
def multi_rate(trial: rdbench.Run, data: rdbench.Dataset, *, root: bool = False) -> rdbench.TrialResult:
    """E over ln beta ~ U(ln min, ln max of the sweep's betas) of sse + beta rate, all betas sharing weights.

    A unit's pre-activation is s(w ln beta + b) (W h + c), s the sigmoid, w and b learned for each unit; beta
    is drawn once a batch. In the paper s is sqrt(max(1 - exp(.), 0)) in the decoder (option ``root``), which
    is exact for linear VAEs; a unit it switches off has no gradient, and on digits the curve was worse.

    A pre-activation is the result of a BatchNorm (a factor before it would cancel), or of the last layer of
    encoder or decoder. BatchNorm's running statistics would mix all betas, so they are measured for each of
    the sweep's betas, on the batches of one training epoch. The result for each beta is a reference network.

    Args:
        root: take the paper's factor in the decoder.
    """
    about = trial.about(data)
    if not isinstance(about.network(), ConvNetwork):
        raise SpecError(
            f"variant multi_rate gates the layers of model conv; it has none for {about.spec.name}"
        )
    model = MultiRate(about, trial.betas, trial.generator("beta"), root)
    diverged = trial.fit(model, data)
    if diverged is not None:
        return rdbench.TrialResult(diverged=diverged)
    models = {}
    for beta in trial.betas:
        network = model.at(beta).to(trial.device)
        _measure_statistics(network, trial, data)
        models[beta] = Standard(replace(about, beta=beta), network).eval()
    return rdbench.TrialResult(models)


@torch.no_grad()
def _measure_statistics(network: GaussianNetwork, trial: rdbench.Run, data: rdbench.Dataset) -> None:
    """Give each BatchNorm the mean statistics of one epoch's batches."""
    network.train()
    for layer in network.modules():
        if isinstance(layer, _BatchNorm):
            layer.reset_running_stats()
            layer.momentum = None  # the mean of all batches
    for images, noise in next(trial.epochs(data)):
        network(images, noise)
