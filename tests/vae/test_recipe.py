"""Training and evaluation are the paper's recipe: held against a loop by hand, in float64.

The loop takes only the random numbers from rdbench. Networks and losses are those of reference_network.py,
AdamW, the learning rate and the batches are written here.
"""

import dataclasses
import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from reference_network import Affine, Reference, layers, loss, sse_and_rate, with_values_of
from torch import nn

from rdbench.datasets import Split
from rdbench.numerics.seeding import generator
from rdbench.spec.plan import Trial
from rdbench.spec.sweep import ModelSpec, TrainSpec, VariantSpec
from rdbench.trial.job import Outputs
from rdbench.trial.run import Hooks, run_pack, run_trial
from rdbench.vae import augment, evaluation, models
from rdbench.vae.training import train

CPU = torch.device("cpu")
BATCH = 60  # 256 training images: four batches an epoch, 16 images are left over
EPOCHS = 3


@pytest.fixture
def exact(data):
    """The digits in float64, mirrored at random, so that a last bit is not what a comparison finds."""
    splits = {
        name: Split(getattr(data, name).images.astype(np.float64) / 255, None) for name in ("train", "test")
    }
    return dataclasses.replace(data, augmentation="flip", **splits)


def recipe(trial: Trial, *, model=None, variant="bs_vae", beta=1.0, seed=0, protocol="clean", **changes):
    settings = trial.train.model_copy(update={"epochs": EPOCHS, "batch_size": BATCH, **changes})
    update = {"train": settings, "variant": VariantSpec(name=variant), "beta": beta, "seed": seed}
    return trial.model_copy(update={**update, "protocol": protocol, "model": model or trial.model})


LINEAR = ModelSpec(name="linear", latent=4, channels=())


def build(trial, data):
    """rdbench's model and the reference with the same values, both in float64."""
    model = models.build(trial, data.shape, len(data.train.images)).double()
    if trial.model.name == "linear":
        return model, with_values_of(model.network, Affine(data.shape, trial.model.latent).double())
    widths = tuple(trial.model.channels)
    return model, with_values_of(model.network, Reference(data.shape, trial.model.latent, widths).double())


def mirrored(images: np.ndarray, which: np.ndarray) -> np.ndarray:
    return np.where(which.reshape(-1, 1, 1, 1) > 0, images[..., ::-1], images)


class AdamW:
    """Loshchilov & Hutter, "Decoupled weight decay regularization", ICLR 2019, algorithm 2, in numpy."""

    def __init__(self, values, weight_decay):
        self.values, self.weight_decay = values, weight_decay
        self.first = [np.zeros(each.shape) for each in values]
        self.second = [np.zeros(each.shape) for each in values]
        self.steps = 0

    def step(self, gradients, lr):
        self.steps += 1
        for value, gradient, m, v in zip(self.values, gradients, self.first, self.second, strict=True):
            m[...] = 0.9 * m + 0.1 * gradient
            v[...] = 0.999 * v + 0.001 * gradient**2
            m_hat, v_hat = m / (1 - 0.9**self.steps), v / (1 - 0.999**self.steps)
            decayed = value - lr * self.weight_decay * value
            value[...] = decayed - lr * m_hat / (np.sqrt(v_hat) + 1e-8)


def objective_of(trial, n):
    return lambda sse, rate: loss(trial.variant.name, sse, rate, trial.beta, n)


def trained_by_hand(trial, data, reference, objective=None):
    """Train the reference in place; return (loss, rate, sse, lr) of each epoch."""
    objective = objective or objective_of(trial, math.prod(data.shape))
    images, settings, latent = data.train.images, trial.train, trial.model.latent
    a_epoch = len(images) // settings.batch_size
    first_period = settings.epochs * a_epoch // 2 + 1
    order, noise, flips = (generator(trial.seed, purpose) for purpose in ("order", "noise", "augment"))
    parameters = list(reference.parameters())
    optimizer = AdamW([value.detach().numpy() for value in parameters], settings.weight_decay)
    reference.train()
    history, since_restart = [], 0
    for _ in range(settings.epochs):
        count = a_epoch * settings.batch_size
        shuffled = torch.randperm(len(images), generator=order).numpy()[:count]
        every_noise = torch.randn(count, latent, generator=noise).double()
        flipped = augment.draw("flip" if settings.augment else "none", count, *data.shape[1:], flips).numpy()
        sums = np.zeros(3)
        for step in range(a_epoch):
            part = slice(step * settings.batch_size, (step + 1) * settings.batch_size)
            batch = images[shuffled[part]]
            if settings.augment:
                batch = mirrored(batch, flipped[part])
            sse, rate = sse_and_rate(reference, torch.from_numpy(batch.copy()), every_noise[part])
            losses = objective(sse, rate)
            gradients = torch.autograd.grad(losses.sum() / settings.batch_size, parameters)
            lr = settings.lr / 2 * (1 + math.cos(math.pi * since_restart / first_period))
            optimizer.step([each.numpy() for each in gradients], lr)
            since_restart = (since_restart + 1) % first_period
            sums += [each.mean().item() / a_epoch for each in (losses, rate, sse)]
        history.append((*sums, lr))
    return history


def compared(network, reference):
    """Pairs of values of both, but for those that rounding decides: a bias in front of BatchNorm has no
    effect on the loss, so its gradient is zero up to rounding, and its drift is in the running mean.
    """
    ours, theirs = layers(network), layers(reference)
    after = [*ours[1:], None]
    for own, truth, follows in zip(ours, theirs, after, strict=True):
        free = isinstance(follows, nn.BatchNorm1d | nn.BatchNorm2d)
        for name, value in own.state_dict().items():
            if name != "running_mean" and not (free and name == "bias"):
                yield value, truth.state_dict()[name]
    for name, value in reference.named_parameters(recurse=False):
        yield network.get_parameter(name), value


MODELS = pytest.mark.parametrize("model", [None, LINEAR], ids=["conv", "linear"])


@MODELS
@pytest.mark.parametrize(
    ("variant", "beta", "changes"),
    [
        ("beta_vae", 4.0, {"lr": 0.25}),  # at a high rate the default's weight decay shows
        ("bs_vae", 0.5, {"lr": 0.01, "weight_decay": 2.0}),
        ("bs_vae", 1.0, {"augment": False, "weight_decay": 0.0}),
    ],
)
def test_training_is_the_loop_by_hand(trial, exact, model, variant, beta, changes):
    trial = recipe(trial, model=model, variant=variant, beta=beta, seed=3, **changes)
    network, reference = build(trial, exact)
    history = []
    assert train([network], [trial], exact, CPU, lambda member, epoch: history.append(epoch)) == [None]
    expected = trained_by_hand(trial, exact, reference)
    got = [(epoch.loss, epoch.rate, epoch.sse, epoch.lr) for epoch in history]
    np.testing.assert_allclose(got, expected, rtol=1e-8)
    for value, truth in compared(network.network, reference):
        torch.testing.assert_close(value, truth, rtol=0, atol=1e-7)


def measured_by_hand(trial, data, split, reference, batch):
    """Squared error and rate of the images of a split: of each, or as protocol paper has it."""
    images, paper = getattr(data, split).images, trial.protocol == "paper"
    noise, flips = (generator(trial.seed, f"evaluate/{purpose}/{split}") for purpose in ("noise", "augment"))
    found = []
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        if paper and len(part) < batch:
            break  # the last partial batch is dropped
        if paper and trial.train.augment:
            part = mirrored(part, augment.draw("flip", len(part), *data.shape[1:], flips).numpy())
        drawn = torch.randn(len(part), trial.model.latent, generator=noise)
        given = torch.from_numpy(np.ascontiguousarray(part))
        found.append(torch.stack(sse_and_rate(reference, given, drawn.to(given.dtype))))
    return torch.cat(found, 1).numpy()


@MODELS
@pytest.mark.parametrize("protocol", ["clean", "paper"])
@pytest.mark.parametrize("augmented", [True, False], ids=["augmented", "plain"])
def test_evaluation_after_training_is_by_running_statistics_under_the_protocol(
    trial, exact, model, protocol, augmented, monkeypatch
):
    monkeypatch.setattr(evaluation, "EVALUATION_BATCH", 70)  # also clean takes several
    trial = recipe(trial, model=model, protocol=protocol, lr=0.01, augment=augmented)
    network, reference = build(trial, exact)
    train([network], [trial], exact, CPU)  # and nothing between training and measuring
    trained_by_hand(trial, exact, reference)
    reference.eval()
    counts = {"clean": {"train": 256, "test": 100}, "paper": {"train": 240, "test": 60}}[protocol]
    for split, count in counts.items():
        got = evaluation.measure(network, trial, exact, split, CPU)
        with torch.no_grad():
            size = BATCH if protocol == "paper" else 70
            sse, rate = measured_by_hand(trial, exact, split, reference, size)
        assert len(got.sse) == count
        np.testing.assert_allclose(got.sse, sse, rtol=1e-5)
        np.testing.assert_allclose(got.rate, rate, rtol=1e-5)


@pytest.mark.parametrize("protocol", ["clean", "paper"])
def test_a_model_of_its_own_trains_and_is_measured_as_the_loop_by_hand(trial, exact, protocol):
    """sigma-VAE: ln sigma is a parameter, of ten times the rate."""
    trial = recipe(trial, variant="sigma_vae", beta=4.0, lr=0.01, weight_decay=2.0, protocol=protocol)
    model = models.build(trial, exact.shape, len(exact.train.images)).double()
    with torch.no_grad():
        model.slow_log_sigma.fill_(0.03)
    _, reference = build(trial, exact)
    reference.tenth = nn.Parameter(torch.tensor(0.03, dtype=torch.float64))
    n = math.prod(exact.shape)

    def distortion(sse):
        variance = torch.exp(10 * reference.tenth) ** 2
        return sse / (2 * variance) + n / 2 * torch.log(2 * math.pi * variance)

    history = []
    train([model], [trial], exact, CPU, lambda member, epoch: history.append(epoch))
    expected = trained_by_hand(trial, exact, reference, lambda sse, rate: distortion(sse) + 4.0 * rate)
    got = [(epoch.loss, epoch.rate, epoch.sse, epoch.lr) for epoch in history]
    np.testing.assert_allclose(got, expected, rtol=1e-8)
    assert abs(model.slow_log_sigma.item() - 0.03) > 0.01
    assert model.slow_log_sigma.item() == pytest.approx(reference.tenth.item(), rel=1e-8)
    reference.eval()
    for split in ("train", "test"):
        got = evaluation.measure(model, trial, exact, split, CPU)
        with torch.no_grad():
            size = BATCH if protocol == "paper" else 500
            sse, rate = measured_by_hand(trial, exact, split, reference, size)
            own = distortion(torch.from_numpy(sse)).numpy()
        np.testing.assert_allclose(got.sse, sse, rtol=1e-5)
        np.testing.assert_allclose(got.rate, rate, rtol=1e-5)
        np.testing.assert_allclose(got.distortion, own, rtol=1e-5)


def test_a_model_with_nothing_of_its_own_is_beta_vae_by_hand(trial, exact):
    trial = recipe(trial, variant="beta_vae", beta=4.0, lr=0.01)
    model = models.Model(models.about(trial, exact.shape, len(exact.train.images))).double()
    _, reference = build(trial, exact)
    history = []
    train([model], [trial], exact, CPU, lambda member, epoch: history.append(epoch))
    expected = trained_by_hand(trial, exact, reference)
    got = [(epoch.loss, epoch.rate, epoch.sse, epoch.lr) for epoch in history]
    np.testing.assert_allclose(got, expected, rtol=1e-8)
    for value, truth in compared(model.network, reference):
        torch.testing.assert_close(value, truth, rtol=0, atol=1e-7)


@pytest.mark.parametrize("protocol", ["clean", "paper"])
def test_members_of_a_pack_are_each_the_loop_by_hand(trial, exact, protocol):
    asked = [("beta_vae", 4.0, 0), ("bs_vae", 0.5, 1), ("bs_vae", 2.0, 0), ("beta_vae", 0.25, 1)]
    pack = [
        recipe(trial, variant=variant, beta=beta, seed=seed, protocol=protocol)
        for variant, beta, seed in asked
    ]
    built = [models.build(each, exact.shape, len(exact.train.images)).double() for each in pack]
    history = [[] for _ in pack]
    train(built, pack, exact, CPU, lambda member, epoch: history[member].append(epoch))
    for member, each in enumerate(pack):
        _, reference = build(each, exact)
        expected = trained_by_hand(each, exact, reference)
        found = [(epoch.loss, epoch.rate, epoch.sse, epoch.lr) for epoch in history[member]]
        np.testing.assert_allclose(found, expected, rtol=1e-8)
        reference.eval()
        for split in ("train", "test"):
            size = BATCH if protocol == "paper" else 500
            with torch.no_grad():
                sse, rate = measured_by_hand(each, exact, split, reference, size)
            got = evaluation.measure(built[member], each, exact, split, CPU)
            np.testing.assert_allclose(got.sse, sse, rtol=1e-5)
            np.testing.assert_allclose(got.rate, rate, rtol=1e-5)


@pytest.mark.parametrize(
    ("variant", "protocol", "precision"),
    [
        ("bs_vae", "clean", "float32"),
        ("bs_vae", "paper", "float32"),
        ("sigma_vae", "clean", "float32"),  # a model of its own
        ("sigma_vae", "paper", "float32"),
        ("bs_vae", "clean", "bf16"),  # is evaluated in float32
    ],
)
def test_the_points_of_a_trial_are_the_means_of_its_network_by_running_statistics(
    trial, data, variant, protocol, precision
):
    trial = recipe(trial, protocol=protocol, variant=variant, lr=0.01, precision=precision)
    data = dataclasses.replace(data, augmentation="flip")
    kept = []
    tables = run_trial(
        trial, data, CPU, outputs=Outputs(per_image=True), on_network=lambda trial, model: kept.append(model)
    )
    reference = Reference(data.shape, trial.model.latent, tuple(trial.model.channels))
    reference = with_values_of(kept[0].network, reference).eval()
    splits = {
        name: Split((getattr(data, name).images / 255).astype(np.float32), None) for name in ("train", "test")
    }
    as_float = dataclasses.replace(data, **splits)
    for split in splits:
        with torch.no_grad():
            size = BATCH if protocol == "paper" else 500
            sse, rate = measured_by_hand(trial, as_float, split, reference, size)
        rows = [row for row in tables["points"] if row["split"] == split]
        assert {row["n_images"] for row in rows} == {len(sse)}
        native = {"bs_vae": "optimal", "sigma_vae": "own"}[variant]
        assert [row["reading"] for row in rows if row["native"]] == [native]
        for row in rows:
            assert row["sse"] == pytest.approx(sse.mean(), rel=1e-4)
            assert row["rate"] == pytest.approx(rate.mean(), rel=1e-4)
    per_image = tables["per_image"]  # of the test split, the last one
    assert [row["index"] for row in per_image] == list(range(len(sse)))
    np.testing.assert_allclose([row["sse"] for row in per_image], sse, rtol=1e-3)
    np.testing.assert_allclose([row["rate"] for row in per_image], rate, rtol=1e-3)


def pixels_of(rows, kind):
    pictures = [Image.open(io.BytesIO(row["png"])) for row in rows if row["kind"] == kind]
    return np.stack([np.asarray(picture).astype(int) for picture in pictures])


@pytest.mark.parametrize("fuse", [True, False])
def test_points_and_pictures_of_a_pack_are_of_the_network_that_is_kept_of_each_member(trial, data, fuse):
    pack = [
        recipe(trial, variant=name, lr=0.01, seed=seed) for name, seed in (("bs_vae", 0), ("beta_vae", 1))
    ]
    kept = []
    hooks = Hooks(on_network=lambda trial, model: kept.append(model))
    packs = [pack] if fuse else [[trial] for trial in pack]
    tables = [rows for trials in packs for rows in run_pack(trials, data, CPU, hooks=hooks)]
    test = torch.from_numpy(data.test.images.copy()).float() / 255
    originals = test[:16]
    for each, own, model in zip(pack, tables, kept, strict=True):
        assert not any(module.training for module in model.network.modules())
        reference = Reference(data.shape, each.model.latent, tuple(each.model.channels))
        reference = with_values_of(model.network, reference).eval()
        random = generator(each.seed, "evaluate/pictures")
        noise, prior = (torch.randn(16, each.model.latent, generator=random) for _ in range(2))
        (row,) = (row for row in own["points"] if (row["split"], row["reading"]) == ("test", "half"))
        evaluated = torch.randn(100, each.model.latent, generator=generator(each.seed, "evaluate/noise/test"))
        with torch.no_grad():
            sse, rate = sse_and_rate(reference, test, evaluated)
            assert row["sse"] == pytest.approx(sse.mean().item(), rel=1e-4)
            assert row["rate"] == pytest.approx(rate.mean().item(), rel=1e-4)
            expected = {"original": originals, "reconstruction": reference(originals, noise)[0]}
            expected["sample"] = reference.decode(prior)
        for kind, images in expected.items():
            levels = images[:, 0].clamp(0, 1).numpy() * 255
            assert np.abs(pixels_of(own["images"], kind) - levels).max() <= 0.51, kind


def test_bf16_rounds_what_passes_between_layers_and_nothing_that_is_kept(trial, data):
    trial = recipe(trial, precision="bf16")
    model = models.build(trial, data.shape, len(data.train.images))
    network, passed, gradients = model.network, {}, {}
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            layer.register_forward_hook(lambda layer, x, y, name=name: passed.update({name: y.dtype}))
    for value in network.parameters():
        value.register_post_accumulate_grad_hook(lambda value: gradients.update({value: value.grad.dtype}))
    train([model], [trial], data, CPU)
    assert passed.pop("posterior") == passed.pop("output") == torch.float32
    assert set(passed.values()) == {torch.bfloat16}
    assert {value.dtype for value in network.parameters()} == {torch.float32}
    assert gradients == dict.fromkeys(network.parameters(), torch.float32)


def test_the_recipe_that_is_trained_by_default_is_the_papers():
    assert TrainSpec() == TrainSpec(
        epochs=50, batch_size=512, lr=1e-3, weight_decay=1e-5, augment=True, precision="float32"
    )
