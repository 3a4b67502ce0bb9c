"""my_features: in a line, which network it is and where its weights are from.

Here: random convolutions, which need no weights, and tell textures apart better than pixels do.
"""

import torch
from torch import Tensor, nn


def my_features(*, width: int = 32, seed: int = 0) -> nn.Module:
    """A network of random convolutions, averaged over the image.

    Args:
        width: channels of the first layer.
        seed: of its weights.
    """
    # A feature network is a function (images) -> vectors; or, as here, a function or class that is called
    # once and gives a torch module, which is put in evaluation mode on the right device. One with weights of
    # its own opens them here:
    #
    #     network = torchvision.models.resnet18()
    #     network.load_state_dict(torch.load("/data/resnet18.pth", weights_only=True))
    #     network.fc = nn.Identity()  # the layer before it is the feature
    #
    # A file of TorchScript needs no Python: {name: fd, features: {name: net.pt, resize: 224, channels: 3,
    # normalize: imagenet}}. Options stand after the *, with a type (int, float, bool, str) and a default; a
    # sweep sets them by {name: fd, features: {name: ./my_features.py:my_features, width: 64}}.
    generator = torch.Generator().manual_seed(seed)
    network = _Convolutions(width)
    for parameter in network.parameters():
        fan_in = max(1, parameter[0].numel())
        nn.init.normal_(parameter, std=fan_in**-0.5, generator=generator)
    return network


class _Convolutions(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 2 * width, 3, 2, 1), nn.ReLU()
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map images of 0 to 1, (batch, 1 or 3, height, width), to vectors (batch, 4 width)."""
        maps = self.layers(images.expand(-1, 3, -1, -1))
        return torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)
