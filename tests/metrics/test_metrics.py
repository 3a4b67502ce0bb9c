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

from rdbench import datasets, metrics
from rdbench.commands.plan import account, open_plan
from rdbench.commands.status import status_lines
from rdbench.commands.sweep import run_sweep
from rdbench.errors import SpecError
from rdbench.metrics import iwae
from rdbench.metrics.base import TrainedModel, Value, value_name
from rdbench.metrics.iwae import IwaeOptions
from rdbench.numerics.likelihood import READINGS
from rdbench.numerics.seeding import generator
from rdbench.results.load import load_results
from rdbench.results.store import ResultsFolder
from rdbench.search import running
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
        """All readings have the variance the model was made with; no likelihood is its own."""
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
            train_sse=N * VARIANCE,
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


def bound(
    model: TrainedModel, samples: int, images: int | None = IMAGES, quantity: str | None = None, **options
) -> list[Value]:
    values = iwae.compute(IwaeOptions(samples=samples, images=images, **options), model)
    return [value for value in values if value.settings.get("quantity") == quantity]


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
    assert bound(model, 1, quantity="elbo")[0].value == bound(model, 1)[0].value
    for value, s in zip(bound(model, 1), (0.5, 0.4, VARIANCE, VARIANCE), strict=True):
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


def test_it_scores_random_images_the_same_for_every_trial_fewer_among_more():
    source = LinearGaussian()
    seen = []

    def images(index):
        seen.append(index.tolist())
        return torch.from_numpy(source.x[index]).reshape(len(index), N, 1, 1)

    for seed, count in ((3, 10), (4, 10), (3, 40)):
        bound(source.trained(test_images=images, seed=seed), 600, count)
    # The first call of each asks for one image, to see its size; then come single ones.
    scored = [[index for (index,) in part] for part in (seen[1:11], seen[12:22], seen[23:])]
    assert scored[0] == scored[1] == scored[2][:10]
    assert len({*scored[2]}) == 40
    assert max(scored[2]) > IMAGES / 2
    ten = bound(source.trained(), 5, 10)[0]
    assert ten.value == pytest.approx(source.exact()[scored[0]].mean(), rel=1e-5)
    assert ten.value != pytest.approx(source.exact()[:10].mean(), rel=1e-3)


def test_a_random_subset_stands_for_all_images_where_the_first_do_not():
    """Images sorted by their likelihood: the first are the most likely ones."""
    source = LinearGaussian()
    source.x = source.x[np.argsort(-source.exact())]
    exact = source.exact()
    assert abs(bound(source.trained(), 5, 50, choice="first")[0].value - exact[:50].mean()) < 1e-3
    some = bound(source.trained(), 5, 50)[0]
    assert abs(some.value - exact.mean()) < 3 * some.standard_error < exact[:50].mean() - exact.mean()


def test_it_says_how_many_images_there_were():
    model = LinearGaussian().trained()
    first, everything, more = (bound(model, 5, images) for images in (10, None, 999))
    assert [values[0].settings["n_images"] for values in (first, everything, more)] == [10, IMAGES, IMAGES]
    assert everything[0].value == more[0].value
    assert bound(model, 5, 1)[0].standard_error is None


def test_the_shared_variances_are_those_that_were_measured():
    model = LinearGaussian().trained(test_sse=np.array([1.0, 3.0]), train_sse=1.5)
    variances = [value.settings["variance"] for value in bound(model, 2)]
    assert variances == pytest.approx([0.5, 0.5, 1.5 / N, 2 / N])
    with pytest.raises(ValueError, match="error of the training images was not measured"):
        bound(dataclasses.replace(model, train_sse=None), 2)


@pytest.mark.parametrize("images", [20, IMAGES])
def test_the_elbo_beside_it_is_that_of_the_same_images_and_lies_below(images):
    """E_q ln p(x|z) - KL in closed form: E |x - Wz - b|^2 = |x - Wm - b|^2 + sum_i |W_i|^2 s_i."""
    source = LinearGaussian(mean_off=0.4, variance_off=1.5)
    model = source.trained()
    chosen = iwae.scored(IwaeOptions(images=images), IMAGES).numpy()
    with torch.no_grad():
        mean, log_var = (part.double().numpy() for part in source.network.encode(model.test_images(chosen)))
    error = source.x[chosen] - mean @ source.w.T - source.b
    sse = (error**2).sum(1) + np.exp(log_var) @ (source.w**2).sum(0)
    kl = (mean**2 + np.exp(log_var) - 1 - log_var).sum(1) / 2
    elbo = -(sse / (2 * VARIANCE) + N / 2 * math.log(2 * math.pi * VARIANCE) + kl)
    many = bound(model, 4000, images)
    one = bound(model, 4000, images, quantity="elbo")
    for value, tighter in zip(one, many, strict=True):
        assert value.value == pytest.approx(elbo.mean(), rel=2e-3)
        assert value.standard_error == pytest.approx(elbo.std(ddof=1) / math.sqrt(images), rel=0.02)
        assert value.settings["reading"] == tighter.settings["reading"]
        assert value.value < tighter.value <= source.exact()[chosen].mean() * (1 - 1e-3)


def laplace(images, decoded):
    return ((images - decoded).abs() + math.log(2)).flatten(1).sum(1)


def test_a_likelihood_of_the_models_own_is_bounded_too_and_only_where_there_is_one():
    """A Laplace decoder, whose ln p(x) with one latent value a quadrature gives."""
    source = LinearGaussian(mean_off=0.1, variance_off=1.5)
    own = {
        "own": lambda images, posterior, z: (
            source.network.decode(z),
            laplace(images, source.network.decode(z)),
        )
    }
    values = bound(source.trained(**own), 3000, 5)
    assert [value.settings["reading"] for value in values] == list(iwae.READINGS)
    assert "variance" not in values[-1].settings
    x = source.x[iwae.scored(IwaeOptions(images=5), IMAGES).numpy()].astype(float)
    grid = np.stack(np.meshgrid(*[np.linspace(-5, 5, 61)] * LATENT), -1).reshape(-1, LATENT)
    prior = multivariate_normal(np.zeros(LATENT)).logpdf(grid) + LATENT * math.log(10 / 60)
    likelihood = -(np.abs(x[:, None] - grid @ source.w.T - source.b) + math.log(2)).sum(2)
    exact = np.log(np.exp(likelihood + prior).sum(1)).mean()
    assert values[-1].value == pytest.approx(exact, abs=0.02)
    (elbo,) = bound(source.trained(**own), 3000, 5, quantity="elbo", readings=("own",))
    assert elbo.value < values[-1].value
    (none,) = iwae.compute(IwaeOptions(samples=2, readings=("own",)), source.trained())
    assert none.value is None
    assert none.settings["undefined"]
    (row,) = metrics.rows([IwaeOptions(samples=2, readings=("own",))], source.trained())
    assert "it has no likelihood of its own" in row["settings"]
    assert metrics.is_measured(IwaeOptions(samples=2, readings=("own",)), [row])


def test_a_models_own_rate_that_is_another_is_refused():
    source = LinearGaussian()
    with pytest.raises(ValueError, match="the model's own rate is 9 nats where KL"):
        bound(source.trained(test_rates=np.full(IMAGES, 9.0)), 2)


# Rows from before the images were chosen at random


OLD = {"samples": 2, "images": 5, "readings": ["half"], "reading": "half", "n_images": 5}


def row_of(**settings):
    return {"name": "iwae", "value": -3.0, "settings": json.dumps(settings)}


def test_old_rows_are_of_the_first_images_and_no_answer_to_a_random_choice():
    asked = IwaeOptions(samples=2, images=5, readings=("half",))
    first = asked.model_copy(update={"choice": "first"})
    assert not metrics.answers(asked, row_of(**OLD))
    assert not metrics.is_measured(asked, [row_of(**OLD)], complete=True)
    assert metrics.is_measured(first, [row_of(**OLD)], complete=True)
    assert metrics.is_measured(asked, [row_of(**OLD, choice="random")])
    assert not metrics.is_measured(first, [row_of(**OLD, choice="random")])
    every = asked.model_copy(update={"images": None})
    assert metrics.is_measured(every, [row_of(**OLD | {"images": None})])  # of all images there is no choice


def test_no_trial_is_trained_again_for_an_option_or_a_reading_that_came_after_it():
    """A sweep file that has not changed, over results from before: what was asked then was measured."""
    now, few = IwaeOptions(samples=2, images=5), IwaeOptions(samples=2, images=5, readings=("half",))
    old = row_of(**OLD | {"readings": ["half", "beta_half", "optimal_shared"]})
    assert metrics.is_measured(now, [old])
    assert not metrics.is_measured(now, [old], complete=True)  # which evaluate then adds
    assert not metrics.is_measured(few, [old])
    assert not metrics.is_measured(now.model_copy(update={"samples": 3}), [old])
    assert not metrics.is_measured(
        now, [row_of(**OLD, choice="random")]
    )  # of this version: one reading is too few


def test_a_stored_sweep_of_before_asks_for_the_first_images_and_goes_by_its_name(sweep_file):
    old = "{name: iwae, samples: 20, images: 5, readings: [half]}"
    search = "search={name: optuna, objective: iwae_half, over: {lr: [1e-4, 1e-2]}}"
    overrides = [f"metrics=[{old}]", search]
    stored, now = (load_sweep(sweep_file, overrides, stored=stored) for stored in (True, False))
    assert stored.metrics == (IwaeOptions(samples=20, images=5, readings=("half",), choice="first"),)
    assert now.metrics[0].choice == "random"
    assert load_sweep(sweep_file, ["metrics=[iwae]"], stored=True).metrics == (IwaeOptions(),)
    assert running.key(stored) == "9c7212512b2a"  # what the search went by before there was a choice
    assert running.key(now) != running.key(stored)


# What a sweep may ask


def asked(sweep_file: Path, metric: str, *more: str):
    return load_sweep(sweep_file, [f"metrics=[{metric}]", *more]).metrics


def test_a_metric_has_its_defaults_and_its_options(sweep_file):
    (default,) = asked(sweep_file, "iwae")
    readings = ("half", "beta_half", "optimal_train", "optimal_shared", "own")
    assert default == IwaeOptions(samples=5000, images=200, readings=readings, choice="random")
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
    assert without_zero == [
        "ais_log_likelihood",
        "coded_psnr",
        "iwae",
        "iwae_elbo",
        "kid",
        "latents_marginal_kl",
        "reconstruction_psnr",
        "reconstruction_psnr_at_mean",
    ]
    not_positive = {name for name in every if not metrics.quantity(name).positive}
    assert {"iwae", "kid", "prdc_recall", "latents_active_units"} < not_positive


def test_a_quantity_is_known_by_the_name_of_its_value_whatever_reading_or_number_follows():
    assert metrics.quantity("iwae_half_2") is metrics.quantity("iwae") is iwae.METRIC.quantities[0]
    assert metrics.quantity("iwae_elbo_own") is iwae.METRIC.quantities[1]
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
    bounds, beside = rows.iloc[::2], rows.iloc[1::2]
    for row, one, reading in zip(bounds.itertuples(), beside.itertuples(), SMALL.readings, strict=True):
        settings = json.loads(row.settings)
        assert json.loads(one.settings) == settings
        assert (row.quantity, one.quantity) == ("iwae", "elbo")
        assert row.unit == one.unit == "nats per image"
        assert abs(one.value - elbos["elbo"][reading]) < 0.5 * one.standard_error  # one sample an image there
        assert (row.reading, settings["samples"], settings["images"]) == (reading, 64, None)
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
    assert len(results.points) == 2 * len(READINGS)
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
    assert len(load_results(root).metrics) == 2 * 2 * len(SMALL.readings)


def test_a_metric_without_meaning_for_a_variant_is_answered_and_one_that_failed_is_not():
    asked = metrics.get("iwae").options(name="iwae")
    (row,) = metrics.undefined([asked], "clean", "its trial function returned no model")
    assert row["value"] is None
    assert "no model" in json.loads(row["settings"])["error"]
    assert metrics.is_measured(asked, [row])  # else its trial would be trained again at every run
    failed = row | {"settings": json.dumps(asked.settings() | {"error": "OSError: no weights"})}
    assert not metrics.is_measured(asked, [failed])


def test_a_variant_with_a_likelihood_of_its_own_has_a_bound_and_an_elbo_under_it(sweep_file, tmp_path):
    (trial,) = plan(load_sweep(sweep_file, ["variants=[student_t]"])).trials
    asked = IwaeOptions(samples=64, images=None)
    tables = run_trial(trial, datasets.load(trial.dataset, tmp_path), CPU, outputs=Outputs([asked]))
    points = {row["reading"]: row for row in tables["points"] if row["split"] == "test"}
    values = {}
    for row in tables["metrics"]:
        values[value_name("iwae", row["quantity"], row["reading"])] = row
    assert set(values) == {f"iwae{elbo}_{reading}" for elbo in ("", "_elbo") for reading in iwae.READINGS}
    for reading in ("own", "half", "optimal_shared"):
        elbo = values[f"iwae_elbo_{reading}"]
        assert abs(elbo["value"] - points[reading]["elbo"]) < 0.5 * elbo["standard_error"]
        assert elbo["value"] < values[f"iwae_{reading}"]["value"]
