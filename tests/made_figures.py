"""Made-up runs with every metric and array that a figure takes, as `Runs.load` would give them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from analysis.runs import Runs
from analysis.studies.summers2020.claims import GHOST, WHOLE

GRID = (0.05, 0.25, 0.5, 1.0, 2.0, 4.0, 20.0)
EDGES = tuple(np.linspace(-4, 4, 9))
TRAINED = {"optim": "sgd", "optim.lr": 0.1, "optim.batch_size": 8, "optim.schedule": "constant", "steps": 21}
ALONG = ("landscape_loss", "gradient_difference", "effective_beta", "gradient_cosine")
ALONG += tuple(f"{metric}_along_random_{i}" for metric in ALONG[:2] for i in range(2))
SCALARS = ("gradient_norm", "effective_beta_limit_by_hessian")
SCALARS += ("sharpness_times_rate", "gamma_small_share_of_all", "curvature_along_gradient_times_rate")
LAYERED = (
    "variance_before_normalisation",
    "skew_before_normalisation",
    "excess_kurtosis_before_normalisation",
    "ics_l2",
    "ics_relative",
    "ics_cosine",
    "mean_before_normalisation",
    "unit_update_angle",
    "weight_norm",
)
LAYERED += ("running_mean_discrepancy", "running_deviation_discrepancy")
OF_A_LAYER = ("bias_norm", "bias_gradient_share", "singular_value_largest")
OF_DOMAINS = ("running_mean_position", "running_variance_share", "between_domains_share")
MARGINS = ("margin_variation", "margin_mean")
ON_SEGMENTS = ("sign_changes", "constant_sign_share")
MOMENTS = ("mean_drift_since_last", "variance_drift_since_last")
THEORY = ("scaling_term", "mean_term", "correlation_term", "activation_gradient_squared", "sigma_mean")
THEORY += ("gamma_over_sigma_mean",)
COLUMNS = ["run", "norm", "step", "probe", "metric", "batch", "unit", "value", "layer", "x", "point"]
TEXTS = ("run", "norm", "probe", "metric", "batch", "unit", "layer", "point")
RANKS = (1.0, 2.0)
"""Of the largest eigenvalues, as their records number them."""
PLACE, NORMALISED = "model.placement", "model.norm_at"
OTHER_TESTS = ("population", "train_mode")
WEIGHED = tuple(f"{half}_{weight}" for half in ("choosing", "judging") for weight in (0, 2, 5, 10, 20, 30))
EVALUATIONS = {
    "noise": "running statistics, noise(deviation=0.25) inputs",
    "noise_batch": "batch statistics, noise(deviation=0.25) inputs",
    "pgd": "running statistics, pgd(radius=0.1, steps=20) inputs",
    "folded": "folded statistics",
    "taken_out": "taken_out statistics",
    "whole_set": "population(batches=all) statistics",
}
"""Further evaluations of the test set: label, and what the records say of them."""
SAMPLES = ("h_rank", "orthogonality_gap", "largest_sample_share", "cosine_mean_without_largest")


class MadeUp:
    """Runs of some normalisations and seeds; the values are drawn from a seed.

    Args:
        keys: what was trained, by key of the configuration (`model.width`), beside and instead of `TRAINED`.
        ends: normalisation -> step at which its runs diverge.
        rates: lr_t by step, recorded as the metric learning_rate.
        values: the one value of everything.
        scale: what the drawn values are multiplied by.
        along: metrics along the line of step lengths.
    """

    def __init__(
        self,
        norms: Sequence[str] = ("none", "batch", "noisy_batch", "l1"),
        seeds: int = 2,
        steps: Sequence[int] = (0, 10, 20),
        *,
        regression: bool = False,
        layers: int = 1,
        ends: Mapping[str, int] | None = None,
        rates: Mapping[int, float] | None = None,
        values: Any = None,
        keys: Mapping[str, Any] | None = None,
        scale: float = 1.0,
        along: Sequence[str] = ALONG,
    ) -> None:
        self.steps, self.layers = list(steps), [f"{'layer' if regression else 'conv'}{i + 1}" for i in range(layers)]
        self.arrays: list[xr.DataArray] = []
        self.trained: dict[str, dict[str, Any]] = {}
        self.facts: dict[str, dict[str, Any]] = {}
        self.rates, self.depth, self.along = rates or {}, (keys or {}).get("model.depth"), along
        self.residual = (keys or {}).get("model") == "residual_mlp"
        draw = np.random.default_rng(0)
        self.draw = (
            (lambda size: scale * draw.lognormal(size=size)) if values is None else lambda size: np.full(size, values)
        )
        unit = "squared error, sum over the batch" if regression else "nats, mean over the batch"
        task = {"data": "gaussian", "model": "deep_linear", "optim.lr": 1e-6} if regression else {}
        common = {"data": "digits", "model": "vgg_small", **TRAINED, **task, **(keys or {})}
        told = "".join(f"-{value}" for value in [common["optim.lr"], *(keys or {}).values()])
        rows: list[tuple[Any, ...]] = []
        for norm in norms:
            for seed in range(seeds):
                run, end = f"{norm}-{seed}{told}", (ends or {}).get(norm)
                self.trained[run] = {**common, "norm": norm}
                self.facts[run] = {
                    "state": "finished" if end is None else "diverged",
                    "diverged_at": math.nan if end is None else float(end),
                    "experiment": None,
                    "task": "regression" if regression else "classification",
                    "seed": seed,
                }
                probed = [step for step in self.steps if end is None or step <= end]
                own = (row for step in probed for row in self._step(step, norm, regression, unit, step == end))
                rows += [(run, norm, *row) for row in own]
                self._arrays(run, norm, probed)
        self.table = pd.DataFrame(rows, columns=COLUMNS)

    def _step(self, step: int, norm: str, regression: bool, unit: str, last: bool) -> list[tuple[Any, ...]]:
        """Of `COLUMNS`, those after the run and its normalisation."""
        made: list[tuple[Any, ...]] = []

        def add(probe: str, metric: str, batch: str, unit: str, count: int, **dims: Any) -> None:
            values = self.draw(count)
            if last:  # what a run that blows up leaves behind
                values = np.where(np.arange(count) % 2, math.nan, math.inf)
            if metric == "accuracy":
                values = 1 / (1 + values)
            layers, x, point = dims.get("layer"), dims.get("x"), dims.get("point", "before")
            for i, value in enumerate(values):
                layer, at = layers[i] if layers else None, x[i] if x else math.nan
                made.append((step, probe, metric, batch, unit, float(value), layer, at, point))

        def layered(*metrics: str) -> None:
            for metric in metrics:
                add("some", metric, "train", "1", len(self.layers), layer=self.layers)

        add("training", "loss", "train", unit, 1)
        for batch in ("train", "test"):
            add("training", "data_loss", batch, unit, 1)
        add("some", "data_loss", "fixed", unit, 1)
        if not regression:
            for batch in ("train", "test", "test_first", "test_first, domain", "test, domain"):
                add("training", "accuracy", batch, "fraction", 1)
            for label in OTHER_TESTS:
                add("some", "accuracy", f"test, {label}", "fraction", 1)
            for label in (*OTHER_TESTS, *WEIGHED):
                add("some", "data_loss", f"test, {label}", unit, 1)
            for label, point in EVALUATIONS.items():
                for metric in ("accuracy", "data_loss"):
                    add("training", metric, f"test, {label}", "1", 1, point=point)
        if step in self.rates:
            made.append((step, "training", "learning_rate", "none", "1", self.rates[step], None, math.nan, "before"))
        for metric in self.along:
            add("landscape", metric, "train", "loss/parameter", len(GRID), x=GRID)
        for metric in SCALARS:
            add("landscape", metric, "train", "loss/parameter", 1)
        add("curvature", "largest_eigenvalues", "train", "loss/parameter²", len(RANKS), x=RANKS)
        layered(*LAYERED, *OF_A_LAYER)
        for metric in OF_DOMAINS:
            add("some", metric, "fixed", "1", len(self.layers), layer=self.layers)
        add("some", "saturated", "fixed", "fraction", len(self.layers), layer=self.layers)
        # no further draws for these, which would move all others
        saturated = made[-len(self.layers) :]
        made.extend((step, "some", m, "segments", "1", *row[5:]) for m in ON_SEGMENTS for row in saturated)
        made.extend((step, "some", metric, *made[0][3:]) for metric in (*MARGINS, "spherical_sharpness"))
        if self.depth:
            names = [*(f"fc{i + 1}" for i in range(self.depth)), "head"]
            add("gradients", "gradient_norm", "train", "1", len(names), layer=names)
            for metric in (*SAMPLES, "cosine_mean"):
                add("representations", f"{metric}_output", "train", "1", len(names), layer=names)
        layered(*(f"{metric}_before_normalisation" for metric in MOMENTS), "unit_angle_from_start")
        if self.residual:
            blocks = [f"block{i + 1}" for i in range(12)]
            add("representations", "second_moment_stream", "train", "activation²", len(blocks), layer=blocks)
            for batch in ("fixed", "fixed, held statistics"):
                add("spectrum", "largest_eigenvalues", batch, "loss/parameter²", 10, x=tuple(range(1, 11)))
            add("spectrum", "gradient_share", "fixed", "fraction", 1)
        if norm != "none":
            layered(*(f"{metric}_after_normalisation" for metric in (*MOMENTS, "mean", "variance")))
        if "batch" in norm:
            layered(*THEORY)
        return made

    def _arrays(self, run: str, norm: str, steps: Sequence[int]) -> None:
        kinds: list[tuple[str, tuple[str, ...], tuple[int, ...], tuple[float, ...] | None]] = [
            ("histogram", ("bin",), (len(EDGES) + 1,), EDGES),
            ("unit_mean", ("unit",), (5,), None),
            ("unit_variance", ("unit",), (5,), None),
            ("percentiles", ("unit", "level"), (2, 3), (0.15, 0.5, 0.85)),
        ]
        for layer in self.layers:
            self._array(run, layer, "singular_values", steps, ("sample", "place"), (2, 6), None)
            self._array(run, layer, "weight_values", steps, ("unit", "input"), (3, 2), None)
            attrs = {"run": run, "layer": layer, "x": None, "unit": "radian", "batch": "train"}
            angles = np.minimum(self.draw((len(steps), 5)), math.pi)
            coords = {"step": list(steps)}
            self.arrays.append(
                xr.DataArray(angles, dims=("step", "unit"), coords=coords, name="unit_angle_from_start", attrs=attrs)
            )
        for place in ("before_normalisation", *(["after_normalisation"] if norm != "none" else [])):
            for layer in self.layers:
                for metric, dims, shape, x in kinds:
                    self._array(run, layer, f"{metric}_{place}", steps, dims, shape, x)

    def _array(
        self,
        run: str,
        layer: str,
        name: str,
        steps: Sequence[int],
        dims: tuple[str, ...],
        shape: tuple[int, ...],
        x: tuple[float, ...] | None,
    ) -> None:
        values = self.draw((len(steps), *shape))
        attrs = {"run": run, "layer": layer, "x": x, "unit": "activation", "batch": "train"}
        self.arrays.append(
            xr.DataArray(values, dims=("step", *dims), coords={"step": list(steps)}, name=name, attrs=attrs)
        )

    def __add__(self, other: MadeUp) -> MadeUp:
        self.table = pd.concat([self.table, other.table], ignore_index=True)
        self.arrays = self.arrays + other.arrays
        self.trained |= other.trained
        self.facts |= other.facts
        return self

    def runs(self) -> Runs:
        """As `Runs.load` would give them, texts as categoricals."""

        def read(metric: str, names: Sequence[str], batch: str, layers: Sequence[str]) -> list[xr.DataArray]:
            return [
                a for a in self.arrays if a.name == metric and a.attrs["run"] in names and a.attrs["layer"] in layers
            ]

        table = self.table.astype(dict.fromkeys(TEXTS, "category"))
        return Runs(table, pd.DataFrame.from_dict(self.facts, orient="index"), self.trained, read)

    def without(self, *probes: str) -> MadeUp:
        self.table = self.table[~self.table["probe"].isin(probes)].reset_index(drop=True)
        return self


def deep(keys: Mapping[str, Any] | None = None, depths: Sequence[int] = (10, 12), **options: Any) -> MadeUp:
    """Runs of fully connected networks of some depths, with one seed beside the two pilots; the middle rate is best."""
    common = {"model": "mlp", "model.activation": "relu", "model.initialisation": "he", **(keys or {})}
    first, *others = (
        MadeUp(**{"seeds": 3, **options}, keys={**common, "model.depth": depth, "optim.lr": rate}, scale=scale)
        for depth in depths
        for rate, scale in ((0.05, 1.0), (0.1, 0.5), (0.2, 1.0))
    )
    return sum(others, first)


def scaled(keys: Mapping[str, Any] | None = None, **options: Any) -> MadeUp:
    """Runs from several scales of the first weights."""
    first, *others = (
        MadeUp(**{"seeds": 3, **options}, keys={"model": "mlp_ioffe_szegedy", **(keys or {}), "model.gain": gain})
        for gain in (0.1, 1.0, 10.0)
    )
    return sum(others, first)


def in_turn(keys: Mapping[str, Any] | None = None, **options: Any) -> MadeUp:
    """Runs of mixed batches, and of batches of one domain each."""
    orders = ("reshuffled", "alternating")
    mixed, turns = (MadeUp(**options, keys={**(keys or {}), "data.order": order}) for order in orders)
    return mixed + turns


def diverging(**options: Any) -> MadeUp:
    """Runs of several layers that all diverge after the last of their probed steps, with the data loss along a line."""
    ends = dict.fromkeys(options["norms"], max(options["steps"]) + 1)
    return MadeUp(**options, layers=4, ends=ends, along=(*ALONG, "landscape_data_loss"))


def placed(keys: Mapping[str, Any] | None = None, **options: Any) -> MadeUp:
    """Runs at several rates with the hidden layers normalised, and with the output."""
    first, *others = (
        MadeUp(**options, keys={**(keys or {}), NORMALISED: place, "optim.lr": rate})
        for place in (None, "output")
        for rate in (0.05, 0.1, 0.2)
    )
    return sum(others, first)


def prepared(keys: Mapping[str, Any] | None = None, **options: Any) -> MadeUp:
    """Runs at several rates from inputs prepared in two ways, and with the normalisation in two places."""
    first, *others = (
        MadeUp(
            **{"seeds": 3, **options}, keys={**(keys or {}), "data.standardise": way, PLACE: place, "optim.lr": rate}
        )
        for way, place in (("so", "before"), ("otherwise", "before"), ("so", "after"))
        for rate in (0.05, 0.1)
    )
    return sum(others, first)


def residual(keys: Mapping[str, Any] | None = None, **options: Any) -> MadeUp:
    """Runs of residual networks at several rates, of which ten eigenvalues are looked at on a fixed batch."""
    first, *others = (
        MadeUp(**options, keys={**(keys or {}), "model": "residual_mlp", "optim.lr": rate}) for rate in (0.05, 0.1, 0.2)
    )
    return sum(others, first)


def perturbed(keys: Mapping[str, Any] | None = None, **options: Any) -> MadeUp:
    """Runs of sharpness-aware minimisation with several lengths of the perturbation, 0 among them."""
    first, *others = (
        MadeUp(**options, keys={**(keys or {}), "optim": "sam", "optim.rho": length}) for length in (0.0, 0.1, 0.5)
    )
    return sum(others, first)


def in_parts(keys: Mapping[str, Any] | None = None, **options: Any) -> MadeUp:
    """Runs at several rates whose batches are normalised whole, and of BN's in parts of 16 samples too."""
    whole, parts = ({key: value for key, value in arm.where if key != "norm"} for arm in (WHOLE, GHOST))
    first, *others = (
        MadeUp(**{**options, "norms": norms}, keys={**(keys or {}), **per, "optim.lr": rate})
        for norms, per in ((options["norms"], whole), (("batch",), parts))
        for rate in (0.05, 0.1, 0.2)
    )
    return sum(others, first)


def every_kind(depths: Sequence[int] = (10, 12), **options: Any) -> Iterator[MadeUp]:
    """Runs that differ in what the figures of one study or other are about; between them every figure has some."""
    yield both(**options)
    yield deep(depths=depths, **options)
    for make in (scaled, in_turn, prepared, diverging, placed, perturbed, residual, in_parts):
        yield make(**options)


def both(**options: Any) -> MadeUp:
    """Runs of both kinds of task."""
    return MadeUp(**options) + MadeUp(**{**options, "regression": True})
