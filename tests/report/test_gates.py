"""Gates fail where they must, for the reason they give, and never pass for want of a measurement."""

import functools
import json

import pytest
import report_builders
from report_builders import add_metric, make_sweep, point_rows, shifted, write
from typer.testing import CliRunner

from rdbench.cli.app import app
from rdbench.errors import ResultsError, UserError
from rdbench.report.compare.compare import compare
from rdbench.report.compare.gates import check_gate, parse_gate
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import plan


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("bd_rate > 2", ("bd_rate", ">", 2.0, True)),
        ("bd_rate.mse>=2.5%", ("bd_rate.mse", ">=", 2.5, True)),
        ("bd_rate.own < 3", ("bd_rate.own", "<", 3.0, True)),
        (" delta.elbo_optimal  <  -5 ", ("delta.elbo_optimal", "<", -5.0, False)),
        ("delta.fid > 1e-1 %", ("delta.fid", ">", 0.1, True)),
        ("delta.mse <=+.5", ("delta.mse", "<=", 0.5, False)),
    ],
)
def test_a_gate_is_read(text, gate):
    found = parse_gate(text)
    assert (found.quantity, found.operator, found.threshold, found.percent) == gate


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "'' is no quantity"),
        ("bdrate > 2", "'bdrate' is no quantity"),
        ("bd_rate.psnr > 2", "'bd_rate.psnr' is no quantity"),
        ("elbo_optimal < -5", "did you mean delta.elbo_optimal"),
        ("bd_rate", "'' is no operator"),
        ("bd_rate => 2", "'=>' is no operator"),
        ("bd_rate != 2", "'!=' is no operator"),
        ("bd_rate > two", "'two' is no number"),
        ("bd_rate > nan", "'nan' is no number"),
        ("bd_rate > 1e999", "'1e999' is no number"),
        ("bd_rate > 2 3", "'2 3' is no number"),
        ("bd_rate >", "'' is no number"),
        ("delta.elbo_optimal < -5%", "delta.elbo_optimal has no zero to be relative to, so no per cent"),
        ("delta.kid > 5%", "leave the % out"),
        ("delta.psnr < -5 %", "leave the % out"),
        ("bd_rate\n\x1b[2J", "is no operator"),
    ],
)
def test_what_is_no_gate_is_refused_in_a_line_that_names_the_token(text, named):
    with pytest.raises(ResultsError) as error:
        parse_gate(text)
    assert named in str(error.value)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A, and B whose ELBO is lower: by 1 at beta 1 and by 3 at beta 10; bs_vae alone at beta 10 by 5."""
    root = tmp_path_factory.mktemp("folders")
    sweep = make_sweep(seeds=2)
    falls = {("beta_vae", 1): 1, ("bs_vae", 1): 1, ("beta_vae", 10): 3, ("bs_vae", 10): 5}
    a = write(root / "a", sweep)
    b = shifted(root / "b", sweep, lambda t: -falls[t.variant.name, t.beta] - t.seed / 1000)
    return a, b


@functools.cache
def compared(a, b):
    return compare([a], [b])


def outcome(text, folders):
    return check_gate(parse_gate(text), compared(*folders))


@pytest.mark.parametrize(
    ("text", "passed"),
    [
        ("delta.elbo_half < -5", False),
        ("delta.elbo_half < -5.1", True),
        ("delta.elbo_half <= -5.0005", False),
        ("delta.elbo_half > -1.1", False),
        ("delta.elbo_half > -1", True),
        ("delta.rate > 0", True),
        ("delta.rate >= 0", False),
    ],
)
def test_a_gate_fails_where_its_condition_holds_anywhere(text, passed, folders):
    assert outcome(text, folders).passed is passed


def test_under_beta_half_no_gate_looks_at_a_variant_that_the_reading_says_nothing_of(tmp_path):
    sweep = make_sweep(seeds=2, beta=[1, 3, 10], readings=["half", "beta_half"])
    a = write(tmp_path / "a", sweep)
    b = shifted(tmp_path / "b", sweep, lambda t: -50 - t.seed if t.variant.name == "bs_vae" else 0)
    assert not outcome("delta.elbo_half < -5", (a, b)).passed
    found = outcome("delta.elbo_beta_half < -5", (a, b))
    assert found.passed, found.reason
    assert "of 3" in found.reason
    (pair,) = compare([a], [b]).pairs
    rates = {each.quality: [rate.variant for rate in each.variants] for each in pair.rates}
    assert rates["half"] == ["beta_vae", "bs_vae"]
    assert rates["beta_half"] == ["beta_vae"]
    sweep = make_sweep(seeds=2, variants=["bs_vae"], readings=["half", "beta_half"])
    alone = write(tmp_path / "c", sweep), write(tmp_path / "d", sweep)
    found = outcome("delta.elbo_beta_half < -5", alone)
    assert not found.passed
    assert found.reason == "delta.elbo_beta_half was not measured on both sides"
    assert not outcome("bd_rate.beta_half > 1000", alone).passed


def test_a_number_in_per_cent_is_of_the_mean_of_a(tmp_path):
    sweep = make_sweep(seeds=2)
    a, b = write(tmp_path / "a", sweep), write(tmp_path / "b", sweep)
    add_metric(a, sweep, "fid", lambda t: 10.0 + t.seed, samples=10)
    add_metric(b, sweep, "fid", lambda t: 10.5 + t.seed if t.beta == 10 else 10.0 + t.seed, samples=10)
    assert not outcome("delta.fid > 4.7%", (a, b)).passed  # 0.5 of 10.5 are 4.76%
    assert outcome("delta.fid > 4.8%", (a, b)).passed


def test_the_outcome_names_the_figure_that_decided_and_where(folders):
    assert str(outcome("delta.elbo_half < -4", folders)) == (
        "gate 'delta.elbo_half < -4' FAILED: lowest of 4: −5.001, bs_vae, beta 10"
    )


def test_a_metric_that_was_not_measured_fails_the_gate(folders):
    found = outcome("delta.fid > 1", folders)
    assert not found.passed
    assert "not measured on both sides" in found.reason


def test_a_metric_that_one_side_measured_fails_the_gate(tmp_path):
    sweep = make_sweep(seeds=2)
    a, b = write(tmp_path / "a", sweep), write(tmp_path / "b", sweep)
    add_metric(a, sweep, "fid", lambda t: 10.0, samples=10)
    for folders, side in (((a, b), "not measured in B"), ((b, a), "not measured in A")):
        found = outcome("delta.fid > 1", folders)
        assert not found.passed
        assert side in found.reason


def test_a_value_that_b_lost_fails_the_gate_and_one_it_was_not_asked_for_does_not(tmp_path):
    a = write(tmp_path / "a", make_sweep(seeds=2))
    lost = write(
        tmp_path / "b", make_sweep(seeds=2), lost=lambda t: ("diverged", "") if t.beta == 10 else None
    )
    fewer = write(tmp_path / "c", make_sweep(seeds=2, beta=[1]))
    found = outcome("delta.mse > 1", (a, lost))
    assert not found.passed
    assert "beta 10: B lacks a value that A has" in found.reason
    assert outcome("delta.mse > 1", (a, fewer)).passed


def test_a_variant_that_b_lost_fails_the_gate_on_bd_rate(tmp_path):
    sweep = make_sweep(seeds=2, beta=[1, 3, 10])
    a = write(tmp_path / "a", sweep)
    b = write(tmp_path / "b", sweep, lost=lambda t: ("diverged", "") if t.variant.name == "bs_vae" else None)
    found = outcome("bd_rate.half > 1000", (a, b))
    assert not found.passed
    assert "bs_vae, half: no finite point in B" in found.reason


def with_curves(root, sweep, errors):
    """Write results of a rate 20 / beta, and of these errors, by beta."""
    write(root, sweep)
    for trial in plan(sweep).trials:
        rows = [row | {"rate": 20 / trial.beta, "mse": errors[trial.beta]} for row in point_rows(trial)]
        tables = ResultsFolder(root).trial_tables(trial.id)
        ResultsFolder(root).commit(trial.id, {"points": rows, "trials": tables["trials"]})
    return root


def test_a_bd_rate_of_a_part_of_the_curves_fails_the_gate_and_says_what_to_do(tmp_path):
    sweep = make_sweep(seeds=2, variants=["bs_vae"], beta=[1, 3, 10])
    a = with_curves(tmp_path / "a", sweep, {1: 0.01, 3: 0.03, 10: 0.1})
    # Of A's 10 dB of quality, B reaches 7.4, and 7.6.
    for name, worst, passed in (("b", 0.055, False), ("c", 0.0576, True)):
        b = with_curves(tmp_path / name, sweep, {1: 0.01, 3: 0.03, 10: worst})
        found = outcome("bd_rate.mse > 1000", (a, b))
        assert found.passed is passed
        assert ("overlap over 74% of their qualities only" in found.reason) is not passed
        assert ("gate on delta.mse" in found.reason) is not passed
        assert outcome("delta.mse > 0.001", (a, b)).passed


def test_seeds_and_points_that_b_lost_fail_the_gates(tmp_path):
    a = write(tmp_path / "a", make_sweep(seeds=3, beta=[1, 3, 10]))
    b = write(
        tmp_path / "b",
        make_sweep(seeds=3, beta=[1, 3, 10]),
        lost=lambda trial: ("diverged", "NaN") if trial.seed == 2 and trial.beta == 10 else None,
    )
    found = compare([a], [b])
    outcome = check_gate(parse_gate("delta.mse > 1000"), found)
    assert not outcome.passed
    assert "beta 10: B lacks a value that A has" in outcome.reason
    assert all(("beta_vae", 10.0) in rates.lost for pair in found.pairs for rates in pair.rates)
    assert not check_gate(parse_gate("bd_rate > 1000"), found).passed
    fewer = write(tmp_path / "c", make_sweep(seeds=2, beta=[1, 3, 10]))  # which were not asked for
    assert check_gate(parse_gate("delta.mse > 1000"), compare([a], [fewer])).passed


def test_an_edited_variant_is_compared_with_what_it_was(tmp_path, monkeypatch):
    monkeypatch.setitem(report_builders.NATIVE, "mine", "half")
    folders = []
    for name, comment in (("a", ""), ("b", "# edited\n")):
        file = tmp_path / name / "mine.py"
        file.parent.mkdir()
        file.write_text(
            f'{comment}import rdbench\n@rdbench.variant("mine")\ndef mine(sse, rate, beta, n): return sse\n'
        )
        folders.append(write(tmp_path / f"r{name}", make_sweep(variants=[f"{file}:mine"])))
    (pair,) = compare([folders[0]], [folders[1]]).pairs
    assert {change.variant[:4] for metric in pair.metrics for change in metric.changes} == {"mine"}
    assert pair.one_sided == ()


def test_folders_that_cannot_be_compared_fail_every_gate(tmp_path):
    a = write(tmp_path / "a", make_sweep())
    for b in (
        write(tmp_path / "b", make_sweep(), dataset_checksum="beef" * 8),
        write(tmp_path / "c", make_sweep(protocol="paper")),
        write(tmp_path / "d", make_sweep(), lost=lambda trial: ("diverged", "")),
    ):
        for text in ("bd_rate > 1000", "delta.mse > 1000"):
            assert not outcome(text, (a, b)).passed


def test_a_metric_that_does_not_exist_is_a_mistake_that_lists_those_that_do(folders):
    with pytest.raises(
        UserError, match=r"no metric is named 'elbow'; compared here: elbo_beta_half, elbo_half"
    ):
        outcome("delta.elbow > 1", folders)


def test_a_gate_in_per_cent_of_a_collapsed_rate_fails(tmp_path):
    sweep = make_sweep(seeds=2)
    a, b = write(tmp_path / "a", sweep), write(tmp_path / "b", sweep)
    for root, rate in ((a, 0.004), (b, 0.012)):
        for trial in plan(sweep).trials:
            rows = [row | {"rate": rate if trial.beta == 10 else 20.0} for row in point_rows(trial)]
            tables = ResultsFolder(root).trial_tables(trial.id)
            ResultsFolder(root).commit(trial.id, {"points": rows, "trials": tables["trials"]})
    found = outcome("delta.rate > 5%", (a, b))
    assert not found.passed
    assert "beta_vae, beta 10: A is at most 0.01 nats" in found.reason
    (pair,) = compare([a], [b]).pairs
    assert next(metric for metric in pair.metrics if metric.series.name == "rate").relative == 0


def test_a_gate_in_per_cent_of_nothing_fails(tmp_path):
    sweep = make_sweep(seeds=2)
    a, b = write(tmp_path / "a", sweep), write(tmp_path / "b", sweep)
    for root, value in ((a, 0.0), (b, 1.0)):
        add_metric(root, sweep, "fid", lambda t, value=value: value, samples=10)
    assert "A is 0" in outcome("delta.fid > 5%", (a, b)).reason
    assert not outcome("delta.fid > 5%", (a, b)).passed


# The command line


def run(*words):
    return CliRunner().invoke(app, list(map(str, words)))


def test_the_exit_code_is_4_where_a_gate_fails_and_0_where_none_does(folders):
    assert run("compare", *folders).exit_code == 0
    passed = run("compare", *folders, "--fail-if", "delta.rate > 1")
    assert (passed.exit_code, "passed" in passed.stdout) == (0, True)
    both = run(
        "compare",
        *folders,
        "--fail-if",
        "delta.rate > 1",
        "--fail-if",
        "delta.elbo_half < -1",
        "--format",
        "text",
    )
    assert both.exit_code == 4
    assert "gate 'delta.rate > 1' passed" in both.stdout
    assert "gate 'delta.elbo_half < -1' FAILED" in both.stdout


def test_json_is_json_whatever_the_gates_say(folders, tmp_path):
    found = run("compare", *folders, "--fail-if", "bd_rate > 1", "--format", "json")
    assert [gate["gate"] for gate in json.loads(found.stdout)["gates"]] == ["bd_rate > 1"]
    assert "gate 'bd_rate > 1'" in found.stderr
    written = run("compare", *folders, "--format", "json", "--out", tmp_path / "x.json")
    assert written.stdout == f"comparison written to {tmp_path / 'x.json'}\n"
    assert json.loads((tmp_path / "x.json").read_text())["sections"]


def test_a_gate_that_is_none_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(UserError, match="no quantity"):
        CliRunner().invoke(
            app, ["compare", str(tmp_path), str(tmp_path), "--fail-if", "x"], catch_exceptions=False
        )


def test_report_writes_the_formats_that_are_asked_for(folders, tmp_path):
    found = run("report", folders[0], "--format", "csv", "--format", "json", "--out", tmp_path / "out")
    assert found.exit_code == 0, found.output
    assert found.stdout.endswith(f" files written to {tmp_path / 'out'}\n")
    assert not (tmp_path / "out/report.html").exists()
    assert (tmp_path / "out/report.json").exists()
    assert run("report", folders[0], "--format", "docx").exit_code == 2
