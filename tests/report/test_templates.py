"""The templates that ship are those that Altair draws from the code as it stands."""

import gzip
import json
import subprocess
import sys

from altair.utils import schemapi
from report_builders import make_sweep, write

from rdbench.report.charts import curve_plot, templates


def shipped():
    return json.loads(gzip.decompress(templates.PREPARED.read_bytes()))


def test_the_file_holds_what_altair_draws_of_every_template_now():
    with schemapi.debug_mode(False):  # whether it is Vega-Lite was asked when the file was written
        drawn = dict(templates.draw_all())
    assert json.loads(json.dumps(drawn)) == shipped(), "run: python tools/templates.py"
    modules = {name.partition("_")[0] for name in drawn}
    assert modules == {module.partition("_")[0] for module in templates.MODULES}


def test_a_template_whose_code_has_changed_is_drawn_anew_and_not_read_from_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("RDBENCH_CACHE", str(tmp_path))
    stale = {name: one | {"code": "older", "spec": {"stale": True}} for name, one in shipped().items()}
    monkeypatch.setattr(templates, "_prepared", lambda: stale)
    curve_plot._template.cache_clear()
    spec = curve_plot._template("linear", True, False, True, True)
    curve_plot._template.cache_clear()
    assert "layer" in spec
    (kept,) = (tmp_path / "report").glob("curve_plot_template-linear-True-False-True-True-*.json")
    assert json.loads(kept.read_text()) == spec


def test_a_page_is_made_without_altair(tmp_path):
    write(tmp_path / "study", make_sweep(seeds=2), images=True)
    code = (
        "import sys; from rdbench.report import make_report; make_report([sys.argv[1]], sys.argv[2]);"
        " print('altair' in sys.modules)"
    )
    command = [sys.executable, "-c", code, tmp_path / "study", tmp_path / "out.html"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
