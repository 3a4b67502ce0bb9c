"""my_vae: in a line, how it differs from a plain VAE.

Here: the weight of the rate rises linearly over the first part of the training (KL annealing):

    loss at step t = sse + beta min(1, t / (warm_up T)) rate,    T steps in all
"""

import math
import time

import torch

import rdbench


# native: the reading of sigma^2 whose distortion the loss minimises, up to constants; "half" for sse + beta
# rate. paper: where it comes from. curve=True: one training gives a point at every beta of the sweep,
# trial.betas.
@rdbench.variant("my_vae", native="half", paper="")
def my_vae(trial: rdbench.Run, data: rdbench.Dataset, *, warm_up: float = 0.5) -> rdbench.TrialResult:
    """sse + beta min(1, t / (warm_up T)) rate at step t of T.

    Args:
        trial: trial.beta, trial.seed, trial.device, and trial.settings: .train.epochs, .train.lr ...
        data: the dataset: data.shape, data.train.images, data.test.images.
        warm_up: share of the training over which the weight rises.
    """
    # Options such as warm_up stand after the *, with a type (int, float, bool, str) and a default; a sweep
    # sets them by {name: ./my_vae.py:my_vae, warm_up: 0.2}. Random numbers: torch's global generator is
    # seeded for each trial, and trial.generator("a purpose") gives one apart.
    recipe = trial.settings.train
    model = rdbench.Model(trial.about(data)).to(trial.device).train()  # a plain VAE; or a Model of your own
    optimizer = torch.optim.AdamW(model.parameters(), recipe.lr, weight_decay=recipe.weight_decay)
    batches = len(data.train.images) // recipe.batch_size
    steps = recipe.epochs * batches
    # diverged = trial.fit(model, data) would be the usual training, in place of this loop.
    # keep: all that the loop changes, so that a trial which was interrupted goes on where it was.
    for batches_of_epoch in trial.epochs(data, keep=[model, optimizer]):
        epoch = batches_of_epoch.epoch
        start, sums = time.perf_counter(), torch.zeros(3, device=trial.device)
        # (batch, channels, height, width), and standard normal noise (batch, latent)
        for step, (images, noise) in enumerate(batches_of_epoch, epoch * batches):
            optimizer.param_groups[0]["lr"] = rdbench.learning_rate(recipe.lr, step, steps)
            terms = model(images, noise)
            weight = trial.beta * min(1.0, step / (warm_up * steps)) if warm_up else trial.beta
            loss = terms.sse + weight * terms.rate
            optimizer.zero_grad()
            loss.mean().backward()
            optimizer.step()
            sums += torch.stack([loss, terms.rate, terms.sse]).detach().mean(1)
        mean_loss, mean_rate, mean_sse = (sums / batches).tolist()
        if not math.isfinite(mean_loss):
            return rdbench.TrialResult(diverged=f"the loss became {mean_loss} in epoch {epoch + 1}")
        seconds = time.perf_counter() - start
        speed = batches * recipe.batch_size / seconds
        lr = optimizer.param_groups[0]["lr"]
        trial.on_epoch(rdbench.Epoch(epoch + 1, mean_loss, mean_rate, mean_sse, lr, seconds, speed))
    return rdbench.TrialResult(model.eval())  # measured and drawn as every other variant is
