"""Where running averages lie between the statistics of two domains, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.layers import depth_order
from analysis.drawing.panel import Curve, Over, Panel, curve, panel
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.measures import END
from analysis.runs import Runs
from analysis.select import Setting
from analysis.studies.irpan2017.figures.accuracy_by_statistics import arms
from analysis.usable import ended

TITLE = "Two domains: where the running averages lie, layer by layer"
CAPTION = (
    "Of what enters each normalisation, on the fixed batch at the end of training (median of the last tenth of probed "
    "steps): how far the running means lie on the way from the first domain's means to the second's; the running "
    "variance over that of both domains together; and the share of the latter that lies between the domains' means. "
    "Median over seeds (thin: each seed)."
)
EXPECTED = (
    "All lie halfway, in neither domain. With mixed batches the running variance is that of both (1); with halves that "
    "are normalised apart it lacks what lies between the domains."
)
DEPTH = Over("layer", "layer, from the input")
BATCH = "fixed"
ENDS = (("0: as the first domain has", 0.0), ("1: as the second, or both, have", 1.0))
PANELS: Mapping[str, tuple[str, tuple[tuple[str, float], ...]]] = {
    "running_mean_position": ("running mean between the domains", ENDS),
    "running_variance_share": ("running variance over that of both", ENDS[1:]),
    "between_domains_share": ("variance between the domains", ()),
}


def at_the_end(runs: Runs, metric: str) -> pd.DataFrame:
    """run, step (the layer's place from the input, from 1), value: the median of the last tenth of the probed steps."""
    rows = runs.records(metric, BATCH)
    if not len(rows):
        return pd.DataFrame({"run": [], "step": [], "value": []})
    rows = rows.assign(run=rows["run"].astype(str), layer=rows["layer"].astype(str))
    last = rows.groupby("run")["step"].transform("max")
    found = rows[rows["step"] >= (1 - END) * last].groupby(["run", "layer"])["value"].median().reset_index()
    places = {
        (run, layer): place
        for run, own in found.groupby("run")
        for place, layer in enumerate(depth_order(own["layer"]), 1)
    }
    steps = [places.get((run, layer)) for run, layer in zip(found["run"], found["layer"], strict=True)]
    return found.assign(step=steps).dropna(subset=["step", "value"])[["run", "step", "value"]]


def compute(runs: Runs) -> Sheet:
    """Every setting that records where its running averages lie."""
    recording = runs.recording("running_mean_position", BATCH)
    found = drawn_settings(runs, arms=arms(runs), where=lambda setting: bool(recording & set(setting.runs.each.index)))
    values = {metric: at_the_end(runs, metric) for metric in PANELS}
    columns = [Column(setting, tuple(_panel(m, values[m], setting) for m in PANELS)) for setting in found.drawn]
    return found.sheet(columns, "no place of running averages\nis recorded in these runs")


def _panel(metric: str, values: pd.DataFrame, setting: Setting) -> Panel:
    name, levels = PANELS[metric]
    curves: list[Curve] = []
    for arm in setting.names:
        own = values[values["run"].isin(ended(setting.runs.only(setting.of[arm])).each.index)]
        if len(own):
            curves.append(curve(arm, own, setting, over=DEPTH))
    return panel(name, setting, unit="1", over=DEPTH, curves=tuple(curves), levels=levels)


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
