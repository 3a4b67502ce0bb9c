"""my_metric: in a line, what it measures.

Here: how sharp reconstructions are, as the mean difference of neighbouring pixels beside that of the images:

    ratio = mean |x_hat[i + 1] - x_hat[i]| / mean |x[i + 1] - x[i]|
"""

from torch import Tensor

import rdbench


# better: which way is better, "higher" or "lower"; leave it out where neither is. A report draws its arrows
# and bold numbers by it.
@rdbench.metric(better="higher")
def my_metric(images: Tensor, reconstructions: Tensor, *, floor: float = 1e-3) -> Tensor:
    """Sharpness of reconstructions, as a share of that of the images.

    Args:
        images: test images, (images, channels, height, width), pixels in [0, 1].
        reconstructions: the decoder's mean at a sample of q(z|x) of each, shaped as the images.
        floor: of the images' sharpness, so that a blank image has a ratio.
    """
    # A metric is a function of any of these, by the names of its parameters; what is not named costs nothing:
    #
    #   images, reconstructions   as above
    #   latents                   the samples that the reconstructions are decoded from, (images, latent)
    #   labels                    classes of the test images, (images,)
    #   samples                   decoded latents of the prior, (samples, channels, height, width)
    #   model                     the trained model: model.encode(images), model.decode(latents) ...
    #
    # It returns a number; or one for each image, as here, whose mean and standard error are stored; or
    # {"a": number, "b": number}. Options such as floor stand after the *, with a type (int, float, bool, str)
    # and a default; a sweep sets them by {name: ./my_metric.py:my_metric, floor: 0.01}, and how many images
    # it is given by {name: ./my_metric.py:my_metric, images: 1000}.
    return _sharpness(reconstructions) / _sharpness(images).clamp_min(floor)


def _sharpness(images: Tensor) -> Tensor:
    """Return the mean difference of neighbouring pixels of each image, (images,)."""
    return (images[..., 1:] - images[..., :-1]).abs().flatten(1).mean(1)
