"""Wrong labels on purpose."""

from __future__ import annotations

import torch
from torch import Tensor

from experiments.errors import WrongInput
from probes.randomness import seeded_generator


def with_noise(targets: Tensor, fraction: float, classes: int | None, seed: int) -> Tensor:
    """The labels, of which a share is replaced by another class, drawn uniformly from all others.

    Of n samples round(fraction n) are replaced. Which, and by what, is drawn from the seed; a larger share has the
    wrong labels of every smaller one and more.

    Args:
        targets: int64 (samples,), class indices, on the CPU; left as they are.
        fraction: of the labels, from 0 to 1.
        classes: their number; None for regression.
        seed: the run's.

    Returns:
        a new int64 tensor (samples,); ``targets`` itself where the fraction is 0.

    Raises:
        WrongInput: a fraction out of range, targets that are no labels, or one class only.
    """
    if not 0 <= fraction <= 1:
        raise WrongInput(f"data.label_noise={fraction:g}: must be a number from 0 to 1, a share of the labels")
    if fraction == 0:
        return targets
    if classes is None or classes < 2:
        told = "these data have values as targets" if classes is None else "these data have one class"
        raise WrongInput(f"data.label_noise={fraction:g}: needs labels of at least two classes, and {told}")
    generator = seeded_generator("cpu", seed, "label noise")
    order = torch.randperm(len(targets), generator=generator)
    away = torch.randint(1, classes, (len(targets),), generator=generator)  # steps to another class, for everybody
    chosen = order[: round(fraction * len(targets))]
    noisy = targets.clone()
    noisy[chosen] = (noisy[chosen] + away[chosen]) % classes
    return noisy
