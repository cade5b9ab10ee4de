"""The published curves of Santurkar et al. (2018), and how far ours are from them: stated, never fitted.

`published/santurkar2018_curves.json` holds what was read off the vector figures 1, 2, 4 and 5 of arXiv:1805.11604v3, to
about 0.5 % of an axis. Each curve is one run of the authors': they published no seeds and no error bars.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from analysis.errors import WrongInput, near_miss

SOURCE = "Santurkar et al. 2018, arXiv:1805.11604v3, read off the vector figures"
NORMS = {
    "standard": "none",
    "batchnorm": "batch",
    "noisy_batchnorm": "noisy_batch",
    "L1": "l1",
    "L2": "l2",
    "Linf": "linf",
}


@dataclass(frozen=True)
class PublishedCurve:
    """One published curve: steps [S], and its value (low and high are the same) or its band [S]."""

    panel: str
    norm: str
    steps: np.ndarray
    low: np.ndarray
    high: np.ndarray


@cache
def _read() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        (Path(__file__).with_name("published") / "santurkar2018_curves.json").read_text()
    )
    return {name: curves for name, curves in content.items() if isinstance(curves, dict)}


def curves(panel: str, lr: float | None = None) -> list[PublishedCurve]:
    """The curves of one panel, such as "fig4a_loss_band"; accuracies as fractions.

    lr: only those of this learning rate, where the panel tells rates apart (figure 1).
    Raises WrongInput for an unknown panel.
    """
    if panel not in _read():
        raise WrongInput(f"published panel {panel!r}: unknown; {near_miss(panel, _read())}")
    found = []
    for name, points in _read()[panel].items():
        kind, _, rate = name.partition("_lr")
        if rate and lr is not None and float(rate) != lr:
            continue
        values = np.array(points, dtype=float)
        scale = 0.01 if panel.endswith("_acc") else 1.0
        found.append(PublishedCurve(panel, NORMS[kind], values[:, 0], values[:, 1] * scale, values[:, -1] * scale))
    return found


def distance(steps: np.ndarray, values: np.ndarray, at: np.ndarray, published: np.ndarray, *, log: bool) -> float:
    """How far a curve is from a published one, over the steps that both cover.

    Ours (`steps`, `values`) is interpolated linearly between its points, on a log axis in the logarithm, at the steps
    `at` of the published one. log: the median of |log10(ours / published)|, else the mean of |ours - published|. Points
    that are not finite (log: not positive) are left out; NaN where fewer than two published points are covered.
    """
    ours, theirs = np.asarray(values, dtype=float), np.asarray(published, dtype=float)
    good, there = np.isfinite(ours) & ((ours > 0) | (not log)), np.isfinite(theirs) & ((theirs > 0) | (not log))
    x, ours, at, theirs = (
        np.asarray(steps, dtype=float)[good],
        ours[good],
        np.asarray(at, dtype=float)[there],
        theirs[there],
    )
    if not len(x):
        return float("nan")
    covered = (at >= x[0]) & (at <= x[-1])
    if covered.sum() < 2:
        return float("nan")
    if log:
        return float(np.median(np.abs(np.interp(at[covered], x, np.log10(ours)) - np.log10(theirs[covered]))))
    return float(np.mean(np.abs(np.interp(at[covered], x, ours) - theirs[covered])))
