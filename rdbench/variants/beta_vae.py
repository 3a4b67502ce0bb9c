"""beta-VAE with constant decoder variance."""

from torch import Tensor

import rdbench


@rdbench.variant("beta_vae", native="half", beta_rate=True, paper="Higgins et al., ICLR 2017")
def beta_vae(sse: Tensor, rate: Tensor, beta: Tensor | float, n: int) -> Tensor:
    """sse + beta rate: constant sigma^2 = 1/2, its constant dropped."""
    return sse + beta * rate
