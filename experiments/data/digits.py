"""scikit-learn's handwritten digits: 1797 images of 8x8 pixels, embedded in the package, no network needed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from experiments.data import DATA, Arrays
from experiments.data.arrays import content_hash

TEST_SAMPLES = 360
_FILE = "datasets/data/digits.csv.gz"


def _table() -> tuple[np.ndarray, np.ndarray]:
    """What ``sklearn.datasets.load_digits`` reads, from its file: importing scikit-learn takes seconds."""
    package = find_spec("sklearn")
    file = Path(package.origin).parent / _FILE if package is not None and package.origin else None
    if file is None or not file.exists():
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        return images, labels
    table = np.loadtxt(file, delimiter=",")
    return table[:, :-1], table[:, -1].astype(int)


@DATA.register("digits")
def digits(seed: int) -> Arrays:
    """1437 training and 360 test images (1, 8, 8) of the digits 0 to 9, the values 0..16 spread over 0..255.

    The split is fixed, no seed changes it: with the samples sorted by digit and otherwise in scikit-learn's order,
    360 evenly spaced ones are the test set, so that each digit has its share of it.
    """
    images, labels = _table()
    # 255/16 is exact in float64, and so is every product: only the rounding to a byte is left
    inputs = torch.from_numpy(images * (255 / 16)).round().to(torch.uint8).view(-1, 1, 8, 8)
    targets = torch.from_numpy(labels).long()
    by_digit = targets.argsort(stable=True)
    chosen = by_digit[(2 * torch.arange(TEST_SAMPLES) + 1) * len(targets) // (2 * TEST_SAMPLES)]
    test = torch.zeros(len(targets), dtype=torch.bool)
    test[chosen] = True
    contents = (inputs[~test], targets[~test], inputs[test], targets[test])
    classes = tuple(str(digit) for digit in range(10))
    return Arrays(*contents, classes, content_hash(*contents, classes))
