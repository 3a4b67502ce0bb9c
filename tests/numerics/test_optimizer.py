"""The optimizer is torch's, bit for bit, but that it does not import the compiler."""

import functools

import torch

from rdbench.numerics.optimizer import AdamW, _unmarked


def trained(kind, steps=3, after=None):
    """Return weights and state after steps of a convex problem; ``after`` a state, which is gone on from."""
    weights = torch.nn.Parameter(torch.linspace(-1, 1, 12).reshape(3, 4))
    optimizer = kind([weights], 0.1, weight_decay=0.2, fused=True)
    if after:
        with torch.no_grad():
            weights.copy_(after[0])
        optimizer.load_state_dict(after[1])
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.1 / (step + 1)
        optimizer.zero_grad()
        assert weights.grad is None
        (weights - 0.5).square().sum().backward()
        optimizer.step()
    assert weights.requires_grad
    return weights.detach(), optimizer.state_dict()


def test_its_steps_and_its_state_are_those_of_torchs_bit_for_bit():
    (weights, state), (expected, expected_state) = trained(AdamW), trained(torch.optim.AdamW)
    assert torch.equal(weights, expected)
    assert state["param_groups"] == expected_state["param_groups"]
    assert state["state"][0].keys() == expected_state["state"][0].keys()
    assert all(
        torch.equal(value, expected_state["state"][0][name]) for name, value in state["state"][0].items()
    )
    # A checkpoint of the one is gone on from by the other.
    on, expected_on = (
        trained(AdamW, 2, (expected, expected_state)),
        trained(torch.optim.AdamW, 2, (weights, state)),
    )
    assert torch.equal(on[0], expected_on[0])
    assert not torch.equal(on[0], weights)


def test_steps_are_hooked_as_those_of_torchs_are():
    seen = []
    parameter = torch.nn.Parameter(torch.ones(1))
    optimizer = AdamW([parameter], 0.1)
    optimizer.register_step_post_hook(lambda *arguments: seen.append("step"))
    parameter.sum().backward()
    optimizer.step()
    assert seen == ["step"]


def test_a_wrapper_that_is_none_of_those_known_stays():
    def step():
        return 1

    @functools.wraps(step)
    def guarded():
        return step() + 1

    @functools.wraps(guarded)
    def inner():  # what torch calls a mark
        raise AssertionError

    assert _unmarked(inner)() == 2
