"""One random generator for each purpose of a trial, from the trial's seed alone.

Nothing draws from global random state, so what ran before in a process cannot reach a trial's numbers.
Trials of one seed share their draws across betas and variants (initial weights, order, noise): common
random numbers make differences between them smaller than independent draws would.
"""

import hashlib

import torch


def generator(seed: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return the generator of one purpose ("init", "order", "noise", ...) of the trials of ``seed``."""
    digest = hashlib.sha256(f"rdbench/{purpose}/{seed}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)
