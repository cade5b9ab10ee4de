"""The analysis once more, in plain Python: loops over lists of dictionaries, one number after the other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def median(values: Iterable[float]) -> float:
    """Of what is a number; NaN: there is none."""
    numbers = sorted(value for value in values if not missing(value))
    if not numbers:
        return math.nan
    return (numbers[(len(numbers) - 1) // 2] + numbers[len(numbers) // 2]) / 2


def of(rows: Iterable[Row], metric: str, batch: str | None = None) -> list[dict[str, Any]]:
    """The rows of a metric; a number that is there twice, once."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        if row["metric"] == metric and batch in (None, row.get("batch", "train")):
            batch_of, x = row.get("batch", "train"), None if missing(row["x"]) else row["x"]
            found.setdefault((row["run"], row["step"], batch_of, row["layer"], x), dict(row))
    return list(found.values())


def by(rows: Iterable[Row], *keys: str) -> dict[Any, list[Row]]:
    """Rows by the values of keys; of one key, by its value."""
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        key = tuple(row[name] for name in keys)
        groups.setdefault(key if len(keys) > 1 else key[0], []).append(row)
    return groups


# ------------------------------------------------------------------------------------------------------------- training


def first(rows: Iterable[Row], run: str, metric: str, batch: str) -> float:
    """The earliest number."""
    own = sorted((row["step"], row["value"]) for row in of(rows, metric, batch) if row["run"] == run)
    return own[0][1] if own else math.nan


def learnt(rows: Iterable[Row], run: str) -> float:
    """The first step with an accuracy of 0.9; infinity: none."""
    reached = [row["step"] for row in of(rows, "accuracy", "train") if row["run"] == run and row["value"] >= 0.9]
    return min(reached, default=math.inf)


def grid_step(rows: Iterable[Row], run: str) -> float:
    """Steps between evaluations of the training accuracy."""
    steps = sorted(row["step"] for row in of(rows, "accuracy", "train") if row["run"] == run)
    if not steps:
        return math.nan
    gaps = [b - a for a, b in itertools.pairwise(steps)]
    return sum(gaps) / len(gaps) if gaps else 0.0


def steps_to_learn(rows: Sequence[Row], run: str, length: float) -> float:
    """No sooner than the grid can tell."""
    grid = grid_step(rows, run)
    reached = learnt(rows, run)
    return math.nan if missing(grid) else max(length if math.isinf(reached) else reached, grid)


def final(rows: Sequence[Row], run: str, metric: str, batch: str, diverged: bool) -> float:
    """Median of the last tenth."""
    own = [row for row in of(rows, metric, batch) if row["run"] == run]
    if not own:
        return math.nan
    if diverged:
        return first(rows, run, metric, batch) if metric == "accuracy" else math.inf
    last = max(row["step"] for row in own)
    return median(row["value"] for row in own if row["step"] >= 0.9 * last)


# -------------------------------------------------------------------------------------------------------- over training


def divided(rows: Sequence[Row], below: Sequence[Row]) -> list[dict[str, Any]]:
    """Each number by that of the same run, step and, where the rows have layers, layer; without one, nothing."""
    layered = any(row["layer"] is not None for row in rows)
    known: dict[Any, float] = {}
    for other in below:
        if layered or other["layer"] is None:
            known.setdefault((other["run"], other["step"], other["layer"] if layered else None), other["value"])
    found = []
    for row in rows:
        place = (row["run"], row["step"], row["layer"] if layered else None)
        if place in known:
            top, bottom = row["value"], known[place]
            if bottom == 0:
                value = math.nan if missing(top) or top == 0 else math.copysign(math.inf, top)
            else:
                value = top / bottom
            found.append({**row, "value": value})
    return found


def over_line(points: Mapping[float, float], along: str) -> float:
    """One number of a line: step length -> value."""
    there = [(x, value) for x, value in sorted(points.items()) if not missing(value)]
    if not there:
        return math.nan
    values = [value for _, value in there]
    return {
        "max": max(values),
        "min": min(values),
        "range": max(values) - min(values),
        "first": values[0],
        "last": values[-1],
    }[along]


def lines(
    rows: Sequence[Row], metric: str, along: str, grid: tuple[float, float] | None = None
) -> list[dict[str, Any]]:
    """A number for each run and step."""
    low, high = grid or (0.0, math.inf)
    found = []
    for (run, step), own in by(rows, "run", "step").items():
        points = {row["x"]: row["value"] for row in own if row["x"] > 0 and low <= row["x"] <= high}
        if metric.startswith(("landscape", "gradient_difference")):
            points = {x: math.inf if missing(value) else value for x, value in points.items()}
        if points:
            value = over_line(points, along)
            if along == "range" and missing(value):
                value = math.inf
            found.append({"run": run, "step": step, "layer": None, "value": value})
    return found


def inside(window: str, step: float, length: float, learnt_at: float) -> bool:
    """Whether a step belongs to the part of training."""
    return {
        "all": True,
        "early": 3 * step <= length,
        "late": 3 * step >= 2 * length,
        "learning": step <= learnt_at,
        "learnt": learnt_at < step,
    }[window]


def between(a: float, b: float, share: float) -> float:
    """Linear interpolation; next to an infinity, that one; between two opposite ones nothing."""
    if share in (0, 1) or a == b:
        return b if share == 1 else a
    infinite = [value for value in (a, b) if math.isinf(value)]
    return a + share * (b - a) if not infinite else infinite[0] if len(infinite) == 1 else math.nan


def at_step(line: Mapping[int, float], step: float) -> float:
    """The value at a step, between a line's own ones; NaN before, after, and beside a step without a number."""
    before, after = [s for s in line if s <= step], [s for s in line if s >= step]
    if not before or not after:
        return math.nan
    a, b = line[max(before)], line[min(after)]
    share = (step - max(before)) / (min(after) - max(before)) if min(after) > max(before) else 0.0
    return math.nan if missing(a) or missing(b) else between(a, b, share)


def over_steps(by_step: Mapping[int, float], window: str, length: float, learnt_at: float) -> float:
    """Median over every step of a part, where eight in it were probed."""
    known = {step: value for step, value in by_step.items() if not missing(value)}
    if sum(inside(window, step, length, learnt_at) for step in known) < 8:
        return math.nan
    every = range(min(known), max(known) + 1)
    return median(at_step(known, step) for step in every if inside(window, step, length, learnt_at))


def progress(rows: Iterable[Row], run: str) -> dict[int, float]:
    """Recorded step -> least of the losses so far, each the median of up to five around it."""
    own = sorted((r["step"], r["value"]) for r in of(rows, "data_loss", "train") if r["run"] == run)
    found: dict[int, float] = {}
    for place, (step, _) in enumerate(own):
        reach = min(2, place, len(own) - 1 - place)
        found[step] = min(median(v for _, v in own[place - reach : place + reach + 1]), *found.values(), math.inf)
    return found


def loss_at(told: Mapping[int, float], step: float) -> float:
    """Logarithm of the progress at any step; NaN: between two recorded ones more than 2^(1/4) apart."""
    before, after = [s for s in told if s <= step], [s for s in told if s >= step]
    if not before or not after:
        return math.nan
    share = (step - max(before)) / (min(after) - max(before)) if min(after) > max(before) else 0.0
    high, low = told[max(before)], told[min(after)]
    if high > low * 2**0.25 * (1 + 1e-9):
        return math.nan
    return (1 - share) * math.log(high) + share * math.log(low)


def at_level(by_step: Mapping[int, float], told: Mapping[int, float], level: float) -> float:
    """The value where the loss first comes down to a level; NaN: nowhere between two probed steps."""
    known = sorted((step, value) for step, value in by_step.items() if not missing(value))
    for (step, value), (later, other) in itertools.pairwise(known):
        high, low = loss_at(told, step), loss_at(told, later)
        if high == math.log(level):
            return value
        if high > math.log(level) >= low:
            return between(value, other, (high - math.log(level)) / (high - low)) if high > low else value
    return math.nan


def levels_between(high: float, low: float) -> list[float]:
    """A quarter of an octave apart."""
    found, k = [], 0
    while high / 2 ** (k / 4) >= low * (1 - 1e-9):
        found.append(high / 2 ** (k / 4))
        k += 1
    return found


def over_levels(by_step: Mapping[int, float], told: Mapping[int, float], levels: Sequence[float]) -> float:
    """Median over levels that were all reached, where eight steps between them were probed."""
    losses = [loss_at(told, step) for step, value in by_step.items() if not missing(value)]
    there = [loss for loss in losses if math.log(levels[-1]) - 1e-9 <= loss <= math.log(levels[0]) + 1e-9]
    found = [at_level(by_step, told, level) for level in levels]
    return math.nan if len(there) < 8 or any(map(missing, found)) else median(found)


def over_layers(rows: Iterable[Row], run: str) -> dict[int, float]:
    """Step -> median over the layers."""
    own = [row for row in rows if row["run"] == run]
    return {step: median(row["value"] for row in some) for step, some in by(own, "step").items()}


def without_first_layer(rows: Sequence[Row]) -> list[Row]:
    """Without the layer that each run records first."""
    start = {run: next(row["layer"] for row in own if row["layer"]) for run, own in by(rows, "run").items()}
    return [row for row in rows if row["layer"] != start[row["run"]]]


# ---------------------------------------------------------------------------------------------------------------- drift


def entering(rows: Sequence[Row], metric: str, batch: str) -> list[dict[str, Any]]:
    """After the normalisation where there is one behind the layer, else of the layer itself."""
    after = of(rows, f"{metric}_after_normalisation", batch)
    normalised = {(row["run"], row["layer"]) for row in after}
    before = of(rows, f"{metric}_before_normalisation", batch)
    return after + [row for row in before if (row["run"], row["layer"]) not in normalised]


def drift(rows: Sequence[Row], what: str, batch: str, since: str, *, relative: bool) -> list[dict[str, Any]]:
    """By one update; since the start, the start itself left out; from one step to the next."""
    stem = {"update": "by_update", "start": "since_start", "step": "since_last"}[since]
    moved = entering(rows, f"{what}_drift_{stem}", batch)
    if relative:
        power = 1.0 if what == "variance" else 0.5  # of a variance the unit is the variance
        spread = [
            {**row, "value": math.nan if missing(row["value"]) or row["value"] < 0 else row["value"] ** power}
            for row in entering(rows, "variance", batch)
        ]
        moved = divided(moved, spread)
    probed = {run: {row["step"] for row in own} for run, own in by(moved, "run").items()}
    if since == "start":
        return [row for row in moved if row["step"] > min(probed[row["run"]])]
    return [row for row in moved if since == "update" or row["step"] - 1 in probed[row["run"]]]


# --------------------------------------------------------------------------------------------------------------- across


def chosen_by_pilots(judged: Mapping[int, Mapping[float, float]], better: Callable[..., Any]) -> float:
    """The value at which the median of the two lowest seeds is best."""
    pilots: dict[float, float] = {}
    for value in sorted({value for own in judged.values() for value in own}):
        told = median(judged[seed][value] for seed in sorted(judged)[:2])
        if not missing(told):
            pilots[value] = told
    return better(pilots, key=lambda value: pilots[value])


Ends = tuple[float, float, float]


def longest_stretch(good: Sequence[tuple[float, bool]]) -> tuple[Ends, Ends]:
    """Decades of the longest run of good values, of (value, good) in order, and its last; with what they may be."""
    longest, found = -1.0, None
    for i, (low, _) in enumerate(good):
        for j, (high, _) in enumerate(good[i:], start=i):
            if all(fine for _, fine in good[i : j + 1]) and math.log10(high / low) > longest + 1e-12:
                longest, found = math.log10(high / low), (i, j)
    if found is None:
        return (0.0, 0.0, 0.0), (good[0][0], 0.0, good[0][0])
    i, j = found
    last = good[j][0]
    next_one = good[j + 1][0] if j + 1 < len(good) else math.inf
    most = math.log10(next_one / good[i - 1][0]) if i else math.inf
    return (longest, longest, most), (last, last, next_one)
