"""A sweep file says what it says, and every mistake in one is one line that names the place and the fix."""

import json
import random
from pathlib import Path

import pytest
from malformed import GOOD, MALFORMED, written
from pydantic import ValidationError

from rdbench import datasets, metrics
from rdbench.datasets.gaussian import PowerLaw
from rdbench.errors import SpecError
from rdbench.numerics import likelihood
from rdbench.registry import variants
from rdbench.spec import search_checks
from rdbench.spec.fields import load_dataset_options
from rdbench.spec.search_options import MEASURES, SEARCHES, STOPS, TargetSearch, direction, needed_metrics
from rdbench.spec.sweep import ModelSpec, Resources, Sweep, TrainSpec, VariantSpec, dump_sweep, load_sweep

SWEEPS = sorted((Path(__file__).parents[2] / "sweeps").glob("*.yaml"))


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Load a sweep from text, as sweep.yaml in the working directory."""
    monkeypatch.chdir(tmp_path)

    def load_text(text: str, *overrides: str) -> Sweep:
        Path("sweep.yaml").write_text(text, encoding="utf-8")
        return load_sweep(Path("sweep.yaml"), overrides)

    return load_text


def problem(call, *arguments) -> str:
    with pytest.raises(SpecError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert message.isprintable(), "an error is one line"
    return message


# What is said


def test_only_name_dataset_variants_and_beta_are_needed(load):
    sweep = load(GOOD)
    assert sweep.readings == likelihood.READINGS
    assert sweep.seeds == (0,)
    assert sweep.protocol == "clean"
    assert sweep.train == TrainSpec(epochs=50, batch_size=512, lr=1e-3, weight_decay=1e-5, augment=True)
    assert sweep.model == ModelSpec(name="conv", latent=32, channels=(32, 64, 128))
    assert (sweep.metrics, sweep.resources.cpus, sweep.resources.gpus) == ((), 1, "auto")


def test_every_setting_can_be_said(load):
    sweep = load(
        """\
name: all-of_it.1
dataset: {name: mnist, train_images: 10000, test_images: 500}
variants: [bs_vae]
readings: [optimal, half]
beta: [10, 1e-4, 0.1]
seeds: [7, 3]
protocol: paper
train: {epochs: 2, batch_size: 64, lr: 1e-2, weight_decay: 0, augment: false}
model: {latent: 4, channels: [8]}
metrics: []
resources: {cpus: 2, gpus: 0.25}
keep_per_image: true
"""
    )
    assert sweep.dataset.train_images == 10000
    assert sweep.readings == ("optimal", "half")
    assert sweep.beta == (1e-4, 0.1, 10.0)
    assert sweep.seeds == (7, 3)
    assert sweep.train == TrainSpec(epochs=2, batch_size=64, lr=0.01, weight_decay=0.0, augment=False)
    assert sweep.model.channels == (8,)
    assert sweep.resources.gpus == 0.25
    assert sweep.keep_per_image


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-4", 1e-4),
        ("1E-4", 1e-4),
        ("1.0e-4", 1e-4),
        ("+.5", 0.5),
        ("1e+3", 1e3),
        ("0x10", 16.0),
        ("017", 17.0),
    ],
)
def test_numbers_are_read_as_yaml_1_2_reads_them(load, written, value):
    assert load(GOOD.replace("0.1, 1, 10", written)).beta == (value,)


def test_a_logspace_grid_hits_powers_of_ten_exactly(load):
    beta = load(GOOD.replace("[0.1, 1, 10]", "{logspace: [1e-4, 1e3, 57]}")).beta
    assert len(beta) == 57
    assert beta[::8] == (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1000.0)
    assert beta[1] == 0.000133352  # 10 ** (-4 + 1/8), to six digits
    assert all(abs(b / 10 ** (-4 + i / 8) - 1) < 1e-5 for i, b in enumerate(beta))


def test_a_number_of_seeds_counts_from_zero(load):
    assert load(GOOD + "seeds: 5\n").seeds == (0, 1, 2, 3, 4)


def test_an_alias_repeats_its_anchor(load):
    sweep = load(GOOD.replace("[0.1", "&grid [1").replace("1, 10]", "2]") + "seeds: *grid\n")
    assert sweep.beta == sweep.seeds == (1, 2)


def test_a_partial_model_is_filled_from_the_dataset(load):
    assert load(GOOD + "model: {latent: 3}\n").model == ModelSpec(latent=3, channels=(32, 64, 128))
    linear = load(GOOD + "model: {name: linear, latent: 12}\n").model
    assert linear == ModelSpec(name="linear", latent=12, channels=())


@pytest.mark.parametrize(("dataset", "most"), [("mnist", 5), ("digits", 3), ("celeba", 6)])
def test_an_image_can_be_halved_until_one_pixel_is_left(load, dataset, most):
    text = GOOD.replace("mnist", dataset)
    assert len(load(text, f"model.channels={[8] * most}").model.channels) == most
    message = problem(load, text, f"model.channels={[8] * (most + 1)}")
    assert f"name at most {most}" in message


def test_a_sweep_cannot_be_changed(load):
    with pytest.raises(ValidationError, match="frozen"):
        load(GOOD).train.epochs = 3


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_shipped_sweep_has_its_files_name_and_opens_with_what_it_is(path):
    assert load_sweep(path).name == path.stem
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize("name", ["quickstart", "mnist_smoke", "mnist_table1", "celeba_table1", "celeba_rd"])
def test_the_sweeps_for_everybody_are_there_and_say_how_to_run_them(name):
    path = f"sweeps/{name}.yaml"
    assert f"#   rdbench sweep {path}\n" in (SWEEPS[0].parent.parent / path).read_text()


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_saved_sweep_loads_as_the_same_sweep(path, load):
    sweep = load_sweep(path)
    assert load(dump_sweep(sweep)) == sweep


@pytest.mark.parametrize("name", datasets.names())
def test_every_dataset_survives_saving(name, load):
    extra = {"folder": ", path: 'my: photos, #1/é', size: 16"}.get(name, "")
    sweep = load(GOOD.replace("mnist", f"{{name: {name}{extra}, train_images: 100}}"))
    assert load(dump_sweep(sweep)) == sweep


def test_text_that_looks_like_a_number_survives_saving(load):
    sweep = load(GOOD.replace("try", "'1e5'"))
    assert load(dump_sweep(sweep)).name == "1e5"


def test_a_saved_sweep_writes_its_defaults_out(load):
    saved = dump_sweep(load(GOOD))
    for default in ("epochs: 50", "latent: 32", "protocol: clean", "seeds: [0]"):
        assert default in saved


METRICS = "metrics: [{name: iwae, readings: [half]}, fid, prdc, latents]\n"


@pytest.mark.parametrize(
    ("search", "needed"),
    [
        ("curve", set()),
        ("{name: target, rate: 5}", set()),
        ("{name: optuna, objective: [elbo_own, mse, psnr], constraints: distortion_half < 9}", set()),
        ("{name: optuna, objective: iwae_half, constraints: [rate < 5, fid <= 9]}", {"iwae", "fid"}),
        ("{name: optuna, constraints: latents_active_units > 3}", {"latents"}),
        ("{name: curve, plane: [log_fid, prdc_recall]}", {"fid", "prdc"}),
    ],
)
def test_a_search_may_rest_on_any_measure_and_the_metrics_it_needs_are_known(load, search, needed):
    sweep = load(GOOD + METRICS + f"search: {search}\n")
    assert needed_metrics(sweep.search) == needed
    assert load(dump_sweep(sweep)) == sweep


def test_without_a_search_no_metric_is_needed(load):
    assert needed_metrics(load(GOOD + METRICS).search) == set()


def test_a_measure_is_better_one_way_or_neither():
    assert {direction(name) for name in MEASURES} == {"lower", "higher"}
    ways = {"iwae_half": "higher", "fid": "lower", "prdc_recall": "higher", "reconstruction_rfid": "lower"}
    assert {name: direction(name) for name in ways} == ways
    for name in ("iwae_x", "latents_rate", "elbo", "prdc", "zzz"):
        assert direction(name) is None


def test_metrics_asked_for_twice_do_not_bother_a_search_for_something_else(load):
    twice = "metrics: [iwae, {name: iwae, samples: 9}, fid]\n"
    assert load(GOOD + twice + "search: {name: optuna, objective: fid}\n").search.objective == ("fid",)


@pytest.mark.parametrize(
    ("variant", "over", "stop"),
    [
        ("bs_vae", "lr: [1e-4, 1e-2]", "asha"),
        ("bs_vae", "lr: {choices: [0.1, 1]}, channels: {choices: [[8], [16]]}", "{name: median, grace: 49}"),
        ("student_t", "lr: [1e-4, 1e-2], dof: {choices: [3, 9]}", "asha"),
        ("student_t", "dof: [3, 9], epochs: [5, 90]", "{name: plateau, patience: 60}"),
    ],
)
def test_trials_of_equal_options_may_be_judged_by_each_other(load, variant, over, stop):
    text = GOOD.replace("0.1, 1, 10", "1").replace("beta_vae, bs_vae", variant)
    search = f"search: {{name: optuna, over: {{{over}}}}}\n"
    assert load(f"{text}seeds: 2\n{search}stop: {stop}\n").stop.name in stop


def test_a_batch_of_all_trials_has_none_to_be_judged_by_however_many_seeds_each_setting_has(load):
    text = GOOD.replace("0.1, 1, 10", "1") + "seeds: 2\nstop: asha\n"
    search = "search: {name: optuna, over: {lr: [0.1, 1]}, trials: 9, at_a_time: %d}\n"
    assert load(text + search % 3).search.at_a_time == 3
    assert "lower at_a_time" in problem(load, text + search % 4)


def test_a_sampler_whose_package_is_not_there_is_refused_but_results_of_it_can_be_read(load, monkeypatch):
    text = GOOD + "search: {name: optuna, sampler: cmaes}\n"
    there: dict[str, object] = {"cmaes": object()}
    monkeypatch.setattr(search_checks.importlib.util, "find_spec", there.get)
    assert load(text).search.sampler == "cmaes"
    del there["cmaes"]
    message = problem(load, text)
    assert message.startswith("sweep.yaml:5: search.sampler: cmaes needs the package cmaes; ")
    assert message.endswith("run 'uv pip install cmaes', or use tpe")
    assert load_sweep(Path("sweep.yaml"), stored=True).search.sampler == "cmaes"


# What is overridden


def test_an_override_replaces_the_value_in_the_file(load):
    sweep = load(
        GOOD + "train: {epochs: 9, lr: 1e-2}\n", "train.epochs=2", "beta=[5]", "seeds=2", "name=other"
    )
    assert (sweep.train.epochs, sweep.train.lr) == (2, 0.01)
    assert (sweep.beta, sweep.seeds, sweep.name) == ((5.0,), (0, 1), "other")


def test_an_override_makes_the_mappings_it_needs(load):
    sweep = load(GOOD, "train.epochs=2", "model.latent=5", "dataset.train_images=100")
    assert (sweep.train.epochs, sweep.model.latent) == (2, 5)
    assert (sweep.dataset.name, sweep.dataset.train_images) == ("mnist", 100)


def test_another_dataset_brings_its_own_options_and_model(load):
    text = GOOD.replace("dataset: mnist", "dataset: {name: mnist, train_images: 7}")
    sweep = load(text, "dataset=digits", "dataset.test_images=3")
    assert (sweep.dataset.name, sweep.dataset.train_images, sweep.dataset.test_images) == ("digits", None, 3)
    assert sweep.model.channels == (32, 64)


def test_the_last_override_wins(load):
    assert load(GOOD, "train.epochs=2", "train.epochs=3").train.epochs == 3


@pytest.mark.parametrize(
    ("override", "key", "fix"),
    [
        ("train.epochs=0", "train.epochs", "use at least 1"),
        ("train.epoch=2", "train.epoch", "did you mean 'epochs'?"),
        ("trian.epochs=2", "trian", "did you mean 'train'?"),
        ("train.epochs='3'", "train.epochs", "write digits only"),
        ("train.epochs=", "train.epochs", "write digits only"),
        ("train.epochs=[1", "train.epochs", "check the indentation, brackets and quotes"),
        ("dataset=mnits", "dataset", "did you mean 'mnist'?"),
        ("dataset.train_images=0", "dataset.train_images", "use at least 1"),
        ("beta=[1, 1]", "beta[1]", "remove one of them"),
        ("beta.0=1", "beta", "set it whole: beta=..."),
        ("name=a\nb", "name", "use at most 100 letters"),
    ],
)
def test_a_wrong_override_is_named_instead_of_a_line(load, override, key, fix):
    message = problem(load, GOOD, override)
    place = "--set " + override.replace("\n", "\\n")
    assert message.startswith(f"{place}: {key}: ")
    assert fix in message.removeprefix(place)


@pytest.mark.parametrize("override", ["train.epochs", "=2", "train..epochs=2", ""])
def test_an_override_that_sets_nothing_is_refused(load, override):
    assert (
        problem(load, GOOD, override) == f"--set {override}: expected KEY=VALUE, such as --set train.epochs=2"
    )


# What is wrong


@pytest.mark.parametrize(("replaced", "text", "line", "key", "fix"), MALFORMED)
def test_a_mistake_is_one_line_with_file_line_key_and_mend(load, replaced, text, line, key, fix):
    message = problem(load, written(replaced, text))
    place = f"sweep.yaml:{line}: " + (f"{key}: " if key else "")
    assert message.startswith(place)
    assert fix in message.removeprefix(place)


@pytest.mark.parametrize("key", ["name", "dataset", "variants", "beta"])
def test_a_required_key_that_is_missing_is_asked_for_with_an_example(load, key):
    text = "".join(line for line in GOOD.splitlines(keepends=True) if not line.startswith(key))
    message = problem(load, text)
    assert message.startswith(f"sweep.yaml:1: {key}: this key is required; add '{key}: ")
    assert "more)" not in message


def test_an_option_that_is_missing_on_the_command_line_is_asked_for_as_it_is_written_there():
    with pytest.raises(SpecError, match=r"path: this key is required; add --set path=\.\.\. \("):
        load_dataset_options("folder", ["size=3"])


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing here\n", "---\n", "null\n"])
def test_an_empty_file_is_refused(load, text):
    assert problem(load, text) == "sweep.yaml:1: the file is empty; write name, dataset, variants and beta"


@pytest.mark.parametrize("text", ["- name: x\n", "just text\n", "3\n"])
def test_a_file_that_is_no_mapping_is_refused(load, text):
    assert problem(load, text).startswith("sweep.yaml:1: expected keys and values, got ")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    gone, binary, huge = (tmp_path / name for name in ("gone.yaml", "binary.yaml", "huge.yaml"))
    binary.write_bytes(GOOD.encode() + b"protocol: \xff\n")
    huge.write_bytes(b"#" * 1_000_001)
    assert problem(load_sweep, gone) == f"{gone}: there is no such file; check the path"
    assert problem(load_sweep, tmp_path) == f"{tmp_path}: is a folder; name a YAML file in it"
    assert problem(load_sweep, binary) == f"{binary}:5: is not UTF-8 text; save the file as UTF-8"
    assert problem(load_sweep, huge) == f"{huge}: is larger than 1 MB; name a sweep file"
    assert "cannot be read" in problem(load_sweep, Path("a\0b"))


def test_of_several_mistakes_the_first_is_told_and_the_others_are_counted(load):
    message = problem(load, "seeds: 0\nprotocol: x\n" + GOOD.replace("mnist", "qqq") + "metrics: [zzz]\n")
    assert message.startswith("sweep.yaml:1: seeds: 0 seeds are out of range")
    assert message.endswith(" (and 3 more)")


def test_a_mistake_in_the_file_comes_before_one_in_an_override(load):
    message = problem(load, GOOD + "seeds: 0\n", "train.epochs=0")
    assert message.startswith("sweep.yaml:5: seeds: ")
    assert message.endswith(" (and 1 more)")


def test_of_two_ways_to_write_a_value_the_error_is_about_the_one_that_was_tried(load):
    text = GOOD.replace("mnist", "{name: gaussian, eigenvalues: {dims: 0}}")
    assert problem(load, text).startswith(
        "sweep.yaml:2: dataset.eigenvalues.dims: 0 is out of range; use at least 1"
    )


def test_a_source_without_pixels_to_halve_has_no_convolutions(load):
    text = GOOD.replace("mnist", "gaussian") + "model: {name: conv, channels: [8]}\n"
    assert "use model: {name: linear}" in problem(load, text)


def test_aliases_cannot_blow_a_small_file_up(load):
    bomb = "".join(f"k{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 8))
    assert "use fewer aliases" in problem(load, GOOD + "k0: &a0 [1]\n" + bomb)


def test_a_chain_of_aliases_counts_as_nesting(load):
    chain = "".join(f"k{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 2000))
    assert "levels deep; flatten it" in problem(load, GOOD + "k0: &a0 [1]\n" + chain)


def test_no_damage_to_a_file_gives_anything_but_a_sweep_or_one_line(load):
    generator = random.Random(0)
    words = [
        *"[]{}:,&*!|>'\"%@#?-\n\t \\019.e",
        "- ",
        "*a",
        "&a ",
        "!!int",
        "---\n",
        "null",
        "1e999",
        "\x00",
        "\u2028",
    ]
    whole = GOOD + "seeds: &a [1]\ntrain: {epochs: 2}\nresources: {gpus: 0.5}\n"
    loaded = 0
    for _ in range(400):
        text = whole
        for _ in range(generator.randint(1, 4)):
            start = generator.randrange(len(text) + 1)
            text = text[:start] + generator.choice(words) + text[start + generator.choice([0, 0, 1, 5]) :]
        try:
            load(text)
            loaded += 1
        except SpecError as error:
            message = str(error)
        else:
            continue
        assert message.isprintable()
        assert message.startswith("sweep.yaml:")
        assert ";" in message, "every error has a fix"
    assert 0 < loaded < 400


SETTINGS = {
    **{
        part.__name__: (part, {"latent": 2} if part is ModelSpec else {})
        for part in (TrainSpec, ModelSpec, Resources)
    },
    **{
        f"dataset {name}": (datasets.get(name).options, {"name": name, **extra})
        for name in datasets.names()
        for extra in [{"path": "x", "size": 8} if name == "folder" else {}]
    },
    "PowerLaw": (PowerLaw, {}),
    **{f"metric {name}": (metrics.get(name).options, {"name": name}) for name in metrics.names()},
    **{f"search {name}": (kind, {}) for name, kind in (SEARCHES | STOPS).items() if name != "target"},
    **{f"search target by {which}": (TargetSearch, {which: 2.0}) for which in ("rate", "psnr")},
}


@pytest.mark.parametrize("which", SETTINGS)
def test_nothing_but_a_number_is_taken_for_one_and_a_fraction_for_no_whole_number(which):
    """Whatever stands for ``true`` or 3.0 after validation must be that, not a number that equals it.

    (``weights`` is a path: it is made absolute.)
    """
    kind, needed = SETTINGS[which]
    for name in kind.model_fields.keys() - {"name", "over", "weights"}:
        for value in (True, False, 1.0, 3.0, "3", [True], [3.0]):
            for validate in (kind.model_validate, lambda given: kind.model_validate_json(json.dumps(given))):
                try:
                    found = getattr(validate({**needed, name: value}), name)
                except ValidationError:
                    continue
                had = found[0] if isinstance(found, tuple) else found
                meant = value[0] if isinstance(value, list) else value
                assert (type(had), str(had)) == (type(meant), str(meant)), name


# Built in Python


def test_a_spec_built_in_python_is_validated_alike():
    options = datasets.get("digits").options(name="digits")
    sweep = Sweep(name="x", dataset=options, variants=(VariantSpec(name="bs_vae"),), beta=(10.0, 1.0))
    assert sweep.beta == (1.0, 10.0)
    assert sweep.model.latent == 8
    with pytest.raises(SpecError, match="there twice"):
        Sweep(name="x", dataset=options, variants=(VariantSpec(name="bs_vae"),), beta=(1.0, 1.0))


def test_every_registered_variant_can_be_swept(load):
    for name in variants.names():
        assert load(GOOD, f"variants=[{name}]").variants == (VariantSpec(name=name),)
