"""Print the tables of this study: what of each variant's ELBO is its decoder and what its encoder.

uv run python reports/ais/figures.py results/digits_ais
"""

import json
import sys

import pandas as pd

from rdbench.report.contents import contents
from rdbench.report.tables.write import to_markdown
from rdbench.results.load import load_results
from rdbench.storage.places import place

REFERENCE = "beta_vae"


def measured(root: str) -> pd.DataFrame:
    """Return a row a training: its quantities that are no function of the slope, and their errors."""
    results = load_results(place(root))
    names = results.trials.set_index("trial")[["variant", "beta", "seed"]]
    rows: dict[str, dict[str, float]] = {}
    for row in results.metrics[results.metrics["name"] == "ais"].to_dict("records"):
        settings = json.loads(row["settings"])
        if "slope" not in settings and row["value"] is not None:
            values = rows.setdefault(str(row["trial"]), {})
            values |= {row["quantity"]: row["value"], f"{row['quantity']}_se": row["standard_error"]}
    return names.join(pd.DataFrame.from_dict(rows, orient="index"), how="inner").reset_index(drop=True)


def differences(table: pd.DataFrame) -> None:
    """Print ELBO less that of the reference at equal beta and seed, and its two parts, a number a seed."""
    table = table.assign(elbo=table["log_likelihood"] - table["inference_gap"])
    wide = table.set_index(["variant", "beta", "seed"]).sort_index()
    print(
        "\n| variant | β | ELBO, difference | of it the decoder: ln p(x) | of it the encoder: inference gap |"
    )
    print("|---|---|---|---|---|")
    for variant in sorted(set(table["variant"]) - {REFERENCE}):
        for beta in sorted(set(table.loc[table["variant"] == variant, "beta"])):
            less = (wide.loc[(variant, beta)] - wide.loc[(REFERENCE, beta)]).dropna(how="all")
            parts = (less["elbo"], less["log_likelihood"], -less["inference_gap"])
            cells = [f"{part.mean():+.2f} ({', '.join(f'{value:+.2f}' for value in part)})" for part in parts]
            print(f"| `{variant}` | {beta:g} | {' | '.join(cells)} |")


def checks(table: pd.DataFrame) -> None:
    """Print how loose the bounds are, and how far below its decoder's curve an encoder lies at most."""
    print(f"\n{len(table)} trainings; bounds of ln p(x) on the model's own samples apart, nats:")
    print(f"mean {table['gap'].mean():.3f}, largest {table['gap'].max():.3f}")
    low = table.loc[(table["amortisation_gap"] / table["amortisation_gap_se"]).idxmin()]
    where = f"{low['variant']}, beta {low['beta']:g}, seed {low['seed']}"
    print("lowest amortisation gap in its standard errors, nats:")
    print(f"{low['amortisation_gap']:.4f}, standard error {low['amortisation_gap_se']:.4f} ({where})")


if __name__ == "__main__":
    for section in contents([place(sys.argv[1])]).sections:
        print(to_markdown(next(table for table in section.tables if table.name == "decoders")))
    found = measured(sys.argv[1])
    differences(found)
    checks(found)
