"""What a metric of one's own may be a function of."""

INPUTS = {
    "images": "test images, float32 (images, channels, height, width), pixels in [0, 1]",
    "reconstructions": "the decoder's mean at a sample of q(z|x) of each test image, shaped as the images",
    "latents": "the samples of q(z|x) that the reconstructions are decoded from, (images, latent)",
    "labels": "classes of the test images, int64 (images,)",
    "samples": "the decoder's mean at latents from the prior, (samples, channels, height, width)",
    "model": "the trained model: encode, decode, prior, data ... (rdbench.metrics.base.TrainedModel)",
}
"""What a metric may name among its parameters; tensors on the model's device."""

OF_IMAGES = ("images", "reconstructions", "latents", "labels")
"""Those of which there is one for each test image."""
