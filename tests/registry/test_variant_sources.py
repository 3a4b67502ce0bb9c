"""Variants from elsewhere: found, read without being run, told apart by their text, and shipped by it."""

import importlib.metadata
import json
import subprocess
import sys

import pytest

from rdbench.errors import SpecError
from rdbench.registry import source, variants
from rdbench.registry.declaration import declarations
from rdbench.report import make_report, sections
from rdbench.results.load import load_results
from rdbench.results.store import ResultsFolder
from rdbench.spec.labels import variant_name
from rdbench.spec.plan import Trial, plan
from rdbench.spec.sweep import dump_sweep, load_sweep

OBJECTIVE = '''
import rdbench

@rdbench.variant("{name}", native="half", paper="Nobody, nowhere")
def {symbol}(sse, rate, beta, n, *, gamma: float = 0.5, steps: int = 3):
    """sse + beta rate^gamma: a test."""
    return sse + {factor} * beta * rate**gamma
'''

SPEC = """
name: try
dataset: {name: digits, train_images: 128, test_images: 40}
variants: [%s]
beta: [0.1, 1]
train: {epochs: 1, batch_size: 64}
model: {latent: 4, channels: [8]}
"""


def write(path, *, name="mine", symbol="mine", factor=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(OBJECTIVE.format(name=name, symbol=symbol, factor=factor))
    return path


def sweep_of(folder, variant):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "s.yaml").write_text(SPEC % variant)
    return load_sweep(folder / "s.yaml")


# What a source declares


def test_what_stands_below_the_decorator_decides_what_a_variant_is():
    text = '''
@rdbench.variant("one", native="optimal", paper="P")
def one(sse, rate, beta, n, *, a: float = 1, b: bool = False): "first line"
@variant("two", closed_form=True)
class Two(Model):
    """Second."""
    def __init__(self, about, *, c: int = 3): ...
@rdbench.variant("three", curve=True)
def third(trial, data, *, d: str = "x"): ...
@something_else("four")
def four(): ...
'''
    found = {each.name: each for each in declarations(text, "f.py")}
    assert {name: (each.kind, each.symbol) for name, each in found.items()} == {
        "one": ("objective", "one"),
        "two": ("model", "Two"),
        "three": ("trial", "third"),
    }
    assert [each.packs for each in found.values()] == [True, False, False]
    assert found["three"].curve
    assert [each.closed_form for each in found.values()] == [False, True, False]
    assert (found["one"].native, found["one"].paper, found["one"].summary) == ("optimal", "P", "first line")
    values = {name: option.default for each in found.values() for name, option in each.options.items()}
    assert values == {"a": 1.0, "b": False, "c": 3, "d": "x"}
    assert isinstance(values["a"], float)


@pytest.mark.parametrize(
    ("arguments", "body", "packs"),
    [
        ("", "capturable = True", True),
        ("", "capturable = False", False),
        ("", "gaussian = True", False),
        ("", "def loss(self):\n        capturable = True", False),
        (", closed_form=True", "capturable = True", False),
    ],
)
def test_a_model_packs_where_its_class_says_that_it_is_capturable(arguments, body, packs):
    (declared,) = declarations(f'@variant("x"{arguments})\nclass X(Model):\n    {body}\n', "f.py")
    assert declared.packs == packs


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def f(:", "f.py:1: not Python"),
        ('@variant("x")\ndef f(sse, rate, beta): ...', r"f.py:2: f\(sse, rate, beta\) is no variant"),
        ("@variant()\ndef f(trial, data): ...", "f.py:1: the variant is not named"),
        ('@variant("x", naive="half")\ndef f(trial, data): ...', "f.py:1: variant.. takes no naive"),
        ("@variant(NAME)\ndef f(trial, data): ...", "f.py:1: write the decorator's arguments"),
        ('@variant("x")\ndef f(trial, data, *, a=1): ...', "f.py:2: option a: give it a type"),
        ('@variant("x")\ndef f(trial, data, *, a: int): ...', "f.py:2: option a: give it a type"),
        ('@variant("x")\ndef f(trial, data, *, a: int = 1.5): ...', "option a: its default 1.5 is no int"),
        ('@variant("x")\ndef f(trial, data, *, a: int = g()): ...', "write its default as a plain value"),
        ('@variant("x", curve=True)\ndef f(sse, rate, beta, n): ...', "curve=True is for a function"),
        ('@variant("x", closed_form=True)\ndef f(trial, data): ...', "closed_form=True is for a class"),
    ],
)  # fmt: skip
def test_a_wrong_declaration_is_one_line_with_its_place(text, expected):
    with pytest.raises(SpecError, match=expected):
        declarations(text, "f.py")


def test_every_variant_that_ships_is_named_after_its_file_and_says_where_it_is_from():
    for name in source.shipped():
        declared = variants.declared(name)
        assert declared.name == name
        assert declared.paper
        assert declared.summary


RANGED = """
import typing, pydantic, rdbench
from typing import Annotated
from pydantic import Field

@rdbench.variant("mine")
def mine(sse, rate, beta, n, *, a: Annotated[float, Field(gt=0, le=2)] = 1,
         b: typing.Annotated[int, pydantic.Field(ge=-3)] = 0):
    return a * sse + beta * rate + b
"""


def test_a_range_is_read_from_the_type_and_kept(tmp_path):
    (declared,) = declarations(RANGED, "f.py")
    assert [option.range for option in declared.options.values()] == [
        "more than 0 and at most 2",
        "at least -3",
    ]
    (tmp_path / "mine.py").write_text(RANGED)
    (variant,) = sweep_of(tmp_path, "{name: mine.py:mine, a: 2, b: -3}").variants
    assert variant.options == {"a": 2.0, "b": -3}
    assert float(variants.get(variant).objective(1.0, 0.0, 1.0, 9, a=2.0, b=-3)) == -1.0
    for wrong, fix in (
        ("a: 0", "0 is out of range; use more than 0 and at most 2"),
        ("b: -4", "at least -3"),
    ):
        with pytest.raises(SpecError, match=rf"s.yaml:4: variants\[0\].{wrong[0]}: .*{fix}"):
            sweep_of(tmp_path, f"{{name: mine.py:mine, {wrong}}}")


def test_choices_are_read_from_the_type_and_kept(tmp_path):
    option = 'kind: Literal["soft", "hard"] = "soft"'
    text = OBJECTIVE.format(name="mine", symbol="mine", factor=1).replace("steps: int = 3", option)
    (declared,) = declarations(text, "f.py")
    assert declared.options["kind"].range == "one of soft, hard"
    (tmp_path / "mine.py").write_text(
        text.replace("import rdbench", "from typing import Literal\nimport rdbench")
    )
    (variant,) = sweep_of(tmp_path, "{name: mine.py:mine, kind: hard}").variants
    assert variant.options["kind"] == "hard"
    with pytest.raises(SpecError, match=r"s.yaml:4: variants\[0\].kind: .*use one of soft, hard"):
        sweep_of(tmp_path, "{name: mine.py:mine, kind: odd}")


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ('a: Literal["x", 1] = "x"', "write its choices as text"),
        ('a: Literal[ANY] = "x"', "write its choices as text"),
        ('a: Literal["x", "y"] = "z"', "its default 'z' is not within its range"),
        ("a: Annotated[float, Field(gt=LOW)] = 1", "write its range as Annotated"),
        ("a: Annotated[float, Field(multiple_of=2)] = 1", "write its range as Annotated"),
        ("a: Annotated[float, Gt(0)] = 1", "write its range as Annotated"),
        ("a: Annotated[float, Field(gt=True)] = 1", "write its range as Annotated"),
        ("a: Annotated[float, Field(gt=0)] = 0", "its default 0.0 is not within its range"),
        ("a: Annotated[str, Field(gt=0)] = 'x'", "a range is for int or float"),
        ("a: Annotated[list, Field(gt=0)] = 1", "give it a type"),
    ],
)
def test_a_range_that_cannot_be_read_is_one_line_with_its_place(option, expected):
    text = f'@variant("x")\ndef f(trial, data, *, {option}): ...'
    with pytest.raises(SpecError, match=rf"f.py:2: option a: .*{expected}"):
        declarations(text, "f.py")


# Found in a sweep file


def test_a_file_is_found_beside_the_sweep_and_its_options_are_checked(tmp_path):
    write(tmp_path / "s" / "mine.py")
    (variant,) = sweep_of(tmp_path / "s", "{name: ./mine.py:mine, gamma: 2}").variants
    assert (variant.name, variant.options) == ("mine", {"gamma": 2.0, "steps": 3})
    assert variant.source == f"{tmp_path / 's' / 'mine.py'}:mine"


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("./gone.py:mine", "there is no file"),
        ("./mine.py:yours", "declares no variant 'yours'; it declares mine"),
        ("{name: ./mine.py:mine, gama: 2}", "did you mean 'gamma'"),
        ("{name: ./mine.py:mine, steps: 1.5}", "expected a whole number, got 1.5"),
        ("{name: ./mine.py:mine, gamma: .inf}", "is not a finite number"),
        ("no.such.module:mine", "there is no module no.such.module"),
        ("./empty.py:mine", "it declares none; a variant is a function"),
    ],
)
def test_a_variant_that_cannot_be_had_is_one_line_in_the_sweep_file(tmp_path, variant, expected):
    write(tmp_path / "mine.py")
    (tmp_path / "empty.py").write_text("x = 1\n")
    with pytest.raises(SpecError, match=expected) as caught:
        sweep_of(tmp_path, variant)
    assert "s.yaml:4" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_module_of_a_package_is_a_variant_too(tmp_path, monkeypatch):
    write(tmp_path / "package_of_vaes" / "core.py")
    (tmp_path / "package_of_vaes" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    (variant,) = sweep_of(tmp_path, "package_of_vaes.core:mine").variants
    assert (variant.name, variant.source) == ("mine", "package_of_vaes.core:mine")
    assert float(variants.get(variant).objective(1.0, 4.0, 2.0, 9, gamma=0.5)) == 5.0


def test_an_installed_package_names_its_variants_by_entry_points(tmp_path, monkeypatch):
    write(tmp_path / "plugged_vaes.py")
    monkeypatch.syspath_prepend(tmp_path)
    entry = importlib.metadata.EntryPoint("plugged", "plugged_vaes:mine", source.GROUP)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [entry])
    assert "plugged" in variants.names()
    (variant,) = sweep_of(tmp_path, "plugged").variants
    assert variant.source == "plugged_vaes:mine"
    clash = importlib.metadata.EntryPoint("bs_vae", "plugged_vaes:mine", source.GROUP)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [clash])
    with pytest.raises(SpecError, match="'bs_vae' of plugged_vaes:mine has the name of one of rdbench's own"):
        variants.names()


# What it means for a trial


def test_an_edited_variant_is_a_new_trial_and_a_moved_one_is_not(tmp_path):
    def ids(folder, **content):
        write(tmp_path / folder / "mine.py", **content)
        return [trial.id for trial in plan(sweep_of(tmp_path / folder, "./mine.py:mine")).trials]

    first = ids("a")
    assert ids("b") == first
    assert not set(ids("b", factor=2)) & set(first)


def test_what_ships_has_the_identity_it_always_had(tmp_path):
    (variant,) = sweep_of(tmp_path, "bs_vae").variants
    assert variant.model_dump() == {"name": "bs_vae", "options": {}}


def test_a_trial_is_read_where_its_source_is_not(tmp_path):
    write(tmp_path / "mine.py")
    trial = plan(sweep_of(tmp_path, "./mine.py:mine")).trials[0]
    (tmp_path / "mine.py").unlink()
    again = Trial.from_json(trial.to_json())
    assert again.id == trial.id
    assert again.variant.declaration is None


def test_a_worker_runs_the_text_it_was_shipped_and_not_a_file(tmp_path):
    path = write(tmp_path / "mine.py", factor=3)
    (variant,) = sweep_of(tmp_path, "./mine.py:mine").variants
    text = path.read_text()
    path.unlink()
    code = (
        "import json, sys; from rdbench.registry import running, variants\n"
        "from rdbench.spec.sweep import VariantSpec\n"
        "content = json.loads(sys.stdin.read())\n"
        "running.ship({content['code']: content['files']})\n"
        "spec = VariantSpec.model_validate(content['spec'], context={'settled': True})\n"
        "print(variants.get(spec).objective(1.0, 4.0, 2.0, 9, gamma=0.5))"
    )
    files = [["mine.py", str(path), text]]
    content = json.dumps({"code": variant.code, "files": files, "spec": variant.model_dump()})
    done = subprocess.run(
        [sys.executable, "-c", code], input=content, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) == 13.0


def test_a_file_edited_since_the_plan_is_refused(tmp_path):
    path = write(tmp_path / "mine.py")
    (variant,) = sweep_of(tmp_path, "./mine.py:mine").variants
    path.write_text(path.read_text() + "\n# edited\n")
    with pytest.raises(
        SpecError, match="was edited: trials of variant mine were trained with another version"
    ):
        variants.get(variant)


def test_results_keep_a_copy_that_runs_the_same_sweep(tmp_path):
    path = write(tmp_path / "mine.py")
    sweep = sweep_of(tmp_path, "./mine.py:mine")
    root = tmp_path / "results"
    ResultsFolder(root).save_sweep(sweep)
    path.unlink()
    again = load_sweep(root / "sweep.yaml")
    assert [trial.id for trial in plan(again).trials] == [trial.id for trial in plan(sweep).trials]
    assert variants.get(again.variants[0]).objective(1.0, 4.0, 2.0, 9) == 5.0
    assert "variants/mine-" in (root / "sweep.yaml").read_text()
    assert str(tmp_path) not in (root / "sweep.yaml").read_text()


def test_results_outlive_the_package_their_variant_came_from(tmp_path):
    root = tmp_path / "results"
    sweep = sweep_of(tmp_path, "bs_vae")
    ResultsFolder(root).save_sweep(sweep)
    gone = dump_sweep(sweep).replace("bs_vae", "package_that_is_gone.vaes:mine")
    (root / "sweep.yaml").write_text(gone)
    assert load_results(root).sweep.variants[0].name == "mine"
    assert make_report([root], tmp_path / "out.html").exists()
    with pytest.raises(SpecError, match="there is no module"):
        load_sweep(root / "sweep.yaml")


def test_a_report_tells_versions_and_options_apart_and_leaves_defaults_out(tmp_path):
    write(tmp_path / "mine.py")
    plain, changed = (
        variant_name(sweep_of(tmp_path, variant).variants[0])
        for variant in ("./mine.py:mine", "{name: ./mine.py:mine, gamma: 2}")
    )
    code = sweep_of(tmp_path, "./mine.py:mine").variants[0].code[:6]
    assert plain == f"mine [{code}]"
    assert changed == f"mine (gamma=2.0) [{code}]"
    assert variant_name(sweep_of(tmp_path, "sigma_vae").variants[0]) == "sigma_vae"


# One training for all betas


def test_a_curve_is_one_trial_a_seed_that_knows_all_betas(tmp_path):
    (tmp_path / "curve.py").write_text(
        'import rdbench\n@rdbench.variant("curve", curve=True)\ndef curve(trial, data): ...\n'
    )
    sweep = sweep_of(tmp_path, "./curve.py:curve, bs_vae").model_copy(update={"seeds": (0, 1)})
    trials = plan(sweep).trials
    assert [(t.variant.name, t.beta, t.seed) for t in trials] == [
        (name, beta, seed)
        for seed in (0, 1)
        for name, beta in (("curve", 0.1), ("bs_vae", 0.1), ("bs_vae", 1.0))
    ]
    assert trials[0].variant.options == {"betas": [0.1, 1.0]}
    summary = plan(sweep).summary()
    assert "6 trainings, 40 points" in summary
    assert "variant curve trains once for all betas: 2 trainings saved" in summary
    codecs = "{name: codec, format: jpeg}, {name: codec, format: webp}"
    both = sweep_of(tmp_path, codecs).model_copy(update={"seeds": (0, 1)})
    told = "2 variants (codec) train once for all betas: 4 trainings saved"
    assert plan(both).summary().splitlines()[1:] == [told]
    root = tmp_path / "results"
    ResultsFolder(root).save_sweep(sweep)
    (section,), _ = sections.gather([load_results(root)])
    assert len(section.missing) == 8  # each point that is missing, not each training
