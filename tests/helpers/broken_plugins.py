"""Mistakes in what users plug in: the source, the symbol, and what the one line about it has to say."""

from typing import NamedTuple


class Mistake(NamedTuple):
    """A broken source; ``line`` is the line of it that the message has to name, None for none."""

    source: str
    symbol: str
    says: str
    line: int | None = None

    def written(self, folder):
        """Write it as ``mine.py`` beside the sweep file; return by what that names it."""
        (folder / "mine.py").write_text(self.source)
        return f"./mine.py:{self.symbol}"

    def is_told_by(self, text, where):
        """That a text is one line which says where in the sweep file, where in the source, and what."""
        assert len(text.splitlines()) == 1, text
        place = "" if self.line is None else f"mine.py:{self.line}:"
        assert all(part in text for part in (where, self.says, place)), text


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

_NUMPY = "import numpy as np\n"

# Datasets: told as the sweep file is read, as their code is run then.
DATASETS = {
    "not Python": Mistake("def mine(:\n", "mine", "not Python", 1),
    "another name": Mistake("def rings(): ...\n", "ring", "did you mean 'rings'?"),
    "a parameter that is no option": Mistake("def mine(count): ...\n", "mine", "put * before options", 1),
    "an option that all have": Mistake(
        "def mine(*, augment: str = 'a'): ...\n", "mine", "every dataset has an option augment", 1
    ),
    "the name of ours": Mistake("def mnist(): ...\n", "mnist", "taken for rdbench's own dataset 'mnist'", 1),
    "cannot be imported": Mistake("import nothing_there\ndef mine(): ...\n", "mine", "No module named", 1),
    "raises": Mistake("def mine():\n    return open('/nowhere.npz')\n", "mine", "FileNotFoundError", 2),
    "forgets to return": Mistake("def mine():\n    3\n", "mine", "it is nothing (None); give (images"),
    "a number": Mistake("mine = 3\n", "mine", "it is a int; give (images, labels)", 1),
    "nothing is yielded": Mistake("def mine():\n    yield from ()\n", "mine", "it holds no images"),
    "images of two sizes": Mistake(
        _NUMPY + "def mine():\n    for n in range(9):\n        yield np.zeros((4 + n, 4))\n",
        "mine",
        "image 1 of it is 5x4, image 0 is 4x4; make them one size",
    ),
    "vectors": Mistake(
        _NUMPY + "def mine():\n    return np.zeros((9, 7))\n",
        "mine",
        "are 9x7; they must be (N, h",
    ),
    "five channels": Mistake(
        _NUMPY + "def mine():\n    return np.zeros((9, 5, 8, 8))\n", "mine", "are 9x5x8x8; they must be"
    ),
    "floats up to 255": Mistake(
        _NUMPY + "def mine():\n    return np.full((9, 4, 4), 255.0)\n",
        "mine",
        "of 255 to 255; give uint8",
    ),
    "floats from -1": Mistake(
        _NUMPY + "def mine():\n    return np.linspace(-1, 1, 90).reshape(10, 3, 3)\n",
        "mine",
        "of -1 to 1; give",
    ),
    "whole numbers up to 1": Mistake(
        _NUMPY + "def mine():\n    return np.ones((9, 4, 4), int)\n", "mine", "which is black; white is 255"
    ),
    "not finite": Mistake(
        _NUMPY + "def mine():\n    x = np.ones((9, 4, 4))\n    x[5] = np.nan\n    return x\n",
        "mine",
        "image 5 of it holds a value that is not finite",
    ),
    "fewer labels": Mistake(
        _NUMPY + "def mine():\n    return np.ones((9, 4, 4)), np.ones(8)\n",
        "mine",
        "labels of shape (8,)",
    ),
    "labels are text": Mistake(
        _NUMPY + "def mine():\n    for n in range(9):\n        yield np.eye(4), 'cat'\n",
        "mine",
        "number the",
    ),
    "no test split": Mistake(
        _NUMPY + "def mine():\n    return {'train': np.ones((9, 4, 4))}\n",
        "mine",
        "holds 'train', not",
    ),
    "splits of two sizes": Mistake(
        _NUMPY + "def mine(split):\n    return np.ones((9, 4, 4 if split == 'test' else 5))\n",
        "mine",
        "training and test images are 1x4x5 and 1x4x4",
    ),
    "one image": Mistake(_NUMPY + "mine = np.ones((1, 4, 4))\n", "mine", "of 1 images leaves none"),
    "ends the process": Mistake("def mine():\n    exit(3)\n", "mine", "SystemExit: 3", 2),
}

# Feature networks: found as the sweep file is read, or (``opened``) as the network is tried before training.
UNREADABLE_FEATURES = {
    "not Python": Mistake("def mine(:\n", "mine", "not Python", 1),
    "another name": Mistake("def embed(images): ...\n", "embd", "did you mean 'embed'?"),
    "two inputs": Mistake("def mine(images, labels): ...\n", "mine", "takes more than images; put *", 1),
    "an option without a default": Mistake("def mine(images, *, size): ...\n", "mine", "option size:", 1),
    "the name of ours": Mistake("def inception(images): ...\n", "inception", "taken for rdbench's own", 1),
}
UNUSABLE_FEATURES = {
    "cannot be imported": Mistake("import nothing_there\ndef mine(images): ...\n", "mine", "No module", 1),
    "raises": Mistake(
        "def mine(images):\n    return images.nothing\n", "mine", "has no attribute 'nothing'", 2
    ),
    "forgets to return": Mistake(
        "def mine(images):\n    images.mean()\n", "mine", "gives nothing (None); it must"
    ),
    "makes nothing": Mistake("def mine():\n    pass\n", "mine", "gives nothing (None), which does", 1),
    "cannot be made": Mistake("def mine():\n    return open('/no.pt')\n", "mine", "FileNotFoundError", 2),
    "a number": Mistake("mine = 3\n", "mine", "gives a int, which does not map images to vectors", 1),
    "one number for all": Mistake("def mine(images):\n    return images.mean()\n", "mine", "of shape () for"),
    "one number of each": Mistake(
        "def mine(images):\n    return images.mean((1, 2, 3))\n", "mine", "float32 of shape (2,) for 2 images"
    ),
    "classes": Mistake(
        "def mine(images):\n    return images.flatten(1).long()\n", "mine", "gives int64 of shape (2, 64)"
    ),
    "not finite": Mistake(
        "def mine(images):\n    return images.flatten(1).log()\n",
        "mine",
        "a feature that is not finite",
    ),
    "another shape": Mistake(
        "import torch\nnet = torch.nn.Linear(9, 2)\ndef mine(images):\n    return net(images.flatten(1))\n",
        "mine",
        "shapes cannot be multiplied (2x64 and 9x2)",
        4,
    ),
    "ends the process": Mistake("def mine(images):\n    exit(3)\n", "mine", "SystemExit: 3", 2),
}
