"""Results folders for tests of the report: right in shape, with numbers that tell each trial apart."""

import datetime
import io
import json
import re

import numpy as np
from PIL import Image

from rdbench.numerics.likelihood import STORED_READINGS
from rdbench.report import make_report, sections
from rdbench.results.load import load_results
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import plan
from rdbench.spec.sweep import Sweep

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \"double\" 'single' {{ 7*7 }} 🙂"


NATIVE = {"beta_vae": "half", "bs_vae": "optimal"}


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
    return -(100 * (STORED_READINGS.index(reading) + 1) + trial.beta + trial.seed / 4)


def point_rows(trial):
    rate = 20 / trial.beta + trial.seed / 8
    rows = []
    for split, shift in (("train", 1.0), ("test", 0.0)):
        for reading in STORED_READINGS:
            elbo = elbo_of(trial, reading) + shift
            rows.append(
                {"dataset": trial.dataset.name, "variant": trial.variant.name, "beta": trial.beta,
                 "seed": trial.seed, "protocol": trial.protocol, "split": split, "reading": reading,
                 "native": reading == NATIVE[trial.variant.name],
                 "n_images": 100, "rate": rate, "distortion": -elbo - rate, "elbo": elbo, "sse": 3.2,
                 "mse": 0.05, "psnr_of_mse": 13.01, "density_bits_per_dim": 1.5}
            )  # fmt: skip
    return rows


def write(root, sweep, *, lost=lambda trial: None, skip=lambda trial: False, images=False, **trial_row):
    """Write a results folder; ``lost`` gives (status, error) of a trial that did not end well."""
    ResultsFolder(root).save_sweep(sweep)
    for trial in plan(sweep).trials:
        if skip(trial):
            continue
        status, error = lost(trial) or ("done", None)
        row = {"status": status, "error": error, "dataset": trial.dataset.name, "variant": trial.variant.name,
               "beta": trial.beta, "seed": trial.seed, "protocol": trial.protocol, "seconds": 2.0,
               "started": datetime.datetime(2025, 1, 2, 3, 4, tzinfo=datetime.UTC), "skipped_files": 0,
               "dataset_checksum": "c0ffee" * 8, "versions": json.dumps({"torch": "9.9"}), "device": "a CPU",
               "images_per_second": 50.0, "peak_memory_bytes": 2**30, "pack": 1,
               "spec": trial.to_json()} | trial_row  # fmt: skip
        content = {"trials": [row]}
        if status == "done":
            content["points"] = point_rows(trial)
            each = {"lr": 1e-3, "seconds": 1.0, "images_per_second": 50.0}
            content["history"] = [
                {"epoch": epoch, "loss": 10.0 / epoch, "rate": 1.0 * epoch, "sse": 5.0 / epoch} | each
                for epoch in (1, 2, 3)
            ]
            if images:
                kinds = ("original", "reconstruction", "sample")
                content["images"] = [{"kind": kind, "index": index, "png": png(40 * place + index)}
                                     for place, kind in enumerate(kinds) for index in range(16)]  # fmt: skip
        ResultsFolder(root).commit(trial.id, content)
    return root


def report(tmp_path, *roots, terms=False):
    """The page; with ``terms`` the marks of those that it explains, which cut its prose, are in it."""
    page = make_report(roots, tmp_path / "out.html").read_text()
    return page if terms else without_terms(page)


def without_terms(page):
    return re.sub(r"</?dfn\b[^>]*>", "", page)


def section_of(*roots):
    (section,), _ = sections.gather([load_results(root) for root in roots])
    return section


def visible(text):
    """The page's text without scripts, styles and tags, white space joined."""
    text = without_terms(text)
    text = re.sub(r"<(script|style)\b.*?</\1>", " ", text, flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


def shifted(root, sweep, shift, **options):
    """Write results whose ELBO is changed by ``shift(trial)``, and the distortion against it."""
    write(root, sweep, **options)
    for trial in plan(sweep).trials:
        if ResultsFolder(root).is_done(trial.id):
            rows = [
                row | {"elbo": row["elbo"] + shift(trial), "distortion": row["distortion"] - shift(trial)}
                for row in point_rows(trial)
            ]
            ResultsFolder(root).commit(
                trial.id, {"points": rows, "trials": ResultsFolder(root).trial_tables(trial.id)["trials"]}
            )
    return root


def add_metric(root, sweep, name, value, **settings):
    for trial in plan(sweep).trials:
        row = {
            "name": name,
            "value": value(trial),
            "settings": json.dumps(settings),
            "protocol": trial.protocol,
        }
        tables = ResultsFolder(root).trial_tables(trial.id)
        ResultsFolder(root).commit(trial.id, {"metrics": [row], "trials": tables["trials"]})
