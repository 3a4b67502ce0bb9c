"""Equal effective weight: w = 2 sigma^2 beta as measured, and comparisons at equal w beside equal beta."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from report_builders import make_sweep

from rdbench import datasets
from rdbench.report.charts.beta import beta_chart
from rdbench.report.sections import Section, gather
from rdbench.report.statistics import weights as statistics
from rdbench.report.tables import measured, paired, weights
from rdbench.results.load import load_results
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import plan
from rdbench.trial.run import run_trial

N = 50
NAMES = ("variant", "beta", "seed")


def elbo_at(w, seed):
    """One curve for all: by Eq. 5 a model is that of its weight, whatever its loss is called."""
    return 200 - 4 * math.log(w) ** 2 + seed


def section(variances, seeds=(0, 1, 2), declared=True, elbo=elbo_at, **more):
    """A section from variant -> (native reading, function of (beta, seed) to sigma^2), at nine betas."""
    points = []
    for variant, (native, variance) in variances.items():
        for beta in np.geomspace(0.01, 100, 9).tolist():
            for seed in seeds:
                mse = 0.1 if native == "half" else variance(beta, seed)
                value = elbo(2 * variance(beta, seed) * beta, seed)
                points += [
                    {"trial": f"{variant}-{beta}-{seed}", "variant": variant, "beta": beta, "seed": seed,
                     "split": split, "reading": reading, "native": reading == native, "beta_rate": declared,
                     # only the training split's error is the weight's
                     "mse": mse * more, "sse": N * mse * more,
                     "elbo": value, "rate": 5.0, "distortion": -value - 5,
                     "psnr_of_mse": 10.0, "density_bits_per_dim": 1.0}
                    for split, more in (("train", 1), ("test", 2))
                    for reading in ("half", "optimal", "optimal_train")
                ]  # fmt: skip
    frame = pd.DataFrame(points)
    trials = frame[[*NAMES, "trial"]].drop_duplicates().assign(status="done")
    settings = {"dataset": {"name": "digits"}, "protocol": "clean", "train": {"epochs": 2, "batch_size": 10}}
    return Section(settings, None, ("half", "optimal_train"), frame, trials=trials,
                   missing=pd.DataFrame(columns=list(NAMES)), **more)  # fmt: skip


CONSTANT = ("half", lambda beta, seed: 0.5)
FOLLOWS = ("optimal", lambda beta, seed: 0.02 * beta**0.25 * (1 + 0.01 * seed))


def test_the_weight_is_beta_of_constant_variance_and_twice_the_measured_variance_of_one_that_follows():
    found, reasons = statistics.weights(section({"beta_vae": CONSTANT, "bs_vae": FOLLOWS}))
    assert reasons == {}
    for (variant, beta), by_seed in found.items():
        for seed, w in by_seed.items():
            truth = beta if variant == "beta_vae" else 2 * 0.02 * beta**1.25 * (1 + 0.01 * seed)
            assert w == pytest.approx(truth, rel=1e-12)


def test_what_declares_no_such_loss_has_no_weight():
    found, reasons = statistics.weights(section({"beta_tc": CONSTANT}, declared=False))
    assert found == {}
    assert set(reasons.values()) == {statistics.UNDECLARED}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Trained variants of a likelihood of their own, and the variance that sigma_vae learned."""
    root = tmp_path_factory.mktemp("own")
    variants = ["sigma_vae", "learned_variance", "student_t", "sigma_vae_optimal"]
    sweep = make_sweep(dataset={"name": "digits", "train_images": 300, "test_images": 200}, beta=[0.5],
                       train={"epochs": 2, "batch_size": 50}, variants=variants)  # fmt: skip
    ResultsFolder(root).save_sweep(sweep)
    data, learned = datasets.load(sweep.dataset, root), {}

    def keep(trial, model):
        if trial.variant.name == "sigma_vae":
            learned["sigma_vae"] = model.variance.item()

    for trial in plan(sweep).trials:
        ResultsFolder(root).commit(trial.id, run_trial(trial, data, torch.device("cpu"), on_network=keep))
    ((found,), _) = gather([load_results(root)])
    return found, learned["sigma_vae"]


def test_a_learned_variance_is_read_from_what_is_stored_and_other_likelihoods_have_none(trained):
    own, variance = trained
    found, reasons = statistics.weights(own)
    assert found["sigma_vae", 0.5][0] == pytest.approx(2 * variance * 0.5, rel=1e-4)
    assert {variant: reason for (variant, _), reason in reasons.items()} == {
        "learned_variance": statistics.NOT_ONE, "student_t": statistics.NOT_ONE
    }  # fmt: skip
    train = own.splits["train", "half"].set_index("variant")["mse"]
    assert found["sigma_vae_optimal", 0.5][0] == pytest.approx(train["sigma_vae_optimal"])


def row(table, variant, beta):
    (found,) = (cells for cells in table.rows if (cells[0].text, cells[1].text) == (variant, beta))
    return found


def test_one_curve_in_w_differs_at_equal_beta_and_not_at_equal_weight():
    table = weights.table(section({"beta_vae": CONSTANT, "bs_vae": FOLLOWS}))
    beta, w = 1.0, 0.04
    cells = row(table, "bs_vae", "1")
    # Of seed 0 elbo_at(0.04, 0) - elbo_at(1, 0); the others' weights are 1 and 2 per cent more.
    truth = np.mean([elbo_at(w * (1 + 0.01 * seed), seed) - elbo_at(beta, seed) for seed in range(3)])
    assert cells[2].value == pytest.approx(truth)
    assert cells[2].value < -40
    assert [cell.value for cell in cells[3:5]] == pytest.approx([w * 1.01, 1])
    # At equal w only the straight lines between knots are off: by less than h^2/8 |f''|, f'' = -8 in ln w.
    assert abs(cells[5].value) <= (1.25 * math.log(10) / 2) ** 2
    assert cells[5].half_width is not None
    assert "Equal β is not equal weight" in table.method


def test_where_elbo_is_linear_in_ln_w_the_interpolation_is_exact_and_the_interval_is_that_of_the_pairs():
    lead = {0: 1.0, 1: 2.0, 2: 6.0}

    def elbo(w, seed):
        return -7 * math.log(w)

    own = section({"beta_vae": CONSTANT, "bs_vae": FOLLOWS}, elbo=elbo)
    ours = own.points["variant"] == "bs_vae"
    own.points.loc[ours, "elbo"] += own.points.loc[ours, "seed"].map(lead)
    cell = row(weights.table(own), "bs_vae", "1")[5]
    assert cell.value == pytest.approx(3)
    # deviation sqrt(7) of 1, 2, 6; t(0.975, 2) = 4.302653
    assert cell.half_width == pytest.approx(4.302653 * math.sqrt(7 / 3), rel=1e-5)


def test_beyond_the_common_range_there_is_no_number_and_the_ranges_are_told():
    table = weights.table(section({"beta_vae": CONSTANT, "bs_vae": FOLLOWS}))
    # bs_vae's weights run from 0.04 * 0.01^1.25 = 0.000126 to 0.04 * 100^1.25 = 12.65
    far = row(table, "bs_vae", "31.6228")[5]
    assert far.text == "–"
    assert far.note == (
        "no common range at w = 31.62: bs_vae has 0.0001265 to 12.90, beta_vae has 0.01000 to 100.0"
    )
    assert row(table, "bs_vae", "10")[5].value is not None


def test_no_line_runs_to_a_model_that_collapsed():
    """bs_vae has w = 3 at beta 31.6, and at 100 the 12.6 of a model without latents; 10 lies between."""
    own = section({"beta_vae": CONSTANT, "bs_vae": FOLLOWS})
    assert row(weights.table(own), "bs_vae", "10")[5].value is not None
    own = section({"beta_vae": CONSTANT, "bs_vae": FOLLOWS})
    own.points.loc[own.points["variant"].eq("bs_vae") & own.points["beta"].gt(50), "rate"] = 0.001
    between, below = (row(weights.table(own), "bs_vae", beta) for beta in ("10", "1"))
    assert (
        between[5].note
        == "no common range at w = 10.00: bs_vae has 0.0001265 to 3.060, beta_vae has 0.01000 to 100.0"
    )
    assert between[2].value is not None, "at equal beta nothing is interpolated"
    assert below[5].value is not None


def test_of_a_baseline_that_collapsed_there_is_no_difference_at_its_weight():
    own = section({"beta_vae": CONSTANT, "bs_vae": FOLLOWS})
    own.points.loc[own.points["variant"].eq("beta_vae") & own.points["beta"].eq(1), "rate"] = 0.001
    cell = row(weights.table(own), "bs_vae", "1")[5]
    assert (cell.text, cell.note) == (
        "–",
        "beta_vae is on no curve at this β: collapsed, unstable or without a value",
    )


def test_a_variant_that_collapsed_at_every_beta_is_not_told_to_have_no_weight():
    own = section({"beta_vae": CONSTANT, "bs_vae": FOLLOWS})
    own.points.loc[own.points["variant"].eq("bs_vae"), "rate"] = 0.001
    assert row(weights.table(own), "bs_vae", "1")[5].note == "all of bs_vae collapsed or are unstable"


def test_a_seed_whose_own_weights_do_not_span_it_takes_no_part():
    values = {("a", 1.0): {0: 1.0, 1: 5.0}, ("a", 2.0): {0: 3.0, 1: 7.0}}
    found = {("a", 1.0): {0: 1.0, 1: 4.0}, ("a", 2.0): {0: 4.0, 1: 9.0}}
    assert statistics.at_weight(values, found, "a", 2.0) == {0: pytest.approx(2.0)}
    assert statistics.at_weight(values, found, "a", 4.0) == {0: 3.0, 1: 5.0}
    assert statistics.at_weight(values, found, "a", 10.0) == {}


def test_without_a_second_variant_or_any_weight_there_is_no_table():
    assert weights.table(section({"beta_vae": CONSTANT})) is None
    assert weights.table(section({"beta_tc": CONSTANT, "other": FOLLOWS}, declared=False)) is None


def test_the_weight_is_a_column_of_the_tables_of_points():
    own = section({"beta_vae": CONSTANT, "bs_vae": FOLLOWS})
    table = measured.points(own, "half")
    assert table.columns[2].heading == "w = 2σ²β"
    assert row(table, "beta_vae", "10")[2].value == pytest.approx(10)
    undeclared = measured.points(section({"beta_tc": CONSTANT}, declared=False), "half")
    assert (undeclared.rows[0][2].text, undeclared.rows[0][2].note) == ("–", statistics.UNDECLARED)


def test_beside_the_difference_on_the_same_images_stands_that_at_equal_weight():
    own = section({"beta_vae": CONSTANT, "bs_vae": FOLLOWS}, elbo=lambda w, seed: -7 * math.log(w))
    own.per_image = pd.DataFrame([
        {"variant": variant, "beta": beta, "seed": seed, "index": index, "sse": 1.0 + index, "rate": 1.0}
        for variant, beta, seed in own.trials[list(NAMES)].itertuples(index=False) for index in (0, 1)
    ])  # fmt: skip
    table = paired.table(own, "half")
    cells = next(cells for cells in table.rows if cells[0].text == "1")
    assert cells[1].text == "bs_vae − beta_vae"
    heads = [column.heading for column in table.columns]
    assert heads[6:9] == ["w, the first", "w, the second", "at equal w"]
    assert [cell.value for cell in cells[6:9]] == pytest.approx([0.0404, 1, 0], abs=1e-9)
    assert "Equal β is not equal weight" in table.method


def test_the_chart_over_beta_can_be_drawn_over_the_weight():
    own = section({"beta_vae": CONSTANT, "bs_vae": FOLLOWS, "student_t": ("own", lambda beta, seed: 0.1)})
    drawn = beta_chart(own, ("beta_vae", "bs_vae", "student_t"))
    assert [control.options for control in drawn.controls[1:]] == [
        (("beta", "β"), ("w", "effective weight w = 2σ²β"))
    ]
    over_beta, over_w = (drawn.views[f"elbo_optimal_train/{axis}"] for axis in ("beta", "w"))
    for view, field, title in ((over_beta, "beta", "β"), (over_w, "w", "effective weight w = 2σ²β")):
        across = {json.dumps(layer["encoding"]["x"]) for layer in view["layer"]}
        assert all(json.loads(x)["field"] == field and json.loads(x)["title"] == title for x in across)
    at = {(row["variant"], row["beta"]): row["w"] for row in drawn.data["means"]}
    assert at["bs_vae", 1.0] == pytest.approx(0.0404)
    assert at["student_t", 1.0] is None
    low, high = json.loads(next(iter(across)))["scale"]["domain"]
    assert low < min(w for w in at.values() if w) < max(w for w in at.values() if w) < high
    assert any(note.startswith("Equal β is not equal weight") for note in drawn.notes)
    assert any("not drawn over it. student_t" in note for note in drawn.notes)


def test_where_every_weight_is_its_beta_there_is_one_axis():
    drawn = beta_chart(section({"beta_vae": CONSTANT}), ("beta_vae",))
    assert len(drawn.controls) == 1
    assert "elbo_half" in drawn.views
    assert not any("weight" in note for note in drawn.notes)
