"""Settings: what is the same for all lines of a column. And the layers of the paper, in a network of another depth."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.figures._runs import Runs
from analysis.style import NORMS, in_order

SETTING = ["data", "model", "lr"]
DIFFERING = ["optimiser", "batch_size", "weight_decay", "loss_reduction", "schedule", "numerics"]
FULL_SCALE = re.compile(r"cifar10([-_].*)?")

VGG_DEPTH, LINEAR_DEPTH = 13, 25  # layers that the paper counts: convolutions, linear layers


@dataclass(frozen=True)
class Setting:
    """Runs that differ in normalisation and seed only. `runs`: one row per run, as `Runs.each` gives them."""

    title: str
    subtitle: str
    values: dict[str, Any]
    regression: bool
    runs: pd.DataFrame

    @property
    def label(self) -> str:
        return f"{self.title}, {self.subtitle}"

    @property
    def norms(self) -> list[str]:
        return in_order(self.runs["norm"])

    @property
    def counts(self) -> dict[str, int]:
        """Runs per normalisation."""
        return {norm: int((self.runs["norm"] == norm).sum()) for norm in self.norms}

    @property
    def diverged(self) -> dict[str, tuple[float, ...]]:
        """Normalisation -> the steps at which its runs diverged."""
        rows = self.runs[self.runs["state"] == "diverged"]
        return {norm: tuple(sorted(rows["diverged_at"][rows["norm"] == norm])) for norm in in_order(rows["norm"])}

    def of(self, norm: str) -> list[str]:
        """Names of the runs of a normalisation, in the order of their seeds."""
        rows = self.runs[self.runs["norm"] == norm]
        return rows.sort_values(["seed", "run"])["run"].tolist()

    def only(self, norm: str) -> Setting:
        """The same setting with the runs of one normalisation."""
        return replace(self, runs=self.runs[self.runs["norm"] == norm])

    def lowest_seed(self, norm: str) -> pd.Series | None:
        """The run that stands for a normalisation where only one can be drawn: the lowest seed, finished if one is."""
        rows = self.runs[self.runs["norm"] == norm]
        rows = rows.assign(ended=rows["state"] == "diverged").sort_values(["ended", "seed", "run"])
        return rows.iloc[0] if len(rows) else None

    @property
    def published(self) -> bool:
        """Whether the paper's own curves belong to this setting: its data and network, its learning rate."""
        data, model, lr = (self.values[name] for name in SETTING)
        if self.regression:
            return bool(
                model == "deep_linear" and math.isclose(lr, 1e-6) and math.isnan(self.runs["batch_size"].iloc[0])
            )
        return bool(FULL_SCALE.fullmatch(str(data))) and str(model) == "vgg16"


@dataclass(frozen=True)
class Settings:
    """The settings that are drawn, and how many more there are."""

    drawn: tuple[Setting, ...]
    left_out: int


def settings(
    runs: Runs, norms: Sequence[str] | None = None, *, regression: bool | None = None, most: int = 4
) -> Settings:
    """The settings of a table, with the runs of the normalisations that a figure shows.

    norms: those that the figure is about; None: all. A user's own are always shown, and those in `runs.also`.
    regression: only regression settings, or only classification; None: both.
    most: settings drawn; where there are more, those with the most of `norms`, then the most runs.
    """
    each = runs.each
    if regression is not None:
        each = each[each["regression"] == regression]
    found = []
    for _, alike in each.groupby(SETTING, sort=True, dropna=False, observed=True):
        differing = [name for name in DIFFERING if len(alike[name].unique()) > 1]
        parts = alike.groupby(differing, observed=True, dropna=False) if differing else [((), alike)]
        for _, part in parts:
            shown = part if norms is None else part[[_is_shown(norm, norms, runs.also) for norm in part["norm"]]]
            if len(shown):
                found.append(_setting(shown, differing))
    wanted = set(norms or [])
    best = sorted(found, key=lambda s: (-s.published, -len(wanted & set(s.norms)), -len(s.runs)))[:most]
    return Settings(tuple(s for s in found if any(s is b for b in best)), max(0, len(found) - most))


def _is_shown(norm: str, norms: Sequence[str], also: Sequence[str]) -> bool:
    return norm in norms or norm in also or norm not in NORMS


def _setting(part: pd.DataFrame, differing: list[str]) -> Setting:
    values = {name: part[name].iloc[0] for name in [*SETTING, *differing]}
    extra = "".join(f", {name.replace('_', ' ')} {plain(values[name])}" for name in differing)
    if part.duplicated(["norm", "seed"]).any():  # an option that no column of the table shows
        extra += ", runs of one norm and seed that differ in other options taken together"
    return Setting(
        title=f"{values['model']} on {values['data']}",
        subtitle=f"learning rate {plain(values['lr'])}{extra}",
        values=values,
        regression=bool(part["regression"].iloc[0]),
        runs=part.reset_index(drop=True),
    )


def plain(value: Any) -> str:
    """A config value as a person writes it."""
    if isinstance(value, float | np.floating):
        return "none" if math.isnan(value) else re.sub(r"e([+-])0", r"e\1", f"{value:g}")
    return str(value)


# --------------------------------------------------------------------------------------------------------------- layers


LAYER_NOTE = "name (for N): the layer at the relative depth of the paper's layer N"


@dataclass(frozen=True)
class ShownLayer:
    """A layer of ours that stands for the paper's number `paper`."""

    name: str
    paper: int
    exact: bool

    @property
    def label(self) -> str:
        return self.name if self.exact else f"{self.name} (for {self.paper})"


def depth_order(names: Iterable[str]) -> list[str]:
    """The layers that the paper counts, from the input on: all but the head and its hidden layers, where others are."""
    found = sorted(set(map(str, names)), key=lambda n: [int(t) if t.isdigit() else t for t in re.split(r"(\d+)", n)])
    hidden = [name for name in found if name != "head"]
    return [name for name in hidden if not re.fullmatch(r"fc\d*", name)] or hidden or found


def paper_layers(names: Iterable[str], numbers: Sequence[int], *, regression: bool) -> list[ShownLayer]:
    """The layers at the relative depths of the paper's `numbers`; two that fall on one layer are shown once."""
    ours = depth_order(names)
    depth = LINEAR_DEPTH if regression else VGG_DEPTH
    shown: dict[str, ShownLayer] = {}
    for number in numbers:
        if ours:
            place = round((number - 1) / (depth - 1) * (len(ours) - 1))
            shown.setdefault(ours[place], ShownLayer(ours[place], number, len(ours) == depth))
    return list(shown.values())


def spread(names: Iterable[str], most: int) -> list[str]:
    """At most so many layers, evenly over the depth, the first and the last among them."""
    ours = depth_order(names)
    if len(ours) <= most:
        return ours
    return [ours[round(i * (len(ours) - 1) / (most - 1))] for i in range(most)]
