"""The report: right numbers, nothing mixed, nothing hidden, nothing loaded, nothing executed."""

import base64
import datetime
import html.parser
import io
import json
import math
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from rdbench import store
from rdbench.errors import ResultsError
from rdbench.likelihood import READINGS
from rdbench.plan import plan
from rdbench.report import charts, curves, gather, labels, make_report, numbers, page, pictures, tables
from rdbench.spec import Sweep

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \"double\" 'single' {{ 7*7 }} 🙂"


def make_sweep(**changes):
    spec = {
        "name": "study",
        "dataset": {"name": "digits"},
        "variants": ["beta_vae", "bs_vae"],
        "beta": [1, 10],
    }
    return Sweep.model_validate(spec | changes)


def png(value):
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8), value, "uint8")).save(buffer, "PNG")
    return buffer.getvalue()


def elbo_of(trial, reading):
    """An ELBO that tells each trial and reading apart: -(100 * reading's place + beta + seed / 4)."""
    return -(100 * (READINGS.index(reading) + 1) + trial.beta + trial.seed / 4)


def point_rows(trial):
    rate = 20 / trial.beta + trial.seed / 8
    rows = []
    for split, shift in (("train", 1.0), ("test", 0.0)):
        for reading in READINGS:
            elbo = elbo_of(trial, reading) + shift
            rows.append(
                {"dataset": trial.dataset.name, "variant": trial.variant.name, "beta": trial.beta,
                 "seed": trial.seed, "protocol": trial.protocol, "split": split, "reading": reading,
                 "native": reading == {"beta_vae": "half", "bs_vae": "optimal"}[trial.variant.name],
                 "n_images": 100, "rate": rate, "distortion": -elbo - rate, "elbo": elbo, "sse": 3.2,
                 "mse": 0.05, "psnr": 13.01, "bits_per_dim": 1.5}
            )  # fmt: skip
    return rows


def write(root, sweep, *, lost=lambda trial: None, skip=lambda trial: False, images=False, **trial_row):
    """Write a results folder; ``lost`` gives (status, error) of a trial that did not end well."""
    store.save_sweep(root, sweep)
    for trial in plan(sweep).trials:
        if skip(trial):
            continue
        status, error = lost(trial) or ("done", None)
        row = {"status": status, "error": error, "dataset": trial.dataset.name, "variant": trial.variant.name,
               "beta": trial.beta, "seed": trial.seed, "protocol": trial.protocol, "seconds": 2.0,
               "started": datetime.datetime(2025, 1, 2, 3, 4, tzinfo=datetime.UTC), "skipped_files": 0,
               "dataset_checksum": "c0ffee" * 8, "versions": json.dumps({"torch": "9.9"}), "device": "a CPU",
               "spec": trial.to_json()} | trial_row  # fmt: skip
        content = {"trials": [row]}
        if status == "done":
            content["points"] = point_rows(trial)
            if images:
                kinds = ("original", "reconstruction", "sample")
                content["images"] = [{"kind": kind, "index": index, "png": png(40 * place + index)}
                                     for place, kind in enumerate(kinds) for index in range(16)]  # fmt: skip
        store.commit(root, trial.id, content)
    return root


def report(tmp_path, *roots):
    return make_report(roots, tmp_path / "out.html").read_text()


def section_of(*roots):
    (section,), _ = gather.gather([store.load_results(root) for root in roots])
    return section


def visible(text):
    """The page's text without scripts, styles and tags, white space joined."""
    text = re.sub(r"<(script|style)\b.*?</\1>", " ", text, flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


# Statistics


def test_the_interval_is_students():
    # Mean 3, deviation sqrt(2.5), t(0.975, 4) = 2.7764451: half-width 1.9632432.
    found = curves.estimate([1, 2, 3, 4, 5])
    assert (found.mean, found.n) == (3.0, 5)
    assert found.half_width == pytest.approx(1.9632432, rel=1e-7)


def test_one_seed_has_a_value_and_no_interval_and_none_has_neither():
    assert curves.estimate([7.0]) == curves.Estimate(7.0, None, 1)
    assert curves.estimate([7.0, math.nan, None, math.inf]) == curves.Estimate(7.0, None, 1)
    assert curves.estimate([]) is None
    assert curves.estimate([math.nan]) is None


def test_means_are_over_seeds(tmp_path):
    section = section_of(write(tmp_path / "a", make_sweep(seeds=[0, 1, 4])))
    rows = curves.finite_points(section.points, "test", "half")
    means = curves.mean_points(rows).set_index(["variant", "beta"])
    assert means.loc[("bs_vae", 10.0), "n"] == 3
    assert means.loc[("bs_vae", 10.0), "rate"] == pytest.approx(2 + 5 / 24)
    assert means.loc[("bs_vae", 10.0), "elbo"] == pytest.approx(-(110 + 5 / 12))


def test_the_envelope_keeps_what_no_point_of_lower_rate_beats():
    rows = pd.DataFrame({"rate": [3.0, 1, 2, 2, 4], "mse": [0.5, 0.9, 0.95, 0.7, 0.5]})
    assert curves.envelope(rows, "mse")[["rate", "mse"]].to_numpy().tolist() == [[1, 0.9], [2, 0.7], [3, 0.5]]


def test_the_lowest_curve_is_named_with_the_share_of_the_shared_rates():
    means = pd.DataFrame(
        {"variant": ["a", "a", "b", "b"], "rate": [0.0, 4.0, 0.0, 8.0], "mse": [4.0, 0.0, 3.0, 1.0]}
    )
    # Over 0 to 4 nats, a is 4 - r and b is 3 - r/4: they cross at 4/3, and a is lower over the last 2/3.
    found = curves.lowest_curve(means, "mse")
    assert (found.variant, found.low, found.high) == ("a", 0.0, 4.0)
    assert found.share == pytest.approx(2 / 3, abs=2e-3)


@pytest.mark.parametrize("b_rates", [[5.0, 6.0], [2.0, 2.0]])
def test_no_curve_is_called_lowest_where_they_share_no_rates(b_rates):
    means = pd.DataFrame(
        {"variant": ["a", "a", "b", "b"], "rate": [0.0, 4.0, *b_rates], "mse": [4.0, 1, 3, 2]}
    )
    assert curves.lowest_curve(means, "mse") is None


def test_equal_curves_have_no_lowest():
    means = pd.DataFrame({"variant": ["a", "a", "b", "b"], "rate": [0.0, 1, 0, 1], "mse": [2.0, 1, 2, 1]})
    assert curves.lowest_curve(means, "mse") is None


# Numbers and labels


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (math.nan, "–"), (-math.inf, "–"), (0.0, "0"), (-1234.56, "−1,234.6"),
     (0.012345, "0.01235"), (-0.00001, "−1.000e−05"), (123.456, "123.5")],
)  # fmt: skip
def test_numbers_are_written_for_reading_and_a_missing_one_is_a_dash(value, text):
    assert numbers.number(value) == text


@pytest.mark.parametrize(
    ("mean", "half", "text"),
    [(-1234.5678, 2.345, "−1,234.6 ± 2.3"), (0.5, 0.00123, "0.5000 ± 0.0012"), (1234.5, 234.0, "1,234 ± 234"),
     (5.0, 0.0, "5.000 ± 0"), (-0.001, 0.5, "0.00 ± 0.50")],
)  # fmt: skip
def test_a_mean_has_the_digits_its_interval_allows(mean, half, text):
    assert numbers.interval(curves.Estimate(mean, half, 5)) == text


def test_labels_cover_no_point_and_no_label_and_round_numbers_come_first():
    betas = [10 ** (i / 10) for i in range(-30, 31)]
    x, y = [1 / (1 + b) for b in betas], [b / (1 + b) for b in betas]
    ranges = (labels.domain(x), labels.domain(y))
    placed = labels.place(x, y, betas, ranges, log_x=False)
    tens = {f"β {10.0**power:g}" for power in range(-3, 4)}
    assert {text for text, _ in filter(None, placed)} <= tens
    assert placed[30] is not None
    crowd = labels.place([1.0] * 9, [1.0] * 9, list(range(1, 10)), ranges, log_x=False)
    assert sum(label is not None for label in crowd) <= len(labels.CORNERS)


def test_a_rate_of_zero_gets_no_label_on_a_logarithmic_axis():
    ranges = (labels.domain([0.0, 1.0], log=True), labels.domain([1.0, 2.0]))
    assert labels.place([0.0, 1.0], [1.0, 2.0], [1, 2], ranges, log_x=True)[0] is None


# Sections: what may be compared


def test_protocols_and_settings_and_data_never_share_a_section(tmp_path):
    roots = [
        write(tmp_path / "clean", make_sweep()),
        write(tmp_path / "paper", make_sweep(protocol="paper")),
        write(tmp_path / "short", make_sweep(train={"epochs": 2})),
        write(tmp_path / "other_data", make_sweep(), dataset_checksum="bad"),
        write(tmp_path / "more", make_sweep(seeds=[5])),
    ]
    # The same trials on other data have the same ids: the first folder's are shown, the others named.
    sections, problems = gather.gather([store.load_results(root) for root in roots])
    assert sum("was trained on other data" in problem for problem in problems) == 4
    assert [(s.protocol, s.settings["train"]["epochs"], len(s.trials)) for s in sections] == [
        ("clean", 2, 4),
        ("clean", 50, 8),
        ("paper", 50, 4),
    ]
    headings = page.distinguish(sections)
    assert len(set(headings)) == 3
    assert "train.epochs 2" in headings[0]
    assert all(s.points["protocol"].nunique() == 1 for s in sections)


def test_one_setting_on_two_states_of_a_data_folder_makes_two_sections(tmp_path):
    roots = [
        write(tmp_path / "a", make_sweep()),
        write(tmp_path / "b", make_sweep(seeds=[1]), dataset_checksum="f00d"),
    ]
    sections, _ = gather.gather([store.load_results(root) for root in roots])
    assert {s.checksum for s in sections} == {"c0ffee" * 8, "f00d"}
    assert any("data f00d" in heading for heading in page.distinguish(sections))


def test_a_trial_in_two_folders_counts_once_and_the_finished_one_wins(tmp_path):
    failed = write(tmp_path / "a", make_sweep(), lost=lambda trial: ("failed", "boom"))
    done = write(tmp_path / "b", make_sweep(seeds=[0, 1]))
    for roots in ((failed, done), (done, failed)):
        section = section_of(*roots)
        assert section.trials["status"].tolist() == ["done"] * 8
        assert len(section.points) == 8 * 2 * len(READINGS)


def test_a_trial_of_an_earlier_recipe_is_left_out_by_name(tmp_path):
    root = write(tmp_path / "a", make_sweep())
    old = plan(make_sweep(beta=[3])).trials[0]
    row = {"status": "done", "spec": old.to_json()}
    store.commit(root, "0123456789abcdef", {"trials": [row], "points": point_rows(old)})
    store.commit(root, "fedcba9876543210", {"trials": [{"status": "done", "spec": "{"}]})
    text = report(tmp_path, root)
    assert "trial 0123456789abcdef left out, an earlier recipe made it" in visible(text)
    assert "trial fedcba9876543210 left out, its settings cannot be read" in visible(text)
    assert 3.0 not in section_of(root).points["beta"].to_numpy()


# Tables


def test_the_table_holds_mean_interval_best_and_native(tmp_path):
    section = section_of(write(tmp_path / "a", make_sweep(seeds=[0, 4, 8], readings=["half", "optimal"])))
    table = tables.elbo_table(section)
    assert [(c.reading, c.variant, c.native) for c in table.columns] == [
        ("half", "beta_vae", True),
        ("half", "bs_vae", False),
        ("optimal", "beta_vae", False),
        ("optimal", "bs_vae", True),
    ]
    # Seeds 0, 4, 8 give 101, 102, 103: deviation 1, t(0.975, 2) = 4.302653, over sqrt(3): 2.484.
    beta, cells = table.rows[0]
    assert beta == 1.0
    assert [cell.text for cell in cells] == ["−102.0 ± 2.5"] * 2 + ["−302.0 ± 2.5"] * 2
    assert all(cell.best for cell in cells)
    assert not any(cell.best for cell in table.rows[1][1])
    assert table.seeds == (3,)


def test_one_seed_shows_no_interval_and_says_so(tmp_path):
    text = visible(report(tmp_path, write(tmp_path / "a", make_sweep())))
    assert "±" not in text
    assert "n = 1" in text
    assert "−101.0" in text


def test_the_summary_names_the_best_variant_beta_and_value(tmp_path):
    def lost(trial):
        return ("diverged", "NaN") if (trial.variant.name, trial.beta) == ("beta_vae", 1.0) else None

    section = section_of(write(tmp_path / "a", make_sweep(readings=["half"]), lost=lost))
    assert tables.findings(section) == [
        "σ² = 1/2: best test ELBO −101.0 nats per image, bs_vae at β = 1 (one training, n = 1)."
    ]
    assert tables.progress(section) == "3 of 4 trainings done, 1 diverged"


def test_a_missing_number_is_a_dash_with_its_reason(tmp_path):
    def lost(trial):
        return ("diverged", "loss is NaN") if (trial.variant.name, trial.beta) == ("beta_vae", 1.0) else None

    sweep = make_sweep(beta=[1, 10, 100], readings=["half"])
    root = write(tmp_path / "a", sweep, lost=lost, skip=lambda trial: trial.beta == 100)
    rows = dict(tables.elbo_table(section_of(root)).rows)
    assert rows[1.0][0] == tables.Cell("–", "1 diverged")
    assert rows[100.0] == (tables.Cell("–", "1 not trained yet"),) * 2
    assert tables.missing(section_of(root)) == [("beta_vae", "100", "0"), ("bs_vae", "100", "0")]


def test_psnr_that_has_no_meaning_is_a_dash_with_its_reason(tmp_path):
    root = write(tmp_path / "a", make_sweep(beta=[1], variants=["bs_vae"]))
    trial = plan(make_sweep(beta=[1], variants=["bs_vae"])).trials[0]
    rows = [row | {"psnr": None, "bits_per_dim": None} for row in point_rows(trial)]
    store.commit(root, trial.id, {"points": rows, "trials": [{"status": "done", "spec": trial.to_json()}]})
    ((_, _, cells),) = tables.details(section_of(root), "half")
    names = [name for name, _, _ in tables.DETAILS]
    assert cells[names.index("test PSNR, dB")] == tables.Cell("–", "defined for images in [0, 1] only")
    assert cells[names.index("train ELBO")].text == "−100.0"
    assert cells[names.index("test MSE")].text == "0.05000"


def test_diverged_and_failed_trials_are_listed_with_their_reason_and_draw_no_point(tmp_path):
    def lost(trial):
        return {1.0: ("diverged", "loss is NaN at epoch 3"), 10.0: None}[trial.beta]

    root = write(tmp_path / "a", make_sweep(), lost=lost)
    text = visible(report(tmp_path, root))
    assert "2 trials without a result" in text
    assert text.count("loss is NaN at epoch 3") == 2
    chart = charts.rate_chart(section_of(root).points, "half", "mse", "t", variants=["beta_vae", "bs_vae"])
    assert {row["beta"] for row in chart.data["means"]} == {10.0}


def test_unreadable_tables_are_named(tmp_path):
    root = write(tmp_path / "a", make_sweep())
    trials = plan(make_sweep()).trials
    (root / "points" / f"{trials[0].id}.parquet").write_bytes(b"junk")
    (root / "trials" / f"{trials[1].id}.parquet").write_bytes(b"junk")
    text = visible(report(tmp_path, root))
    assert f"{trials[0].id}.parquet: left out" in text
    assert f"{trials[1].id}.parquet: left out" in text
    assert "its table of points is not there or cannot be read" in text
    assert "1 trial not trained yet" in text


# Charts


def test_a_chart_holds_means_seeds_and_a_reference(tmp_path):
    section = section_of(write(tmp_path / "a", make_sweep(seeds=[0, 1])))
    bound = pd.DataFrame({"rate": [0.0, 10.0], "mse": [0.05, 0.01]})
    chart = charts.rate_chart(
        section.points, "half", "mse", "t", variants=["beta_vae", "bs_vae"], reference=bound
    )
    assert len(chart.data["means"]) == 4
    assert len(chart.data["seeds"]) == 8
    assert chart.data["reference"][1] == {"rate": 10.0, "mse": 0.01, "name": "Shannon's R(D)"}
    for spec, scale in ((chart.linear, "linear"), (chart.log, "log")):
        assert {layer["encoding"]["x"]["scale"]["type"] for layer in spec["layer"]} == {scale}
        assert {layer["data"]["name"] for layer in spec["layer"]} == {"means", "seeds", "reference"}
        assert "description" in spec


def test_a_variant_keeps_its_colour_and_shape_in_every_chart(tmp_path):
    section = section_of(write(tmp_path / "a", make_sweep()))
    only = section.points[section.points["variant"] == "bs_vae"]
    for points in (section.points, only):
        chart = charts.rate_chart(points, "half", "mse", "t", variants=["beta_vae", "bs_vae"])
        text = json.dumps(chart.linear)
        assert '"domain": ["beta_vae", "bs_vae"], "range": ["#0072B2", "#D55E00"]' in text
        assert '"range": ["circle", "square"]' in text


def test_a_chart_of_more_than_5000_points_is_drawn(tmp_path):
    section = section_of(write(tmp_path / "a", make_sweep(variants=["bs_vae"], beta=[1])))
    row = section.points[(section.points["split"] == "test") & (section.points["reading"] == "half")]
    many = pd.concat([row.assign(seed=seed) for seed in range(5001)], ignore_index=True)
    assert len(charts.rate_chart(many, "half", "mse", "t", variants=["bs_vae"]).data["seeds"]) == 5001


def test_what_is_not_drawn_is_counted(tmp_path):
    section = section_of(write(tmp_path / "a", make_sweep()))
    points = section.points.copy()
    points.loc[points["variant"] == "bs_vae", "rate"] = 0.0
    points.loc[(points["variant"] == "beta_vae") & (points["beta"] == 1), "distortion"] = -math.inf
    chart = charts.rate_chart(points, "half", "distortion", "t", variants=["beta_vae", "bs_vae"])
    assert chart.notes == (
        "1 of 4 points are not finite and are not drawn.",
        "2 of 3 points have rate 0 and have no place on the logarithmic axis.",
    )


# Pictures


def test_pictures_are_the_stored_bytes_in_order_of_index_and_originals_stand_once(tmp_path):
    section = section_of(write(tmp_path / "a", make_sweep(), images=True))
    chosen = pictures.choose(section, 10**6)
    assert [p.originals is not None for p in chosen.trials] == [True, False, False, False]
    assert len({*chosen.trials[0].reconstructions.uris}) == chosen.count == 8
    first = chosen.trials[0].reconstructions.uris[0].removeprefix("data:image/png;base64,")
    assert base64.b64decode(first) == png(40)


def test_pictures_keep_to_their_budget_and_say_what_is_not_shown(tmp_path):
    section = section_of(write(tmp_path / "a", make_sweep(beta=list(range(1, 21))), images=True))
    chosen = pictures.choose(section, 10**6)
    assert [float(p.beta) for p in chosen.trials if p.variant == "bs_vae"] == [1, 5, 9, 12, 16, 20]
    assert chosen.notes == ("12 of 40 pairs of variant and beta are shown, evenly spaced in beta.",)
    small = pictures.choose(section, 2000)
    strips = [s for p in small.trials for s in (p.originals, p.reconstructions, p.samples) if s]
    assert sum(len(uri) for strip in strips for uri in strip.uris) <= 2000
    assert pictures.choose(section, 10) is None


def test_what_is_not_a_png_is_not_embedded(tmp_path):
    section = section_of(write(tmp_path / "a", make_sweep(), images=True))
    section.images.loc[section.images["kind"] == "sample", "png"] = b"<svg onload=alert(1)>"
    chosen = pictures.choose(section, 10**6)
    assert all(not p.samples.uris for p in chosen.trials)
    assert chosen.notes == ("64 stored pictures are left out: they are not PNG files.",)


# The page


class Loads(html.parser.HTMLParser):
    """Collects what a browser would load, and the elements and handlers there are."""

    def __init__(self):
        super().__init__()
        self.loads, self.tags, self.handlers = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "href", "data", "action", "poster"):
                self.loads.append(value)
            if name.startswith("on"):
                self.handlers.append(value)


def parse(text):
    parser = Loads()
    parser.feed(text)
    return parser


def test_the_page_loads_nothing(tmp_path):
    text = report(tmp_path, write(tmp_path / "a", make_sweep(), images=True))
    parser = parse(text)
    assert [load for load in parser.loads if not load.startswith(("data:image/png;base64,", "#"))] == []
    assert "link" not in parser.tags
    assert "default-src 'none'" in text
    style = re.search(r"<style>(.*?)</style>", text, re.S)[1]
    assert "url(" not in style
    assert "@import" not in style


def test_hostile_text_is_only_ever_text(tmp_path, monkeypatch):
    monkeypatch.setattr(gather, "variant_label", lambda name, options: f"{name} {HOSTILE}")

    def lost(trial):
        return ("failed", f"Traceback:\n{HOSTILE}") if trial.beta == 10 else None

    sweep = make_sweep(seeds=[0, 1], variants=["bs_vae"])
    written = dict.fromkeys(("host", "device", "versions", "commit"), HOSTILE)
    root = write(tmp_path / HOSTILE.replace("/", "|"), sweep, lost=lost, images=True, **written)
    text = report(tmp_path, root)
    parser = parse(text)
    assert parser.tags.count("script") == 3  # the specs, Vega, and the page's own
    assert parser.handlers == []
    assert "x" not in parser.loads
    assert "alert(1)" in visible(text)  # it is shown
    assert "{{ 7*7 }}" in visible(text)  # and not evaluated
    specs = re.search(r'<script type="application/json" id="charts">(.*?)</script>', text, re.S)[1]
    assert not re.search(r"[<>&]", specs)
    chart = json.loads(specs)["s0c0"]
    assert chart["data"]["means"][0]["variant"] == f"bs_vae {HOSTILE}"
    assert HOSTILE in chart["linear"]["description"]


def test_charts_carry_their_finding_as_text_for_screen_readers(tmp_path):
    text = report(tmp_path, write(tmp_path / "a", make_sweep()))
    found = re.findall(r'<div class="chart" id="\w+" role="img" aria-label="([^"]+)"', text)
    assert len(found) == len(READINGS) + 1
    assert all("nats" in label for label in found)


@pytest.mark.parametrize("case", ["empty", "all diverged", "one point"])
def test_a_page_with_little_in_it_says_what_it_can(tmp_path, case):
    sweep = make_sweep(beta=[1], variants=["bs_vae"]) if case == "one point" else make_sweep()
    root = write(
        tmp_path / "a",
        sweep,
        skip=lambda trial: case == "empty",
        lost=lambda trial: ("diverged", "loss is NaN") if case == "all diverged" else None,
    )
    text = report(tmp_path, root)
    assert ('id="charts"' in text) == (case == "one point")
    expected = {
        "empty": ["0 of 4 trainings done, 4 not trained yet", "No chart: no training", "no result"],
        "all diverged": ["0 of 4 trainings done, 4 diverged", "4 trials without a result", "No chart"],
        "one point": ["1 of 1 training done", "one point, bs_vae at β = 1, rate 20.00 nats", "n = 1"],
    }  # fmt: skip
    for sentence in expected[case]:
        assert sentence in visible(text)


def test_the_page_says_where_the_numbers_come_from(tmp_path):
    text = visible(report(tmp_path, write(tmp_path / "a", make_sweep())))
    facts = ["c0ffee" * 8, "torch 9.9", "a CPU", "2025-01-02 03:04 UTC", "not run from a git checkout"]
    facts += ["clean: train and test images as they are", "train.batch_size 512"]
    for fact in [*facts, f"rdbench report {tmp_path / 'a'} --out"]:
        assert fact in text


def test_the_same_results_give_the_same_page_under_3_mb(tmp_path):
    root = write(tmp_path / "a", make_sweep(beta=list(range(1, 11))), images=True)
    first = make_report([root], tmp_path / "out.html").read_bytes()
    assert make_report([root], tmp_path / "out.html").read_bytes() == first
    assert len(first) < 3_000_000


def test_a_report_of_nothing_or_to_nowhere_is_one_clear_line(tmp_path):
    with pytest.raises(ResultsError, match="no results folder is given"):
        make_report([], tmp_path / "out.html")
    root = write(tmp_path / "a", make_sweep(), skip=lambda trial: True)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ResultsError, match="cannot be written there"):
        make_report([root], tmp_path / "folder")


def test_drawing_a_report_imports_neither_torch_nor_ray():
    code = "import sys, rdbench.report.page; print([m for m in ('torch', 'ray') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
