"""Print figures of this study from its tables, by pandas and scipy alone.

    uv run python reports/mnist_cpu/figures.py results/mnist_again

Of a folder that reports/rebuild.py made, only what follows from the points: what needs metrics, history or
the time of a trial is left out. What they gave is in report.html.

Intervals are 95%, paired t over the seeds that both sides have. Curves are means over seeds, joined by
straight lines between the points that no point of lower or equal rate beats.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

TABLE1 = [0.01, 0.1, 1.0, 10.0, 100.0]
VARIANTS = ["beta_vae", "bs_vae"]
PUBLISHED = Path(__file__).parents[2] / "rdbench" / "report" / "published" / "bs_vae_2024_table1.csv"


class Study:
    """The tables of a results folder, and what is looked at of them: (beta, seed) by variant."""

    def __init__(self, root: Path) -> None:
        self.points, self.trials = (pd.read_parquet(root / name) for name in ("points", "trials"))
        self.points = self.points[self.points["variant"].isin(VARIANTS)]
        self.whole = (root / "metrics").exists()
        self.test = self.points[self.points["split"] == "test"]
        self.readings = sorted(self.test["reading"].unique())
        self.means = self.test.groupby(["reading", "variant", "beta"]).mean(numeric_only=True).reset_index()
        if not self.whole:
            return
        self.metrics, self.history = (pd.read_parquet(root / name) for name in ("metrics", "history"))
        named = self.trials[["trial", "variant", "beta", "seed"]]
        distance = self.metrics[self.metrics["name"] == "fd_classifier"][["trial", "value"]]
        self.distance = by_seed(distance.merge(named, on="trial"), "value")
        self.epochs = self.history[["trial", "epoch", "sse"]].merge(named, on="trial")

    def of(self, column: str, reading: str = "optimal") -> pd.DataFrame:
        """Return a column of the test split, (beta, seed) by variant."""
        return by_seed(self.test[self.test["reading"] == reading], column)


def by_seed(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return a column, (beta, seed) by variant."""
    return rows.pivot_table(index=["beta", "seed"], columns="variant", values=column)


def told(values: pd.Series) -> str:
    """Write a mean with its interval and the p-value of its being zero."""
    own = values.dropna().to_numpy()
    half = stats.t.ppf(0.975, len(own) - 1) * stats.sem(own)
    return f"{own.mean():8.2f} +- {half:6.2f}, p {stats.ttest_1samp(own, 0).pvalue:.2g}, n {len(own)}"


def hull(rows: pd.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Return rates and values of the points that no point of lower or equal rate beats, by rate."""
    rows = rows.sort_values(["rate", column])
    value = rows[column].to_numpy()
    held = value < np.minimum.accumulate(np.concatenate(([np.inf], value[:-1])))
    return rows["rate"].to_numpy()[held], value[held]


def gap(one: pd.DataFrame, other: pd.DataFrame, column: str) -> str:
    """Write by how much the first curve lies below the second, over the rates both span."""
    (rate, value), (its_rate, its_value) = hull(one, column), hull(other, column)
    low, high = max(rate[0], its_rate[0]), min(rate[-1], its_rate[-1])
    if low >= high:
        return "no rates in common"
    at = np.concatenate((rate, its_rate, np.linspace(low, high, 5000)))
    at = at[(at >= low) & (at <= high)]
    below = np.interp(at, its_rate, its_value) - np.interp(at, rate, value)
    return f"by {below.min():.4g} at least, over {np.mean(below > 0):.1%} of {low:.2g} to {high:.4g} nats"


def chosen(rows: pd.DataFrame, variant: str, reading: str) -> pd.DataFrame:
    """Return the rows of a variant under a reading."""
    return rows[(rows["variant"] == variant) & (rows["reading"] == reading)]


def trained(study: Study) -> None:
    """How many, when, at what commit, in what time."""
    rows = study.trials
    print(f"{len(rows)} trainings {rows['status'].value_counts().to_dict()}, commits {set(rows['commit'])}")
    print(f"{rows['seconds'].sum() / 3600:.2f} hours of workers, median {rows['seconds'].median():.0f} s")
    print(f"{rows['started'].min():%F %H:%M} to {rows['started'].max():%F %H:%M}, {set(rows['device'])}")
    print("classifier:", study.metrics.query("name == 'fd_classifier'")["settings"].iloc[0])


def curves(study: Study) -> None:
    """BS-VAE's curve at the optimal sigma^2 against constant variance."""
    for reading in ("half", "beta_half"):
        ours, theirs = (chosen(study.means, *who) for who in (("bs_vae", "optimal"), ("beta_vae", reading)))
        print(f"below beta_vae at {reading}: {gap(ours, theirs, 'distortion')}")
        for seed in range(study.test["seed"].max() + 1):
            rows = study.test[(study.test["seed"] == seed) & study.test["beta"].isin(TABLE1)]
            ours, theirs = (chosen(rows, *who) for who in (("bs_vae", "optimal"), ("beta_vae", reading)))
            print(f"    seed {seed}, five betas: {gap(ours, theirs, 'distortion')}")
    for reading in ("optimal", "optimal_shared", "beta_half"):
        ours, theirs = (chosen(study.means, variant, reading) for variant in ("bs_vae", "beta_vae"))
        print(f"both at {reading}: below {gap(ours, theirs, 'distortion')}")
    print(f"squared error: below {gap(ours, theirs, 'sse')}")
    beyond = ours[ours["rate"] > theirs["rate"].max()]
    print(f"beyond beta_vae's highest rate, {theirs['rate'].max():.2f}: {len(beyond)} of {len(ours)} betas")


def distances(study: Study) -> None:
    """The Frechet distance in the classifier's features."""
    found = study.distance
    for beta in TABLE1:
        means = found.loc[beta].mean().round(1).to_dict()
        print(f"{beta}: bs_vae less beta_vae {told(found['bs_vae'][beta] - found['beta_vae'][beta])} {means}")
    for variant in VARIANTS:
        own = found[variant]
        best = min(TABLE1, key=lambda beta: own[beta].mean())
        for beta in TABLE1:
            print(f"{variant} at {beta} less at its best, {best}: {told(own[beta] - own[best])}")
    rate = study.of("rate").groupby("beta").max()
    means = found.groupby("beta").mean()
    print("bs_vae has the worse at:")
    print(means.join(rate.add_suffix(" rate"))[means["bs_vae"] > means["beta_vae"]].round(3).to_string())


def best_beta(study: Study) -> None:
    """The ELBO of BS-VAE at the paper's sigma^2 over beta."""
    for reading in ("optimal", "optimal_shared"):
        own = study.of("elbo", reading)["bs_vae"]
        for beta in TABLE1:
            print(f"{reading}, {beta}: {told(own[beta])}; at 1 more by {told(own[1.0] - own[beta])}")
    own = study.of("elbo")["bs_vae"]
    print("by seed", {beta: own[beta].round(1).tolist() for beta in TABLE1})
    print("seed 0", {f"{beta:.4g}": round(value, 1) for beta, value in own.xs(0, level="seed").items()})


def equal_beta(study: Study) -> None:
    """BS-VAE less beta-VAE at one beta, under each reading; and at equal weight."""
    for reading in study.readings:
        own = study.of("elbo", reading)
        for beta in TABLE1:
            print(f"ELBO, {reading}, {beta}: {told(own['bs_vae'][beta] - own['beta_vae'][beta])}")
    rate, sse, elbo = (study.of(name) for name in ("rate", "sse", "elbo"))
    for beta in TABLE1:
        means = rate.loc[beta].mean().round(4).to_dict()
        print(f"rate, {beta}: {told(rate['bs_vae'][beta] - rate['beta_vae'][beta])} {means}")
    print("sigma^2 of bs_vae at 10:", round(sse["bs_vae"][10.0].mean() / 784, 4))
    print("ELBO of bs_vae at 10 less beta_vae at 1:", told(elbo["bs_vae"][10.0] - elbo["beta_vae"][1.0]))
    print(elbo.groupby("beta").mean().loc[[1.0, 10.0]].round(1).to_string())


def the_papers_table(study: Study) -> None:
    """Our values beside the paper's Table 1."""
    paper = pd.read_csv(PUBLISHED).query("dataset == 'mnist'").set_index(["variant", "beta"])
    ours = {"elbo": study.of("elbo")} | ({"fd_classifier": study.distance} if study.whole else {})
    means = {name: own.groupby("beta").mean().loc[TABLE1].T.stack() for name, own in ours.items()}
    both = paper.join(pd.DataFrame(means))
    print(both.to_string())
    published = {"elbo": "test_log_p_lower_bound", "fd_classifier": "fid"}
    for name, its in ((name, published[name]) for name in ours):
        for who, rows in (("all", both), *((variant, both.loc[variant]) for variant in VARIANTS)):
            print(
                f"Spearman, {name} with {its}, {who}: {stats.spearmanr(rows[name], rows[its]).statistic:.3f}"
            )


def small_betas(study: Study) -> None:
    """Seed 0 below 2e-3, on either split."""
    rows = study.points.query("reading == 'optimal' and seed == 0 and beta < 2e-3")
    table = rows.pivot_table(index=["variant", "beta"], columns="split", values=["rate", "elbo", "sse"])
    print(table.round(1).to_string())


def convergence(study: Study) -> None:
    """By how much the training error still fell."""
    error = study.epochs.pivot_table(index=["variant", "beta"], columns="epoch", values="sse")
    falls = {f"epoch {a} to {b}": 1 - error[b] / error[a] for a, b in ((2, 4), (3, 4))}
    print(pd.DataFrame(falls).map("{:.1%}".format).to_string())


FROM_POINTS = (curves, best_beta, equal_beta, the_papers_table, small_betas)
FROM_ALL = (trained, distances, convergence)

if __name__ == "__main__":
    study = Study(Path(sys.argv[1]))
    for section in FROM_POINTS + (FROM_ALL if study.whole else ()):
        print(f"\n{section.__doc__}")
        section(study)
