"""Files that authors wrote against the modules of an earlier rdbench run: copies of them lie in results."""

import importlib
import subprocess
import sys

from rdbench.registry import moved

OLD = """
import rdbench
from rdbench.variants import variant
from rdbench.training import Epoch, learning_rate
from rdbench import likelihood
import rdbench.nets

@variant("old", native="half")
def old(sse, rate, beta, n):
    assert Epoch is rdbench.Epoch and rdbench.nets.__name__ == "rdbench.vae.networks"
    return learning_rate(1.0, 0, 10) * sse + likelihood.variance("half", sse, beta, n)
"""


def test_the_new_names_are_there_and_the_old_ones_are_free():
    for new in moved.MOVED.values():
        importlib.import_module(f"rdbench.{new}")
    code = (
        "from importlib.util import find_spec\n"
        f"print([name for name in {list(moved.MOVED)} if find_spec('rdbench.' + name)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_file_that_imports_by_old_names_runs_in_a_fresh_process(tmp_path):
    (tmp_path / "old.py").write_text(OLD)
    code = (
        "from rdbench.registry.variants import get; from rdbench.spec.settings import VariantSpec\n"
        "variant = get(VariantSpec.model_validate({'name': 'old.py:old'}, context={'folders': ['.']}))\n"
        "print(variant.objective(2.0, 1.0, 1.0, 4))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "2.5", done.stderr
