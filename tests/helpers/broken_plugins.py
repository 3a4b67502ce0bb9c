"""Mistakes in what users plug in: the source, the symbol, and what the one line about it has to say."""

from typing import NamedTuple


class Mistake(NamedTuple):
    """A broken source; ``line`` is the line of it that the message has to name, None for none."""

    source: str
    symbol: str
    says: str
    line: int | None = None


# Found as the sweep file is read, before anything is run.
UNREADABLE_METRICS = {
    "not Python": Mistake("def mine(images:\n", "mine", "not Python", 1),
    "another name": Mistake("def sharpness(images): ...\n", "sharpnes", "did you mean 'sharpness'?"),
    "no such input": Mistake(
        "def mine(pictures): ...\n", "mine", "there is no input 'pictures'; a metric is", 1
    ),
    "an option before the star": Mistake("def mine(images, power): ...\n", "mine", "put * before it", 1),
    "an option without a default": Mistake(
        "def mine(images, *, power): ...\n", "mine", "option power: give", 1
    ),
    "looks at nothing": Mistake("def mine(): ...\n", "mine", "looks at nothing", 1),
    "a class": Mistake("class Mine: ...\n", "Mine", "is no function and no METRIC", 1),
    "a value": Mistake("mine = 3\n", "mine", "mine is no Metric", 1),
    "a way that is none": Mistake(
        "import rdbench\n@rdbench.metric(better='up')\ndef mine(images): ...\n",
        "mine",
        "write @rdbench.metric",
        2,
    ),
    "the name of ours": Mistake("def fid(samples): ...\n", "fid", "taken for rdbench's own metric 'fid'", 1),
    "the count of images as an option": Mistake(
        "def mine(labels, *, images: int = 3): ...\n", "mine", "'images' is how many images", 1
    ),
}

# Found when a worker measures: a row without a value says so, and all else goes on.
FAILING_METRICS = {
    "raises": Mistake(
        "def mine(images):\n    return 1 / 0\n", "mine", "ZeroDivisionError: division by zero", 2
    ),
    "raises in a helper": Mistake(
        "def helper(x):\n    return x.nothing\n\ndef mine(images):\n    return helper(images)\n",
        "mine",
        "AttributeError: 'Tensor' object has no attribute 'nothing'",
        2,
    ),
    "forgets to return": Mistake(
        "def mine(images):\n    images.mean()\n", "mine", "mine returned None; return a"
    ),
    "returns text": Mistake("def mine(images):\n    return 'good'\n", "mine", "mine returned 'good'"),
    "returns an image": Mistake(
        "def mine(images):\n    return images[0]\n", "mine", "numbers of shape (1, 8, 8)"
    ),
    "returns other counts": Mistake(
        "def mine(images):\n    return images[:7, 0, 0, 0]\n", "mine", "shape (7,)"
    ),
    "is not a number": Mistake(
        "def mine(images):\n    return float('nan')\n", "mine", "mine is nan; it must be"
    ),
    "one is not finite": Mistake(
        "def mine(images):\n    return images[:, 0, 0, 0].log() * 0\n",
        "mine",
        "of number 0; it must be finite",
    ),
    "an empty mapping": Mistake("def mine(images):\n    return {}\n", "mine", "returned an empty mapping"),
    "a quantity that is none": Mistake("def mine(images):\n    return {3: 1.0}\n", "mine", "the quantity 3;"),
    "ends the process": Mistake("def mine(images):\n    exit(1)\n", "mine", "it tried to end the process"),
    "another shape": Mistake(
        "def mine(images, latents):\n    return images @ latents\n", "mine", "RuntimeError:", 2
    ),
}
