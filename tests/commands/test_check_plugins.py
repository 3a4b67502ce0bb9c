"""`rdbench check` of metrics, datasets and feature networks: what is right passes, a mistake is one line."""

import pytest
from broken_plugins import (
    DATASETS,
    FAILING_METRICS,
    UNREADABLE_FEATURES,
    UNREADABLE_METRICS,
    UNUSABLE_FEATURES,
)

from rdbench.commands import new
from rdbench.commands.check import check
from rdbench.commands.check.kinds import kind_of
from rdbench.errors import SpecError

METRICS = UNREADABLE_METRICS | FAILING_METRICS
FEATURES = UNREADABLE_FEATURES | UNUSABLE_FEATURES


@pytest.fixture
def found(tmp_path):
    """Check a thing of a source; return the findings."""

    def examine(source, symbol, *overrides, kind=None):
        (tmp_path / "mine.py").write_text(source)
        return list(check(f"{tmp_path}/mine.py:{symbol}", overrides, kind=kind))

    return examine


def told(findings, mistake):
    """Assert that a mistake is the one thing that fails, in a line that says what and where."""
    failed = [finding for finding in findings if finding.status == "FAIL"]
    assert failed == findings[-1:]
    text = str(failed[0])
    assert len(text.splitlines()) == 1
    assert mistake.says in text
    assert mistake.line is None or f"mine.py:{mistake.line}: " in text


@pytest.mark.parametrize("mistake", METRICS.values(), ids=METRICS.keys())
def test_a_broken_metric_is_told_in_a_line(mistake, found):
    told(found(mistake.source, mistake.symbol, kind="metric"), mistake)


@pytest.mark.parametrize("mistake", DATASETS.values(), ids=DATASETS.keys())
def test_a_broken_dataset_is_told_in_a_line(mistake, found):
    told(found(mistake.source, mistake.symbol, kind="dataset"), mistake)


@pytest.mark.parametrize("mistake", FEATURES.values(), ids=FEATURES.keys())
def test_a_broken_feature_network_is_told_in_a_line(mistake, found):
    told(found(mistake.source, mistake.symbol, kind="features"), mistake)


def test_check_does_not_advise_to_run_check(found):
    *_, last = found("import nothing_there\ndef mine(images): ...\n", "mine")  # of no kind that it can tell
    assert "mine.py:1: ModuleNotFoundError: No module named 'nothing_there'" in str(last)
    assert "rdbench check" not in str(last)


FICKLE = {
    "repeats": "def mine(images):\n    return torch.rand(len(images), 3)\n",
    "one by one": "def mine(images):\n    return images.flatten(1) - images.flatten(1).mean(0)\n",
}


@pytest.mark.parametrize(("check", "source"), FICKLE.items(), ids=FICKLE.keys())
def test_a_feature_network_whose_vectors_depend_on_more_than_the_image_is_told(check, source, found):
    last = found("import torch\n" + source, "mine")[-1]
    assert (last.status, last.check) == ("FAIL", check)


def test_a_dataset_that_differs_from_time_to_time_is_told(found):
    source = "import numpy\ndef mine():\n    return numpy.random.default_rng().random((40, 4, 4))\n"
    last = found(source, "mine")[-1]
    assert (last.status, last.check) == ("FAIL", "repeats")
    assert "read twice it gives other data" in last.text


def test_a_metric_that_draws_random_numbers_of_its_own_is_told(found):
    source = "import numpy\ndef mine(images):\n    return numpy.random.default_rng().random()\n"
    last = found(source, "mine")[-1]
    assert (last.status, last.check) == ("FAIL", "repeats")
    assert "one model measured twice gives" in last.text


def test_a_wrong_option_is_told_as_it_was_written(found):
    source = "def mine(images, *, power: float = 1.0):\n    return 1.0\n"
    with pytest.raises(SpecError, match=r"--set powr: unknown key; metric mine: did you mean 'power'\?"):
        found(source, "mine", "powr=2")
    assert "power=3.0" in found(source, "mine", "power=3")[0].text


@pytest.mark.parametrize("kind", ["metric", "dataset", "features"])
def test_the_starting_point_passes_every_check(kind, tmp_path):
    file = tmp_path / "my_own.py"
    assert new.write(file, kind) == "my_own"
    assert kind_of(f"{file}:my_own") == kind
    findings = list(check(f"{file}:my_own"))
    assert [finding for finding in findings if finding.status != "ok"] == []
    assert len(findings) > 3


KINDS = {
    "variant": "def thing(sse, rate, beta, n): ...",
    "metric": "def thing(images, latents): ...",
    "metric, of images alone": "def thing(images):\n    return images.mean()",
    "features": "def thing(images):\n    return images.flatten(1)",
    "features, by another name": "def thing(x): ...",
    "features, a module": "import torch\nthing = torch.nn.Flatten()",
    "features, a class": "import torch\nclass thing(torch.nn.Module):\n    def forward(self, x): ...",
    "features, made": "import torch\ndef thing():\n    return torch.nn.Flatten()",
    "dataset": "def thing(): ...",
    "dataset, by split": "def thing(split, *, size: int = 3): ...",
    "dataset, of arrays": "import numpy\nthing = numpy.ones((9, 4, 4)), numpy.ones(9)",
    "dataset, a class": "class thing:\n    def __getitem__(self, i): ...\n    def __len__(self): ...",
    "dataset, a generator": "def thing():\n    yield 3",
    "metric, in full": "from rdbench.metrics.latents import METRIC\nthing = METRIC",
}


@pytest.mark.parametrize(("kind", "source"), KINDS.items(), ids=KINDS.keys())
def test_what_stands_there_says_what_it_is(kind, source, tmp_path):
    (tmp_path / "mine.py").write_text(source)
    assert kind_of(f"{tmp_path}/mine.py:thing") == kind.partition(",")[0]
