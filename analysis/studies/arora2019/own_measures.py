"""Measures of scale-invariant weights: how orthogonal the gradient is, how far they turn, what an error goes by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.claims import Grid, NotRun
from analysis.measures import Measure, each_layer
from analysis.progress import FEWEST_STEPS
from analysis.runs import Runs
from analysis.select import words_of

SCALES = 5
"""Time scales 1 / (2 lr decay) after which the norms count as balanced."""


def radial() -> Measure:
    """Greatest |2 <w, g>| / (lr |g|^2) over layers and probed steps: the part of a norm's growth that is no step's own.

    ||w'||^2 - ||w||^2 = lr^2 ||g||^2 - 2 lr <w, g> in any network; in a scale-invariant one <w, g> is 0.
    """
    names = ("weight_norm", "gradient_radial", "gradient_tangential")

    def per_run(runs: Runs) -> pd.Series:
        frame = each_layer(runs, *names)
        rate = frame["run"].map({run: float(runs.value(run, "optim.lr")) for run in runs.each.index})
        squared = frame["gradient_radial"] ** 2 + frame["gradient_tangential"] ** 2
        with np.errstate(all="ignore"):
            share = 2 * (frame["gradient_radial"] * frame["weight_norm"]).abs() / (rate * squared)
        return share.groupby(frame["run"]).max()

    says = "|2 <w, g>| / (lr |g|^2), greatest over layers and probed steps"
    return Measure("radial share of a norm's growth", says, tuple((name, "train") for name in names), per_run)


def turning() -> Measure:
    """Root mean square angle by which units' weights turn in a step, over sqrt(2 lr decay), once norms are balanced.

    Over probed steps and layers, from the root mean square over units; from step 5 / (2 lr decay) on. NaN without a
    decay, and where fewer than eight steps were probed there.
    """

    def per_run(runs: Runs) -> pd.Series:
        rows = runs.records("unit_update_angle", "train")
        found = {}
        for run, own in rows.groupby(rows["run"].astype(str), observed=True):
            if run not in runs.each.index:
                continue
            product = float(runs.value(run, "optim.lr")) * float(runs.value(run, "optim.weight_decay") or 0.0)
            late = own[own["step"] * 2 * product >= SCALES]
            if product > 0 and late["step"].nunique() >= FEWEST_STEPS:
                found[str(run)] = float(np.sqrt(np.mean(np.square(late["value"]))) / np.sqrt(2 * product))
        return pd.Series(found, dtype=float)

    says = (
        f"root mean square, over units, layers and probed steps from step {SCALES} / (2 lr decay) on, of the angle by "
        "which weights turn, over sqrt(2 lr decay)"
    )
    return Measure("angle / sqrt(2 lr decay)", says, (("unit_update_angle", "train"),), per_run)


@dataclass(frozen=True)
class Explained:
    """The share of a measure's variance over two keys that is explained by a combination of them.

    For each seed the prediction is the mean of the other seeds' runs with the same combination; scored on the seed's
    own runs it gives 1 - sum of squared errors / sum of squares about their mean. No fit is scored on its own runs.
    Runs in which a key is 0, or not there, have no ratio and are left out.

    Args:
        measure: of a run.
        keys: of the configuration, numbers.
        ratio: whether they are combined as their ratio, the first over the second, or as their product.
    """

    measure: Measure
    keys: tuple[str, str]
    ratio: bool = False

    @property
    def name(self) -> str:
        """See `analysis.claims.BySeed`."""
        return f"variance explained by {self._combined}"

    @property
    def says(self) -> str:
        """See `analysis.claims.BySeed`."""
        return (
            f"share of the variance of {self.measure.name} ({self.measure.says}) that its mean at the same "
            f"{self._combined} explains, taken over the other seeds"
        )

    @property
    def _combined(self) -> str:
        first, second = map(words_of, self.keys)
        return f"{first} {'over' if self.ratio else 'times'} {second}"

    @property
    def metrics(self) -> tuple[tuple[str, str | None], ...]:
        """See `analysis.claims.BySeed`."""
        return self.measure.metrics

    @property
    def free(self) -> tuple[str, ...]:
        """See `analysis.claims.BySeed`."""
        return self.keys

    @property
    def diverged_count(self) -> bool:
        """See `analysis.claims.BySeed`."""
        return self.measure.diverged_count

    def by_seed(self, runs: Runs, grid: Grid | None = None) -> pd.DataFrame:
        """See `analysis.claims.BySeed`. A seed with fewer runs than another has no number.

        Raises:
            NotRun: one of the keys was not varied.
        """
        runs = runs.only([run for run in runs.each.index if all((runs.value(run, key) or 0) > 0 for key in self.keys)])
        for key in self.keys:
            if len({runs.value(run, key) for run in runs.each.index}) < 2:
                raise NotRun(f"{words_of(key)} was not varied")
        a, b = (np.log([float(runs.value(run, key)) for run in runs.each.index]) for key in self.keys)
        table = pd.DataFrame(
            {
                "seed": runs.each["seed"].to_numpy(),
                "at": np.round(a - b if self.ratio else a + b, 6),
                "value": self.measure.of(runs).to_numpy(),
            }
        )
        counts = table.dropna().groupby("seed")["value"].count()
        found = {}
        for seed in sorted(set(table["seed"])):
            own, others = table[table["seed"] == seed], table[table["seed"] != seed].dropna()
            predicted = own["at"].map(others.groupby("at")["value"].mean())
            spread = ((own["value"] - own["value"].mean()) ** 2).sum()
            whole = counts.get(seed, 0) == counts.max() and len(others) > 0 and spread > 0
            errors = ((own["value"] - predicted) ** 2).sum(skipna=False)
            found[seed] = 1 - errors / spread if whole else np.nan
        numbers = pd.Series(found, dtype=float).rename_axis("seed")
        return pd.DataFrame({"number": numbers, "low": numbers, "high": numbers})


def error(accuracy: Measure) -> Measure:
    """1 - the accuracy."""
    return Measure(
        accuracy.name.replace("accuracy", "error"),
        f"1 - accuracy, {accuracy.says}",
        accuracy.metrics,
        lambda runs: 1 - accuracy.of(runs),
        diverged_count=accuracy.diverged_count,
    )
