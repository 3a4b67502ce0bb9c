"""Our convolutions have torch's values and derivatives, of every order and by every way to take them."""

import pytest
import torch
import torch.nn.functional as F

from rdbench.vae.cpu_convolutions import TransposedConvolution

TRANSPOSED = pytest.mark.parametrize(
    ("outputs", "stride", "output_padding", "groups"),
    [(6, 2, 1, 1), (6, 2, 0, 2), (6, 1, 0, 1), (1, 1, 0, 1), (1, 2, 1, 1)],
)


@TRANSPOSED
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_a_transposed_convolution_has_torchs_values_and_gradients(
    outputs, stride, output_padding, groups, memory_format
):
    torch.manual_seed(0)
    ours = TransposedConvolution(4, outputs, 3, stride, 1, output_padding, groups=groups).double()
    theirs = torch.nn.ConvTranspose2d(4, outputs, 3, stride, 1, output_padding, groups=groups).double()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(3, 4, 5, 7, dtype=torch.float64).contiguous(memory_format=memory_format)
    results = []
    for layer in (ours, theirs):
        given = x.clone(memory_format=torch.preserve_format).requires_grad_()
        y = layer(given)
        y.sin().sum().backward()
        results.append([y, given.grad, layer.weight.grad, layer.bias.grad])
    for mine, expected in zip(*results, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-12, atol=1e-12)


def ours_and_torchs(outputs, stride, output_padding, groups):
    """Return a transposed convolution and torch's operation as functions of (x, weight, bias), and such."""
    torch.manual_seed(0)
    layer = TransposedConvolution(4, outputs, 3, stride, 1, output_padding, groups=groups).double()
    x = torch.randn(2, 4, 2, 3, dtype=torch.float64).contiguous(memory_format=torch.channels_last)

    def ours(x, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    def theirs(x, weight, bias):
        return F.conv_transpose2d(x, weight, bias, stride, 1, output_padding, groups)

    return ours, theirs, (x, layer.weight.detach(), layer.bias.detach())


# torch's own, when its forward mode is used for the first time
FORWARD = pytest.mark.filterwarnings(
    "ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning"
)


@FORWARD
@TRANSPOSED
def test_a_transposed_convolution_is_differentiated_forward_twice_and_in_batches_as_torchs(
    outputs, stride, output_padding, groups
):
    function, _, at = ours_and_torchs(outputs, stride, output_padding, groups)
    at = tuple(each.requires_grad_() for each in at)
    assert torch.autograd.gradcheck(
        function, at, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True
    )
    assert torch.autograd.gradgradcheck(function, at, check_fwd_over_rev=True, check_batched_grad=True)


@FORWARD
@TRANSPOSED
def test_a_transposed_convolution_goes_through_the_transforms_of_torch_func(
    outputs, stride, output_padding, groups
):
    *functions, at = ours_and_torchs(outputs, stride, output_padding, groups)
    along = tuple(torch.randn_like(each) for each in at)
    results = []
    for function in functions:

        def loss(*given, function=function):
            return function(*given).sin().sum()

        gradient = torch.func.grad(loss, (0, 1, 2))
        found = [torch.func.jvp(function, at, along), torch.func.jvp(gradient, at, along), gradient(*at)]
        for which in range(3):
            dims = tuple(0 if number == which else None for number in range(3))
            two = tuple(
                torch.stack([a, b]) if number == which else a
                for number, (a, b) in enumerate(zip(at, along, strict=True))
            )
            found += [torch.func.vmap(function, dims)(*two), torch.func.vmap(gradient, dims)(*two)]
        found += [torch.func.jacfwd(function, 2)(*at), torch.func.jacrev(function, 2)(*at)]
        results.append(found)
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)
