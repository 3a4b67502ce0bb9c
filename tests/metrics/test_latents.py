"""The rate splits into mutual information and marginal KL, and what an estimate cannot know it says."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

from rdbench import datasets, metrics
from rdbench.metrics import latents, stored
from rdbench.metrics.base import TrainedModel
from rdbench.metrics.latents import LatentsOptions
from rdbench.numerics.seeding import generator
from rdbench.spec.plan import plan
from rdbench.spec.sweep import load_sweep
from rdbench.trial.job import Outputs
from rdbench.trial.run import run_trial
from rdbench.vae import networks

CPU = torch.device("cpu")
N, LATENT = 12, 3


def with_posteriors(mean: torch.Tensor, log_var: torch.Tensor, **changes) -> TrainedModel:
    """A model that encodes image i to the i-th posterior."""
    model = TrainedModel(
        encode=lambda images: (mean[images.flatten().long()], log_var[images.flatten().long()]),
        decode=lambda latent: latent,
        latent=mean.shape[1],
        data=None,
        test_images=lambda index: index.float().reshape(-1, 1, 1, 1),
        n_test=len(mean),
        test_sse=np.ones(len(mean)),
        beta=1.0,
        seed=3,
        protocol="clean",
        device=CPU,
    )
    return dataclasses.replace(model, **changes)


class LinearGaussian:
    """x ~ N(0, C) and q(z|x) = N(Ax + b, diag s), so that q(z) = N(b, ACA' + diag s)."""

    def __init__(self, scale: float = 1.0) -> None:
        random = np.random.default_rng(0)
        self.root = random.standard_normal((N, N)) / math.sqrt(N)
        self.a = random.standard_normal((LATENT, N)) / math.sqrt(N) * np.array([[2.0], [1.0], [0.5]]) * scale
        self.b = np.array([0.7, -0.4, 0.0])
        self.s = np.array([0.3, 0.5, 0.8])
        self.network = networks.LinearNetwork((N, 1, 1), LATENT)
        with torch.no_grad():
            self.network.encoder.weight.copy_(torch.from_numpy(self.a))
            self.network.encoder.bias.copy_(torch.from_numpy(self.b))
            self.network.log_var.copy_(torch.from_numpy(np.log(self.s)))

    def model(self, images: int, draw: int = 1, exact: bool = False) -> TrainedModel:
        """With ``exact`` the images' own mean and covariance are the source's: none of an error is theirs."""
        noise = np.random.default_rng(draw).standard_normal((images, N))
        if exact:
            noise = np.linalg.qr(noise - noise.mean(0))[0] * math.sqrt(images)
        x = torch.from_numpy((noise @ self.root.T).astype(np.float32)).reshape(images, N, 1, 1)
        with torch.no_grad():
            mean, log_var = self.network.encode(x)
        return with_posteriors(mean, log_var, seed=draw)

    def truth(self) -> dict[str, float]:
        covariance = self.a @ self.root @ self.root.T @ self.a.T + np.diag(self.s)
        log_det = np.linalg.slogdet(covariance)[1]
        information = (log_det - np.log(self.s).sum()) / 2
        marginal = (np.trace(covariance) + self.b @ self.b - LATENT - log_det) / 2
        return {"mutual_information": information, "marginal_kl": marginal, "rate": information + marginal}


def measured(model: TrainedModel, **options) -> dict:
    values = latents.compute(LatentsOptions(**options), model)
    return {value.settings["quantity"]: value for value in values}


# Where the truth is known


def test_on_a_gaussian_model_both_parts_are_within_two_percent_and_add_up_to_the_rate():
    source = LinearGaussian()
    found, truth = measured(source.model(3000, exact=True), samples=2), source.truth()
    assert truth["mutual_information"] > 1
    assert truth["marginal_kl"] > 0.5
    for quantity, value in truth.items():
        assert found[quantity].value == pytest.approx(value, rel=0.02)
    both = found["mutual_information"].value + found["marginal_kl"].value
    assert both == pytest.approx(found["rate"].value, rel=0.02)
    for quantity in ("mutual_information", "marginal_kl"):
        settings = found[quantity].settings
        assert settings["lower"] <= found[quantity].value <= settings["upper"]
        assert settings["lower"] == pytest.approx(truth[quantity], rel=0.02)
        assert settings["upper"] == pytest.approx(truth[quantity], rel=0.02)
        assert "warning" not in settings


def test_the_estimates_are_the_mixture_of_all_posteriors_at_the_trials_own_samples():
    random = np.random.default_rng(1)
    mean, log_var = random.standard_normal((7, 2)) + 2, random.uniform(-1, 1, (7, 2))
    found = measured(with_posteriors(torch.from_numpy(mean), torch.from_numpy(log_var)), samples=5)
    draw = generator(3, "metric/latents")
    noise = np.stack([torch.randn(5, 2, generator=draw).numpy() for _ in range(7)]).astype(np.float64)
    information, marginal, upper, lower = [], [], [], []
    for i in range(7):
        z = mean[i] + noise[i] * np.exp(log_var[i] / 2)
        pairs = np.stack(
            [multivariate_normal(m, np.diag(np.exp(v))).logpdf(z) for m, v in zip(mean, log_var, strict=True)]
        )
        prior = multivariate_normal(np.zeros(2)).logpdf(z)
        inside = logsumexp(pairs, 0) - math.log(7)
        outside = logsumexp(np.delete(pairs, i, 0), 0) - math.log(6)
        information.append((pairs[i] - inside).mean())
        marginal.append((inside - prior).mean())
        upper.append((pairs[i] - outside).mean())
        lower.append((outside - prior).mean())
    for quantity, values in {"mutual_information": information, "marginal_kl": marginal}.items():
        assert found[quantity].value == pytest.approx(np.mean(values), rel=1e-9)
        assert found[quantity].standard_error == pytest.approx(np.std(values, ddof=1) / math.sqrt(7))
    assert found["mutual_information"].settings["upper"] == pytest.approx(np.mean(upper))
    assert found["marginal_kl"].settings["lower"] == pytest.approx(np.mean(lower))


def test_standard_errors_are_the_spread_of_repeated_measurements():
    source = LinearGaussian()
    runs = [measured(source.model(250, draw)) for draw in range(2, 82)]
    for quantity in ("mutual_information", "marginal_kl", "rate"):
        spread = np.std([run[quantity].value for run in runs], ddof=1)
        said = np.mean([run[quantity].standard_error for run in runs])
        assert said == pytest.approx(spread, rel=0.3)  # the spread of 80 is itself known to 8%


def test_the_rate_is_the_one_that_the_trial_measured(sweep_file, tmp_path):
    sweep = load_sweep(sweep_file, ["metrics=[latents]", "variants=[bs_vae]"])
    (trial,) = plan(sweep).trials
    tables = run_trial(
        trial, datasets.load(trial.dataset, tmp_path), CPU, outputs=Outputs([LatentsOptions()])
    )
    (rate,) = (row for row in tables["metrics"] if row["quantity"] == "rate")
    point = next(row for row in tables["points"] if row["split"] == "test")
    assert rate["value"] == pytest.approx(point["rate"], rel=1e-4)
    assert rate["standard_error"] == pytest.approx(point["rate_se"], rel=1e-4)
    assert len(tables["metrics"]) == 5
    assert sum(stored.settings(rate)["kl_by_latent"]) == pytest.approx(rate["value"], rel=1e-6)


# Where the images are too few


def test_more_information_than_the_images_can_show_is_bounded_and_warned_of():
    mean = torch.randn(50, 8, generator=generator(0, "test")).double()
    found = measured(with_posteriors(mean, torch.full((50, 8), -6.0)))
    rate, information = found["rate"].value, found["mutual_information"]
    assert rate > 20
    assert information.value <= information.settings["ln_images"] == math.log(50)
    assert information.value == pytest.approx(math.log(50), rel=1e-3)
    assert information.settings["upper"] == rate
    assert found["marginal_kl"].settings["lower"] == 0
    for quantity in ("mutual_information", "marginal_kl"):
        assert "50 images are too few" in found[quantity].settings["warning"]


def test_the_bounds_enclose_the_truth_and_close_in_on_it_with_more_images():
    source = LinearGaussian(scale=4)
    truth = source.truth()
    widths = []
    for images in (30, 300, 3000):
        found = measured(source.model(images), samples=3)
        for quantity in ("mutual_information", "marginal_kl"):
            settings, slack = found[quantity].settings, 2 * found[quantity].standard_error
            assert settings["lower"] - slack < truth[quantity] < settings["upper"] + slack
            widths.append(settings["upper"] - settings["lower"])
    assert widths[0] > 2 * widths[2] > 4 * widths[4]


@pytest.mark.parametrize("scale", [0.3, 1, 2, 4, 16, 64])
def test_what_is_not_called_a_bound_is_the_exact_value_and_a_bound_is_one(scale):
    source = LinearGaussian(scale)
    truth = source.truth()
    for images, draw in ((20, 1), (200, 2), (2000, 3)):
        found = measured(source.model(images, draw, exact=True), samples=4)
        kinds = {
            name: found[name].settings.get("bound", "") for name in ("mutual_information", "marginal_kl")
        }
        assert kinds in (
            {"mutual_information": "lower", "marginal_kl": "upper"},
            {"mutual_information": "", "marginal_kl": ""},
        )
        for name, kind in kinds.items():
            slack = 3 * found[name].standard_error + 0.01
            assert ("warning" in found[name].settings) == bool(kind)
            assert kind == "lower" or found[name].value >= truth[name] - slack
            assert kind == "upper" or found[name].value <= truth[name] + slack
        information = found["mutual_information"]
        if truth["mutual_information"] > math.log(images):
            assert kinds["mutual_information"] == "lower"
        if math.log(images) - information.value <= 3 * information.standard_error:
            assert kinds["mutual_information"] == "lower"
        if truth["mutual_information"] < math.log(images) - 5:
            assert kinds["mutual_information"] == ""  # else every number would be a bound


def test_rows_of_before_the_flag_are_judged_by_what_they_hold():
    few = rows_of(LinearGaussian(scale=16).model(50)) + rows_of(LinearGaussian().model(2000))
    signs = []
    for row in few:
        settings = stored.settings(row)
        now = metrics.sign("latents", settings, row["standard_error"])
        old = {name: value for name, value in settings.items() if name != "bound"}
        assert metrics.sign("latents", old, row["standard_error"]) == now
        del old["lower" if "lower" in old else "images"]  # older still: nothing is known of it
        assert metrics.sign("latents", old, math.nan) == ""
        signs.append(now)
    assert signs == ["", "≥", "≤", "", "", *[""] * 5]


def test_one_image_has_a_rate_and_no_information():
    found = measured(with_posteriors(torch.ones(1, 2), torch.zeros(1, 2)))
    assert "active_units" not in found
    assert found["rate"].value == pytest.approx(1)
    assert found["mutual_information"].value == 0
    assert {value.standard_error for value in found.values()} == {None}
    assert math.isfinite(found["marginal_kl"].value)


# Units


def test_a_unit_is_active_if_its_posterior_mean_varies_over_the_images():
    random = np.random.default_rng(0)
    columns = random.standard_normal((1000, 4))
    columns = (columns - columns.mean(0)) / columns.std(0, ddof=1) * np.sqrt([0.0099, 0.0101, 1, 0]) + 5
    active = measured(with_posteriors(torch.from_numpy(columns), torch.zeros(1000, 4)))["active_units"]
    assert active.value == 2
    assert active.standard_error is None
    assert active.settings["latent"] == 4


def test_latents_that_ignore_the_images_hold_nothing():
    found = measured(with_posteriors(torch.zeros(100, 4), torch.zeros(100, 4)))
    assert found.pop("collapsed").value == 1
    for value in found.values():
        assert value.value == pytest.approx(0, abs=1e-12)
        assert "warning" not in value.settings


# By latent


def test_on_a_gaussian_model_the_kl_of_each_latent_is_the_exact_one_largest_first():
    source = LinearGaussian()
    variances = np.diag(source.a @ source.root @ source.root.T @ source.a.T)
    truth = (variances + source.b**2 + source.s - 1 - np.log(source.s)) / 2
    found = measured(source.model(3000, exact=True))["rate"]
    assert found.settings["kl_by_latent"] == pytest.approx(sorted(truth, reverse=True), rel=1e-4)
    assert sum(found.settings["kl_by_latent"]) == pytest.approx(found.value, rel=1e-6)


def test_a_latent_is_collapsed_where_the_exact_probability_of_a_small_kl_says_so():
    """KL < epsilon where m^2 < 2 epsilon - (s - 1 - ln s), and the mean m is N(b, v)."""
    source, epsilon = LinearGaussian(), 0.3
    spreads = np.sqrt(np.diag(source.a @ source.root @ source.root.T @ source.a.T))
    edges = np.sqrt(2 * epsilon - (source.s - 1 - np.log(source.s)))
    below = norm.cdf((edges - source.b) / spreads) - norm.cdf((-edges - source.b) / spreads)
    assert np.ptp(below) > 0.1
    model = source.model(2000)
    for latent, probability in enumerate(sorted(below)):
        # 0.045 is four standard errors of a share of 2000 images, and half of what the latents are apart.
        strict, lenient = (
            measured(model, epsilon=epsilon, delta=1 - probability + by)["collapsed"].value
            for by in (-0.045, 0.045)
        )
        assert (strict, lenient) == pytest.approx(((2 - latent) / 3, (3 - latent) / 3))


@pytest.mark.parametrize(
    ("epsilon", "delta", "share"),
    [(0.01, 0.01, 1 / 4), (0.01, 0.02, 2 / 4), (0.01, 0.0, 0), (0.6, 0.02, 3 / 4), (0.6, 0.0, 3 / 4)],
)
def test_as_many_images_may_tell_more_as_delta_says(epsilon, delta, share):
    """KL 1/2 m^2: latents with one image of a hundred above it, two, ten, and all of them."""
    mean = torch.zeros(100, 4).double()
    for latent, telling in enumerate((1, 2, 10, 100)):
        mean[:telling, latent] = 1.0 if latent < 3 else 2.0
    found = measured(with_posteriors(mean, torch.zeros(100, 4)), epsilon=epsilon, delta=delta)
    assert found["collapsed"].value == share
    assert found["collapsed"].settings["latent"] == 4
    assert found["rate"].settings["kl_by_latent"] == pytest.approx([2, 0.05, 0.01, 0.005])


def rows_of(model: TrainedModel, **options) -> list[dict]:
    return metrics.rows([LatentsOptions(**options)], model)


def test_its_options_are_in_the_row_of_collapsed_latents_alone():
    """Else the mutual information of two thresholds would be two columns."""
    for row in rows_of(LinearGaussian().model(60), epsilon=0.2):
        settings = stored.settings(row)
        assert ("epsilon" in settings) == ("delta" in settings) == (settings["quantity"] == "collapsed")


def test_rows_from_before_there_were_collapsed_latents_are_measured_but_not_complete():
    rows = rows_of(LinearGaussian().model(60))
    old = [row for row in rows if row["quantity"] != "collapsed"]
    assert len(old) == len(rows) - 1
    asked = LatentsOptions()
    assert metrics.is_measured(asked, old)  # no reason to train a trial again
    assert not metrics.is_measured(asked, old, complete=True)  # rdbench evaluate adds what is lacking
    assert metrics.is_measured(asked, rows, complete=True)
    assert not metrics.is_measured(LatentsOptions(samples=2), old)


def test_another_threshold_is_another_measurement():
    rows = rows_of(LinearGaussian().model(60))
    other = LatentsOptions(epsilon=0.5)
    assert not metrics.is_measured(other, rows)
    answered = [row for row in rows if metrics.answers(other, row)]
    assert [row for row in rows if row not in answered] == [
        row for row in rows if row["quantity"] == "collapsed"
    ]


def test_a_rate_of_its_own_is_refused_where_the_model_says_gaussian():
    model = LinearGaussian().model(200)
    mean, log_var = (
        part.detach().double().numpy() for part in model.encode(model.test_images(torch.arange(200)))
    )
    rates = (mean**2 + np.exp(log_var) - 1 - log_var).sum(1) / 2
    estimates = rates + np.random.default_rng(0).normal(0, 0.5, 200)  # they differ by chance alone
    assert measured(dataclasses.replace(model, test_rates=estimates))
    wrong = dataclasses.replace(model, test_rates=rates + 0.5)
    with pytest.raises(ValueError, match=r"own rate is 4\.457\d* .* is 3\.957\d*: .*gaussian = False"):
        measured(wrong)
    (row,) = metrics.rows([LatentsOptions()], dataclasses.replace(model, lacks=frozenset(["gaussian"])))
    assert row["value"] is None
    assert "it has no diagonal Gaussian posterior with a standard normal prior" in row["settings"]


# How it is computed


@pytest.mark.parametrize("at_once", [1, 700, 10**9])
def test_it_does_not_depend_on_how_the_work_is_cut(at_once, monkeypatch):
    model = LinearGaussian().model(60)
    whole = measured(model, samples=3)
    monkeypatch.setattr(latents, "PAIRS_AT_ONCE", at_once)
    monkeypatch.setattr(latents, "ENCODED_AT_ONCE", 7)
    for quantity, value in measured(model, samples=3).items():
        assert value.value == pytest.approx(whole[quantity].value, rel=1e-9)


def test_it_takes_the_first_images_and_says_how_many_there_were():
    model = LinearGaussian().model(60)
    first = measured(model, images=20)
    alone = measured(dataclasses.replace(model, n_test=20), images=999)
    for quantity, value in first.items():
        assert value == alone[quantity]
        assert value.settings["n_images"] == 20
    assert first["rate"].value != measured(model)["rate"].value


def test_narrow_posteriors_lose_no_more_to_rounding_than_it_says():
    random = np.random.default_rng(0)
    mean, log_var = random.standard_normal((40, 4)) + 50, random.uniform(-24, -23, (40, 4))
    z = mean + random.standard_normal((40, 4)) * np.exp(log_var / 2)
    found = latents._log_densities(*(torch.from_numpy(part) for part in (z, mean, log_var))).numpy()
    exact = -(((z[:, None] - mean) ** 2 / np.exp(log_var)) + log_var).sum(2) / 2
    assert np.diag(found) == pytest.approx(np.diag(exact), abs=latents.ROUNDING)


@pytest.mark.parametrize(
    ("mean", "log_var", "reason"),
    [(0.0, -60.0, "too narrow"), (math.nan, 0.0, "not finite"), (0.0, -math.inf, "not finite")],
)
def test_what_cannot_be_computed_is_refused(mean, log_var, reason):
    means = torch.arange(6.0).reshape(3, 2)
    means[1, 1] += mean
    log_vars = torch.zeros(3, 2)
    log_vars[2, 0] = log_var
    with pytest.raises(ValueError, match=reason):
        measured(with_posteriors(means, log_vars))
