"""Table 1 of Kim & Lee, "Beta-Sigma VAE", ICPR 2024, of a section, published values beside it."""

import csv
import functools
from dataclasses import replace
from importlib import resources
from typing import Any

from rdbench.report.numbers import ABSENT, count, number
from rdbench.report.sections import Section
from rdbench.report.statistics.series import Key, Series, has_own, likelihood, proxies, values_by_seed
from rdbench.report.tables.bold import MARKED
from rdbench.report.tables.measured import KEYS, keys, losses, lost_at, over_seeds, rows_by_key
from rdbench.report.tables.sources import data_remarks
from rdbench.report.tables.table import Cell, Column, Table, numbered
from rdbench.text import shown

VARIANTS = frozenset({"bs_vae", "beta_vae"})
"""Those of the paper's table."""

PAPERS_READING = "optimal"
"""The reading of every row of the paper's table, also those of constant variance."""

AS_PAPER = "at the paper's σ², fitted to each image"
"""The group of the columns under it: not the likelihood of any model, but what the published values are."""

PUBLISHED = "bs_vae_2024_table1.csv"
PAPER_COLUMNS = {
    "fid": "FID",
    "test_log_p_lower_bound": "test log p(x) ≥",
    "train_log_p_lower_bound": "train log p(x) ≥",
}
"""Column of the published values -> its heading."""

TRAIN = {"precision": "float32", "epochs": 50, "batch_size": 512, "lr": 1e-3, "weight_decay": 1e-5,
         "augment": True}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "mnist": {"name": "conv", "latent": 32, "channels": [32, 64, 128]},
    "celeba": {"name": "conv", "latent": 64, "channels": [32, 64, 128, 256]},
}
IMAGES = {
    "mnist": {"train_images": 60_000, "test_images": 10_000},
    "celeba": {"train_images": 162_770, "test_images": 19_962},
}
SEEDS = 5
LABELS = {"name": "networks", "lr": "learning rate", "augment": "augmentation"}


@functools.cache
def published() -> dict[str, dict[Key, dict[str, float]]]:
    """Return the paper's values: dataset -> (variant, beta) -> fid, test_log_p_lower_bound, train_..."""
    text = (resources.files("rdbench.report") / "published" / PUBLISHED).read_text(encoding="utf-8")
    values: dict[str, dict[Key, dict[str, float]]] = {}
    for row in csv.DictReader(text.splitlines()):
        key = row["variant"], float(row["beta"])
        values.setdefault(row["dataset"], {})[key] = {name: float(row[name]) for name in PAPER_COLUMNS}
    return values


def differences(section: Section) -> list[str]:
    """Return in what a section's settings differ from the paper's recipe, an item each; its dataset is in the
    paper. Whether the data are the paper's :func:`rdbench.report.tables.sources.data_remarks` says.
    """
    settings, all_images = section.settings, IMAGES[section.dataset]
    # A subset that is not set is all of the images.
    images = {key: settings["dataset"][key] or number for key, number in all_images.items()}
    ours = {**settings["train"], **settings["model"], **images}
    items = [
        f"{LABELS.get(key, key.replace('_', ' '))} {_written(ours[key])} instead of {_written(theirs)}"
        for key, theirs in (TRAIN | MODELS[section.dataset] | all_images).items()
        if ours[key] != theirs
    ]
    if held_out := settings["dataset"].get("validation"):
        items.append(f"validation {held_out}, where the paper holds no images out")
    seeds = len({*section.trials["seed"], *section.missing["seed"]})
    if seeds != SEEDS:
        items.append(f"{count(seeds, 'seed')} instead of {SEEDS}")
    return items


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return f"{value:,}" if isinstance(value, int) else shown(value)


def table1(section: Section) -> Table | None:
    """Return FID and the bounds of log p(x), a row a (variant, beta); None of other data or variants.

    The paper's betas come first to a reader's eye, further ones behind a button.

    The bounds are those of each model's likelihood, then those at the paper's variance.
    """
    if section.dataset not in published() or not {variant for variant, _ in keys(section)} >= VARIANTS:
        return None
    titles = {split: f"{split} log p(x) ≥" for split in ("test", "train")}
    bounds = [replace(likelihood(section, split), title=title) for split, title in titles.items()]
    fitted = [
        Series(f"{split}_log_p", title, "nats per image", "higher", reading=PAPERS_READING,
               values=values_by_seed(section, "elbo", PAPERS_READING, split))
        for split, title in titles.items()
    ]  # fmt: skip
    if not any(bound.values for bound in (*bounds, *fitted)):
        return None
    fids = [proxy for proxy in proxies(section) if proxy.metric == "fid"]
    columns, lost = [*fids, *bounds, *fitted], losses(section)

    own = has_own(section)

    def why(column: Series, key: Key) -> tuple[str, str]:
        told = [lost_at(key, column, lost, (*bounds, *fitted))]
        own_likelihood = column.name == bounds[0].name and key[0] in own and key in column.values
        told += ["its own likelihood"] if own_likelihood else []
        return column.reasons.get(key, "not measured"), ", ".join(filter(None, told))

    every, paper = keys(section), _beside(section)
    printed = {beta for _, beta in published()[section.dataset]}
    brief = tuple(place for place, (_, beta) in enumerate(every) if beta in printed)
    rows = rows_by_key(every, columns, why)
    if paper:
        rows = [(*row, *(_published_cell(paper.get(key, {}).get(column)) for column in PAPER_COLUMNS))
                for key, row in zip(every, rows, strict=True)]  # fmt: skip
    fid_heads = numbered([fid.title.replace("fid", "FID", 1) for fid in fids])
    measured = "measured" if paper else ""
    heads = [Column(title, measured) for title in (*fid_heads, *(bound.title for bound in bounds))]
    heads += [Column(bound.title, AS_PAPER, badge="fitted") for bound in fitted]
    group = "published, of other data" if data_remarks(section) else "published"
    heads += [Column(name, group, badge="published") for name in PAPER_COLUMNS.values() if paper]
    return Table(
        "table_1", "Table 1 of the paper: FID and log p(x)",
        _caption(section, fids, [*bounds, *fitted], paper), (*KEYS, *heads), tuple(rows),
        tuple(f"{head}: {fid.how}." for head, fid in zip(fid_heads, fids, strict=True)),
        method=METHOD, brief=brief if len(brief) < len(every) else (),
    )  # fmt: skip


def _published_cell(value: float | None) -> Cell:
    if value is None:
        return Cell(ABSENT, "not in the paper")
    return Cell(number(value, 0 if value == round(value) else 1), value=value)


def _beside(section: Section) -> dict[Key, dict[str, float]]:
    """Return the published values that may stand beside the section's: of its dataset, protocol and rows."""
    if section.protocol != "paper":
        return {}
    here = set(keys(section))
    return {key: values for key, values in published().get(section.dataset, {}).items() if key in here}


METHOD = (
    "What is not marked as fitted takes one σ² for all images, the training images' mean squared error. That"
    " is the likelihood of a model that learned its variance. A model with a likelihood of its own has that."
    " What is marked fitted takes the paper's σ², which is optimal for each image and fitted to the very"
    " image it scores. That is the likelihood of no model, and what the published values are."
    f" {MARKED} Each column by itself."
)


def _caption(
    section: Section, fids: list[Series], bounds: list[Series], paper: dict[Key, dict[str, float]]
) -> str:
    parts = ["log p(x) ≥: the ELBO, nats per image, higher is better."]
    parts.append("FID: lower is better." if fids else "FID was not measured.")
    parts.append(over_seeds([*fids, *bounds]))
    known = published()
    if paper:
        parts.append("Published: means of five trainings (Kim & Lee, ICPR 2024); no test compares with them.")
    elif section.dataset not in known:
        parts.append(f"No published values: the paper's table is of {' and '.join(sorted(known))}.")
    elif section.protocol != "paper":
        parts.append(
            f"No published values: the paper's are of protocol paper, these of protocol {section.protocol}."
        )
    else:
        parts.append("No published values: none of these rows is in the paper's table.")
    if section.dataset in known:
        items = differences(section)
        said = f"differs from the paper's: {'; '.join(items)}." if items else "is the paper's."
        parts.append(f"The recipe {said}")
        if remarks := data_remarks(section):
            parts.append(f"The data are not those of the paper: {'; '.join(remarks)}.")
    return " ".join(parts)
