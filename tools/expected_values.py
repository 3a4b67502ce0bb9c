"""Reference points of small trials, so that a change that moves a curve is noticed.

After a change that is meant to move them (raise ``rdbench.spec.plan.RECIPE`` with it), write them again and
look at the difference before committing it:

    uv run python tools/expected_values.py
"""

import json
import tempfile
from pathlib import Path

EXPECTED = Path(__file__).parents[1] / "tests" / "expected" / "points.json"

SWEEPS = {
    "digits_conv": """
        name: digits_conv
        dataset: {name: digits, train_images: 256, test_images: 100}
        variants: [beta_vae, bs_vae]
        beta: [0.1, 1]
        train: {epochs: 3, batch_size: 64}
        model: {latent: 4, channels: [8, 16]}
        """,
    "digits_conv_paper_protocol": """
        name: digits_conv_paper_protocol
        dataset: {name: digits, train_images: 256, test_images: 100}
        variants: [bs_vae]
        beta: [1]
        protocol: paper
        train: {epochs: 3, batch_size: 64}
        model: {latent: 4, channels: [8, 16]}
        """,
    "digits_linear": """
        name: digits_linear
        dataset: {name: digits, train_images: 256, test_images: 100}
        variants: [beta_vae, bs_vae]
        beta: [0.1, 1]
        model: {name: linear, latent: 4}
        train: {epochs: 5, batch_size: 64}
        """,
    "digits_linear_paper_protocol": """
        name: digits_linear_paper_protocol
        dataset: {name: digits, train_images: 256, test_images: 100}
        variants: [bs_vae]
        beta: [1]
        protocol: paper
        model: {name: linear, latent: 4}
        train: {epochs: 5, batch_size: 64}
        """,
    "gaussian": """
        name: gaussian
        dataset: {name: gaussian, eigenvalues: [3, 1, 0.2], train_images: 2048, test_images: 2048}
        variants: [beta_vae, bs_vae]
        beta: [0.5]
        model: {name: linear, latent: 2}
        train: {epochs: 10, batch_size: 64, lr: 0.02, weight_decay: 0}
        """,
}
KEPT = (
    "rate",
    "rate_se",
    "distortion",
    "distortion_se",
    "elbo",
    "elbo_se",
    "sse",
    "mse",
    "psnr_of_mse",
    "density_bits_per_dim",
)


def measured() -> dict[str, dict[str, float | None]]:
    """Train every trial of the sweeps above; return its points by name."""
    import torch

    from rdbench import datasets
    from rdbench.spec.plan import plan
    from rdbench.spec.sweep import load_sweep
    from rdbench.trial.run import run_trial

    torch.set_num_threads(1)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, text in SWEEPS.items():
            path = Path(folder) / f"{name}.yaml"
            path.write_text(text)
            for trial in plan(load_sweep(path)).trials:
                data = datasets.load(trial.dataset, Path(folder))
                for row in run_trial(trial, data, torch.device("cpu"))["points"]:
                    key = f"{name}/{trial.variant.name}/{trial.beta:g}/{row['split']}/{row['reading']}"
                    found[key] = {column: row[column] for column in KEPT}
    return found


if __name__ == "__main__":
    EXPECTED.parent.mkdir(exist_ok=True)
    EXPECTED.write_text(json.dumps(measured(), indent=1) + "\n")
    print(f"{EXPECTED} written")
