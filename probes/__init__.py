"""What a training step can tell: exact, undisturbing, and at the arithmetic floor.

    probes = Probes(network, objective, {"landscape": Landscape()}, example_batch, learning_rate=0.1, every=100)
    print(probes.describe())
    for step in range(steps):
        batch = data.batch(step)
        with probes.around(step, batch) as forward:
            train_step(forward, batch)

Importing this package does not import torch; naming one of its contents does.
"""

from __future__ import annotations

import importlib
from typing import Any

_CONTENTS = {
    "Probes": "engine.probes",
    "Activations": "activations",
    "Biases": "biases",
    "Affine": "affine",
    "Jacobian": "jacobian",
    "Landscape": "landscape",
    "Losses": "losses",
    "Margins": "margins",
    "Domains": "domains",
    "Dynamics": "dynamics",
    "Gradients": "gradients",
    "InternalCovariateShift": "ics",
    "Representations": "representations",
    "Scaling": "scaling",
    "Segments": "segments",
    "Shift": "shift",
    "Spectrum": "spectrum",
    "Theory": "theory",
    "Objective": "objective",
    "Loss": "objective",
    "ProbeError": "errors",
    "Schedule": "schedule",
    "ByProgress": "schedule",
    "Before": "points",
    "After": "points",
    "Along": "points",
    "Hybrid": "points",
    "Point": "points",
    "At": "protocol",
    "Declaration": "protocol",
    "Field": "protocol",
    "Need": "protocol",
    "MakesBatches": "protocol",
    "Probe": "protocol",
}

__all__ = list(_CONTENTS)


def __getattr__(name: str) -> Any:
    if name not in _CONTENTS:
        raise AttributeError(f"module 'probes' has no attribute {name!r}")
    return getattr(importlib.import_module(f"probes.{_CONTENTS[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_CONTENTS)
