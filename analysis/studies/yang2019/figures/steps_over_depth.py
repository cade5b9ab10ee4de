"""What depth costs: steps to 90 % training accuracy over depth, each arm at its own best learning rate."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from analysis.across import grid_of
from analysis.claims import Grid, Unanswerable
from analysis.drawing.draw import sized
from analysis.drawing.panel import Curve, Over, Panel, curve, panel
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import NORM, Ambiguous, Arm, Setting, plain
from analysis.studies.yang2019.claims import ARMS, SPEED
from analysis.usable import usable

TITLE = "Steps to learn over depth"
CAPTION = (
    "Steps to 90 % training accuracy at each arm's best learning rate (chosen on two pilot seeds, not drawn); median "
    "over seeds (thin: each seed); a run that has ended without it counts its whole length."
)
EXPECTED = "With BN depth costs more steps than without (Y5)."
KEY, START = "model.depth", "model.initialisation"
DEPTH = Over("depth", "hidden layers")
WANTED = tuple(arm.name for arm in ARMS)


def compute(runs: Runs) -> Sheet:
    """Every setting of fully connected networks of several depths."""
    found = drawn_settings(
        runs,
        WANTED,
        arms=_arms(runs),
        free=(*SPEED.free, KEY),
        about={"model": "mlp", "task": "classification"},
        where=lambda setting: len(_by_depth(setting.runs)) > 1,
    )
    columns = [Column(setting, (_panel(setting),)) for setting in found.drawn]
    return found.sheet(columns, "no runs of several depths\nand learning rates")


def _arms(runs: Runs) -> list[Arm]:
    """Every normalisation with every initialisation that it was run with, named as the claims name them."""
    known = {(plain(dict(arm.where)[NORM]), plain(dict(arm.where)[START])): arm for arm in ARMS}
    found: dict[tuple[str, str], Arm] = {}
    for run in runs.each.index:
        norm, start = runs.label_of(run), runs.value(run, START)
        own = Arm.norm(norm) if start is None else Arm.of(f"{norm} ({plain(start)})", {NORM: norm, START: start})
        found.setdefault((norm, plain(start)), known.get((norm, plain(start)), own))
    return list(found.values())


def _by_depth(runs: Runs) -> dict[int, list[str]]:
    """Depth -> runs, from shallow to deep."""
    found: dict[int, list[str]] = {}
    for run in runs.each.index:
        if (depth := runs.value(run, KEY)) is not None:
            found.setdefault(int(depth), []).append(run)
    return dict(sorted(found.items()))


def _panel(setting: Setting) -> Panel:
    curves: list[Curve] = []
    notes: list[str] = []
    grid = grid_of(setting.runs, SPEED.free)
    for arm in setting.names:
        own, left = usable(setting.runs.only(setting.of[arm]), SPEED, arm)
        notes += left
        parts = []
        for depth, names in _by_depth(own).items():
            try:
                parts.append(_steps(depth, own.only(names), grid))
            except (Ambiguous, Unanswerable) as error:
                notes.append(f"{arm}, depth {depth}: {error}")
        curves += _curve(arm, parts, setting)
    return panel(
        "steps to 90 % training accuracy",
        setting,
        WANTED,
        unit="1",
        scale="log",
        over=DEPTH,
        curves=tuple(curves),
        notes=tuple(notes),
    )


def _steps(depth: int, runs: Runs, grid: Grid) -> pd.DataFrame:
    """run (a seed's, at its best rate), step (the depth), value."""
    numbers = SPEED.by_seed(runs, grid)["number"].dropna()
    return pd.DataFrame({"run": [f"seed {seed}" for seed in numbers.index], "step": depth, "value": numbers.to_numpy()})


def _curve(arm: str, parts: Sequence[pd.DataFrame], setting: Setting) -> list[Curve]:
    """Its curve, where any seed has a number."""
    frame = pd.concat(parts) if parts else pd.DataFrame()
    return [curve(arm, frame, setting, over=DEPTH)] if len(frame) else []


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, across=3, tall=1.5)
