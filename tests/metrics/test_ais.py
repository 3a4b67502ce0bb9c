"""ais: of a linear decoder the curve, the likelihood and the encoder's distance to both are known."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rdbench import datasets
from rdbench.metrics import ais, stored
from rdbench.metrics.ais import AisOptions
from rdbench.metrics.base import TrainedModel, Value
from rdbench.metrics.iwae import IwaeOptions, scored
from rdbench.numerics import annealing
from rdbench.numerics.likelihood import kl_standard_normal
from rdbench.spec.plan import plan
from rdbench.spec.sweep import Sweep
from rdbench.trial.job import Outputs
from rdbench.trial.run import run_trial
from tests.metrics.test_metrics import IMAGES, LATENT, VARIANCE, LinearGaussian, N

OPTIONS = AisOptions(images=60, levels=300, chains=16, leapfrog=4, slopes=(0.3,))
OWN = 1 / (2 * VARIANCE)


def trained(source: LinearGaussian, **changes) -> TrainedModel:
    """The model with all that its trial would have measured of its encoder."""
    network = source.network.requires_grad_(False)

    def reconstruct(images, noise):
        mean, log_var = network.encode(images)
        return network.decode(mean + noise * (log_var / 2).exp())

    model = source.trained()
    rates = kl_standard_normal(*(part.double() for part in network.encode(model.test_images(slice(None)))))
    return source.trained(test_rates=rates.numpy(), reconstruct=reconstruct, **changes)


def measured(model: TrainedModel, options: AisOptions = OPTIONS) -> dict[tuple, Value]:
    """(quantity, slope) -> value; the slope is None where there is none."""
    values = ais.compute(options, model)
    return {(value.settings["quantity"], value.settings.get("slope")): value for value in values}


@pytest.fixture(scope="module")
def exactly_encoded():
    """What is measured of a model whose posterior is the true one, and the model."""
    source = LinearGaussian()
    return measured(trained(source)), source


class Exact:
    """Closed forms of the images that ``ais`` scores, of the decoder x = W z + b with orthogonal columns."""

    def __init__(self, source: LinearGaussian) -> None:
        self.index = scored(IwaeOptions(images=OPTIONS.images), IMAGES).numpy()
        self.x = source.x[self.index].astype(np.float64) - source.b
        self.w, self.source = source.w, source

    def log_z(self, slope: float) -> np.ndarray:
        precision = 1 + 2 * slope * (self.w**2).sum(0)
        shrunk = 2 * slope * self.x @ self.w
        exponent = slope * (self.x**2).sum(1) - (shrunk**2 / precision).sum(1) / 2
        return -np.log(precision).sum() / 2 - exponent

    def sse(self, slope: float) -> np.ndarray:
        h = 1e-4
        return -(self.log_z(slope + h) - self.log_z(slope - h)) / (2 * h)

    def encoder(self) -> tuple[np.ndarray, np.ndarray]:
        """The encoder's rate and expected squared error of each image."""
        images = torch.from_numpy(self.source.x[self.index]).reshape(-1, N, 1, 1)
        mean, log_var = (part.detach().double() for part in self.source.network.encode(images))
        error = self.x - mean.numpy() @ self.w.T
        spread = (log_var.exp().numpy() * (self.w**2).sum(0)).sum(1)
        return kl_standard_normal(mean, log_var).numpy(), (error**2).sum(1) + spread

    def gap(self, slope: float) -> float:
        rate, sse = self.encoder()
        return float((rate + slope * sse + self.log_z(slope)).mean())


def test_the_decoders_curve_and_likelihood_are_the_closed_form(exactly_encoded):
    values, source = exactly_encoded
    exact = Exact(source)
    assert values["log_likelihood", None].value == pytest.approx(source.exact()[exact.index].mean(), abs=0.1)
    for slope, s in ((0.3, 0.3), ("own", OWN)):
        sse, log_z = exact.sse(s).mean(), exact.log_z(s).mean()
        assert values["sse", slope].value == pytest.approx(sse, rel=0.02)
        assert values["rate", slope].value == pytest.approx(-s * sse - log_z, abs=0.1)
    assert abs(values["gap", None].value) < 0.15
    assert 1 < values["ess", None].value <= OPTIONS.chains
    assert not any("bound" in value.settings for value in values.values())


def test_an_exact_encoder_has_no_gap(exactly_encoded):
    values, _ = exactly_encoded
    for name in ("amortisation_gap", "inference_gap"):
        assert values[name, None].value == pytest.approx(0, abs=0.1)
    assert values["amortisation_gap", None].settings["at_slope"] == pytest.approx(OWN, rel=0.1)


def test_a_worse_encoder_wastes_the_rate_that_the_closed_form_says():
    source = LinearGaussian(mean_off=0.3, variance_off=2.5)
    values, exact = measured(trained(source)), Exact(source)
    rate, sse = (part.mean() for part in exact.encoder())
    assert values["encoder_rate", None].value == pytest.approx(rate, rel=1e-5)
    assert values["encoder_sse", None].value == pytest.approx(sse, rel=0.05)
    wasted = min(exact.gap(slope) for slope in np.geomspace(0.05, 5, 400))
    assert wasted > 0.5
    assert values["amortisation_gap", None].value == pytest.approx(wasted, abs=0.15)
    assert values["inference_gap", None].value == pytest.approx(exact.gap(OWN), abs=0.25)
    assert values["amortisation_gap", None].standard_error > 0


def test_the_stored_curve_is_the_decoders(exactly_encoded):
    values, source = exactly_encoded
    curve, exact = values["log_likelihood", None].settings["curve"], Exact(source)
    assert curve[0][:1] == [0]
    for slope, rate, sse in curve[len(curve) // 2 :]:
        truth = exact.sse(slope).mean()
        assert sse == pytest.approx(truth, rel=0.05)
        assert rate == pytest.approx(-slope * truth - exact.log_z(slope).mean(), abs=0.15)


def test_chains_that_are_too_short_are_marked_and_the_numbers_are_bounds():
    options = AisOptions(images=10, levels=10, chains=2, leapfrog=1, tolerance=0.01)
    values = measured(trained(LinearGaussian()), options)
    assert values["gap", None].value > 0.1
    assert "chains too short" in values["gap", None].settings["warning"]
    assert values["log_likelihood", None].settings["bound"] == "lower"
    assert values["rate", "own"].settings["bound"] == "upper"


def test_a_path_is_made_longer_where_the_encoders_error_is_below_that_at_the_own_slope():
    """A sharper posterior than the model's own: the slope where both errors agree lies beyond the own one."""
    source = LinearGaussian(variance_off=0.2)
    value = measured(trained(source, train_sse=4 * N * VARIANCE))["amortisation_gap", None]
    assert value.settings["at_slope"] > OWN / 4
    assert value.value == pytest.approx(min(map(Exact(source).gap, np.geomspace(0.05, 20, 400))), abs=0.2)


def test_without_the_training_images_error_it_says_so():
    with pytest.raises(ValueError, match="training images, which gives sigma\\^2, was not measured"):
        ais.compute(OPTIONS, trained(LinearGaussian(), train_sse=None))


def test_a_decoder_without_a_likeliest_variance_names_the_last_that_was_tried(monkeypatch):
    tried = []

    def pilot(problem, end, *rest):
        tried.append(1 / (2 * end))
        slopes = torch.linspace(0, end, 3, dtype=torch.float64)
        return SimpleNamespace(path=SimpleNamespace(slopes=slopes), sse=torch.zeros(3))

    monkeypatch.setattr(annealing, "pilot", pilot)
    monkeypatch.setattr(ais, "training_images", lambda model, count: [torch.rand(50, N, 1, 1)])
    with pytest.raises(ValueError, match="it has no optimum") as error:
        ais.compute(OPTIONS, trained(LinearGaussian(), lacks=frozenset({"encoder"})))
    assert len(tried) == ais.FARTHEST
    assert f"sigma^2 = {tried[-1]:.2g}:" in str(error.value)


def test_images_of_one_value_have_no_variance_to_look_for(monkeypatch):
    monkeypatch.setattr(ais, "training_images", lambda model, count: [torch.full((50, N, 1, 1), 0.3)])
    with pytest.raises(ValueError, match="all pixels of the training images are of one value"):
        ais.compute(OPTIONS, trained(LinearGaussian(), lacks=frozenset({"encoder"})))


def test_it_depends_on_the_trial_alone():
    options = AisOptions(images=5, levels=20, chains=2, leapfrog=2)
    one, other = (ais.compute(options, trained(LinearGaussian())) for _ in range(2))
    assert one == other


def test_it_tells_of_its_progress(monkeypatch):
    monkeypatch.setattr(ais, "SAY_EVERY", 0.0)
    lines = []
    options = AisOptions(images=5, levels=20, chains=2, leapfrog=2)
    ais.compute(options, trained(LinearGaussian(), say=lines.append))
    assert any(line.startswith("ais: curve, level 1 of ") for line in lines)
    assert any("backwards" in line for line in lines)


# Variants, from a trial to the table


def rows(tmp_path, variant, **options):
    asked = {"name": "ais", "images": 6, "levels": 20, "chains": 2, "leapfrog": 2, "simulated": 3, **options}
    sweep = Sweep.model_validate({
        "name": "t", "dataset": "digits", "variants": [variant], "beta": [1.0], "seeds": 1,
        "model": {"latent": 3, "channels": [4]}, "train": {"epochs": 1, "batch_size": 256},
        "metrics": [asked],
    })  # fmt: skip
    (trial,) = plan(sweep).trials
    data = datasets.load(trial.dataset, tmp_path)
    table = run_trial(trial, data, torch.device("cpu"), outputs=Outputs(metrics=sweep.metrics))["metrics"]
    return [(row["value"], stored.settings(row)) for row in table]


@pytest.mark.parametrize("variant", ["beta_vae", {"name": "vamp_prior", "components": 5}, "full_covariance"])
def test_variants_with_a_density_of_their_prior_have_all_values(variant, tmp_path):
    found = {settings["quantity"]: value for value, settings in rows(tmp_path, variant)}
    assert found.keys() == {one.name for one in ais.METRIC.quantities}
    assert all(value is not None and math.isfinite(value) for value in found.values())


def test_a_prior_of_the_models_own_is_drawn_from_and_walked_in():
    """So narrow a prior that no slope moves its latents: the squared error stays that of its draws."""
    source = LinearGaussian()
    model = trained(
        source,
        prior=lambda count, noise: 3 + 0.1 * torch.randn(count, LATENT, generator=noise),
        log_prior=lambda z: -((z - 3) / 0.1).square().sum(1) / 2,
    )
    value = measured(model, OPTIONS)["sse", 0.3]
    x = Exact(source).x
    fixed = ((x - 3 * source.w.sum(1)) ** 2).sum(1).mean() + 0.01 * (source.w**2).sum()
    assert value.value == pytest.approx(fixed, rel=0.1)


def test_a_prior_that_can_only_be_drawn_from_is_said_to_be_undefined(tmp_path):
    ((value, settings),) = rows(tmp_path, {"name": "two_stage", "second_epochs": 1, "width": 4})
    assert value is None
    assert "no density of its prior" in settings["error"]
    assert settings["undefined"]


def test_an_autoencoder_has_a_curve_and_no_gap(tmp_path):
    found = {settings["quantity"]: (value, settings) for value, settings in rows(tmp_path, "autoencoder")}
    assert "fitted to the latents of 1,437 training images" in found["log_likelihood"][1]["prior"]
    assert found["rate"][0] is not None
    assert found["amortisation_gap"][0] is None
    assert "a deterministic encoder has no rate" in found["amortisation_gap"][1]["error"]
