"""Two sweeps, or two arms, number by number: paired differences over seeds, with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis import asked_for, forest, select
from analysis.claims import POINT
from analysis.decide import DIFFERENCE, RATIO, Kind, Outcome, Region, standing, told
from analysis.decide.typical import ALPHA
from analysis.errors import WrongInput, near_miss
from analysis.folders import Damaged
from analysis.measures import Along, Measure, final, over_training, refuse_two_of_a_seed, steps_to_learn
from analysis.progress import FEWEST_STEPS
from analysis.runs import Runs
from analysis.select import CHOICE, LENGTH, NORM, Ambiguous, Setting, plain
from analysis.usable import ended, usable

_WORDS = {"supported": "b is higher", "contradicted": "b is lower"}
_BOUNDED = "fraction"
"""Unit of shares such as accuracies: 0.98 and 0.99 are 0.01 apart, not a factor of 1.01."""


@dataclass(frozen=True)
class _Pairs:
    """Runs of two sides in one setting, paired by seed; `unpaired`: the seeds that one side lacks, in words."""

    setting: str
    runs: tuple[tuple[str, str], ...]
    unpaired: str


def compare(
    a: str,
    b: str,
    runs: Sequence[Path] = (),
    *,
    by: Sequence[str] = (),
    metrics: Sequence[str] = (),
    results_version: int | None = None,
    damaged: Damaged | None = None,
) -> pd.DataFrame:
    """One row per setting and number: a, b (medians over seeds), word, effect b against a, interval, seeds, notes.

    Runs are paired by seed, within settings whose runs are alike in every other key of what was trained. Those that
    have not ended are left out, and diverged ones of what probes measured; the notes say so. Shares, cosines and what
    can be negative are compared as differences, all else as ratios. The interval and the word are those of the ledger:
    no difference is told within a factor of 1.25, or of shares within one point.

    Args:
        a, b: two folders of runs; or, with `runs`, two arms in these.
        runs: run folders, or folders of them.
        by: the keys that make the arms, instead of the normalisation; of two folders, keys that need not be alike.
        metrics: only these; none: all that is recorded, as its median over training (the greatest along a line), and
            the numbers of training.
        results_version: only runs whose results are of this version.
        damaged: takes what is wrong with damaged runs, which are then left out; None: they raise.

    Raises:
        WrongInput: a is b, nothing that may be compared, no such arm or metric, an arm with two runs of a seed;
            DamagedFile.
    """
    if a == b:
        raise WrongInput(f"{a} would be compared with itself: give two normalisations and their RUNS, or two sweeps")
    for name in () if runs else (a, b):
        if not Path(name).exists():
            raise WrongInput(f"no such folder: {Path(name).absolute()}; to compare normalisations name their RUNS too")
    keys = asked_for.keys_of(by)
    if runs:
        whole = Runs.load(list(runs), results_version, damaged=damaged)
        sides = (whole, whole)
        pairs = list(_arms(whole, a, b, keys))
    else:
        first, second = (Runs.load(Path(path), results_version, damaged=damaged) for path in (a, b))
        sides = (first, second)
        pairs = list(_folders(first, second, by))
    return _table(sides, pairs, _measures(sides, metrics))


def _arms(runs: Runs, a: str, b: str, by: Sequence[str]) -> Iterator[_Pairs]:
    """Pairs of two arms by seed, setting by setting."""
    known = select.arms_by(runs, by)
    arms = [asked_for.arm_named(name, known) for name in (a, b)]
    together = [setting for setting in select.settings(ended(runs), arms) if len(setting.names) == 2]
    if not together:
        said = select.apart(runs, arms, by=by)
        raise WrongInput(f"nothing to compare: {said or f'{a} or {b} has no run that has ended'}")
    for setting in together:
        yield _paired(setting.label, [_by_seed(setting, arm.name, by) for arm in arms], (a, b))


def _by_seed(setting: Setting, arm: str, by: Sequence[str]) -> dict[int, str]:
    """Seed -> run of an arm. WrongInput where a seed has several."""
    try:
        refuse_two_of_a_seed(setting.own(arm))
    except Ambiguous as error:
        further = " ".join(f"--by {key}" for key in by)
        raise WrongInput(f"{arm}, {setting.label}: {error} ({further} --by KEY)") from error
    return {int(setting.runs.each["seed"][run]): run for run in setting.of[arm]}


def _paired(label: str, seeds: Sequence[Mapping[int, str]], names: Sequence[str]) -> _Pairs:
    """Runs of two sides, by seed -> run, paired; with a note on seeds that one side lacks."""
    one, other = seeds
    told = [
        f"seed {', '.join(map(str, lacking))} in {name} alone"
        for name, own, rest in ((names[0], one, other), (names[1], other, one))
        if (lacking := sorted(set(own) - set(rest)))
    ]
    return _Pairs(label, tuple((one[seed], other[seed]) for seed in sorted(one) if seed in other), "; ".join(told))


def _folders(a: Runs, b: Runs, by: Sequence[str]) -> Iterator[_Pairs]:
    """Pairs of the runs of two sweeps that are alike in every key and the seed."""
    ends = [ended(a), ended(b)]
    if not all(len(end.each) for end in ends):
        raise WrongInput("nothing to compare: one side has no run that has ended")
    keys = [key for key in dict.fromkeys([CHOICE, *a.keys, *b.keys]) if key not in by]
    if unknown := [key for key in by if key not in {*a.keys, *b.keys, NORM}]:
        raise WrongInput(f"--by {unknown[0]}: no run has such a key; {near_miss(unknown[0], {*a.keys, *b.keys})}")
    if NORM in by:
        keys = [key for key in keys if key.partition(".")[0] != NORM]
    values = [
        {run: {key: _value(end, other, run, key) for key in keys} for run in end.each.index}
        for end, other in (ends, ends[::-1])
    ]
    groups: list[dict[tuple[str, ...], dict[int, str]]] = [{}, {}]
    for end, group, known in zip(ends, groups, values, strict=True):
        for run, own in known.items():
            seeds = group.setdefault(tuple(own.values()), {})
            seed = int(end.each["seed"][run])
            if seed in seeds:
                told = _differing(known, [(run, seeds[seed])]) or ", ".join(by)
                raise WrongInput(f"{run} and {seeds[seed]} differ only in {told}: give a folder with one of them")
            seeds[seed] = run
    shared = [key for key in groups[0] if key in groups[1]]
    if not shared:
        raise WrongInput(f"nothing to compare: {_nearest(values, keys)}")
    telling = {k for i, k in enumerate(keys) if len({key[i] for key in shared}) > 1}
    telling |= {"data", "model", CHOICE, "optim.lr"}
    for key in shared:
        named = zip(keys, key, strict=True)
        label = ", ".join(f"{'norm' if k == CHOICE else k} {v}" for k, v in named if k in telling)
        yield _paired(label, [group[key] for group in groups], ("a", "b"))


def _value(runs: Runs, other: Runs, run: str, key: str) -> str:
    """A key's value; of runs that are older than the key, its default as the other side knows it."""
    value = runs.value(run, key)
    if value is None and not runs.has(run, key):
        group = key.partition(".")[0]
        value = other.default(group, runs.value(run, CHOICE if group == NORM else group), key)
    return plain(value)


def _differing(known: Mapping[str, Mapping[str, str]], pairs: Sequence[tuple[str, str]]) -> str:
    run, other = pairs[0]
    return ", ".join(key for key, value in known[run].items() if known[other][key] != value)


def _nearest(values: Sequence[Mapping[str, Mapping[str, str]]], keys: Sequence[str]) -> str:
    """The keys in which the nearest runs of two sweeps differ, and a way out."""
    distinct = [list({tuple(own.values()): own for own in known.values()}.values()) for known in values]
    nearest = min(
        ({k: (one[k], two[k]) for k in keys if one[k] != two[k]} for one in distinct[0] for two in distinct[1]),
        key=len,
    )
    names = {key: "norm" if key == CHOICE else key for key in nearest}
    told = ", ".join(f"{names[key]} ({x}, {y})" for key, (x, y) in nearest.items())
    one = " ".join(f"{names[key]}={x}" for key, (x, _) in nearest.items())
    way = "" if LENGTH in nearest else f", or let it differ: {' '.join(f'--by {name}' for name in names.values())}"
    return f"no two runs are alike in every key: the nearest differ in {told}; run both with {one}{way}"


# -------------------------------------------------------------------------------------------------------------- numbers


def _measures(sides: Sequence[Runs], metrics: Sequence[str]) -> dict[str, Measure]:
    known = pd.concat([side.kinds() for side in sides]).drop_duplicates(["metric", "batch"])
    for name in metrics:
        if name not in set(known["metric"]):
            raise WrongInput(f"metric {name!r}: no probe recorded it; {near_miss(name, set(known['metric']))}")
    found: dict[str, Measure] = {}
    recorded = set(zip(known["metric"], known["batch"], strict=True))
    if not metrics:
        if ("accuracy", "train") in recorded:
            found["steps to 90 % training accuracy"] = steps_to_learn()
        for metric, batch in recorded & {(m, b) for m in ("accuracy", "data_loss") for b in ("train", "test")}:
            found[f"final {metric.replace('_', ' ')}, {batch}"] = final(metric, batch)
        found = dict(sorted(found.items(), key=lambda item: (not item[0].startswith("steps"), item[0])))
    for row in known.sort_values(["metric", "batch"]).itertuples():
        if row.metric in metrics or (not metrics and row.probe != "training"):
            along: Along | None = "max" if row.along else None
            found[f"{row.metric}, {row.batch}"] = over_training(str(row.metric), batch=str(row.batch), along=along)
    return found


def kind_of(measure: Measure, sides: Sequence[Runs]) -> Kind:
    """How a measure's metric is compared: shares, cosines and what can be negative by differences, else by ratios."""
    metric, batch = measure.metrics[0]
    if measure.in_steps:
        return RATIO
    if "cosine" in metric.split("_"):
        return DIFFERENCE
    for side in sides:
        rows = side.records(metric, batch)
        if (rows["unit"] == _BOUNDED).any():
            return replace(DIFFERENCE, smallest=POINT)
        if (rows["value"] < 0).any():
            return DIFFERENCE
    return RATIO


def _table(sides: tuple[Runs, Runs], pairs: Sequence[_Pairs], measures: Mapping[str, Measure]) -> pd.DataFrame:
    kinds = {name: kind_of(measure, sides) for name, measure in measures.items()}
    rows: list[dict[str, Any]] = []
    for pair in pairs:
        chosen = list(zip(*pair.runs, strict=True)) if pair.runs else [(), ()]
        for number, measure in measures.items():
            columns: list[pd.DataFrame] = []
            notes: list[str] = []
            for side, own, name in zip(sides, chosen, "ab", strict=True):
                counted, left = usable(side.only(own), measure, name)
                columns.append(measure.by_seed(counted).dropna())
                notes += left
            first, second = (one.loc[one.index.isin(other.index)] for one, other in (columns, columns[::-1]))
            if not len(first):
                rows += _too_few(pair, number, measure, kinds[number], list(zip(sides, chosen, strict=True)))
                continue
            kind = kinds[number]
            outcome = kind.decide([second, first], Region(low=kind.none))
            rows.append(
                {"setting": pair.setting, "number": number}
                | {"a": first["number"].median(), "b": second["number"].median()}
                | {"never_a": _bounds(first), "never_b": _bounds(second)}
                | {"scale": kind.unit, "effect": outcome.effect, "low": outcome.low, "high": outcome.high}
                | {"word": _word(outcome), "seeds": outcome.seeds}
                | {"notes": "; ".join(filter(None, (*notes, pair.unpaired)))}
            )
    if not any(row["seeds"] for row in rows):
        told = [f"{pair.setting}: {pair.unpaired}" for pair in pairs if pair.unpaired]
        told += list(dict.fromkeys(row["notes"] for row in rows))
        raise WrongInput("; ".join(["nothing to compare: no seed has a number on both sides", *told]))
    return pd.DataFrame(rows)


def _bounds(numbers: pd.DataFrame) -> int:
    """How many numbers are only a bound."""
    return int((np.isinf(numbers["high"]) & np.isfinite(numbers["number"])).sum())


def _word(outcome: Outcome) -> str:
    """Whether b is higher, lower, or no different, with its standing."""
    word = told(outcome.word, standing(outcome.seeds))
    for known, said in _WORDS.items():
        word = word.replace(known, said)
    return f"{word} ({outcome.enough} seeds would decide)" if word == "undecided" and outcome.enough else word


def _too_few(
    pair: _Pairs, number: str, measure: Measure, kind: Kind, own: Sequence[tuple[Runs, Sequence[str]]]
) -> list[dict[str, Any]]:
    """The row of a number that no seed has because too few steps were probed; none where that is not why."""
    probed = pd.concat([measure.probed(side).reindex(list(runs)) for side, runs in own])
    if not (probed < FEWEST_STEPS).any():
        return []
    few = f"too few probed steps ({probed.min():.0f}, {FEWEST_STEPS} are needed)"
    nothing = dict.fromkeys(("a", "b", "effect", "low", "high"), math.nan)
    told = {"never_a": 0, "never_b": 0, "scale": kind.unit, "word": "", "seeds": 0, "notes": few}
    return [{"setting": pair.setting, "number": number, **nothing, **told}]


def as_text(table: pd.DataFrame, a: str, b: str) -> str:
    """The table for a terminal, a and b as medians over seeds."""
    level = f"{100 - 200 * ALPHA:g} %"
    lines = [f"b = {b} against a = {a}: b/a (×) or b - a of the median seed, with its interval ({level} or wider)"]
    for setting, part in table.groupby("setting", sort=False):
        lines += ["", str(setting)]
        rows = [("", "a", "b", "effect", "interval", "seeds", "")]
        notes: dict[str, list[str]] = {}
        for row in part.itertuples():
            never = [f"never in {end}: {count} of {row.seeds}" for end, count in _never(row) if count]
            interval = forest.interval(row.low, row.high, row.scale) or "-"
            effect = forest.number(row.effect, row.scale)
            ends = ["-" if math.isnan(end) else f"{end:.4g}" for end in (row.a, row.b)]
            cells = (row.number, *ends, effect or "-", interval, str(row.seeds))
            rows.append((*cells, ", ".join([*never, row.word])))
            notes.setdefault(str(row.notes), []).append(row.number)
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines += ["  ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)).rstrip() for cells in rows]
        for note, numbers in notes.items():
            where = "" if len(numbers) == len(part) else f" ({', '.join(numbers)})"
            lines += [f"note: {note}{where}"] if note else []
    return "\n".join(lines)


def _never(row: Any) -> tuple[tuple[str, int], ...]:
    return (("a", row.never_a), ("b", row.never_b))
