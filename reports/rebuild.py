"""Make a results folder of a study's points.csv again, beside the linear coder trained in it anew.

    python reports/rebuild.py reports/mnist_cpu results/mnist_again [--common]

The folder holds the linear coder already (the commands are in the study's README). What is not in points.csv
stays empty: history, pictures, metrics. Then counts the trials above the linear coder's curve at equal rate.
With --common, only trials at the betas that all seeds have.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from rdbench.results.load import load_results
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import Trial, plan
from rdbench.spec.sweep import Sweep, VariantSpec, load_sweep


def trial_of(row: pd.Series, sweep: Sweep) -> Trial:
    """Return the trial of a row of points.csv; its settings are the sweep's but for variant, beta, seed.

    Raises:
        ValueError: the settings do not give the row's identity.
    """
    asked = {"name": row["variant"], "options": json.loads(row.get("options", "{}"))}
    variant = VariantSpec.model_validate(asked, context={"settled": True})
    settings = plan(sweep).trials[0].model_dump() | {"variant": variant, "seed": int(row["seed"])}
    for beta in (float(row["beta"]), sweep.beta[0]):  # one training for all betas goes by the first
        trial = Trial.model_validate(settings | {"beta": beta}, context={"settled": True})
        if trial.id == row["trial"]:
            return trial
    raise ValueError(f"trial {row['trial']}: {row['variant']} with beta {row['beta']:g} has another identity")


def rebuild(study: Path, root: Path, common: bool = False) -> None:
    """Commit the trials of points.csv to the results folder, and save the study's sweep in it."""
    sweep = load_sweep(study / "sweep.yaml", stored=True)
    coder = load_results(root)
    if set(coder.trials["variant"]) != {"linear_coder"}:
        raise ValueError(f"{root} holds other trials than those of the linear coder")
    like = coder.trials.iloc[0]
    folder = ResultsFolder(root)
    table = pd.read_csv(study / "points.csv")
    seeds = table.groupby("beta")["seed"].transform("nunique")
    for name, points in table[(seeds == seeds.max()) | (not common)].groupby("trial"):
        trial = trial_of(points.iloc[0], sweep)
        row = trial.model_dump(include={"beta", "seed", "protocol"}) | {
            "status": "done", "dataset": trial.dataset.name, "variant": trial.variant.name,
            "spec": trial.to_json(), "dataset_checksum": like["dataset_checksum"],
            "skipped_files": 0, "versions": "{}",
        }  # fmt: skip
        rows = points.drop(columns=["trial", "options"], errors="ignore").astype(object)
        rows = rows.where(rows.notna(), None).to_dict("records")
        folder.commit(str(name), {"trials": [row], "points": rows})
    folder.save_sweep(sweep.model_copy(update={"variants": (*sweep.variants, *coder.sweep.variants)}))


def above(root: Path) -> None:
    """Print how many trials lie above the linear coder: at their rate, by its test points joined by lines."""
    points = load_results(root).points.query("split == 'test' and reading == 'half' and rate.notna()")
    coder = points[points["variant"] == "linear_coder"].groupby("beta")[["rate", "sse"]].mean()
    coder = coder.sort_values("rate")
    points = points[points["variant"] != "linear_coder"]
    # Beyond its highest rate the coder's error is at most the one there: the curve falls.
    line = np.interp(points["rate"], coder["rate"], coder["sse"])
    excess = (points["sse"] / line - 1).groupby(points["variant"])
    counts = {"points": excess.size(), "above": excess.apply(lambda own: (own > 0).sum())}
    print(pd.DataFrame(counts | {"least": excess.min(), "most": excess.max()}).round(3).to_string())
    print(f"in all {counts['above'].sum()} of {len(points)} lie above the linear coder")


if __name__ == "__main__":
    rebuild(Path(sys.argv[1]), Path(sys.argv[2]), common="--common" in sys.argv[3:])
    above(Path(sys.argv[2]))
