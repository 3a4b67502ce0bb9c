"""The benchmark measures real work, side by side, and the dry run tells what follows from it."""

import json
import math
import os
import subprocess
import sys
import tempfile

import pytest
import torch
from command_line import in_a_process
from typer.testing import CliRunner

from rdbench.cli.app import app
from rdbench.commands.bench import bench, estimate, plain, roofline
from rdbench.datasets import make_options
from rdbench.errors import SpecError
from rdbench.spec.plan import plan
from rdbench.spec.sweep import ModelSpec, load_sweep
from rdbench.text import duration
from rdbench.trial import throughput
from rdbench.tune import pack_size

CPU = torch.device("cpu")
GIB = 2**30


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RDBENCH_CACHE", str(tmp_path / "cache"))


def test_a_benchmark_runs_all_contenders_and_the_dry_run_uses_its_figures(sweep_file, tmp_path):
    before = CliRunner().invoke(app, ["sweep", str(sweep_file), "--dry-run"])
    assert f'run "rdbench bench {sweep_file}" once' in before.output
    # Where temporary files are named to lie, sockets have no room.
    (long := tmp_path / ("long" * 25)).mkdir()
    command = ["bench", sweep_file, "--repetitions", "2", "--steps", "2", "--pack", "1", "--workers", "1"]
    done = in_a_process(*command, "--device", "cpu", "--json", cwd=tmp_path, TMPDIR=str(long))
    assert done.returncode == 0, done.stderr
    assert not any(word in done.stderr for word in ("Traceback", "Exception ignored", "Logging error"))
    found = json.loads(done.stdout)
    assert [one["pack"] for one in found["contenders"]] == [None, 1]
    for one in found["contenders"]:
        assert one["error"] is None
        assert len(one["images_per_second"]) == 2
        assert one["peak_memory_bytes"] > 50e6
        share = one["median_images_per_second"] * found["flops_per_image"] / found["peak_flops"]
        assert one["share_of_peak_flops"] == pytest.approx(share)
    assert found["contenders"][0]["times_plain"] == 1
    after = CliRunner().invoke(app, ["sweep", str(sweep_file), "--dry-run"])
    assert "as benchmarked on this machine" in after.output


def test_a_worker_that_dies_is_told_and_the_others_are_measured(trial, monkeypatch):
    monkeypatch.setattr(bench, "_worker", _dies)
    monkeypatch.setattr(bench, "peak_flops", lambda device, precision: 1e12)  # that take seconds to measure
    monkeypatch.setattr(bench, "memory_bandwidth", lambda device: 1e10)
    found = bench.run(trial, [1], "cpu", bench.Effort(steps=1, repetitions=1, workers=1))
    assert found.contenders[1].error == "the worker died"
    assert found.contenders[0].median > 0
    assert "did not run: the worker died" in bench.table(found)


def test_the_plain_loops_sockets_have_a_short_path_and_nothing_else_of_the_process_moves(
    trial, tmp_path, monkeypatch
):
    (long := tmp_path / ("long" * 25)).mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setattr(tempfile, "tempdir", None)
    loop = plain.PlainLoop(trial, bench.synthetic(trial, 4 * trial.train.batch_size), CPU)
    assert loop.images_per_second(2) > 0
    assert tempfile.gettempdir() == os.environ["TMPDIR"] == str(long)
    assert list(long.iterdir()) == []


def _dies(*arguments):
    os._exit(9)


def test_the_estimate_is_the_arithmetic_of_the_benchmark(sweep, capsys):
    whole = plan(sweep)  # 2 trials of 2 epochs of 256 images, 100 test images
    estimate.remember(whole.trials[0], "a machine", training=4.0, evaluation=89.0)
    seconds = 2 * (2 * 256 / 4 + 356 / 89)
    assert estimate.time_left(whole, "x.yaml") == (
        "about 4 min 24 s on a machine, as benchmarked on this machine"
    )
    assert seconds == 264
    assert estimate.time_left(plan(sweep, {trial.id for trial in whole.trials}), "x.yaml") is None


def test_each_combination_of_a_grid_takes_the_time_of_its_own(sweep_file):
    whole = plan(load_sweep(sweep_file, ["grid={train.epochs: [2, 6], train.batch_size: [32, 64]}"]))
    small, large = ({t.train.batch_size: t for t in whole.trials}[size] for size in (32, 64))
    estimate.remember(small, "a machine", training=4.0, evaluation=89.0)
    lacking = estimate.time_left(whole, "x.yaml")
    assert "'--set=grid={}' --set=train.epochs=2 --set=train.batch_size=64" in lacking
    estimate.remember(large, "a machine", training=8.0, evaluation=89.0)
    seconds = sum(2 * (e * 256 / speed + 356 / 89) for e in (2, 6) for speed in (4, 8))
    assert estimate.time_left(whole, "x.yaml").startswith(f"about {duration(seconds)} on a machine")


def test_what_was_benchmarked_tells_of_models_too_that_cannot_be_benchmarked(sweep_file):
    both = plan(load_sweep(sweep_file, ["variants=[bs_vae, sigma_vae]"]))
    estimate.remember(both.trials[0], "a machine", training=4.0, evaluation=89.0)
    left = plan(both.sweep, {trial.id for trial in both.trials if trial.variant.name == "bs_vae"})
    assert estimate.time_left(left, "x.yaml").startswith("about 2 min 12 s on a machine")


def test_what_is_solved_in_closed_form_does_not_count(sweep_file):
    both = plan(load_sweep(sweep_file, ["variants=[linear_coder, bs_vae]"]))
    estimate.remember(both.trials[1], "a machine", training=4.0, evaluation=89.0)
    assert estimate.time_left(both, "x.yaml").startswith("about 2 min 12 s on a machine")
    left = plan(both.sweep, {trial.id for trial in both.trials if trial.variant.name == "bs_vae"})
    assert estimate.time_left(left, "x.yaml") is None


def test_a_damaged_file_of_figures_is_measured_again(sweep):
    whole = plan(sweep)
    estimate.remember(whole.trials[0], "a machine", 1.0, 1.0)
    (estimate.paths.cache_root() / "bench.json").write_text("{")
    assert 'run "rdbench bench x.yaml" once' in estimate.time_left(whole, "x.yaml")


def test_figures_that_cannot_be_kept_cost_a_line_and_not_the_benchmark(
    sweep, trial, tmp_path, monkeypatch, caplog
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("RDBENCH_CACHE", str(tmp_path / "file" / "cache"))
    whole = plan(sweep)
    estimate.remember(whole.trials[0], "a machine", 1.0, 1.0)
    assert 'run "rdbench bench x.yaml" once' in estimate.time_left(whole, "x.yaml")
    pretend_a_gpu(monkeypatch, lambda trial, size, device, steps: (min(size, 2), GIB))
    assert pack_size.choose(trial) == 2
    assert [line.partition(":")[0] for line in caplog.messages] == ["what was measured is not remembered"] * 2
    assert "set RDBENCH_CACHE to a folder" in caplog.messages[1]


def test_the_hint_names_the_overrides_or_the_benchmark_would_be_of_another_setting(sweep_file):
    overrides = ["train.batch_size=32", "variants=[bs_vae, sigma_vae]"]
    whole = plan(load_sweep(sweep_file, overrides))
    said = estimate.time_left(whole, "x.yaml", overrides)
    assert "rdbench bench x.yaml --set=train.batch_size=32 '--set=variants=[bs_vae, sigma_vae]'" in said
    assert estimate.time_left(plan(load_sweep(sweep_file, ["variants=[two_stage]"])), "x.yaml") is None


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("mnist", {}, (60_000, 10_000)),
        ("mnist", {"train_images": 500}, (500, 10_000)),
        ("celeba", {}, (162_770, 19_962)),
        ("digits", {"test_images": 999_999}, (1437, 360)),
        ("gaussian", {"train_images": 10}, (10, 65_536)),
    ],
)
def test_sizes_are_known_without_reading_data(name, options, expected):
    assert estimate.images(make_options(name, options)) == expected


def test_only_a_folder_knows_how_many_images_it_holds(tmp_path):
    assert estimate.images(make_options("folder", {"path": str(tmp_path), "size": 8})) is None


def test_the_step_costs_what_its_layers_cost():
    model = ModelSpec(latent=32, channels=(32, 64, 128))
    trial = plan(load_sweep_of("mnist")).trials[0]
    assert trial.model == model
    flops, traffic = roofline.cost_per_image(trial, (1, 28, 28))
    assert flops == pytest.approx(0.176e9, rel=0.005)  # counted by hand for the paper's network
    weights = 1_291_521 * 4
    assert 784 * 4 < traffic < 100 * weights


def load_sweep_of(dataset):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.yaml"
        path.write_text(f"name: s\ndataset: {dataset}\nvariants: [bs_vae]\nbeta: [1]\n")
        return load_sweep(path)


def test_traffic_counts_what_an_operation_reads_and_writes_and_no_views():
    a, b = torch.rand(10, 20), torch.rand(20, 30)
    traffic = roofline._Traffic()
    with traffic:
        a.T.reshape(20, 10).unsqueeze(0)
        _ = a @ b
    assert traffic.bytes == 4 * (200 + 600 + 300)


def test_the_plain_loop_augments_each_image_by_itself(trial, data):
    mnist = plan(load_sweep_of("mnist")).trials[0]
    images = throughput.synthetic(mnist, 8)
    pictures = plain.PicturesOneByOne(images, "rotate_crop")
    torch.manual_seed(0)
    first, second = pictures[0], pictures[0]
    assert first.shape == (1, 28, 28)
    assert not torch.equal(first, second)
    still = plain.PicturesOneByOne(images, "none")[0]
    assert torch.equal(still, torch.tensor(images.train.images[0]) / 255)


# Choosing a pack


def pack_of(speeds, memory_each=1.0, memory=100.0):
    """The pack chosen where size k does speeds[k] images a second; a missing size does not fit."""
    tried = []

    def measure(size):
        tried.append(size)
        if size not in speeds:
            raise torch.OutOfMemoryError("no room")
        return speeds[size], int(size * memory_each * GIB)

    return pack_size.fastest(measure, int(memory * GIB)), tried


def test_the_fastest_of_a_few_sizes_is_taken_and_the_smallest_of_equals():
    assert pack_of({1: 100, 2: 190, 4: 300, 8: 320, 16: 325}) == (8, [1, 2, 4, 8, 16])


def test_a_size_that_gains_nothing_does_not_end_the_search():
    assert pack_of({1: 100, 2: 90, 4: 180, 8: 300, 16: 200}) == (8, [1, 2, 4, 8, 16])


def test_the_search_ends_where_the_next_size_would_not_fit():
    assert pack_of({2**k: 100.0 * 2**k for k in range(5)}, memory_each=15) == (4, [1, 2, 4])
    assert pack_of({1: 100, 2: 200}) == (2, [1, 2, 4])  # memory ran out at 4
    assert pack_of({}) == (1, [1])


def pretend_a_gpu(monkeypatch, measure):
    """Have packs measured by a function, on a GPU of 100 GiB."""

    class Properties:
        total_memory = 100 * GIB

    monkeypatch.setattr(pack_size, "measure_training", measure)
    monkeypatch.setattr(pack_size.machine, "device_name", lambda device: "a GPU")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties)


def test_a_pack_is_measured_once_a_machine_and_setting(trial, monkeypatch):
    measured = []

    def measure(trial, size, device, steps):
        measured.append(size)
        return {1: 10.0, 2: 20.0}.get(size, 20.0), GIB

    pretend_a_gpu(monkeypatch, measure)
    assert pack_size.choose(trial) == 2
    assert pack_size.choose(trial.model_copy(update={"beta": 7.0, "seed": 3})) == 2
    assert measured == [1, 2, 4, 8, 16]
    wider = trial.model_copy(update={"train": trial.train.model_copy(update={"batch_size": 32})})
    assert pack_size.choose(wider) == 2
    assert measured == [1, 2, 4, 8, 16] * 2


def test_settings_that_diverge_at_once_train_one_by_one(trial, monkeypatch):
    wild = trial.model_copy(update={"train": trial.train.model_copy(update={"lr": 1e30})})
    measure = pack_size.measure_training
    pretend_a_gpu(monkeypatch, lambda trial, size, device, steps: measure(trial, size, CPU, steps))
    assert pack_size.choose(wild) is None


def test_throughput_is_measured_by_training_a_real_pack(trial):
    images_per_second, peak = throughput.measure_training(trial, 2, CPU, 2)
    assert 0 < images_per_second < math.inf
    assert peak > 50e6
    assert throughput.evaluation_speed(trial, CPU) > 0


# Refusals


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--device", "tpu"], "--device tpu: no such device"),
        (["--device", "cuda"], "torch sees no GPU here"),
        (["--device", "cpu", "--set", "train.precision=tf32"], "tf32 needs an NVIDIA GPU"),
        (["--device", "cpu", "--pack", "4"], "one after another; packs are for GPUs"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_what_the_machine_has_not_got_is_refused_in_a_line(sweep_file, arguments, words):
    with pytest.raises(SpecError, match=words):
        CliRunner().invoke(app, ["bench", str(sweep_file), *arguments], catch_exceptions=False)


def test_training_and_the_benchmark_need_neither_ray_nor_torchs_compiler(sweep_file):
    """Each of which a process takes more than a second to import."""
    code = (
        "import sys; sys.modules['ray'] = sys.modules['torch._dynamo'] = None\n"
        "import rdbench.commands.bench.bench, rdbench.trial.worker, rdbench.tune.pack_size\n"
        f"results = rdbench.run({str(sweep_file)!r}, keep_weights=True, scheduler='serial')\n"
        "assert set(results.trials['status']) == {'done'}, results.trials['error'].tolist()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=sweep_file.parent)
