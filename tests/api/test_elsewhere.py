"""A network that was trained elsewhere: measured as a sweep's are, and shown beside them."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import rdbench
from rdbench import datasets
from rdbench.errors import ResultsError, SpecError
from rdbench.metrics import stored
from rdbench.metrics.iwae import IwaeOptions, scored
from rdbench.report.contents import contents

SETTINGS = {
    "name": "sweep",
    "dataset": {"name": "digits", "train_images": 256, "test_images": 100},
    "variants": ["linear_coder"],
    "beta": [0.1],
    "train": {"batch_size": 64},
    "model": {"name": "linear", "latent": 8},
}
NUMBERS = [
    "split",
    "reading",
    "n_images",
    "rate",
    "rate_se",
    "distortion",
    "elbo",
    "elbo_se",
    "sse",
    "psnr_of_mse",
]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep of one network, solved in closed form, and that network."""
    results = rdbench.run(
        rdbench.Sweep(**SETTINGS),
        tmp_path_factory.mktemp("sweep") / "r",
        keep_weights=True,
        scheduler="serial",
    )
    return results, rdbench.load_model(results, "linear_coder beta 0.1", device="cpu")


class Forward(nn.Module):
    """A VAE as most are written: reconstruction, mean and log variance, from images of other ranges too."""

    def __init__(self, network, change=lambda images, out, mean, log_var: (out, mean, log_var), noise=1.0):
        super().__init__()
        self.network, self.change, self.noise = network, change, noise
        self.dropout, self.norm = nn.Dropout(0.5), nn.BatchNorm2d(1)

    def forward(self, images):
        self.norm(images[:, :1] if images.ndim == 4 else images)  # in training mode it would count this batch
        mean, log_var = self.network.encode(self.dropout(images))
        latents = mean + self.noise * torch.randn_like(mean) * (log_var / 2).exp()
        return self.change(images, self.network.decode(latents), mean, log_var)


def test_encoder_and_decoder_give_the_very_numbers_of_the_sweep(swept, tmp_path):
    results, model = swept
    mine = rdbench.evaluate(
        (model.encode, model.decode), results, name="mine", beta=0.1, results=tmp_path / "m"
    )
    pd.testing.assert_frame_equal(mine.points[NUMBERS], results.points[NUMBERS])
    assert {"original", "reconstruction", "sample"} == set(mine.images["kind"])


def test_a_module_is_measured_by_its_forward_pass_in_evaluation_mode_and_left_as_it_was(swept, tmp_path):
    results, model = swept
    module = Forward(model.network).train()
    mine = rdbench.evaluate(module, results, name="mine", beta=0.1, results=tmp_path / "m")
    assert module.training
    assert module.dropout.training
    assert int(module.norm.num_batches_tracked) == 0
    rates = [one.points.query("split == 'test'")["rate"].iloc[0] for one in (mine, results)]
    assert rates[0] == pytest.approx(rates[1], rel=1e-6)
    psnr = [one.points.query("split == 'test'")["psnr_of_mse"].iloc[0] for one in (mine, results)]
    assert psnr[0] != psnr[1]  # other noise
    assert psnr[0] == pytest.approx(psnr[1], abs=0.5)
    again = rdbench.evaluate(module, results, name="mine", beta=0.1, results=tmp_path / "again")
    pd.testing.assert_frame_equal(mine.points[NUMBERS], again.points[NUMBERS])


def test_a_curve_of_several_networks_and_seeds_with_metrics(swept, tmp_path):
    results, model = swept
    pair = (model.encode, model.decode)
    mine = rdbench.evaluate(
        {0.1: [pair, pair], 1: [pair, pair]},
        results,
        name="mine",
        results=tmp_path / "m",
        metrics=["latents"],
    )
    assert set(zip(mine.trials["beta"], mine.trials["seed"], strict=True)) == {
        (b, s) for b in (0.1, 1) for s in (0, 1)
    }
    assert set(mine.metrics["name"]) == {"latents"}


def test_it_shares_a_section_with_the_sweep_on_the_page_and_says_what_it_is(swept, tmp_path):
    results, model = swept
    pair, dataset = (model.encode, model.decode), SETTINGS["dataset"]  # by itself: the recipe is not known
    mine = rdbench.evaluate(pair, dataset, name="mine", results=tmp_path / "m")
    assert mine.sweep.train != results.sweep.train
    (section,) = contents([results.root, mine.root]).sections
    assert len(section.variants) == 2
    (label,) = [name for name in section.variants if name.startswith("mine")]
    assert "trained=elsewhere" in label
    settings = next(table for table in section.tables if table.name == "settings")
    assert "Of networks trained elsewhere" in settings.caption
    page = rdbench.write_report([results, mine], tmp_path / "page.html")
    assert "trained=elsewhere" in page.read_text()
    (alone,) = contents([mine.root]).sections
    (settings,) = [table for table in alone.tables if table.name == "settings"]
    assert not [row[0].text for row in settings.rows if row[0].text.startswith("train.")]


def test_it_joins_no_section_of_other_data(swept, tmp_path):
    results, model = swept
    other = {"name": "digits", "train_images": 200, "test_images": 100}
    mine = rdbench.evaluate((model.encode, model.decode), other, name="mine", results=tmp_path / "m")
    assert len(contents([results.root, mine.root]).sections) == 2


class Scaled(nn.Module):
    """A network for images in another range."""

    def __init__(self, network, low, high):
        super().__init__()
        self.network, self.low, self.high = network, low, high

    def encode(self, images):
        return self.network.encode((images - self.low) / (self.high - self.low))

    def decode(self, latents):
        return self.low + (self.high - self.low) * self.network.decode(latents)


def flat(images, out, mean, log_var):
    return out.flatten(1), mean, log_var


WRONG = {
    "no pair": (lambda net: 3, "int is no network; give a module whose forward"),
    "reconstruction only": (
        lambda net: Forward(net, lambda i, o, m, v: o),
        "forward returned a tensor of shape",
    ),
    "flat": (lambda net: Forward(net, flat), r"the reconstruction is a tensor of shape \(64, 64\)"),
    "order": (lambda net: Forward(net, lambda i, o, m, v: (m, v, o)), "mean and log_var have shapes"),
    "[-1, 1]": (
        lambda net: Forward(Scaled(net, -1, 1)),
        r"give value_range=\(-1, 1\)",
    ),
    "[0, 255]": (
        lambda net: Forward(Scaled(net, 0, 255)),
        r"give value_range=\(0, 255\)",
    ),
    "logits": (
        lambda net: Forward(net, lambda i, o, m, v: (o.clamp(0.001, 0.999).logit(), m, v)),
        "its output were logits; apply a sigmoid",
    ),
    "deviation": (
        lambda net: Forward(net, lambda i, o, m, v: (o, m, (v / 2).exp() + 0.1)),
        "standard deviation",
    ),
    "mean": (lambda net: Forward(net, noise=0.0), "forward decodes the posterior's mean"),
    "not finite": (lambda net: Forward(net, lambda i, o, m, v: (o / 0, m, v)), "not finite"),
    "images": (lambda net: nn.Linear(784, 3), r"does not take images of 1x8x8.*RuntimeError"),
    "encode": (lambda net: (lambda images: images, net.decode), r"encode returned a tensor of shape"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_network_that_does_not_fit_is_one_line(wrong, swept, tmp_path):
    results, model = swept
    build, says = WRONG[wrong]
    with pytest.raises(SpecError, match=says) as raised:
        rdbench.evaluate(build(model.network), results, name="mine", results=tmp_path / "m")
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith("rdbench.evaluate: mine: ")
    assert not (tmp_path / "m").exists()


def test_a_network_of_another_range_is_measured_in_ours(swept, tmp_path):
    results, model = swept
    pair = Scaled(model.network, -1, 1)
    mine = rdbench.evaluate(pair, results, name="mine", results=tmp_path / "m", value_range=(-1, 1))
    assert mine.points["sse"].to_numpy() == pytest.approx(results.points["sse"].to_numpy(), rel=1e-4)


def test_latents_of_any_shape_are_taken(swept, tmp_path):
    results, model = swept

    def encode(images):
        return [part.view(-1, 2, 2, 2) for part in model.encode(images)]

    pair = encode, lambda latents: model.decode(latents.view(-1, 8))
    mine = rdbench.evaluate(pair, results, name="mine", beta=0.1, results=tmp_path / "m")
    pd.testing.assert_frame_equal(mine.points[NUMBERS], results.points[NUMBERS])


def test_functions_have_the_modules_they_close_over_evaluated(swept, tmp_path):
    results, model = swept
    dropout = nn.Dropout(0.5)
    pair = (lambda images: model.encode(dropout(images))), model.decode
    mine = rdbench.evaluate(pair, results, name="mine", beta=0.1, results=tmp_path / "m")
    assert dropout.training
    pd.testing.assert_frame_equal(mine.points[NUMBERS], results.points[NUMBERS])


def test_other_networks_of_the_name_are_others_and_the_same_are_not_measured_twice(swept, tmp_path):
    results, model = swept
    root = tmp_path / "m"
    first = rdbench.evaluate(Forward(model.network), results, name="mine", results=root)
    again = rdbench.evaluate(Forward(model.network), results, name="mine", results=root)
    assert first.trials["started"].tolist() == again.trials["started"].tolist()
    other = rdbench.load_model(results, "linear_coder beta 0.1", device="cpu").network
    with torch.no_grad():
        next(other.parameters()).mul_(1.01)
    both = rdbench.evaluate(Forward(other), results, name="mine", results=root)
    assert len(both.trials) == 2


@pytest.mark.parametrize(
    ("keywords", "says"),
    [
        ({"metric": ["iwae"]}, "metric: unknown keyword"),
        ({"value_range": (1, 0)}, "value_range: .* is no range"),
        ({"name": "a b"}, "rdbench.Sweep: name"),
        ({"protocol": "paper"}, "protocol: the results to stand beside are of protocol clean"),
    ],
)
def test_a_wrong_keyword_is_one_line(keywords, says, swept, tmp_path):
    results, model = swept
    with pytest.raises(SpecError, match=says):
        rdbench.evaluate(
            (model.encode, model.decode), results, **{"name": "mine", "results": tmp_path / "m"} | keywords
        )


def test_metrics_of_a_forward_pass_alone_and_a_sweeps_own_folder_are_refused(swept, tmp_path):
    results, model = swept
    with pytest.raises(SpecError, match="they need encoder and decoder apart"):
        rdbench.evaluate(
            Forward(model.network), results, name="m", results=tmp_path / "m", metrics=["latents"]
        )
    with pytest.raises(ResultsError, match="holds the results of a sweep"):
        rdbench.evaluate((model.encode, model.decode), results, name="m", results=results.root)


# A decoder alone

AIS = {"name": "ais", "images": 30, "levels": 200, "chains": 16, "leapfrog": 3, "simulated": 5}


def test_a_decoder_alone_has_the_likelihood_of_its_own_sigma_and_no_gap(swept, tmp_path):
    """Of a linear decoder x is Gaussian, so both are known."""
    results, model = swept
    mine = rdbench.evaluate(
        (None, model.decode), results, name="generator", latent=8, results=tmp_path / "m", metrics=[AIS]
    )
    rows = [(stored.settings(row), row["value"]) for row in mine.metrics.to_dict("records")]
    found = {settings["quantity"]: (settings, value) for settings, value in rows}
    data = datasets.load(results.sweep.dataset, tmp_path)
    train, test = (
        torch.from_numpy(split.images.reshape(-1, 64).copy()).double() / 255
        for split in (data.train, data.test)
    )
    with torch.no_grad():
        mean = model.decode(torch.zeros(1, 8)).double().flatten(1)
        weights = model.decode(torch.eye(8)).double().flatten(1) - mean

    def log_p(images, variance):
        covariance = weights.T @ weights + variance * torch.eye(64, dtype=torch.float64)
        return float(torch.distributions.MultivariateNormal(mean[0], covariance).log_prob(images).mean())

    settings, value = found["log_likelihood"]
    likeliest = max(np.geomspace(1e-3, 1, 300), key=lambda variance: log_p(train, variance))
    assert settings["variance"] == pytest.approx(likeliest, rel=0.15)  # it saw 50 of the training images
    chosen = test[scored(IwaeOptions(images=30), len(test))]
    assert value == pytest.approx(log_p(chosen, settings["variance"]), abs=0.3)
    assert found["rate"][1] > 0
    assert np.isnan(found["amortisation_gap"][1])
    assert "it has no encoder" in found["amortisation_gap"][0]["error"]
    assert (mine.points["rate"] == 0).all()


def test_what_a_decoder_alone_cannot_have_is_undefined(swept, tmp_path):
    results, model = swept
    mine = rdbench.evaluate(
        (None, model.decode), results, name="generator", latent=8, results=tmp_path / "m", metrics=["iwae"]
    )
    assert mine.metrics["value"].isna().all()
    assert "it has no encoder" in mine.metrics["settings"].iloc[0]


@pytest.mark.parametrize(
    ("network", "options", "words"),
    [
        ((None, "decode"), {}, "a decoder alone needs latent="),
        ((None, "decode"), {"latent": 0}, "a decoder alone needs latent=.* it is 0"),
        (("encode", "decode"), {"latent": 8}, "the network's encoder tells it; leave the keyword out"),
        ((None, "decode"), {"latent": 7}, "the network does not take"),
        ((None, None), {"latent": 8}, "is no network"),
    ],
)
def test_a_decoder_alone_is_said_what_it_lacks(swept, tmp_path, network, options, words):
    results, model = swept
    pair = tuple(getattr(model, part) if part else None for part in network)
    with pytest.raises(SpecError, match=words):
        rdbench.evaluate(pair, results, name="mine", results=tmp_path / "m", **options)
