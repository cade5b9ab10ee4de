"""The published picture, drawn large, as run folders: every claim that they can decide holds in them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.made_runs import field, finite, write_run

STUDY = "santurkar2018"
"""Whose picture it is."""
LAYERS = ["conv1", "conv2", "conv3"]
X = [0.5, 1.0, 2.0, 4.0]
STEPS = [*range(13), *range(14, 25, 2), *range(25, 121, 5)]
NORMS = ("none", "batch", "noisy_batch", "l1", "l2", "linf", "noise")
LP = ("l1", "l2", "linf")

_DRIFTS = [
    f"{what}_drift_{since}_before_normalisation"
    for what in ("wasserstein", "mean", "variance")
    for since in ("by_update", "since_last")
]
_THEORY = ["scaling_term", "mean_term", "correlation_term", "theorem_4_2_bend_term", "sigma_median"]
_THEORY += ["theorem_4_2_curvature_term", "theorem_4_1_relative_error", "gamma_over_sigma_mean"]
RANDOM = ["", *(f"_along_random_{index}" for index in range(8))]


def fields(regression: bool) -> dict[str, Any]:
    unit = "squared error, summed over the batch" if regression else "nats"
    training = {
        "loss": field("loss", unit, "train", "before"),
        "data_loss": field("data_loss", unit, "train", "before"),
        "test_data_loss": field("data_loss", unit, "test", "before"),
    }
    if not regression:
        training |= {f"{b}accuracy": field("accuracy", "fraction", b[:-1] or "train", "before") for b in ("", "test_")}
    landscape = {"gradient_norm": field("gradient_norm", "1", "train", "before")}
    for suffix in RANDOM:
        for metric in ("landscape_loss", "landscape_data_loss", "gradient_difference", "effective_beta"):
            landscape[metric + suffix] = field(metric + suffix, "1", "train", "along", ["x"], x=X)

    def by_layer(metrics: list[str], batch: str = "train") -> dict[str, Any]:
        return {f"{m}.{batch}": field(m, "1", batch, "before", ["layer"], layer=LAYERS) for m in metrics}

    landscape["gradient_cosine"] = field("gradient_cosine", "1", "train", "along", ["x"], x=X)
    drift = [*_DRIFTS, "variance_before_normalisation"]
    return {
        "training": training,
        "landscape": landscape,
        "ics": by_layer(["ics_l2", "ics_relative", "ics_cosine"]),
        "shift": by_layer(["input_part"]),
        "activations": by_layer(drift) | by_layer(drift, "fixed"),
        "theory": by_layer(_THEORY),
        "gradients": by_layer(["weight_norm"]),
    }


def values(norm: str, lr: float, regression: bool, step: int, wobble: Callable[[], float]) -> dict[str, dict[str, Any]]:
    """What each claim says, as numbers: the published picture drawn large. `wobble()` is a factor near 1."""
    plain = norm in ("none", "noise")
    rough = 5.0 if plain else 1.0
    time = {"none": 40.0, "noisy_batch": 9.0}.get(norm, 8.0)
    share = 1 - math.exp(-step / time)
    if norm == "noise" or (norm == "none" and lr == 0.5):
        share = 0.01 * step / 120
    settled = step > 2.2 * time and not regression
    loss = (0.5 if norm == "l1" and share > 0.95 else 1.0) * (2.3 - 2 * share) * wobble()
    loss *= 4e4 if regression else 1.0
    training = {"loss": loss, "data_loss": loss, "test_data_loss": loss}
    if not regression:
        training["accuracy"] = 0.1 + 0.9 * share
        training["test_accuracy"] = (0.1 + (0.7 if plain else 0.8) * share) * wobble()
    early = 3.0 if step <= 40 else 1.0
    landscape: dict[str, Any] = {"gradient_norm": 1.0 * wobble()}
    landscape["gradient_cosine"] = [1 - (0.35 if plain else 0.15) * x * wobble() for x in X]
    for suffix in RANDOM:
        start = 0.0 if plain else 2.5  # from where on the loss rises
        line = [loss * (1 + (0.8 if plain else 0.1) * early * (x - start) * wobble()) for x in X]
        landscape[f"landscape_data_loss{suffix}"] = line
        landscape[f"landscape_loss{suffix}"] = [1.1 * value for value in line]
        landscape[f"gradient_difference{suffix}"] = [(4.0 if plain else 0.1) * x * wobble() for x in X]
        landscape[f"effective_beta{suffix}"] = [rough / x * wobble() for x in X]
    shift = 0.1 if settled else 1.0
    ics = {
        "ics_l2.train": [0.0, *(shift * (1.0 if plain else 1.2) * wobble() for _ in LAYERS[1:])],
        "ics_relative.train": [0.0, *((0.5 if plain else 0.9) * wobble() for _ in LAYERS[1:])],
        "ics_cosine.train": [1.0, *((0.98 if plain else 0.1) + 0.01 * math.log(wobble()) for _ in LAYERS[1:])],
    }
    activations = {}
    for batch in ("train", "fixed"):
        moved = {"noisy_batch": 3.0, **dict.fromkeys(LP, 2.0)}.get(norm, 1.0)
        for name in _DRIFTS:
            activations[f"{name}.{batch}"] = [0.0 if step == 0 else moved * wobble() for _ in LAYERS]
        activations[f"variance_before_normalisation.{batch}"] = [1.0 for _ in LAYERS]
    # the change of outputs by inputs alone ranks the norms as the shift of gradients does
    by_inputs = {"input_part.train": [0.0, *((0.05 if plain else 0.09) * wobble() for _ in LAYERS[1:])]}
    made = {"training": training, "landscape": landscape, "ics": ics, "shift": by_inputs, "activations": activations}
    if norm == "batch":
        sigma = 2.0 + 6 * step / 120
        terms = [1.0, 0.05 * wobble(), 0.05 * wobble(), -1.0 if step % 20 == 0 else 1.0, sigma * wobble()]
        terms += [-2.0 * wobble(), 1e-7, wobble() / sigma]
        made["gradients"] = {"weight_norm.train": [3.0] * 3}
        made["theory"] = {f"{name}.train": [term] * 3 for name, term in zip(_THEORY, terms, strict=True)}
    return made


def write_sweep(
    folder: Path,
    *,
    norms: tuple[str, ...] = NORMS,
    seeds: int = 3,
    lrs: tuple[float, ...] = (0.1, 0.5),
    linear: bool = True,
) -> Path:
    """The published picture as run folders: classification at two learning rates, and the deep linear network."""
    for regression, lr in [*((False, lr) for lr in lrs), *([(True, 1e-6)] if linear else [])]:
        for norm in norms:
            for seed in range(seeds):
                generator = np.random.default_rng([seed, NORMS.index(norm), int(lr * 1e6)])
                lines = [
                    {"step": step, "probe": probe, "values": finite(numbers)}
                    for step in STEPS
                    for probe, numbers in values(
                        norm, lr, regression, step, lambda g=generator: float(np.exp(0.02 * g.normal()))
                    ).items()
                ]
                config: dict[str, Any] = {"optim": {"lr": lr}, "steps": 120}
                if regression:
                    config |= {"data": {"name": "gaussian", "label": "gaussian"}, "model": {"name": "deep_linear"}}
                task = "regression" if regression else "classification"
                run = write_run(folder, norm, seed, config=config, task=task)
                described = json.loads((run / "status.json").read_text())
                (run / "status.json").write_text(json.dumps({**described, "step": 120, "steps": 120}))
                (run / "fields.json").write_text(json.dumps(fields(regression)))
                (run / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def alter(run: Path, tag: str, **config: Any) -> Path:
    """A run folder under another name, with other values in its configuration."""
    described = json.loads((run / "config.json").read_text())
    for key, value in config.items():
        own = described["config"].get(key)
        described["config"][key] = {**own, **value} if isinstance(own, dict) and isinstance(value, dict) else value
    described["run"] = f"{run.name}-{tag}"
    (run / "config.json").write_text(json.dumps(described))
    return run.rename(run.with_name(described["run"]))
