"""Comparing results folders: differences with their intervals, and verdicts that say no more than they do."""

import json
import math
import re

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from markupsafe import escape
from report_builders import HOSTILE, add_metric, make_sweep, point_rows, shifted, visible, write

from rdbench.errors import ResultsError
from rdbench.report.compare.compare import Change, Metric, change, compare, holm
from rdbench.report.compare.gates import check_gate, parse_gate
from rdbench.report.compare.page import as_html
from rdbench.report.compare.render import as_data, as_markdown, as_tables, as_text, sentences
from rdbench.report.numbers import Estimate
from rdbench.report.statistics.series import Series
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import plan
from rdbench.text import one_line


def metric_of(pair, name):
    return next(metric for metric in pair.metrics if metric.series.name == name)


# One difference


def test_with_the_same_seeds_the_interval_is_that_of_the_paired_t_test():
    # Differences 1, 2, 3: mean 2, deviation 1, t(0.975, 2) = 4.3026527, so 2 ± 4.3026527 / sqrt(3).
    found = change(("a", 1.0), {0: 10.0, 1: 20.0, 2: 40.0}, {0: 11.0, 1: 22.0, 2: 43.0})
    assert found.test == "paired t"
    assert found.mean == pytest.approx(2.0)
    assert found.half_width == pytest.approx(4.3026527 / math.sqrt(3), rel=1e-7)
    assert found.p == pytest.approx(scipy.stats.ttest_rel([11, 22, 43], [10, 20, 40]).pvalue)


def test_with_other_seeds_it_is_that_of_welchs():
    one, other = [1.0, 2.0, 4.0], [5.0, 9.0]
    found = change(("a", 1.0), dict(enumerate(one)), {7: other[0], 8: other[1]})
    truth = scipy.stats.ttest_ind(other, one, equal_var=False)
    low, high = truth.confidence_interval(0.95)
    assert found.test == "Welch's t"
    assert found.p == pytest.approx(truth.pvalue)
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx((low, high))


def test_the_order_of_seeds_does_not_matter():
    assert change(("a", 1.0), {0: 1.0, 1: 5.0}, {1: 6.0, 0: 2.5}).mean == pytest.approx(1.25)
    assert change(("a", 1.0), {0: 1.0, 1: 5.0}, {1: 6.0, 0: 2.5}).half_width == pytest.approx(12.7062047 / 4)


def test_a_single_seed_has_a_difference_and_no_interval():
    found = change(("a", 1.0), {0: 1.0}, {0: 3.0, 1: 4.0})
    assert (found.mean, found.half_width, found.p, found.test) == (2.5, None, None, "none")
    assert not found.shown


def test_equal_values_differ_by_zero_and_nothing_is_shown():
    found = change(("a", 1.0), {0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0})
    assert (found.mean, found.half_width, found.p) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({0: 32.0, 1: 32.0}, {0: 31.0, 1: 31.0}),  # active units
        ({0: 32.0, 1: 32.0}, {2: 31.0, 3: 31.0}),
        ({0: 0.0, 1: 0.0}, {0: 0.001, 1: 0.001}),  # a recall
        ({0: 1.0, 1: 2.0}, {0: 2.0, 1: 3.0}),
        ({0: 0.1, 1: 0.3}, {0: 0.2, 1: 0.4}),  # differences equal but for rounding
        (dict.fromkeys(range(3), 0.1), dict.fromkeys(range(3, 6), 0.7)),
    ],
)
def test_a_difference_without_any_spread_has_no_interval_and_no_test(before, after):
    found = change(("a", 1.0), before, after)
    assert found.mean == pytest.approx(after[min(after)] - before[0])
    assert (found.half_width, found.p, found.test, found.shown) == (None, None, "none", False)
    metric = Metric(Series("m", "m", "", "higher"), (found,))
    assert (metric.verdict, metric.why) == (
        "untested",
        "at every point nothing varies from seed to seed, so it has no interval",
    )


def test_equal_values_without_any_spread_differ_by_zero():
    for after in ({0: 0.1, 1: 0.1, 2: 0.1}, {5: 0.1, 6: 0.1}):
        found = change(("a", 1.0), {0: 0.1, 1: 0.1, 2: 0.1}, after)
        assert (found.mean, found.half_width, found.p) == (pytest.approx(0.0, abs=1e-15), 0.0, 1.0)


def test_beside_points_that_are_tested_one_without_any_spread_counts_as_not_shown():
    still = change(("a", 1.0), {0: 32.0, 1: 32.0}, {0: 31.0, 1: 31.0})
    tested = change(("a", 2.0), {0: 1.0, 1: 2.0}, {0: 1.5, 1: 2.6})
    metric = Metric(Series("m", "m", "", "higher"), (still, tested))
    assert (metric.verdict, metric.why, metric.kind(still)) == ("no difference shown", "", "")


def test_holms_correction():
    # By hand: 0.01 x 4, max(0.02 x 3, before), max(0.03 x 2, before), max(0.04 x 1, before).
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


# The verdict


def judged(*points, better="higher", **options):
    """A metric of points of (difference, corrected p)."""
    e = Estimate(1.0, 0.1, 3)
    at = {"variant": "a", "before": e, "after": e}
    changes = [
        Change(mean, 0.1, "paired t", p, beta=float(i), adjusted=p, **at)
        for i, (mean, p) in enumerate(points)
    ]
    return Metric(Series("m", "m", "", better), tuple(changes), **options)


@pytest.mark.parametrize(
    ("points", "better", "verdict"),
    [
        ([(1, 0.01), (-9, 0.051)], "higher", "better"),
        ([(1, 0.05), (0.1, 0.5)], "lower", "worse"),
        ([(1, 0.01), (-1, 0.01)], "lower", "mixed"),
        ([(1, 0.2), (-1, 0.06)], "higher", "no difference shown"),
        ([(1, 0.01), (-1, 0.01)], None, "different"),
        ([(1, 0.1)], None, "no difference shown"),
        ([(1, None)], "higher", "untested"),
        ([], "higher", "not comparable"),
    ],
)
def test_the_verdict(points, better, verdict):
    assert judged(*points, better=better).verdict == verdict


def test_the_correction_is_over_the_points_of_a_metric(tmp_path):
    """A difference of p = 0.03 at one of two points, alone shown, is not shown beside an equal one."""
    shifts = dict(zip(range(3), [1.0, 1.3, 0.8], strict=True))
    sweep = make_sweep(seeds=3, variants=["bs_vae"], beta=[1, 10])
    a = write(tmp_path / "a", sweep)
    b = shifted(tmp_path / "b", sweep, lambda t: shifts[t.seed] if t.beta == 1 else 0.0)
    (pair,) = compare([a], [b]).pairs
    at_1, at_10 = metric_of(pair, "elbo_half").changes
    truth = scipy.stats.ttest_1samp(list(shifts.values()), 0).pvalue
    assert at_1.p == pytest.approx(truth)
    assert at_1.adjusted == pytest.approx(2 * truth)
    assert at_10.adjusted == 1.0
    assert metric_of(pair, "elbo_half").verdict == "better"


def test_the_mean_relative_change():
    e, other = Estimate(-10.0, None, 1), Estimate(0.0, None, 1)
    changes = tuple(
        Change(1.0, None, "none", None, variant="a", beta=beta, before=before, after=e)
        for beta, before in ((1.0, e), (2.0, other))
    )
    metric = Metric(Series("m", "m", "", "higher"), changes)
    assert metric.relative == pytest.approx(10.0)
    assert metric.percent(changes[1]) is None


@pytest.mark.parametrize(
    "name", ["elbo_half", "psnr", "iwae_half", "reconstruction_psnr", "kid", "kid_2", "latents_marginal_kl"]
)
def test_of_a_measure_whose_zero_means_nothing_there_is_no_relative_change(name):
    e = Estimate(-10.0, None, 1)
    change = Change(1.0, None, "none", None, variant="a", beta=1.0, before=e, after=e)
    assert Metric(Series(name, "m", "", "higher"), (change,)).relative is None


# Folders


def test_identical_folders_differ_in_nothing_and_say_so(tmp_path):
    sweep = make_sweep(seeds=2, beta=[1, 3, 10])
    a, b = write(tmp_path / "a", sweep), write(tmp_path / "b", sweep)
    found = compare([a], [b])
    (pair,) = found.pairs
    assert {metric.verdict for metric in pair.metrics} == {"no difference shown"}
    assert {each.mean for metric in pair.metrics for each in metric.changes} == {0.0}
    points = {metric.series.name: len(metric.changes) for metric in pair.metrics}
    assert points.pop("elbo_beta_half") == 3  # of beta_vae alone
    assert set(points.values()) == {6}
    assert "all 12 trials finished on both sides hold the very same numbers" in sentences(pair)[0]
    assert not pair.one_sided
    assert not pair.settings


def test_identical_folders_of_one_seed_show_no_difference_either(tmp_path):
    sweep = make_sweep()
    found = compare([write(tmp_path / "a", sweep)], [write(tmp_path / "b", sweep)])
    assert {metric.verdict for metric in found.pairs[0].metrics} == {"no difference shown"}


def test_of_one_seed_the_difference_is_told_and_called_untested(tmp_path):
    sweep = make_sweep()
    found = compare([write(tmp_path / "a", sweep)], [shifted(tmp_path / "b", sweep, lambda trial: 1.0)])
    metric = metric_of(found.pairs[0], "elbo_half")
    assert metric.verdict == "untested"
    assert metric.why == "one seed, untested"
    (line,) = [line for line in sentences(found.pairs[0]) if line.startswith("test rate")]
    assert "not comparable" not in as_text(found)
    assert line.startswith("test rate: ")
    assert [one.leaning(each) for one in [metric] for each in metric.changes] == ["better"] * 4
    assert not found.pairs[0].same
    assert [each.mean for each in metric.changes] == pytest.approx([1.0] * 4)


def test_a_worse_elbo_is_worse_and_names_the_settings_that_changed(tmp_path):
    a = write(tmp_path / "a", make_sweep(seeds=3, train={"epochs": 50}))
    b = shifted(tmp_path / "b", make_sweep(seeds=3, train={"epochs": 100}), lambda t: -5.0 - t.seed / 10)
    (pair,) = compare([a], [b]).pairs
    assert pair.settings == (("train.epochs", "50", "100"),)
    assert metric_of(pair, "elbo_optimal").verdict == "worse"
    assert metric_of(pair, "mse").verdict == "no difference shown"
    assert "settings differ: train.epochs 50 -> 100" in sentences(pair)
    (back,) = compare([b], [a]).pairs
    assert metric_of(back, "elbo_optimal").verdict == "better"


def test_bd_rate_is_of_b_against_a(tmp_path):
    """Twice the rate at every quality is a BD-rate of 100%."""
    sweep = make_sweep(seeds=2, variants=["bs_vae"], beta=[1, 2, 5, 10])
    roots = []
    for name, factor in (("a", 1), ("b", 2)):
        root = write(tmp_path / name, sweep)
        for trial in plan(sweep).trials:
            rows = [
                row | {"rate": factor * 20 / trial.beta, "mse": 0.01 * trial.beta}
                for row in point_rows(trial)
            ]
            ResultsFolder(root).commit(
                trial.id, {"points": rows, "trials": ResultsFolder(root).trial_tables(trial.id)["trials"]}
            )
        roots.append(root)
    (pair,) = compare([roots[0]], [roots[1]]).pairs
    (rate,) = next(rates.variants for rates in pair.rates if rates.quality == "mse")
    assert (rate.variant, rate.percent) == ("bs_vae", pytest.approx(100))
    assert any(line.startswith("BD-rate of B against A, MSE: bs_vae +100") for line in sentences(pair))
    (back,) = compare([roots[1]], [roots[0]]).pairs
    assert next(rates.variants for rates in back.rates if rates.quality == "mse")[0].percent == pytest.approx(
        -50
    )


def test_what_one_side_alone_has_is_listed(tmp_path):
    a = write(tmp_path / "a", make_sweep(beta=[1, 3]))
    b = write(tmp_path / "b", make_sweep(beta=[1, 10], variants=["bs_vae"]),
              lost=lambda trial: ("diverged", "nan") if trial.beta == 10 else None)  # fmt: skip
    (pair,) = compare([a], [b]).pairs
    assert set(pair.one_sided) == {
        ("beta_vae at β = 1", "only in A"), ("beta_vae at β = 3", "only in A"),
        ("bs_vae at β = 3", "only in A"),
        ("bs_vae at β = 10", "only in B"), ("bs_vae at β = 10", "1 diverged in B"),
    }  # fmt: skip
    assert [(each.variant, each.beta) for each in metric_of(pair, "mse").changes] == [("bs_vae", 1.0)]


def test_what_b_was_asked_for_and_lost_is_counted(tmp_path):
    sweep = make_sweep(seeds=2)
    a = write(tmp_path / "a", sweep)
    b = write(tmp_path / "b", sweep, lost=lambda t: ("diverged", "nan") if t.beta == 10 else None)
    (pair,) = compare([a], [b]).pairs
    assert metric_of(pair, "mse").lost == (("beta_vae", 10.0), ("bs_vae", 10.0))
    assert "test MSE: B has no value at 2 points that A has" in sentences(pair)


def test_other_data_are_not_compared(tmp_path):
    a = write(tmp_path / "a", make_sweep())
    b = write(tmp_path / "b", make_sweep(), dataset_checksum="beef" * 8)
    found = compare([a], [b])
    assert not found.pairs
    assert found.refused == ("digits, protocol clean: the data differ, checksum c0ffeec0ffee in A and"
                             " beefbeefbeef in B",)  # fmt: skip
    assert "nothing could be compared" in as_text(found)


def test_folders_with_nothing_in_common_compare_nothing_and_say_so(tmp_path):
    a = write(tmp_path / "a", make_sweep())
    b = write(tmp_path / "b", make_sweep(protocol="paper"))
    found = compare([a], [b])
    assert (found.pairs, found.refused) == ((), ())
    assert set(found.apart) == {"digits, protocol clean: only in A", "digits, protocol paper: only in B"}
    for text in (as_text(found), as_markdown(found)):
        assert "nothing could be compared" in text


def test_equal_settings_are_matched_first_and_several_others_are_refused(tmp_path):
    sweeps = [make_sweep(train={"epochs": n}) for n in (1, 2, 3, 4)]
    roots = [write(tmp_path / str(n), sweep) for n, sweep in enumerate(sweeps)]
    found = compare(roots[:2], [roots[1], roots[2]])
    assert [pair.settings for pair in found.pairs] == [(), (("train.epochs", "1", "3"),)]
    found = compare(roots[:2], roots[2:])
    assert not found.pairs
    assert "2 sets of settings in A and 2 in B" in found.refused[0]


def test_metrics_measured_in_other_ways_are_not_compared(tmp_path):
    sweep = make_sweep(seeds=2)
    a, b = write(tmp_path / "a", sweep), write(tmp_path / "b", sweep)
    add_metric(a, sweep, "fid", lambda t: 10.0 + t.seed, samples=1000)
    add_metric(b, sweep, "fid", lambda t: 20.0 + t.seed, samples=5000)
    metric = metric_of(compare([a], [b]).pairs[0], "fid")
    assert metric.verdict == "not comparable"
    assert (
        metric.reason
        == "measured differently: samples 1000, protocol clean in A, samples 5000, protocol clean in B"
    )
    add_metric(b, sweep, "fid", lambda t: 12.0 + 1.01 * t.seed, samples=1000)
    assert metric_of(compare([a], [b]).pairs[0], "fid").verdict == "worse"


def test_all_diverged_compares_to_nothing_and_says_why(tmp_path):
    sweep = make_sweep(seeds=2)
    a, b = write(tmp_path / "a", sweep), write(tmp_path / "b", sweep, lost=lambda t: ("diverged", HOSTILE))
    for one, other in ((a, b), (b, a), (b, b)):
        found = compare([one], [other])
        assert {metric.verdict for pair in found.pairs for metric in pair.metrics} <= {"not comparable"}
        assert "2 diverged" in as_markdown(found)
        json.dumps(as_data(found), allow_nan=False)


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(ResultsError, match="not a results folder"):
        compare([tmp_path], [tmp_path])


# What is written


def test_sentences_tell_the_elbo_under_one_reading_and_single_seeds_by_how_much_they_differ(
    tmp_path, monkeypatch
):
    sweep, ordinary = make_sweep(), point_rows
    before = write(tmp_path / "a", sweep)
    monkeypatch.setattr(
        "report_builders.point_rows",
        lambda trial: [row | {"mse": 0.69 * row["mse"], "sse": 0.69 * row["sse"]} for row in ordinary(trial)],
    )
    lines = sentences(compare([before], [write(tmp_path / "b", sweep)]).pairs[0])
    told = [line for line in lines if "ELBO" in line]
    assert [line.partition(":")[0] for line in told] == ["test ELBO, σ² of the training images"]
    # n / 2 ln 0.69, of 64 values.
    assert "one seed, untested; in the mean better at 4, worse at 0 of 4 points" in told[0]
    assert f"mean change +{-32 * math.log(0.69):.2f} nats per image" in told[0]
    assert any(line.startswith("test MSE: untested") and "mean change −31.00%" in line for line in lines)


def test_every_figure_is_in_each_form(tmp_path):
    sweep = make_sweep(seeds=2)
    a, b = write(tmp_path / "a", sweep), shifted(tmp_path / "b", sweep, lambda t: 2.0 + t.seed / 100)
    found = compare([a], [b])
    (pair,) = found.pairs
    data = json.loads(json.dumps(as_data(found), allow_nan=False))
    assert data["sections"][0]["verdicts"]["elbo_half"] == "better"
    tables = {table.name: table for table in as_tables(pair)}
    changes = pd.DataFrame([[cell.value for cell in row] for row in tables["changes"].rows])
    assert np.isclose(changes[5].head(4), 2.005).all()
    assert "test MSE: no difference shown (better at 0, worse at 0 of 4 points)" in as_text(found)
    markdown = as_markdown(found)
    assert markdown.startswith("### digits, protocol clean: B against A\n")
    assert markdown.count("<details>") == markdown.count("</details>") == 1


def test_hostile_settings_are_text_on_one_line(tmp_path):
    a, b = write(tmp_path / "a", make_sweep()), write(tmp_path / "b", make_sweep())
    found = compare([a], [b])
    pair = type(found.pairs[0])(**vars(found.pairs[0]) | {"settings": (("k", "a\n# b", HOSTILE),)})
    found = type(found)(**vars(found) | {"pairs": (pair,)})
    assert "<script" not in as_markdown(found).replace("\\<", "")
    assert "k a # b -> " in as_text(found)


def test_the_page_of_a_comparison_lays_both_curves_over_one_another(tmp_path):
    a = write(tmp_path / "a", make_sweep(seeds=3))
    b = write(tmp_path / "b", make_sweep(seeds=3, variants=["bs_vae"]))
    comparison = compare([a], [b])
    outcome = check_gate(parse_gate("delta.mse > 5"), comparison)
    page = as_html(comparison, "before", "after", [outcome])
    charts = json.loads(re.search(r'id="charts">(.*?)</script>', page, re.DOTALL)[1])
    drawn = {row["variant"] for row in charts["s0"]["psnr"]["data"]["means"]}
    assert drawn == {"beta_vae, A", "bs_vae, A", "bs_vae, B"}
    shown = visible(page)
    assert "A is before; B is after." in shown
    assert escape(str(outcome)) in shown
    assert all(escape(one_line(line)) in shown for line in sentences(comparison.pairs[0]))
    assert all(table.title in shown for table in as_tables(comparison.pairs[0]))


def test_the_page_of_what_cannot_be_compared_says_why(tmp_path):
    a = write(tmp_path / "a", make_sweep())
    b = write(tmp_path / "b", make_sweep(dataset={"name": "mnist"}))
    assert "nothing could be compared" in visible(as_html(compare([a], [b]), "a", "b"))
