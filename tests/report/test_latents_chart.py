"""The KL of each latent over beta: sorted within a training, a mean over seeds, of equally many images."""

import json

import pytest
import vl_convert
from report_builders import make_sweep, report, section_of, visible, write

from rdbench.report.charts.latents import latents_chart
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import plan

VARIANTS = ["beta_vae", "bs_vae"]


def kls(trial):
    """At beta 1 three latents tell something, at beta 10 one; seeds differ by a factor."""
    return [(1 + trial.seed / 2) * kl / trial.beta for kl in (4.0, 2.0, 0.05, 1e-7)]


def row(trial, values, images=100):
    settings = {"samples": 1, "quantity": "rate", "n_images": images, "kl_by_latent": values}
    return {"name": "latents", "value": sum(values), "standard_error": 0.1, "settings": json.dumps(settings),
            "protocol": trial.protocol}  # fmt: skip


@pytest.fixture
def root(tmp_path):
    return write(tmp_path / "study", make_sweep(seeds=[0, 1]))


def measure(root, rows):
    for trial in plan(make_sweep(seeds=[0, 1])).trials:
        tables = {"metrics": rows(trial), "trials": ResultsFolder(root).trial_tables(trial.id)["trials"]}
        ResultsFolder(root).commit(trial.id, tables)


def test_a_line_a_latent_is_the_mean_over_seeds_of_those_that_tell_as_much(root, tmp_path):
    measure(root, lambda trial: [row(trial, kls(trial))] if trial.variant.name == "bs_vae" else [])
    chart = latents_chart(section_of(root), VARIANTS)
    assert chart.controls[0].options == (("variant_1", "bs_vae"),)
    lines = chart.data["variant_1"]
    assert [(line["rank"], line["beta"], line["n"]) for line in lines] == [
        (rank, [1, 10], [2, 2]) for rank in (1, 2, 3, 4)
    ]
    assert [line["kl"] for line in lines] == [
        pytest.approx([1.25 * kl, 0.125 * kl]) for kl in (4.0, 2.0, 0.05, 1e-7)
    ]
    assert chart.finding == (
        "bs_vae. At β = 1 the latent that tells most has a KL of 5.000 nats, and 3 of 4 have 0.01 or more."
        " At β = 10 the latent that tells most has a KL of 0.5000 nats, and 2 of 4 have 0.01 or more."
    )
    for view in chart.views.values():
        assert vl_convert.vegalite_to_vega(view | {"datasets": chart.data})["marks"]
    page = report(tmp_path, root)
    assert "the terms that the rate is the sum of" in visible(page)


def test_what_fewer_images_gave_is_not_mixed_in_and_named(root):
    measure(root, lambda trial: [row(trial, kls(trial)), row(trial, [9.0] * 4, images=50)])
    chart = latents_chart(section_of(root), VARIANTS)
    assert chart.data["variant_0"][0]["kl"] == [5, 0.5]
    assert chart.notes == ("Of 100 test images; what fewer gave is not drawn.",)


def test_results_of_before_have_no_such_chart(root, tmp_path):
    measure(root, lambda trial: [row(trial, kls(trial)) | {"settings": '{"quantity": "rate"}'}])
    assert latents_chart(section_of(root), VARIANTS) is None
    assert "the terms that the rate is the sum of" not in visible(report(tmp_path, root))
