"""Series: only what was measured alike is compared, and only a difference beyond chance is one."""

import json

import numpy as np
import pandas as pd
import pytest
from report_builders import NATIVE, make_sweep, section_of, write
from scipy.stats import ttest_ind, ttest_rel

from rdbench.registry import variants
from rdbench.report.statistics import series
from rdbench.report.statistics.series import Series
from rdbench.report.tables import measured


def with_metrics(tmp_path, *rows):
    """A section whose table of metrics holds rows (name, variant, beta, seed, value, settings, hash)."""
    section = section_of(write(tmp_path / "a", make_sweep(seeds=2)))
    names = ("name", "variant", "beta", "seed", "value", "settings", "feature_hash")
    frame = pd.DataFrame([dict(zip(names, row, strict=True)) for row in rows])
    frame["settings"] = [json.dumps(settings) for settings in frame["settings"]]
    section.metrics = frame.assign(protocol="clean", trial=[f"t{i}" for i in range(len(frame))])
    return section


def test_the_series_of_a_section_are_its_readings_and_what_needs_none(tmp_path):
    section = section_of(write(tmp_path / "a", make_sweep(readings=["half", "optimal"], seeds=[0, 4])))
    found = {each.name: each for each in series.series(section)}
    assert list(found) == ["elbo_half", "elbo_optimal", "rate", "mse", "psnr"]
    assert found["elbo_half"].values["bs_vae", 10.0] == {0: -110.0, 4: -111.0}
    assert [each.better for each in found.values()] == ["higher", "higher", None, "lower", "higher"]


def test_what_was_measured_differently_is_another_series(tmp_path):
    row = ("fid", "bs_vae", 1.0, 0, 50.0)
    section = with_metrics(
        tmp_path,
        (*row, {"samples": 100}, "aaaa"),
        (*row[:3], 1, 60.0, {"samples": 100, "versions": "found, not asked for"}, "aaaa"),
        (*row, {"samples": 200}, "aaaa"),
        (*row, {"samples": 100}, "bbbb"),
        (*row, {"samples": 100, "network": "stand-in"}, "cccc"),
    )
    found = series.proxies(section)
    assert [each.name for each in found] == ["fid", "fid_2", "fid_3", "fid_4"]
    assert found[0].values == {("bs_vae", 1.0): {0: 50.0, 1: 60.0}}
    assert "not with the published weights" in found[3].title
    assert {each.better for each in found} == {"lower"}
    assert [each.metric for each in found] == ["fid"] * 4


def test_a_value_that_was_not_measured_has_its_reason(tmp_path):
    row = ("fid", "bs_vae", 1.0, 0, None, {"samples": 100, "error": "Traceback\nOSError: no weights"}, "aaaa")
    section = with_metrics(tmp_path, row)
    (found,) = series.proxies(section)
    assert found.values == {}
    assert found.reasons == {("bs_vae", 1.0): "OSError: no weights"}
    ((_, _, cell),) = measured.proxy_metrics(section).rows
    assert (cell.text, cell.note) == ("–", "OSError: no weights")


def test_a_trial_for_which_a_metric_is_undefined_leaves_the_name_to_the_values_of_the_others(tmp_path):
    """Rows as they are stored: one without a value has what was asked for, and nothing that was found."""
    asked = {"samples": 100, "versions": {}}
    found = {"resizing": "none", "n_samples": 100}
    rows = [
        ("prdc", "bs_vae", 1.0, 0, value, asked | found | {"quantity": quantity}, "aaaa")
        for quantity, value in (("recall", 0.5), ("precision", 0.7))
    ]
    undefined = asked | {"error": "not defined for this variant: it has no prior", "undefined": True}
    section = with_metrics(tmp_path, *rows, ("prdc", "bs_vae", 10.0, 0, None, undefined, None))
    precision, recall = series.proxies(section)
    assert (precision.name, recall.name) == ("prdc_precision", "prdc_recall")
    assert precision.values == {("bs_vae", 1.0): {0: 0.7}}
    for each in (precision, recall):
        assert each.reasons == {("bs_vae", 10.0): "not defined for this variant: it has no prior"}
    other = asked | {"samples": 7, "error": "no memory"}
    section = with_metrics(tmp_path / "b", *rows, ("prdc", "bs_vae", 10.0, 0, None, other, None))
    assert [each.name for each in series.proxies(section)] == ["prdc_precision", "prdc_recall", "prdc"]


def test_a_failure_is_told_beside_the_values_of_its_own_variant(tmp_path):
    asked, broken = {"samples": 100}, {"samples": 100, "error": "no memory"}
    section = with_metrics(
        tmp_path,
        ("fd_classifier", "bs_vae", 1.0, 0, 4.0, asked, "aaaa"),
        ("fd_classifier", "beta_vae", 1.0, 0, 5.0, asked, "bbbb"),
        ("fd_classifier", "beta_vae", 10.0, 0, None, broken, None),
    )
    told = {tuple(each.values): each.reasons for each in series.proxies(section)}
    assert told == {(("bs_vae", 1.0),): {}, (("beta_vae", 1.0),): {("beta_vae", 10.0): "no memory"}}


def test_warnings_are_told_once(tmp_path):
    rows = [("kid", "bs_vae", 1.0, seed, 0.1, {"warning": "few images"}, None) for seed in (0, 1)]
    section = with_metrics(tmp_path, *rows)
    assert series.remarks(section) == ["kid: few images"]
    assert "Note. kid: few images" in measured.proxy_metrics(section).notes


def of(*samples, better="higher"):
    values = {("a", float(i)): dict(enumerate(map(float, own))) for i, own in enumerate(samples)}
    return Series("x", "x", "", better, values=values)


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0, 4.0])
def test_means_are_told_apart_as_welchs_test_does(shift):
    generator = np.random.default_rng(3)
    one, other = generator.normal(size=5), 2 * generator.normal(size=4) + shift
    expected = ttest_ind(one, other, equal_var=False).pvalue < 0.05
    assert of(one, other).tells_apart(("a", 0.0), ("a", 1.0)) == expected


def test_welchs_test_was_tried_on_both_outcomes():
    assert of([1, 2, 3], [1, 2, 4, 3]).tells_apart(("a", 0.0), ("a", 1.0)) is False
    assert of([1, 2, 3], [11, 12, 13, 12]).tells_apart(("a", 0.0), ("a", 1.0)) is True


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.0, 2.0])
def test_the_same_seeds_are_compared_in_pairs(shift):
    """What a seed adds to both sides is no reason for doubt."""
    generator = np.random.default_rng(4)
    seeds = 10 * generator.normal(size=5)
    one, other = seeds + generator.normal(size=5), seeds + generator.normal(size=5) + shift
    expected = ttest_rel(one, other).pvalue < 0.05
    assert of(one, other).tells_apart(("a", 0.0), ("a", 1.0)) == expected
    assert ttest_ind(one, other, equal_var=False).pvalue > 0.05


def test_equal_values_are_not_told_apart_and_a_difference_without_any_spread_is_not_tested():
    assert of([1, 1], [1, 1]).tells_apart(("a", 0.0), ("a", 1.0)) is False
    assert of([1, 1], [2, 2]).tells_apart(("a", 0.0), ("a", 1.0)) is None


@pytest.mark.parametrize("size", [1e-200, 1e100, 1e300])
def test_the_test_works_whatever_the_size_of_the_numbers(size):
    near, far = (np.array(own) * size for own in ([1, 2, 3], [11, 12, 14]))
    assert of(near, far).tells_apart(("a", 0.0), ("a", 1.0)) is True
    assert of(near, np.append(near, 2 * size)).tells_apart(("a", 0.0), ("a", 1.0)) is False


def test_of_a_single_seed_nothing_is_known():
    assert of([1], [5, 6]).tells_apart(("a", 0.0), ("a", 1.0)) is None


def test_the_best_is_the_highest_or_the_lowest_as_the_quantity_has_it():
    samples = ([1, 2], [5, 6], [3])
    assert of(*samples).best() == ("a", 1.0)
    assert of(*samples, better="lower").best() == ("a", 0.0)
    assert of(*samples, better=None).best() is None
    assert of(*samples).best("b") is None
    assert of([5], [5]).best() == ("a", 0.0)


OWN_OBJECTIVE = """import rdbench
@rdbench.variant("mine", native="half"{declared})
def mine(sse, rate, beta, n):
    return sse + beta * rate
"""


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("gone", [False, True])
def test_beta_half_is_read_of_a_variant_of_ones_own_only_where_its_stored_code_declares_the_loss(
    tmp_path, monkeypatch, declared, gone
):
    file = tmp_path / "mine.py"
    file.write_text(OWN_OBJECTIVE.format(declared=", beta_rate=True" * declared))
    sweep = make_sweep(variants=["beta_vae", f"{file}:mine"], readings=["half", "beta_half"])
    monkeypatch.setitem(NATIVE, "mine", "half")
    root = write(tmp_path / "a", sweep)
    file.unlink()  # the copy in the folder remains
    if gone:
        for copy in (root / "variants").iterdir():
            copy.unlink()
    section = section_of(root)
    half, shown = (
        {variant.partition(" [")[0] for variant, _ in series.elbo(section, reading).values}
        for reading in ("half", "beta_half")
    )
    assert half == {"beta_vae", "mine"}
    assert shown == {"beta_vae", *(["mine"] if declared and not gone else [])}


def test_beta_tc_has_the_native_reading_half_and_no_loss_of_sse_and_beta_rate():
    """Its beta multiplies the total correlation alone, so Eq. 5 does not hold of it."""
    assert variants.declared("beta_tc").native == "half"
    declared = {name for name in variants.names() if variants.declared(name).beta_rate}
    assert {name for name in variants.names() if name not in declared} == {
        "autoencoder",
        "beta_tc",
        "codec",
        "geco",
    }
