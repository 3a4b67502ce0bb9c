"""Train the paper's networks without rdbench; write rate and squared error of each training to a CSV file.

    uv run python reports/outside/train.py DATA reports/outside/outside.csv

Networks and objectives are those of tests/helpers/reference_network.py, written from the paper's description
with torch alone. All that is random is torch's: initial weights are those that its layers draw, batches its
DataLoader's, AdamW and CosineAnnealingWarmRestarts too. From rdbench come only the settings that sweep.yaml
names. Rows that the file has are not trained again.
"""

import csv
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from torchvision.datasets import MNIST

sys.path.append(str(Path(__file__).parents[2] / "tests" / "helpers"))
from reference_network import Reference, loss, sse_and_rate

IMAGES, BATCH, EPOCHS, SEEDS = 12_800, 128, 4, 8
CASES = [("bs_vae", 10.0)]
COLUMNS = ["variant", "beta", "seed", "rate", "sse"]


def images(root: Path, train: bool) -> Tensor:
    """Return images in [0, 1], (count, 1, 28, 28)."""
    return MNIST(root, train=train).data[:, None].float() / 255


def subset(count: int, of: int) -> np.ndarray:
    """Return which training images a sweep of ``train_images: count`` takes."""
    return np.sort(np.random.RandomState(0).permutation(of)[:count])


def trained(variant: str, beta: float, train: Tensor) -> Reference:
    """Return a network after the whole recipe."""
    model = Reference((1, 28, 28), 32, (32, 64, 128))
    batches = DataLoader(TensorDataset(train), BATCH, shuffle=True, drop_last=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-5)
    period = EPOCHS * len(batches) // 2 + 1
    schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, period)
    for _ in range(EPOCHS):
        for (batch,) in batches:
            sse, rate = sse_and_rate(model, batch, torch.randn(len(batch), 32))
            optimizer.zero_grad()
            loss(variant, sse, rate, beta, batch[0].numel()).mean().backward()
            optimizer.step()
            schedule.step()
    return model.eval()


@torch.no_grad()
def measured(model: Reference, test: Tensor) -> tuple[float, float]:
    """Return mean rate (nats) and squared error of the test images, each from one draw of its latents."""
    parts = [sse_and_rate(model, batch, torch.randn(len(batch), 32)) for batch in test.split(500)]
    sse, rate = (torch.cat(values) for values in zip(*parts, strict=True))
    return rate.double().mean().item(), sse.double().mean().item()


def missing(path: Path) -> Iterator[tuple[str, float, int]]:
    """Yield the trainings that the file has no row of: all seeds of a case before the next case."""
    there = set()
    if path.exists():
        with path.open(newline="") as file:
            there = {(row["variant"], float(row["beta"]), int(row["seed"])) for row in csv.DictReader(file)}
    for (variant, beta), seed in product(CASES, range(SEEDS)):
        if (variant, beta, seed) not in there:
            yield variant, beta, seed


def main(root: Path, path: Path) -> None:
    """Train what is missing, and add a row to the file after each training."""
    torch.set_num_threads(1)
    train, test = images(root, train=True), images(root, train=False)
    train = train[torch.from_numpy(subset(IMAGES, len(train)))]
    if not path.exists():
        path.write_text(",".join(COLUMNS) + "\n")
    for variant, beta, seed in list(missing(path)):
        torch.manual_seed(1_000 + seed)
        rate, sse = measured(trained(variant, beta, train), test)
        with path.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(
                [variant, f"{beta:g}", seed, f"{rate:.6f}", f"{sse:.6f}"]
            )
        print(
            f"{variant} beta {beta:g} seed {seed}: rate {rate:.3f} nats, squared error {sse:.3f}", flush=True
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
