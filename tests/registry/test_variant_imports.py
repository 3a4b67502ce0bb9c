"""A variant's identity covers all of the author's code that it runs, which is shipped, kept, and apart."""

import hashlib
import importlib.util
import json
import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest

import rdbench
from rdbench.errors import SpecError
from rdbench.registry import variants
from rdbench.registry.source import find
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import plan
from rdbench.spec.sweep import load_sweep

VARIANT = '''
import rdbench
{imports}

@rdbench.variant("{name}")
def {name}(sse, rate, beta, n):
    """sse + factor beta rate: a test."""
    {within}
    return sse + {factor} * beta * rate
'''

SPEC = """
name: try
dataset: {name: digits, train_images: 128, test_images: 40}
variants: [%s]
beta: [1]
train: {epochs: 1, batch_size: 64}
model: {latent: 4, channels: [8]}
"""


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def write_variant(path, imports="", factor="FACTOR", within="", name="mine"):
    return write(path, VARIANT.format(imports=imports, factor=factor, within=within, name=name))


def sweep_of(folder, *references):
    return load_sweep(write(folder / "s.yaml", SPEC % ", ".join(references)))


def ids(folder, reference):
    return [trial.id for trial in plan(sweep_of(folder, reference)).trials]


def value(variant):
    """The loss at sse 1, rate 4, beta 1: 1 + 4 factor."""
    return variants.get(variant).objective(1.0, 4.0, 1.0, 9)


def names(reference, folder):
    return [file.name for file in find(reference, [folder]).files]


def package(folder):
    """The example: a module of a package that imports another of it."""
    write(folder / "mypkg" / "__init__.py", "")
    write(folder / "mypkg" / "layers.py", "FACTOR = 2\n")
    write_variant(folder / "mypkg" / "vae.py", "from mypkg.layers import FACTOR")


# What counts


LAYOUTS = {
    "neighbour": {"vae.py": "from layers import FACTOR", "layers.py": "FACTOR = 2"},
    "neighbour as a module": {"vae.py": "import layers as l\nFACTOR = l.FACTOR", "layers.py": "FACTOR = 2"},
    "two hops": {"vae.py": "import a", "a.py": "from layers import FACTOR", "layers.py": "FACTOR = 2"},
    "package beside": {"vae.py": "from nets.layers import FACTOR", "nets/layers.py": "FACTOR = 2",
                       "nets/__init__.py": ""},
    "namespace beside": {"vae.py": "import nets.layers\nFACTOR = nets.layers.FACTOR",
                         "nets/layers.py": "FACTOR = 2"},
    "package's own code": {"vae.py": "from layers import FACTOR", "layers/__init__.py": "FACTOR = 2"},
    "star": {"vae.py": "from nets import *\nFACTOR = layers.FACTOR", "nets/layers.py": "FACTOR = 2",
             "nets/__init__.py": "__all__ = ['layers']"},
    "a cycle": {"vae.py": "import layers\nFACTOR = layers.factor()",
                "layers.py": "import vae\nTWO = 2\ndef factor(): return TWO"},
    "optional": {"vae.py": "try:\n    from layers import FACTOR\nexcept ImportError:\n    FACTOR = 2",
                 "layers.py": "FACTOR = 2"},
    "relative": {"p/vae.py": "from .layers import FACTOR", "p/layers.py": "FACTOR = 2", "p/__init__.py": ""},
    "relative, from the package": {"p/vae.py": "from . import layers\nFACTOR = layers.FACTOR",
                                   "p/layers.py": "FACTOR = 2", "p/__init__.py": ""},
    "relative, no __init__": {"p/vae.py": "from .layers import FACTOR", "p/layers.py": "FACTOR = 2"},
    "relative, upwards": {"p/q/vae.py": "from ..layers import FACTOR", "p/layers.py": "FACTOR = 2",
                          "p/__init__.py": "", "p/q/__init__.py": "from . import vae"},
    "absolute, of its own package": {"p/vae.py": "from p.layers import FACTOR", "p/layers.py": "FACTOR = 2",
                                     "p/__init__.py": ""},
    "on the way": {"p/vae.py": "from .q.r import FACTOR", "p/__init__.py": "",
                   "p/q/r.py": "from . import FACTOR", "p/q/__init__.py": "from .layers import FACTOR",
                   "p/q/layers.py": "FACTOR = 2"},
    "neighbour within a package": {"p/vae.py": "from layers import FACTOR", "p/layers.py": "FACTOR = 2",
                                   "p/__init__.py": ""},
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_an_edit_of_what_a_file_imports_makes_it_another_variant(tmp_path, layout):
    for name, text in layout.items():
        if name.endswith("vae.py"):
            factor = "a.FACTOR" if text == "import a" else "FACTOR"
            reference = f"./{write_variant(tmp_path / name, text, factor).relative_to(tmp_path)}:mine"
        else:
            write(tmp_path / name, text)
    (edited,) = tmp_path.rglob("layers*/__init__.py" if "layers/__init__.py" in layout else "layers.py")
    (before,) = sweep_of(tmp_path, reference).variants
    assert value(before) == 9
    text = edited.read_text()
    edited.write_text(text.replace("2", "3"))
    (after,) = sweep_of(tmp_path, reference).variants
    assert after.code != before.code
    assert value(after) == 13
    edited.write_text(text)
    assert sweep_of(tmp_path, reference).variants[0] == before


def test_an_edit_of_a_module_beside_a_packages_variant_leaves_nothing_done(tmp_path, monkeypatch):
    """Whether the variant is named by its file or as a module."""
    package(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for reference in ("mypkg.vae:mine", "./mypkg/vae.py:mine"):
        write(tmp_path / "mypkg" / "layers.py", "FACTOR = 2\n")
        sweep = sweep_of(tmp_path, reference)
        (done,) = [trial.id for trial in plan(sweep).trials]
        assert (len(plan(sweep, {done}).todo), value(sweep.variants[0])) == (0, 9)
        write(tmp_path / "mypkg" / "layers.py", "FACTOR = 3\n")
        edited = sweep_of(tmp_path, reference)
        assert (len(plan(edited, {done}).todo), value(edited.variants[0])) == (1, 13)
        with pytest.raises(
            SpecError, match=r"vae.py or a file it imports was edited: trials of variant mine"
        ):
            variants.get(sweep.variants[0])


def test_an_import_within_a_function_counts_and_runs(tmp_path):
    write_variant(tmp_path / "vae.py", "", within="from layers import FACTOR")
    write(tmp_path / "layers.py", "FACTOR = 2")
    (variant,) = sweep_of(tmp_path, "./vae.py:mine").variants
    assert value(variant) == 9
    write(tmp_path / "layers.py", "FACTOR = 3")
    (edited,) = sweep_of(tmp_path, "./vae.py:mine").variants
    assert value(edited) == 13


def test_an_editable_install_is_the_authors_code_and_an_installed_package_is_not(tmp_path, monkeypatch):
    package(tmp_path / "src")
    installed = tmp_path / "lib" / "site-packages"
    write(installed / "_editable_mypkg.pth", f"{tmp_path / 'src'}\n")
    write(installed / "theirs" / "__init__.py", "FACTOR = 4\n")
    write_variant(installed / "theirs" / "vae.py", "from theirs import FACTOR")
    write_variant(tmp_path / "vae.py", "from mypkg.layers import FACTOR\nimport theirs, torch, json")
    monkeypatch.setattr(sys, "path", [*sys.path])
    site.addsitedir(str(installed))
    assert names("./vae.py:mine", tmp_path) == ["vae.py", "mypkg/__init__.py", "mypkg/layers.py"]
    assert names("mypkg.vae:mine", tmp_path) == ["mypkg/vae.py", "mypkg/__init__.py", "mypkg/layers.py"]
    assert value(sweep_of(tmp_path, "./vae.py:mine").variants[0]) == 9
    theirs = find("theirs.vae:mine")
    assert (theirs.files, theirs.code) == ((), text_hash(theirs.path))
    assert value(sweep_of(tmp_path, "theirs.vae:mine").variants[0]) == 17
    sys.modules.pop("theirs.vae"), sys.modules.pop("theirs")


def test_an_editable_install_by_a_finder_is_the_authors_code(tmp_path, monkeypatch):
    """As setuptools has it where the package does not lie in src/."""
    write(tmp_path / "project" / "elsewhere" / "__init__.py", "")
    write(tmp_path / "project" / "elsewhere" / "layers.py", "FACTOR = 2\n")

    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            init = tmp_path / "project" / "elsewhere" / "__init__.py"
            return importlib.util.spec_from_file_location(name, init) if name == "mapped" else None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    write_variant(tmp_path / "vae.py", "from mapped.layers import FACTOR")
    assert names("./vae.py:mine", tmp_path) == ["vae.py", "mapped/__init__.py", "mapped/layers.py"]
    assert value(sweep_of(tmp_path, "./vae.py:mine").variants[0]) == 9


def test_what_was_installed_into_a_folder_of_ones_own_is_not_the_authors(tmp_path, monkeypatch):
    """As by pip install --target, beside code that is."""
    write(tmp_path / "theirs-1.dist-info" / "RECORD", "theirs/__init__.py,sha256=1,2\nsingle.py,,\n")
    write(tmp_path / "theirs" / "__init__.py", "FACTOR = 2\n")
    write(tmp_path / "single.py", "")
    write(tmp_path / "layers.py", "")
    write_variant(tmp_path / "vae.py", "import layers, single\nfrom theirs import FACTOR")
    assert names("./vae.py:mine", tmp_path) == ["vae.py", "layers.py"]


def text_hash(path):
    return hashlib.sha256(path.read_text().encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    "imports",
    [
        "import json, torch, rdbench.vae.models\nfrom torch import nn",
        "try:\n    import not_there\n    from .not_there import b\nexcept ImportError:\n    pass",
        "import random, statistics",  # the library's, as ever, whatever lies beside
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from layers import FACTOR",
    ],
)
def test_a_file_that_imports_none_of_the_authors_keeps_the_id_it_had(tmp_path, imports):
    path = write_variant(tmp_path / "vae.py", imports, factor="2")
    for name in ("random", "statistics", "layers", "torch"):
        write(tmp_path / f"{name}.py", "1 / 0")
    (variant,) = sweep_of(tmp_path, "./vae.py:mine").variants
    assert variant.code == text_hash(path)
    assert value(variant) == 9


@pytest.mark.parametrize("init", ["", '"""All about it."""\n', "# to come\n"])
def test_a_package_that_runs_nothing_leaves_the_id_of_its_module(tmp_path, monkeypatch, init):
    write(tmp_path / "quietpkg" / "__init__.py", init)
    path = write_variant(tmp_path / "quietpkg" / "vae.py", factor="2")
    monkeypatch.syspath_prepend(tmp_path)
    for reference in ("quietpkg.vae:mine", "./quietpkg/vae.py:mine"):
        (variant,) = sweep_of(tmp_path, reference).variants
        assert (variant.code, value(variant)) == (text_hash(path), 9)


def test_a_file_named_as_a_module_that_it_imports_gets_that(tmp_path):
    path = write_variant(tmp_path / "random.py", "import random\nFACTOR = len(random.sample([1, 2], 2))")
    (variant,) = sweep_of(tmp_path, "./random.py:mine").variants
    assert (variant.code, value(variant)) == (text_hash(path), 9)


def test_the_folder_and_the_machine_do_not_count(tmp_path):
    package(tmp_path / "a")
    write(tmp_path / "a" / "loose" / "layers.py", "FACTOR = 2\n")
    write_variant(tmp_path / "a" / "loose" / "vae.py", "from .layers import FACTOR")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "loose").rename(tmp_path / "b" / "tight")
    assert ids(tmp_path / "a", "./mypkg/vae.py:mine") == ids(tmp_path / "b", "./mypkg/vae.py:mine")
    assert ids(tmp_path / "a", "./loose/vae.py:mine") == ids(tmp_path / "b", "./tight/vae.py:mine")


def test_nothing_is_run_to_find_what_counts(tmp_path, monkeypatch):
    package(tmp_path)
    for name in ("__init__", "layers"):
        write(tmp_path / "mypkg" / f"{name}.py", "raise RuntimeError('it was run')\n")
    monkeypatch.syspath_prepend(tmp_path)
    (variant,) = sweep_of(tmp_path, "mypkg.vae:mine").variants
    assert "mypkg" not in sys.modules
    with pytest.raises(RuntimeError, match="it was run"):
        variants.get(variant)


# Faults


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"x = 1\ndef f(:\n", r"layers.py:2: not Python \(.*\); .*vae.py imports it"),
        (b"'\xff'", r"layers.py: cannot be read \(.*utf-8"),
    ],
)
def test_a_file_that_cannot_be_one_is_one_line(tmp_path, content, expected):
    write_variant(tmp_path / "vae.py", "from layers import FACTOR")
    (tmp_path / "layers.py").write_bytes(content)
    with pytest.raises(SpecError, match=expected) as caught:
        sweep_of(tmp_path, "./vae.py:mine")
    assert "s.yaml:4" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_code_that_comes_in_by_a_path_set_while_running_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    write(tmp_path / "common" / "late_layers.py", "FACTOR = 2\n")
    lines = f"import sys\nsys.path.append({str(tmp_path / 'common')!r})\nfrom late_layers import FACTOR"
    write_variant(tmp_path / "vae.py", lines)
    with pytest.raises(ModuleNotFoundError, match=r"late_layers is not imported from .* not among the files"):
        value(sweep_of(tmp_path, "./vae.py:mine").variants[0])


def test_a_module_that_is_not_there_is_what_python_says(tmp_path):
    package(tmp_path)
    write_variant(tmp_path / "mypkg" / "vae.py", "from .no_layers import FACTOR")
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'mypkg.no_layers'"):
        value(sweep_of(tmp_path, "./mypkg/vae.py:mine").variants[0])
    write_variant(tmp_path / "mypkg" / "vae.py", "from . import no_layers")
    with pytest.raises(ImportError, match="cannot import name 'no_layers'"):
        value(sweep_of(tmp_path, "./mypkg/vae.py:mine").variants[0])
    write_variant(
        tmp_path / "mypkg" / "vae.py", "from ......layers import FACTOR".replace("......", "." * 40)
    )
    with pytest.raises(ImportError, match="beyond top-level package"):
        value(sweep_of(tmp_path, "./mypkg/vae.py:mine").variants[0])


# Apart from others, and elsewhere


def test_variants_with_neighbours_of_one_name_do_not_get_each_others(tmp_path):
    """In one process, as in a worker that Ray uses again; also by imports that run later."""
    references = []
    for name, factor in (("first", 2), ("second", 3)):
        folder = tmp_path / name
        write(folder / "layers.py", "import deeper\nFACTOR = deeper.FACTOR\ncalls = []\n")
        write(folder / "deeper.py", f"FACTOR = {factor}\n")
        late = "import layers; layers.calls.append(1); from deeper import FACTOR as LATE"
        write_variant(folder / "vae.py", "from layers import FACTOR", "(FACTOR + LATE)", late, name)
        references.append(f"./{name}/vae.py:{name}")
    first, second = sweep_of(tmp_path, *references).variants
    assert [value(each) for each in (first, second, first, second)] == [17, 25, 17, 25]
    assert not {"layers", "deeper", "vae"} & sys.modules.keys()
    (one, other) = (
        variants.get(each).target.__globals__["__builtins__"]["__import__"] for each in (first, second)
    )
    assert (len(one("layers").calls), len(other("layers").calls)) == (2, 2)


def in_a_fresh_process(tmp_path, variant, files):
    """Return the variant's value where only what was shipped is there."""
    code = (
        "import json, sys; from rdbench.registry import running, variants\n"
        "from rdbench.spec.sweep import VariantSpec\n"
        "content = json.loads(sys.stdin.read())\n"
        "running.ship({content['code']: content['files']})\n"
        "spec = VariantSpec.model_validate(content['spec'], context={'settled': True})\n"
        "print(variants.get(spec).objective(1.0, 4.0, 1.0, 9))"
    )
    content = json.dumps({"code": variant.code, "files": files, "spec": variant.model_dump()})
    (tmp_path / "empty").mkdir()
    environment = {"PYTHONPATH": str(Path(rdbench.__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=content,
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path / "empty",
        env=environment,
    )
    return float(done.stdout)


def test_a_worker_runs_what_it_was_shipped_and_not_files(tmp_path):
    package(tmp_path / "a")
    (variant,) = sweep_of(tmp_path, "./a/mypkg/vae.py:mine").variants
    files = find(variant.source).files
    shutil.rmtree(tmp_path / "a")
    assert in_a_fresh_process(tmp_path, variant, files) == 9


def test_results_keep_copies_that_run_the_same_sweep(tmp_path, monkeypatch):
    """Also where other files of those names, or packages, are found by then."""
    package(tmp_path / "a")
    write(tmp_path / "a" / "vae.py", "").unlink()
    write(tmp_path / "a" / "layers.py", "FACTOR = 5\n")
    write_variant(
        tmp_path / "a" / "vae.py",
        "from layers import FACTOR\ntry:\n    import extra\nexcept ImportError: 0",
        name="other",
    )
    monkeypatch.syspath_prepend(tmp_path / "a")
    sweep = sweep_of(tmp_path / "a", "mypkg.vae:mine", "./vae.py:other")
    root = tmp_path / "results"
    ResultsFolder(root).save_sweep(sweep)
    write(tmp_path / "a" / "mypkg" / "layers.py", "FACTOR = 7\n")
    write(tmp_path / "a" / "extra.py", "1 / 0")
    again = ResultsFolder(root).sweep()
    assert [trial.id for trial in plan(again).trials] == [trial.id for trial in plan(sweep).trials]
    assert [value(each) for each in again.variants] == [9, 21]
    sources = ResultsFolder(root).variant_sources()
    assert {code: [file.name for file in files] for code, files in sources.items()} == {
        sweep.variants[0].code: ["mypkg/vae.py", "mypkg/__init__.py", "mypkg/layers.py"],
        sweep.variants[1].code: ["vae.py", "layers.py"],
    }
    assert str(tmp_path) not in (root / "sweep.yaml").read_text()
    assert in_a_fresh_process(tmp_path, sweep.variants[0], sources[sweep.variants[0].code]) == 9

    (layers,) = root.glob("variants/other-*/layers.py")
    layers.write_text("FACTOR = 6\n")
    assert [*ResultsFolder(root).variant_sources()] == [sweep.variants[0].code]
    assert ResultsFolder(root).sweep().variants[1] != sweep.variants[1]


def test_a_copy_in_one_file_is_what_its_name_says_whatever_it_imports(tmp_path, monkeypatch):
    """As results have it that were written before imports counted."""
    package(tmp_path / "a")
    monkeypatch.syspath_prepend(tmp_path / "a")
    text = (tmp_path / "a" / "mypkg" / "vae.py").read_text()
    code = hashlib.sha256(text.encode()).hexdigest()[:16]
    write(tmp_path / "results" / "variants" / f"mine-{code}.py", text)
    write(tmp_path / "results" / "sweep.yaml", SPEC % f"variants/mine-{code}.py:mine")
    (variant,) = ResultsFolder(tmp_path / "results").sweep().variants
    assert (variant.name, variant.code) == ("mine", code)
    assert [*ResultsFolder(tmp_path / "results").variant_sources()] == [code]
    with pytest.raises(ModuleNotFoundError, match=r"mypkg.layers is not imported from .* sweep again"):
        value(variant)


def test_a_file_edited_between_reading_a_sweep_and_saving_it_is_told(tmp_path):
    package(tmp_path)
    sweep = sweep_of(tmp_path, "./mypkg/vae.py:mine")
    write(tmp_path / "mypkg" / "layers.py", "FACTOR = 3\n")
    with pytest.raises(SpecError, match="edited just now; run the same command again"):
        ResultsFolder(tmp_path / "results").save_sweep(sweep)


def test_check_lists_the_files_and_runs_them_where_they_are_not(tmp_path, monkeypatch):
    from rdbench.commands.check import check

    package(tmp_path)
    monkeypatch.chdir(tmp_path)
    found = {each.check: each for each in check("mypkg/vae.py:mine")}
    assert {each.status for each in found.values()} <= {"ok", "note"}
    assert "mypkg/vae.py, mypkg/layers.py" in found["imports"].text
    assert found["fresh process"].status == "ok"

    write(tmp_path / "mypkg" / "layers.py", "\nFACTOR = 1 / 0\n")
    failed = [each for each in check("mypkg/vae.py:mine", elsewhere=False) if each.status == "FAIL"]
    assert [each.text for each in failed] == ["mypkg/layers.py:2: ZeroDivisionError: division by zero"]

    write(
        tmp_path / "mypkg" / "layers.py", "import importlib\nFACTOR = importlib.import_module('json') and 2\n"
    )
    found = {each.check: each for each in check("mypkg/vae.py:mine", elsewhere=False)}
    assert found["imports"].status == "note"
    assert "by a computed name (mypkg/layers.py:2) is not seen" in found["imports"].text
