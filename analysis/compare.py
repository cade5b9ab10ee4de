"""Two sweeps, or two normalisations, number by number: paired differences over seeds, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis import forest, load_runs
from analysis.claims import Measure, Region, final, over_training, steps_to_learn
from analysis.claims.decide import combine, decide
from analysis.claims.engine import DIFFERING, SETTING, plain
from analysis.claims.measures import Along, Records
from analysis.claims.model import Scale
from analysis.errors import WrongInput, near_miss

_NO_EFFECT = Region(low=1.0)  # of which only the interval is used
_ENDED = ("finished", "diverged")


def compare(
    a: str, b: str, runs: Sequence[Path] = (), *, metrics: Sequence[str] = (), results_version: int | None = None
) -> pd.DataFrame:
    """One row per setting, normalisation and number: a, b (means over seeds), effect b against a, interval, seeds.

    a, b: two folders of runs; or, with `runs`, two normalisations in these. Runs are paired by seed and by all that
    both sides share of data, model, learning rate and the like. metrics: only these; without, all that is recorded, as
    its median over training (the greatest along a line), and the numbers of training.
    Numbers that are positive throughout are compared as ratios, others as differences. The interval is the t-interval
    of the ledger (96 %), NaN with fewer than three seeds.

    Raises WrongInput: a is b, nothing in common, no such normalisation, a metric that no run recorded; DamagedFile.
    """
    if a == b:
        raise WrongInput(f"{a} would be compared with itself: give two normalisations and their RUNS, or two sweeps")
    for name in () if runs else (a, b):
        if not Path(name).exists():
            raise WrongInput(f"no such folder: {Path(name).absolute()}; to compare normalisations name their RUNS too")
    if runs:
        frame = load_runs(list(runs), results_version=results_version)
        known = set(frame["norm"].astype(str))
        for norm in (a, b):
            if norm not in known:
                raise WrongInput(f"no run of the normalisation {norm!r}; {near_miss(norm, known)}")
        sides = [Records(frame[frame["norm"] == norm]) for norm in (a, b)]
        keys = [*SETTING, *DIFFERING, "seed"]
    else:
        sides = [Records(load_runs(Path(path), results_version=results_version)) for path in (a, b)]
        keys = [*SETTING, *DIFFERING, "norm", "seed"]
    return _table(sides[0], sides[1], keys, _measures(sides, metrics))


def _measures(sides: Sequence[Records], metrics: Sequence[str]) -> dict[str, Measure]:
    tables = [side.kinds() for side in sides]
    known = pd.concat(tables).drop_duplicates(["metric", "batch"])
    for name in metrics:
        if name not in set(known["metric"]):
            raise WrongInput(f"metric {name!r}: no probe recorded it; {near_miss(name, set(known['metric']))}")
    found: dict[str, Measure] = {}
    recorded = set(zip(known["metric"], known["batch"], strict=True))
    if not metrics:
        if ("accuracy", "train") in recorded:
            found["steps to 90 % training accuracy"] = steps_to_learn()
        for metric, batch in (
            ("accuracy", "train"),
            ("accuracy", "test"),
            ("data_loss", "train"),
            ("data_loss", "test"),
        ):
            if (metric, batch) in recorded:
                found[f"final {metric.replace('_', ' ')}, {batch}"] = final(metric, batch)
    for row in known.sort_values(["metric", "batch"]).itertuples():
        if row.metric in metrics or (not metrics and row.probe != "training"):
            along: Along | None = "max" if row.along else None
            found[f"{row.metric}, {row.batch}"] = over_training(str(row.metric), batch=str(row.batch), along=along)
    return found


def _table(a: Records, b: Records, keys: Sequence[str], measures: dict[str, Measure]) -> pd.DataFrame:
    sides = [side.runs[side.runs["state"].isin(_ENDED)].reset_index() for side in (a, b)]
    if not all(len(side) for side in sides):
        raise WrongInput("nothing to compare: one side has no run that has ended")
    # what the sides do not share at all is what is compared: it does not pair them
    shared = [k for k in keys if k == "seed" or set(sides[0][k].astype(str)) & set(sides[1][k].astype(str))]
    for side in sides:
        twice = side[side.duplicated(shared)]
        if len(twice):
            raise WrongInput(
                f"{twice['run'].iloc[0]} and another run differ in options that do not pair: give one of them"
            )
    text = [side.assign(**{k: side[k].map(plain) for k in shared}) for side in sides]
    pairs = text[0].merge(text[1], on=shared, suffixes=("_a", "_b"))
    if not len(pairs):
        raise WrongInput("nothing to compare: no two runs share data, model and seed")
    differing = [k for k in shared if k not in ("seed", *SETTING, "norm") and len(pairs[k].unique()) > 1]
    rows = []
    by = [k for k in (*SETTING, "norm") if k in shared] + differing
    for values, pair in pairs.groupby(by, sort=True) if by else [((), pairs)]:
        for name, measure in measures.items():
            numbers = [
                measure.per_run(side).reindex(pair[f"run_{end}"]).to_numpy(dtype=float)
                for side, end in ((a, "a"), (b, "b"))
            ]
            there = ~np.isnan(numbers[0]) & ~np.isnan(numbers[1])
            if not there.any():
                continue
            first, second = (number[there] for number in numbers)
            scale: Scale = (
                "ratio" if (first > 0).all() and (second > 0).all() and "accuracy" not in name[:14] else "difference"
            )
            outcome = decide(combine(second, first, scale), _NO_EFFECT, scale, paired=True)
            rows.append(
                {**dict(zip(by, values, strict=True)), "number": name, "a": first.mean(), "b": second.mean()}
                | {"scale": scale, "effect": outcome.effect, "low": outcome.low, "high": outcome.high}
                | {"bootstrap_low": outcome.bootstrap_low, "bootstrap_high": outcome.bootstrap_high}
                | {"seeds": outcome.seeds}
            )
    if not rows:
        raise WrongInput("nothing to compare: no number is recorded on both sides")
    return pd.DataFrame(rows)


def as_text(table: pd.DataFrame, a: str, b: str) -> str:
    """The table for a terminal; intervals without 'no effect' are marked *."""
    lines = [f"b = {b} against a = {a}: b/a (×) or b - a; 96 % t-interval over seeds; *: without 1 or 0"]
    by = list(table.columns[: list(table.columns).index("number")])
    for values, part in table.groupby(by, sort=False) if by else [((), table)]:
        lines += ["", ", ".join(f"{name} {value}" for name, value in zip(by, values, strict=True))]
        rows = [("", "a", "b", "effect", "interval", "seeds", "")]
        for row in part.itertuples():
            zero = 1.0 if row.scale == "ratio" else 0.0
            mark = "*" if row.low > zero or row.high < zero else ""
            interval = forest.interval(row.low, row.high, row.scale) or "-"
            effect = forest.number(row.effect, row.scale)
            rows.append((row.number, f"{row.a:.4g}", f"{row.b:.4g}", effect, interval, str(row.seeds), mark))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines += ["  ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)).rstrip() for cells in rows]
    return "\n".join(lines)
