"""AdamW that leaves torch's compiler alone, whose import takes a core for more than a second."""

from inspect import unwrap

import torch


class AdamW(torch.optim.AdamW):
    """``torch.optim.AdamW`` with the same arguments and numbers, bit for bit.

    That one marks its methods as not to be compiled, and imports the compiler to do so: at the first step of
    every process that trains, although nothing here compiles an optimizer. These are the same methods without
    the marks. ``differentiable`` is not offered: its steps are never differentiated.
    """

    add_param_group = unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = unwrap(torch.optim.Optimizer.load_state_dict)
    step = torch.no_grad()(unwrap(torch.optim.AdamW.step))
