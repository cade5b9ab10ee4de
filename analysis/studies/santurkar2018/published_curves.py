"""The published curves, and in which settings ours are drawn beside them: stated, never fitted.

`published.json` holds what was read off the vector figures 1, 2, 4 and 5 of arXiv:1805.11604v3, to
about 0.5 % of an axis. Each curve is one run of the authors': they published no seeds and no error bars.
"""

from __future__ import annotations

import json
import math
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from analysis.drawing.panel import Panel, PublishedCurve, beside_published
from analysis.errors import WrongInput, near_miss
from analysis.select import Setting

NORMS = {
    "standard": "none",
    "batchnorm": "batch",
    "noisy_batchnorm": "noisy_batch",
    "L1": "l1",
    "L2": "l2",
    "Linf": "linf",
}


@cache
def _read() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(__file__).with_name("published.json").read_text())
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


_FULL_SCALE = re.compile(r"cifar10([-_].*)?")


def is_published(setting: Setting) -> bool:
    """Whether the paper's own curves belong to a setting: its data and network, its learning rate."""
    values = setting.values
    if values.get("model") == "deep_linear":
        return math.isclose(values["optim.lr"], 1e-6) and values["optim.batch_size"] is None
    return bool(_FULL_SCALE.fullmatch(str(values.get("data")))) and values.get("model") == "vgg16"


def beside(made: Panel, setting: Setting, panel: str) -> Panel:
    """A panel with the published curves of `panel` where the setting is the paper's, with their distances."""
    lr = setting.values.get("optim.lr")
    known = panel.startswith("fig1") or setting.task == "regression" or lr == 0.1
    shown = curves(panel, lr) if is_published(setting) and known else []
    return beside_published(made, shown)
