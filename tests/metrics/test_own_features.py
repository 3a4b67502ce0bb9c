"""Feature networks of the user's own: code, modules and TorchScript, in every metric that compares images."""

import json
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from broken_plugins import UNREADABLE_FEATURES, UNUSABLE_FEATURES
from own_code import rows_of, sweep_of

from rdbench import metrics
from rdbench.commands import evaluate, preflight
from rdbench.commands.preflight import unmeasurable
from rdbench.datasets import Dataset, Split
from rdbench.errors import SpecError
from rdbench.metrics import is_measured
from rdbench.metrics.base import TrainedModel
from rdbench.metrics.features import opening
from rdbench.metrics.kid import KidOptions
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import plan
from rdbench.trial.job import Job, Outputs
from rdbench.trial.worker import work

# TorchScript itself is on its way out, and still what published feature networks come as.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
CPU = torch.device("cpu")
LINEAR = """
import torch

WEIGHT = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))

def embed(images):
    return images.flatten(1) @ WEIGHT

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(WEIGHT.clone())

    def forward(self, images):
        return images.flatten(1) @ self.weight

def make(*, scale: float = 1.0):
    net = Net()
    net.weight.data *= scale
    return net

net = Net()
"""


@pytest.fixture
def measured(tmp_path, data):
    """Measure metrics of a source on a trial; return their rows."""
    return partial(rows_of, tmp_path, data)


def script(folder):
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4, bias=False))
    module[1].weight.data = torch.randn(64, 4, generator=torch.Generator().manual_seed(0)).T.contiguous()
    torch.jit.trace(module, torch.zeros(2, 1, 8, 8)).save(str(folder / "net.pt"))


def test_every_form_of_a_network_measures_the_distance_that_is_computed_by_hand(measured, tmp_path):
    script(tmp_path)
    by_hand = (
        LINEAR
        + """
import numpy as np, scipy.linalg

def mine(samples, model):
    real = embed(torch.tensor(model.data.train.images).float() / 255).double().numpy()
    fake = embed((samples.clamp(0, 1) * 255).round() / 255).double().numpy()
    a, b = np.cov(fake.T), np.cov(real.T)
    root = scipy.linalg.sqrtm(a @ b).real
    return ((fake.mean(0) - real.mean(0)) ** 2).sum() + np.trace(a + b - 2 * root)
"""
    )
    forms = ("mine.py:embed", "mine.py:Net", "mine.py:make", "mine.py:net", "net.pt")
    asked = [f"{{name: fd, features: ./{form}, samples: 3000}}" for form in forms]
    hand, *rows = measured(by_hand, "{name: ./mine.py:mine, samples: 3000}", *asked)
    assert [row["value"] for row in rows] == pytest.approx([hand["value"]] * len(forms), rel=1e-4)
    assert all(row["standard_error"] > 0 for row in rows)
    assert rows[0]["settings"]["features"].startswith("embed ")
    assert len({row["feature_hash"] for row in rows}) == len(forms)


def test_kid_and_prdc_look_through_it_too_and_options_reach_it(measured):
    features = "features: {name: ./mine.py:make, scale: 2}, samples: 200"
    double = f"{{name: fd, {features}}}"
    rows = measured(
        LINEAR,
        double,
        f"{{name: kid, {features}}}",
        f"{{name: prdc, {features}}}",
        double.replace("2}", "1}"),
    )
    assert [row["name"] for row in rows] == ["fd", "kid", *["prdc"] * 4, "fd"]
    assert rows[0]["value"] == pytest.approx(4 * rows[-1]["value"], rel=1e-3)
    assert rows[1]["settings"]["features"] == rows[0]["settings"]["features"]
    assert "make(scale=2.0) " in rows[0]["settings"]["features"]


def test_a_distance_at_infinity_does_not_depend_on_the_number_of_samples(tmp_path):
    """Of samples that are distributed as the images are: the distance is nothing but its bias."""
    draws = np.random.default_rng(0)
    images = draws.integers(0, 256, (40_000, 1, 4, 4), dtype=np.uint8)
    data = Dataset("noise", Split(images, None), Split(images[:9], None), "noise", "none", (1, 4, 4))
    model = TrainedModel(
        encode=None, decode=lambda z: z.view(-1, 1, 4, 4), latent=16, data=data, test_images=None, n_test=9,
        test_sse=np.ones(9), beta=1.0, seed=0, protocol="clean", device=CPU,
        prior=lambda count, generator: torch.rand(count, 16, generator=generator),
    )  # fmt: skip
    (tmp_path / "mine.py").write_text("def embed(images):\n    return images.flatten(1)\n")

    def distance(name, count):
        (asked,) = sweep_of(
            tmp_path, f"{{name: {name}, features: ./mine.py:embed, samples: {count}}}"
        ).metrics
        (value,) = metrics.get(name).compute(asked, model)
        return value.value

    few, many = distance("fd", 500), distance("fd", 8000)
    assert few > 5 * many > 0
    at_infinity = distance("fd_infinity", 500), distance("fd_infinity", 8000)
    assert abs(at_infinity[0]) < 0.2 * few
    assert abs(at_infinity[1]) < 0.5 * many


def test_torchscript_is_given_images_as_its_options_say(tmp_path):
    class Mean(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            size = torch.full_like(images[:, :1, 0, 0], images.shape[2])
            return torch.cat([images.mean((2, 3)), size], 1)

    torch.jit.script(Mean()).save(str(tmp_path / "mean.pt"))
    options = "{name: ./mean.pt, resize: 32, channels: 3, normalize: imagenet}"
    (asked,) = sweep_of(tmp_path, f"{{name: fd, features: {options}}}").metrics
    features = opening.load(asked.features, (1, 8, 8), CPU)
    given = features.extract(torch.full((2, 1, 8, 8), 51, dtype=torch.uint8))
    expected = [
        (0.2 - mean) / std for mean, std in zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)
    ]
    assert given.tolist() == [pytest.approx([*expected, 32.0], rel=1e-4)] * 2
    for written, says in (
        ("resize: big", 'resize: expected a whole number, got "big"'),
        ("size: 3", "size: unknown key; feature network mean.pt: did you mean 'resize'?"),
        ("normalize: l2", "is out of range; use one of none, half, imagenet"),
    ):
        with pytest.raises(SpecError) as caught:
            sweep_of(tmp_path, f"{{name: fd, features: {{name: ./mean.pt, {written}}}}}")
        assert says in str(caught.value)
    (tmp_path / "mean.pt").write_bytes(b"others")
    with pytest.raises(SpecError, match=r"mean\.pt was changed since the sweep was read"):
        opening.load(asked.features, (3, 8, 8), CPU)
    (other,) = sweep_of(tmp_path, f"{{name: fd, features: {options}}}").metrics
    with pytest.raises(SpecError, match=r"mean\.pt holds no TorchScript module"):
        opening.load(other.features, (1, 8, 8), CPU)


@pytest.mark.parametrize("mistake", UNREADABLE_FEATURES.values(), ids=UNREADABLE_FEATURES.keys())
def test_a_mistake_that_can_be_read_is_one_line_as_the_sweep_file_is_read(mistake, tmp_path):
    with pytest.raises(SpecError) as caught:
        sweep_of(tmp_path, f"{{name: fd, features: {mistake.written(tmp_path)}}}")
    mistake.is_told_by(str(caught.value), "metrics[0].features: ")


@pytest.mark.parametrize("mistake", UNUSABLE_FEATURES.values(), ids=UNUSABLE_FEATURES.keys())
def test_a_network_that_gives_no_vectors_is_one_line_before_anything_is_trained(mistake, tmp_path, data):
    (asked,) = sweep_of(tmp_path, f"{{name: fd, features: {mistake.written(tmp_path)}}}").metrics
    (line,) = unmeasurable([asked], data, "clean", open_weights=True).values()
    mistake.is_told_by(line, "fd: ")


def test_others_are_refused_as_before(tmp_path):
    (tmp_path / "mine.py").write_text(LINEAR)
    for written, says in (
        ("features: incepton", "'incepton' is not known here; did you mean 'inception'?"),
        ("features: ./none.pt", "there is no file"),
        ("features: ./none.py:embed", "a feature network of your own is named path/to/file.py:function"),
        ("features: 3", "3 is not known here"),
        ("features: ./mine.py:embed, weights: w.pt", "weights of Inception; use features: inception"),
    ):
        with pytest.raises(SpecError) as caught:
            sweep_of(tmp_path, f"{{name: kid, {written}}}")
        assert says in str(caught.value)


HASHES = """
import torch
from rdbench.metrics.features import opening, own
networks = [own.settle(f"mine.py:{symbol}", {}, ()) for symbol in ("embed", "make")]
hashes = [opening.load(network, (1, 8, 8), torch.device("cpu")).hash for network in networks]
print(*hashes)
"""


def hashed(folder):
    """The hashes of two networks and their weights, opened in a process of its own."""
    command = [sys.executable, "-c", HASHES]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder).stdout.split()


def test_other_weights_are_another_network_wherever_they_are_kept(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text(
        """
import numpy as np, torch
WEIGHTS = np.load("w.npy")

def embed(images):
    return images.flatten(1).numpy() @ WEIGHTS

def make():
    layer = torch.nn.Linear(64, 2)
    torch.nn.init.ones_(layer.bias)
    layer.weight.data = torch.tensor(WEIGHTS.T).contiguous()
    return torch.nn.Sequential(torch.nn.Flatten(), layer)
"""
    )
    np.save(tmp_path / "w.npy", np.ones((64, 2), np.float32))
    before = hashed(tmp_path)
    monkeypatch.chdir(tmp_path)
    exec(HASHES, {})
    assert before == capsys.readouterr().out.split()
    np.save(tmp_path / "w.npy", np.full((64, 2), 2, np.float32))
    assert len({*before, *hashed(tmp_path)}) == 4


def test_an_edited_network_is_measured_anew_and_old_rows_of_kid_still_answer(measured, tmp_path):
    rows = measured(LINEAR, "{name: fd, features: ./mine.py:embed, samples: 50}")
    stored = [row | {"settings": json.dumps(row["settings"])} for row in rows]
    (same,) = sweep_of(tmp_path, "{name: fd, features: ./mine.py:embed, samples: 50}").metrics
    assert is_measured(same, stored)
    (tmp_path / "mine.py").write_text(LINEAR.replace("seed(0)", "seed(5)"))
    (edited,) = sweep_of(tmp_path, "{name: fd, features: ./mine.py:embed, samples: 50}").metrics
    assert not is_measured(edited, stored)
    settings = {key: value for key, value in KidOptions().settings().items() if key != "features"}
    assert "features" not in KidOptions().settings()
    old = {"name": "kid", "value": 0.1, "settings": json.dumps(settings)}
    other = {"name": "kid", "value": 0.1, "settings": json.dumps({**settings, "features": "classifier"})}
    for complete in (True, False):
        assert is_measured(KidOptions(), [old], complete=complete)
        assert not is_measured(KidOptions(features="classifier"), [old], complete=complete)
        assert is_measured(KidOptions(features="classifier"), [other], complete=complete)
        assert not is_measured(KidOptions(), [other], complete=complete)


def test_results_hold_a_copy_and_workers_are_sent_the_files(tmp_path, data):
    (tmp_path / "mine.py").write_text(LINEAR)
    sweep = sweep_of(tmp_path, "{name: kid, features: {name: ./mine.py:make, scale: 3}, samples: 100}")
    own = sweep.metrics[0].features
    assert [file.name for file in preflight.runnable(sweep)[own.code]] == ["mine.py"]
    root = tmp_path / "results"
    ResultsFolder(root).save_sweep(sweep.model_copy(update={"keep_weights": True}))
    work(list(plan(sweep).trials), Job(root, tmp_path, outputs=Outputs((), weights=True)), "cpu")
    (tmp_path / "mine.py").unlink()
    assert str(tmp_path) not in (root / "sweep.yaml").read_text()
    again = ResultsFolder(root).sweep()
    assert again.metrics == sweep.metrics
    assert evaluate.evaluate(root, again.metrics, tmp_path, "cpu").measured == 1
    assert ResultsFolder(root).finished(sweep) == {trial.id for trial in plan(sweep).trials}
    (copy,) = root.glob("plugins/*.py")
    copy.unlink()
    (gone,) = ResultsFolder(root).sweep().metrics
    assert (gone.features.name, gone.features.code) == ("make", "")
    with pytest.raises(SpecError, match="the file of feature network make is gone"):
        evaluate.evaluate(root, [gone], tmp_path, "cpu")
