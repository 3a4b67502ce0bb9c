"""The arithmetic of a trial: float32 that is float32, in the same order every time."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import backends


@contextmanager
def exact_float32() -> Iterator[None]:
    """Keep TF32 and autotuned kernels out of what is computed within.

    By default a GPU rounds the inputs of float32 convolutions to TF32's 10 bits, and may choose another
    kernel, with another order of sums, each run: a rate would change in its fourth digit, and a trial
    would not repeat.
    """
    convolutions = backends.cudnn.conv  # type: ignore[attr-defined]  # set up when torch is imported
    products = backends.cuda.matmul
    before = (
        convolutions.fp32_precision,
        products.fp32_precision,
        backends.cudnn.deterministic,
        backends.cudnn.benchmark,
    )

    def set_to(conv: str, product: str, deterministic: bool, benchmark: bool) -> None:
        convolutions.fp32_precision = conv
        products.fp32_precision = product
        backends.cudnn.deterministic = deterministic
        backends.cudnn.benchmark = benchmark

    set_to("ieee", "ieee", True, False)
    try:
        yield
    finally:
        set_to(*before)
