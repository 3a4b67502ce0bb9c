"""The paper's Table 1: the right numbers, and published ones only where they may stand."""

import json
from pathlib import Path

import pandas as pd
import pytest

from rdbench import datasets
from rdbench.report.sections import Section
from rdbench.report.tables import claims, sources, table1
from rdbench.spec.plan import plan
from rdbench.spec.sweep import load_sweep

SWEEPS = Path(__file__).parents[2] / "sweeps"
MNIST = json.loads(plan(load_sweep(SWEEPS / "mnist_table1.yaml")).trials[0].to_json())
CELEBA = json.loads(plan(load_sweep(SWEEPS / "celeba_table1.yaml")).trials[0].to_json())


def section(elbo, *, fid=(), lost=(), missing=(), settings=MNIST, **changes):
    """A section from {(variant, beta): test ELBO by seed}; 10 more of train, 3 more if optimal.

    Args:
        fid: (variant, beta, seed, value, settings) rows of the metric.
        lost, missing: (variant, beta, seed) that diverged, and that were not trained.
    """
    names = ("variant", "beta", "seed")
    done = [(variant, beta, seed) for (variant, beta), own in elbo.items() for seed in range(len(own))]
    points = [
        {"variant": variant, "beta": beta, "seed": seed, "split": split, "reading": reading, "trial": "t",
         "elbo": elbo[variant, beta][seed] + more - less}
        for variant, beta, seed in done
        for split, more in (("train", 10), ("test", 0))
        for reading, less in (("half", 1e4), ("optimal_train", 0), ("optimal", -3))
    ]  # fmt: skip
    trials = [dict(zip(names, each, strict=True), status="done") for each in done]
    trials += [dict(zip(names, each, strict=True), status="diverged") for each in lost]
    metrics = [
        {"trial": "t", "name": "fid", "variant": variant, "beta": beta, "seed": seed, "value": value,
         "settings": json.dumps(how), "feature_hash": None, "protocol": "paper"}
        for variant, beta, seed, value, how in fid
    ]  # fmt: skip
    return Section(
        {**settings, **changes},
        "c0ffee",
        ("half",),  # whether the sweep asks for them or not, the others are there
        points=pd.DataFrame(points),
        trials=pd.DataFrame(trials, columns=[*names, "status"]),
        metrics=pd.DataFrame(metrics),
        missing=pd.DataFrame(list(missing), columns=list(names)),
    )


FIVE = {("bs_vae", 1.0): [887.0, 886, 888, 887, 887], ("beta_vae", 1.0): [291.0, 290, 292, 291, 291]}


def heads(table):
    return [(column.heading, column.group) for column in table.columns]


def row(table, variant, beta):
    (found,) = [own for own in table.rows if (own[0].text, own[1].text) == (variant, beta)]
    return found


BOUNDS = ["test log p(x) ≥", "train log p(x) ≥"]


def test_the_bounds_are_those_of_the_training_images_variance_and_the_papers_are_marked_as_fitted():
    table = table1.table1(section(FIVE, protocol="clean"))
    assert heads(table) == [
        ("variant", ""), ("β", ""), *((bound, "") for bound in BOUNDS),
        *((bound, "at the paper's σ², fitted to each image") for bound in BOUNDS),
    ]  # fmt: skip
    assert [column.badge for column in table.columns] == [*[""] * 4, "fitted", "fitted"]
    found = row(table, "bs_vae", "1")
    # Deviation sqrt(1/2), t(0.975, 4) = 2.7764451.
    assert found[2].value == 887
    assert found[2].half_width == pytest.approx(2.7764451 * (0.5 / 5) ** 0.5)
    assert found[2].n == 5
    assert [cell.value for cell in found[3:]] == [897, 890, 900]
    assert "n = 5 seeds" in table.caption
    assert "FID was not measured" in table.caption


def test_a_likelihood_of_ones_own_stands_in_the_same_column_and_says_so():
    own = section(FIVE | {("student_t", 1.0): [900.0] * 5}, protocol="clean")
    students = own.points["variant"].eq("student_t") & own.points["reading"].eq("half")
    own.points.loc[students, "reading"] = "own"
    table = table1.table1(own)
    cells = row(table, "student_t", "1")
    assert (cells[2].value, cells[2].note) == (900 - 1e4, "its own likelihood")
    assert (cells[3].value, cells[3].note) == (910 - 1e4, "its own likelihood")
    assert [(cell.value, cell.note) for cell in cells[4:]] == [(903, ""), (913, "")]
    assert row(table, "bs_vae", "1")[2].note == ""
    assert row(table, "bs_vae", "1")[2].mark == "best"  # of one ranking


def test_published_values_stand_beside_protocol_paper_and_say_that_they_are():
    table = table1.table1(section(FIVE))
    assert heads(table)[2:] == [
        *((bound, group) for group in ("measured", table1.AS_PAPER) for bound in BOUNDS),
        *((name, "published") for name in ("FID", *BOUNDS)),
    ]
    assert [column.badge for column in table.columns[4:]] == ["fitted"] * 2 + ["published"] * 3
    assert [cell.value for cell in row(table, "bs_vae", "1")[6:]] == [59.2, 887, 877]
    assert [cell.text for cell in row(table, "beta_vae", "1")[6:]] == ["225.8", "291", "286"]
    assert not any(cell.mark for own in table.rows for cell in own[6:])


def test_a_row_that_the_paper_has_not_got_has_no_published_value():
    table = table1.table1(section(FIVE | {("bs_vae", 3.0): [1.0], ("bs_vae (a=1)", 1.0): [1.0]}))
    for key in (("bs_vae", "3"), ("bs_vae (a=1)", "1")):
        assert [cell.text for cell in row(table, *key)[6:]] == ["–"] * 3
        assert {cell.note for cell in row(table, *key)[6:]} == {"not in the paper"}


def test_no_published_values_stand_beside_another_protocol():
    table = table1.table1(section(FIVE, protocol="clean"))
    assert "published" not in {column.group for column in table.columns}
    assert len(table.columns) == 6
    assert "the paper's are of protocol paper, these of protocol clean" in table.caption


@pytest.mark.parametrize("dataset", ["digits", "fashion_mnist"])
def test_of_other_data_there_is_no_table_of_the_paper(dataset):
    assert table1.table1(section(FIVE, dataset={"name": dataset})) is None


def test_without_either_of_its_variants_there_is_no_table_of_the_paper():
    for gone in ("bs_vae", "beta_vae"):
        assert table1.table1(section({key: values for key, values in FIVE.items() if key[0] != gone})) is None


def test_the_papers_betas_come_first_and_the_others_behind_a_button():
    dense = FIVE | {(variant, 3.0): [1.0] for variant in ("bs_vae", "beta_vae")}
    table = table1.table1(section(dense))
    assert {table.rows[place][1].text for place in table.brief} == {"1"}
    assert len(table.brief) == len(table.rows) - 2
    assert table1.table1(section(FIVE)).brief == ()


def test_a_protocol_paper_without_one_of_its_rows_has_no_published_columns():
    table = table1.table1(section({("bs_vae", 3.0): [1.0], ("beta_vae", 3.0): [1.0]}))
    assert len(table.columns) == 6
    assert "none of these rows" in table.caption


def test_celeba_has_its_own_published_values():
    found = row(table1.table1(section(FIVE, settings=CELEBA)), "bs_vae", "1")
    assert [cell.value for cell in found[6:]] == [90.8, 14384, 14434]


def test_the_recipes_of_the_papers_sweeps_are_the_papers():
    for settings in (MNIST, CELEBA):
        assert table1.differences(section(FIVE, settings=settings)) == []
        assert "The recipe is the paper's." in table1.table1(section(FIVE, settings=settings)).caption


def test_every_difference_from_the_papers_recipe_is_listed():
    changes = {
        "train": MNIST["train"]
        | {"epochs": 3, "batch_size": 64, "lr": 0.01, "weight_decay": 0.0, "augment": False},
        "model": MNIST["model"] | {"latent": 8, "channels": [16, 32]},
        "dataset": MNIST["dataset"] | {"train_images": 2000, "test_images": 500},
    }
    own = section(
        {("bs_vae", 1.0): [1.0, 2.0], ("beta_vae", 1.0): [1.0, 2.0]}, missing=[("bs_vae", 1.0, 2)], **changes
    )
    assert table1.differences(own) == [
        "epochs 3 instead of 50",
        "batch size 64 instead of 512",
        "learning rate 0.01 instead of 0.001",
        "weight decay 0 instead of 1e-05",
        "augmentation off instead of on",
        "latent 8 instead of 32",
        "channels 16, 32 instead of 32, 64, 128",
        "train images 2,000 instead of 60,000",
        "test images 500 instead of 10,000",
        "3 seeds instead of 5",
    ]
    caption = table1.table1(own).caption
    assert all(each in caption for each in table1.differences(own))


def test_a_linear_model_and_a_subset_of_all_images_are_told_from_the_papers():
    linear = section(FIVE, model={"name": "linear", "latent": 32, "channels": []})
    assert table1.differences(linear) == [
        "networks linear instead of conv",
        "channels none instead of 32, 64, 128",
    ]
    whole = section(FIVE, dataset=MNIST["dataset"] | {"train_images": 60_000})
    assert table1.differences(whole) == []


def test_the_sizes_of_the_papers_datasets_are_those_of_the_registry():
    for name, sizes in table1.IMAGES.items():
        assert tuple(sizes.values()) == datasets.get(name).sizes


# Kim & Lee, ICPR 2024, Table 1, typed anew: FID, test log p(x) >=, train log p(x) >=, for the betas
# 0.01, 0.1, 1, 10 and 100.
PAPER = {
    ("mnist", "beta_vae"): [
        (190.3, 667, 659), (163.6, 626, 618), (225.8, 291, 286), (351.7, -19, -20), (352.5, -19, -20),
    ],
    ("mnist", "bs_vae"): [
        (67.4, 796, 788), (75.5, 850, 840), (59.2, 887, 877), (38.4, 662, 656), (332.8, -15, -17),
    ],
    ("celeba", "beta_vae"): [
        (194.7, 10684, 10762), (151.7, 10384, 10412), (126.4, 10616, 10626), (149.4, 6923, 6898),
        (235.8, 2233, 2190),
    ],
    ("celeba", "bs_vae"): [
        (188.5, 10772, 10848), (130.2, 12996, 13037), (90.8, 14384, 14434), (73.7, 13205, 13256),
        (106.2, 7668, 7630),
    ],
}  # fmt: skip


def test_every_published_value_is_the_papers():
    names = ("fid", "test_log_p_lower_bound", "train_log_p_lower_bound")
    expected = {"mnist": {}, "celeba": {}}
    for (dataset, variant), rows in PAPER.items():
        for beta, values in zip([0.01, 0.1, 1.0, 10.0, 100.0], rows, strict=True):
            expected[dataset][variant, beta] = dict(zip(names, values, strict=True))
    assert table1.published() == expected


def test_the_best_is_marked_and_what_cannot_be_told_from_it():
    elbo = {
        ("bs_vae", 1.0): [10.0, 11, 12],
        ("beta_vae", 1.0): [10.5, 11, 11.4],
        ("c", 1.0): [1.0, 2, 3],
        ("d", 1.0): [9.0],
    }
    table = table1.table1(section(elbo))
    assert {name: row(table, name, "1")[2].mark for name in ("bs_vae", "beta_vae", "c", "d")} == {
        "bs_vae": "best", "beta_vae": "close", "c": "", "d": ""
    }  # fmt: skip
    assert "Welch" in table.method
    assert row(table, "d", "1")[2].note == "n = 1"


def test_fid_is_a_column_where_it_was_measured_and_lower_is_better():
    published = {"samples": None, "network": "published"}
    fid = [("bs_vae", 1.0, 0, 60.0, published), ("beta_vae", 1.0, 0, 226.0, published)]
    table = table1.table1(section(FIVE, fid=fid))
    assert heads(table)[2] == ("FID", "measured")
    assert (row(table, "bs_vae", "1")[2].value, row(table, "bs_vae", "1")[2].mark) == (60, "best")
    assert "FID was not measured" not in table.caption


def test_each_way_of_measuring_fid_has_a_column_that_says_how():
    ways = [{"samples": 10}, {"samples": 20}, {"samples": 10, "network": "other"}]
    fid = [("bs_vae", 1.0, 0, 60.0 + i, how) for i, how in enumerate(ways)]
    fid += [("beta_vae", 1.0, 0, None, {"samples": 10, "error": "Traceback\nno weights"})]
    table = table1.table1(section(FIVE, fid=fid))
    fids = ["FID (1)", "FID (2)", "FID, not with the published weights"]
    assert [heading for heading, _ in heads(table)[2:5]] == fids
    assert [cell.value for cell in row(table, "bs_vae", "1")[2:5]] == [60, 61, 62]
    assert table.notes[1] == "FID (2): samples 20, protocol paper."
    # The stand-in was asked for in the same words.
    notes = [cell.note for cell in row(table, "beta_vae", "1")[2:5]]
    assert notes == ["no weights", "not measured", "no weights"]


def test_another_metric_is_no_fid():
    own = section(FIVE, fid=[("bs_vae", 1.0, 0, 60.0, {})])
    own.metrics["name"] = "fd_classifier"
    table = table1.table1(own)
    assert "FID" not in {heading for heading, group in heads(table) if group == "measured"}
    assert "FID was not measured" in table.caption


def test_lost_and_missing_trials_are_said_in_the_cells():
    lost, missing = [("bs_vae", 1.0, 5), ("bs_vae", 10.0, 0)], [("beta_vae", 1.0, 5)]
    table = table1.table1(section(FIVE, lost=lost, missing=missing))
    assert row(table, "bs_vae", "1")[2].note == "1 diverged"
    assert (row(table, "bs_vae", "10")[2].text, row(table, "bs_vae", "10")[2].note) == ("–", "1 diverged")
    assert row(table, "beta_vae", "1")[3].note == "1 not trained yet"


def test_without_points_there_is_no_table():
    assert table1.table1(section({}, lost=[("bs_vae", 1.0, 0)])) is None


def with_notes(own, *notes):
    own.trials["data_notes"] = json.dumps(notes)
    return own


@pytest.fixture
def one_claim(monkeypatch):
    claim = claims.Claim("C2", "Fig. 3", "a claim", "held", "", "")
    monkeypatch.setattr(claims, "page_claims", lambda sections, *rest: ([[claim] for _ in sections], []))
    monkeypatch.setattr(claims.headline, "statements", lambda section: [])


@pytest.mark.usefixtures("one_claim")
def test_data_that_are_not_the_papers_are_told_beside_the_published_values():
    notes = ("8 train images instead of the 162,770 that are published",
             "16 of 16 images are not 178x218 as published (most often 409x687)")  # fmt: skip
    table = table1.table1(with_notes(section(FIVE, settings=CELEBA), *notes))
    assert {column.group for column in table.columns[6:]} == {"published, of other data"}
    assert f"The data are not those of the paper: {'; '.join(notes)}." in table.caption
    assert "The recipe is the paper's." in table.caption  # which is another matter
    assert notes[0] in claims.verdicts([with_notes(section(FIVE, settings=CELEBA), *notes)])[0][0].caption


@pytest.mark.usefixtures("one_claim")
def test_data_as_published_are_passed_over_in_silence():
    for own in (section(FIVE), with_notes(section(FIVE))):
        assert "not those of the paper" not in table1.table1(own).caption
        assert "not the paper's data" not in claims.verdicts([own])[0][0].caption


@pytest.mark.parametrize(
    ("protocol", "measured", "asked", "told"),
    [
        ("clean", 60_000, None, []),
        ("clean", 600, None, ["600 train images instead of 60,000"]),
        ("clean", 600, 600, []),  # which is the recipe's difference
        ("clean", 500, 600, ["500 train images instead of 600"]),
        ("paper", 59_904, None, []),  # 117 batches of 512
        ("paper", 512, None, ["512 train images instead of 59,904"]),
    ],
)
def test_of_older_results_the_number_of_images_measured_tells(protocol, measured, asked, told):
    own = section(FIVE, protocol=protocol, dataset=MNIST["dataset"] | {"train_images": asked})
    test = 10_000 if protocol == "clean" else 9_728
    own.points["n_images"] = own.points["split"].map({"train": measured, "test": test})
    assert sources.data_remarks(own) == told


def test_the_provenance_lists_the_remarks_on_the_data():
    own = with_notes(section(FIVE), "3 of 5 images had another size and were cropped and resized")
    columns = ("started", "skipped_files", "parameters", "versions", "commit", "device", "host", "seconds")
    own.trials = own.trials.assign(**dict.fromkeys(columns))
    own.points["n_images"] = 5
    rows = {cells[0].text: cells[1].text for cells in sources.provenance(own).rows}
    assert rows["remarks on the data"] == "3 of 5 images had another size and were cropped and resized"
