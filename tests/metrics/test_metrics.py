"""Metrics measure a trained model: the importance-weighted bound is right, and reaches the table."""

import dataclasses
import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from scipy.stats import multivariate_normal

from rdbench import metrics
from rdbench.commands.plan import account, open_plan
from rdbench.commands.status import status_lines
from rdbench.commands.sweep import run_sweep
from rdbench.errors import SpecError
from rdbench.metrics import iwae
from rdbench.metrics.base import TrainedModel, Value, value_name
from rdbench.metrics.iwae import IwaeOptions
from rdbench.numerics.seeding import generator
from rdbench.results.load import load_results
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import plan
from rdbench.spec.sweep import dump_sweep, load_sweep
from rdbench.trial.job import Outputs
from rdbench.trial.run import run_trial
from rdbench.trial.scheduler import RunOptions
from rdbench.trial.serial import SerialScheduler
from rdbench.vae import networks

CPU = torch.device("cpu")
N, LATENT, IMAGES, VARIANCE = 12, 3, 200, 0.5


class LinearGaussian:
    """p(x|z) = N(Wz + b, s I), p(z) = N(0, I), with the columns of W orthogonal.

    Its posterior is then N(M^-1 W'(x - b) / s, M^-1) with a diagonal M = I + W'W / s, as q(z|x) is.
    """

    def __init__(self, mean_off: float = 0.0, variance_off: float = 1.0) -> None:
        random = np.random.default_rng(0)
        self.w = np.linalg.qr(random.standard_normal((N, LATENT)))[0] * np.array([2.0, 1.0, 0.5])
        self.b = random.standard_normal(N)
        noise = random.standard_normal((IMAGES, N)) * math.sqrt(VARIANCE)
        self.x = (random.standard_normal((IMAGES, LATENT)) @ self.w.T + self.b + noise).astype(np.float32)
        precision = 1 + (self.w**2).sum(0) / VARIANCE
        to_mean = self.w.T / VARIANCE / precision[:, None]
        self.network = networks.LinearNetwork((N, 1, 1), LATENT)
        with torch.no_grad():
            for parameter, value in {
                self.network.decoder.weight: self.w,
                self.network.decoder.bias: self.b,
                self.network.encoder.weight: to_mean,
                self.network.encoder.bias: -to_mean @ self.b + mean_off,
                self.network.log_var: np.log(variance_off / precision),
            }.items():
                parameter.copy_(torch.from_numpy(value))

    def trained(self, **changes) -> TrainedModel:
        """All three readings have the variance the model was made with."""
        images = torch.from_numpy(self.x).reshape(IMAGES, N, 1, 1)
        sse = np.linspace(0.5, 1.5, IMAGES) * N * VARIANCE
        model = TrainedModel(
            self.network.encode,
            self.network.decode,
            LATENT,
            data=None,  # the bound looks at nothing but the test images
            test_images=lambda index: images[index],
            n_test=IMAGES,
            test_sse=sse,
            beta=2 * VARIANCE,
            seed=3,
            protocol="clean",
            device=CPU,
        )
        return dataclasses.replace(model, **changes)

    def exact(self) -> np.ndarray:
        """ln p(x) of each image."""
        covariance = self.w @ self.w.T + VARIANCE * np.eye(N)
        return multivariate_normal(self.b, covariance).logpdf(self.x.astype(np.float64))


def bound(model: TrainedModel, samples: int, images: int | None = IMAGES) -> list[Value]:
    return iwae.compute(IwaeOptions(samples=samples, images=images), model)


# The bound


def test_with_one_sample_it_is_the_sampled_elbo():
    source = LinearGaussian(mean_off=0.3, variance_off=1.7)
    model = source.trained(beta=0.8)
    noise = generator(3, "metric/iwae")
    epsilon = torch.cat([torch.randn(1, LATENT, generator=noise) for _ in range(IMAGES)]).double().numpy()
    mean, log_var = (
        part.detach().double().numpy()
        for part in source.network.encode(model.test_images(torch.arange(IMAGES)))
    )
    z = mean + epsilon * np.exp(log_var / 2)
    normal = multivariate_normal(np.zeros(LATENT)).logpdf
    rate = normal(epsilon) - log_var.sum(1) / 2 - normal(z)
    for value, s in zip(bound(model, 1), (0.5, 0.4, VARIANCE), strict=True):
        error = source.x - (z @ source.w.T + source.b)
        distortion = -multivariate_normal(np.zeros(N), s * np.eye(N)).logpdf(error)
        elbo = -(distortion + rate)
        assert value.value == pytest.approx(elbo.mean(), rel=1e-5)
        assert value.standard_error == pytest.approx(elbo.std(ddof=1) / math.sqrt(IMAGES), rel=1e-4)


@pytest.mark.parametrize("samples", [1, 7, 600])
def test_with_the_exact_posterior_it_is_the_exact_likelihood_at_any_number_of_samples(samples):
    source = LinearGaussian()
    exact = source.exact()
    for value in bound(source.trained(), samples):
        assert value.value == pytest.approx(exact.mean(), rel=1e-5)
        assert value.standard_error == pytest.approx(exact.std(ddof=1) / math.sqrt(IMAGES), rel=1e-4)


def test_with_another_posterior_it_rises_with_the_samples_to_the_exact_likelihood():
    source = LinearGaussian(mean_off=0.4, variance_off=1.5)
    model, exact = source.trained(), source.exact().mean()
    bounds = [bound(model, samples)[0].value for samples in (1, 5, 30, 5000)]
    assert bounds == sorted(bounds)
    assert abs(bounds[0] / exact - 1) > 0.05
    assert abs(bounds[-1] / exact - 1) < 0.005


@pytest.mark.parametrize("at_once", [1, 7, 64, 100_000])
def test_it_does_not_depend_on_how_the_work_is_cut(at_once, monkeypatch):
    model = LinearGaussian(mean_off=0.4).trained()
    whole = [bound(model, samples, 10)[0].value for samples in (9, 64)]
    monkeypatch.setattr(iwae, "DECODED_AT_ONCE", at_once)
    assert [bound(model, samples, 10)[0].value for samples in (9, 64)] == pytest.approx(whole, rel=1e-6)


def test_no_more_is_decoded_at_once_than_it_says():
    source = LinearGaussian()
    sizes = []

    def decode(latents):
        sizes.append(len(latents))
        return source.network.decode(latents)

    for samples in (3, 499, 1201):
        bound(source.trained(decode=decode), samples)
    assert max(sizes) <= iwae.DECODED_AT_ONCE
    assert sum(sizes) == (3 + 499 + 1201) * IMAGES


def test_it_scores_the_first_images_and_says_how_many_there_were():
    source = LinearGaussian()
    first, everything, more = (bound(source.trained(), 5, images) for images in (10, None, 999))
    assert first[0].value == pytest.approx(source.exact()[:10].mean(), rel=1e-5)
    assert [values[0].settings["n_images"] for values in (first, everything, more)] == [10, IMAGES, IMAGES]
    assert everything[0].value == more[0].value
    assert bound(source.trained(), 5, 1)[0].standard_error is None


def test_the_shared_variance_is_the_one_that_was_measured():
    model = LinearGaussian().trained(test_sse=np.array([1.0, 3.0]))
    assert [value.settings["variance"] for value in bound(model, 2)] == pytest.approx([0.5, 0.5, 2 / N])


# What a sweep may ask


def asked(sweep_file: Path, metric: str, *more: str):
    return load_sweep(sweep_file, [f"metrics=[{metric}]", *more]).metrics


def test_a_metric_has_its_defaults_and_its_options(sweep_file):
    (default,) = asked(sweep_file, "iwae")
    assert default == IwaeOptions(samples=5000, images=200, readings=("half", "beta_half", "optimal_shared"))
    (chosen,) = asked(sweep_file, "{name: iwae, samples: 9, images: all, readings: [half]}")
    assert chosen == IwaeOptions(samples=9, images=None, readings=("half",))


@pytest.mark.parametrize("metric", ["iwae", "{name: iwae, images: all}", "iwae, {name: iwae, samples: 7}"])
def test_metrics_survive_saving(sweep_file, metric):
    sweep = load_sweep(sweep_file, [f"metrics=[{metric}]"])
    sweep_file.write_text(dump_sweep(sweep))
    assert load_sweep(sweep_file) == sweep
    assert pickle.loads(pickle.dumps(sweep.metrics)) == sweep.metrics


def test_metrics_are_no_part_of_a_trials_identity(sweep_file):
    with_metric = load_sweep(sweep_file, ["metrics=[iwae]"])
    assert [t.id for t in plan(with_metric).trials] == [t.id for t in plan(load_sweep(sweep_file)).trials]


@pytest.mark.parametrize("name", metrics.names())
def test_a_metrics_file_holds_the_metric_of_its_name(name):
    metric = metrics.get(name)
    assert metric.name == name
    assert metric.summary
    assert metric.options(name=name).name == name


def test_what_has_no_per_cent_or_no_logarithm_is_what_the_metrics_say():
    every = [
        value_name(name, one.name, None) for name in metrics.names() for one in metrics.get(name).quantities
    ]
    without_zero = [name for name in every if not metrics.quantity(name).has_zero]
    assert without_zero == ["iwae", "kid", "latents_marginal_kl", "reconstruction_psnr"]
    not_positive = {name for name in every if not metrics.quantity(name).positive}
    assert {"iwae", "kid", "prdc_recall", "latents_active_units"} < not_positive


def test_a_quantity_is_known_by_the_name_of_its_value_whatever_reading_or_number_follows():
    assert metrics.quantity("iwae_half_2") is metrics.quantity("iwae") is iwae.METRIC.quantities[0]
    assert metrics.quantity("prdc_recall").name == "recall"
    assert metrics.quantity("fidelity") is metrics.quantity("psnr") is metrics.quantity("prdc") is None


def test_an_unknown_metric_is_refused():
    with pytest.raises(SpecError, match="unknown metric 'iwea'; did you mean 'iwae'"):
        metrics.get("iwea")


# From a trial to the table


SMALL = IwaeOptions(samples=64, images=None, readings=("half", "optimal_shared"))


@pytest.fixture
def root(trial, data, sweep, tmp_path):
    """The results of one trial, with its metric."""
    path = tmp_path / "results"
    ResultsFolder(path).save_sweep(sweep.model_copy(update={"metrics": (SMALL,)}))
    ResultsFolder(path).commit(trial.id, run_trial(trial, data, CPU, outputs=Outputs([SMALL])))
    return path


def test_a_trial_stores_its_metrics_and_they_lie_above_its_elbo(root, trial):
    results = load_results(root)
    rows = results.metrics
    assert (rows["trial"] == trial.id).all()
    assert (rows["name"] == "iwae").all()
    assert (rows["protocol"] == "clean").all()
    assert rows["feature_hash"].isna().all()
    elbos = results.points[results.points["split"] == "test"].set_index("reading")
    for row, reading in zip(rows.itertuples(), SMALL.readings, strict=True):
        settings = json.loads(row.settings)
        assert (settings["reading"], settings["samples"], settings["images"]) == (reading, 64, None)
        assert settings["n_images"] == 100
        assert row.value > elbos["elbo"][reading]
        assert row.standard_error > 0


def test_a_trial_without_metrics_has_no_rows_of_them(trial, data):
    assert "metrics" not in run_trial(trial, data, CPU)


def test_a_done_trial_that_lacks_a_metric_is_not_finished(root, trial, sweep):
    def left(*wanted):
        whole = open_plan(root, sweep.model_copy(update={"metrics": wanted}))
        return trial.id in {left.id for left in whole.todo}

    assert not left()
    assert not left(SMALL)
    assert left(SMALL, SMALL.model_copy(update={"samples": 65}))
    assert left(SMALL.model_copy(update={"readings": ("half",)}))


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (lambda options, model: 1 / 0, "division by zero"),
        (lambda *_: [Value(math.nan)], "iwae is nan"),
    ],
)
def test_a_metric_that_cannot_be_measured_is_null_with_its_reason_and_the_trial_stays(
    broken, why, trial, data, sweep, tmp_path, monkeypatch
):
    monkeypatch.setattr(iwae, "METRIC", dataclasses.replace(iwae.METRIC, compute=broken))
    ResultsFolder(tmp_path).save_sweep(sweep.model_copy(update={"metrics": (SMALL,)}))
    ResultsFolder(tmp_path).commit(trial.id, run_trial(trial, data, CPU, outputs=Outputs([SMALL])))
    results = load_results(tmp_path)
    assert results.trials["status"].tolist() == ["done"]
    assert len(results.points) == 8
    (row,) = results.metrics.itertuples()
    assert math.isnan(row.value)
    reason = json.loads(row.settings)["error"].strip().splitlines()[-1]
    assert why in reason
    whole = open_plan(tmp_path, results.sweep)
    assert trial.id not in {left.id for left in whole.todo}  # it failed twice, and would again
    assert str(account(tmp_path, whole)) == "1 done (1 of them without all that is asked for), 1 left to do"
    assert f"no iwae: bs_vae beta 1 seed 0: {reason}" in status_lines(tmp_path)


def test_a_sweep_has_its_workers_measure_what_it_asks_for(sweep, tmp_path):
    root = tmp_path / "results"
    asking = sweep.model_copy(update={"metrics": (SMALL,)})
    ended = run_sweep(
        open_plan(root, asking), root, Console(quiet=True), RunOptions(tmp_path), SerialScheduler()
    )
    assert (ended.done, ended.lacking, ended.left) == (2, 0, 0)
    assert open_plan(root, asking).todo == []
    assert len(load_results(root).metrics) == 2 * len(SMALL.readings)


def test_a_metric_without_meaning_for_a_variant_is_answered_and_one_that_failed_is_not():
    asked = metrics.get("iwae").options(name="iwae")
    (row,) = metrics.undefined([asked], "clean", "its trial function returned no model")
    assert row["value"] is None
    assert "no model" in json.loads(row["settings"])["error"]
    assert metrics.is_measured(asked, [row])  # else its trial would be trained again at every run
    failed = row | {"settings": json.dumps(asked.settings() | {"error": "OSError: no weights"})}
    assert not metrics.is_measured(asked, [failed])
