"""The options that every data set has."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.data.orders import GroupedBy
from experiments.data.standardising import Standardise
from experiments.errors import WrongInput


@dataclass(frozen=True)
class Options:
    """What the configuration says about any data set, besides the options of its loader.

    Args:
        subset: training samples to keep, a fixed draw with each class's share (in each domain) that no seed changes;
            null keeps all. Its statistics standardise the data, test set included.
        test_subset: the same for the test set.
        augment: random crop of the image padded by 4 black pixels, and horizontal flip with probability 1/2, both
            drawn anew for every sample and step; bytes of images only.
        standardise: true: subtract the mean and divide by the standard deviation of each channel over the training
            data; false: bytes are divided by 255; centred: each channel's mean is subtracted, then bytes are divided by
            255; centred_per_pixel: the mean of each pixel (of each channel) is subtracted, then the same;
            standardised_per_pixel: that, and divided by its own standard deviation instead; what does not vary in the
            training data, a pixel here or a channel where true, is divided by 255 if it is of bytes, else by 1;
            whitened: all values of an image together are centred and decorrelated, to a covariance that is the
            identity (:func:`experiments.data.standardising.whitening_of`). Of bytes; numbers with classes are not
            divided by 255, and a vector's coordinates are channels. Regression data are used as they are whether true
            or false; centred and the two per pixel go by coordinate, whitened by all of them.
        order: which samples are in which batch, by name (:mod:`experiments.data.orders`).
        order_file: a user's Python file that has the order; null: it is one of the suite's.
        grouped_by: what an order that tells groups apart goes by, class or domain; null: by domain where the data have
            domains, else by class. Classes are those of the labels that are trained on.
        groups_per_batch: how many of them a batch has, for the orders that ask; null: all.
        label_noise: share of the training labels, from 0 to 1, that are replaced by another class, drawn from the seed;
            those of the test set stay as they are.
        label: what the data are called in results; null: as the data set says, else its name.
    """

    subset: int | None = None
    test_subset: int | None = None
    augment: bool = False
    standardise: Standardise = True
    order: str = "reshuffled"
    order_file: str | None = None
    grouped_by: GroupedBy | None = None
    groups_per_batch: int | None = None
    label_noise: float = 0.0
    label: str | None = None

    def __post_init__(self) -> None:
        for name in ("subset", "test_subset"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise WrongInput(f"data.{name}={value}: must be a whole number of at least 1, or null for all samples")
