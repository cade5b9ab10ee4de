"""Claims against records: every claim in every setting."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from analysis.claims.decide import Outcome, Word, combine, decide, worst
from analysis.claims.measures import FEWEST_IN_PART, FEWEST_STEPS, Records
from analysis.claims.model import Claim, Comparison, Task, Term

SETTING = ["data", "model", "lr"]
DIFFERING = ["optimiser", "batch_size", "weight_decay", "loss_reduction", "schedule", "numerics", "steps"]
_FEW = f"too few probed steps (fewer than {FEWEST_STEPS}; in a part of training {FEWEST_IN_PART})"
ENDED = ("finished", "diverged")


@dataclass(frozen=True)
class Setting:
    """Runs that may be compared: alike in everything but normalisation and seed."""

    label: str
    task: Task
    lr: float
    records: Records


@dataclass(frozen=True)
class Part:
    """One comparison and what became of it; `notes`: runs that were left out."""

    comparison: Comparison
    outcome: Outcome
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """One claim in one setting. `setting` is empty where no run is of the kind that the claim is about."""

    claim: Claim
    setting: str
    word: Word
    parts: tuple[Part, ...]
    reason: str

    @property
    def seeds(self) -> int:
        """The fewest seeds of any deciding comparison."""
        return min((part.outcome.seeds for part in self.parts if part.comparison.decides), default=0)


def settings_of(frame: pd.DataFrame, further: pd.DataFrame | None = None) -> list[Setting]:
    """The settings in a table as `analysis.load_runs` gives it, in the order of data, model and learning rate.

    further: more columns, by run, that tell settings apart.
    """
    if not len(frame):
        return []
    records = Records(frame)
    units = [unit for unit in frame["unit"].dropna().unique() if str(unit).startswith("squared error")]
    squared = set(frame.loc[frame["unit"].isin(units), "run"].astype(str).unique())
    runs = records.runs if further is None else records.runs.join(further)
    more = [] if further is None else list(further.columns)
    found = []
    for values, alike in runs.groupby(SETTING, observed=True, sort=True, dropna=False):
        differing = [name for name in [*DIFFERING, *more] if len(alike[name].unique()) > 1]
        parts = alike.groupby(differing, observed=True, dropna=False) if differing else [((), alike)]
        for _, part in parts:
            extra = [f"{name.replace('_', ' ')} {plain(part[name].iloc[0])}" for name in differing]
            label = f"{values[1]} on {values[0]}, learning rate {plain(values[2])}"
            task: Task = "regression" if squared & set(part.index) else "classification"
            found.append(Setting(", ".join([label, *extra]), task, float(values[2]), records.only(part.index)))
    return found


def judge(frame: pd.DataFrame, claims: Iterable[Claim], further: pd.DataFrame | None = None) -> list[Verdict]:
    """Every claim in every setting that it is about, in the order of the claims.

    frame, further: as `settings_of` takes them; runs that have not ended are named and left out.
    """
    settings = settings_of(frame, further)
    verdicts = []
    for claim in claims:
        if claim.untestable:
            verdicts.append(Verdict(claim, "", "not testable", (), claim.untestable))
            continue
        about = [s for s in settings if claim.task in (None, s.task) and claim.lr in (None, s.lr)]
        verdicts += [_judge(claim, setting) for setting in about]
        if not about:
            verdicts.append(Verdict(claim, "", "not run", (), f"needs {claim.needs}"))
    return verdicts


def _judge(claim: Claim, setting: Setting) -> Verdict:
    comparisons = claim.compared(setting.task)
    deciding = sum(comparison.decides for comparison in comparisons)
    parts = tuple(_compare(comparison, setting.records, deciding) for comparison in comparisons)
    word = worst([part.outcome.word for part in parts if part.comparison.decides])
    reasons = [part.outcome.reason for part in parts if part.comparison.decides and part.outcome.word == word]
    return Verdict(claim, setting.label, word, parts, "; ".join(dict.fromkeys(filter(None, reasons))))


def _compare(comparison: Comparison, records: Records, together: int) -> Part:
    runs = records.runs
    for term in comparison.terms:
        if not (runs["norm"] == term.norm).any():
            return Part(comparison, _none("not run", f"no runs of {term.norm}"))
    for term in comparison.terms:
        own = set(runs.index[runs["norm"] == term.norm])
        for metric, batch in term.measure.metrics:
            if not own & records.recording(metric, batch):
                said = f"no run of {term.norm} records {metric}{f' on the {batch} batch' if batch else ''}"
                return Part(comparison, _none("not testable", said))
    notes: list[str] = []
    columns = []
    for term in comparison.terms:
        chosen = _usable(term, runs, notes)
        twice = chosen[chosen.duplicated(["seed"])]
        if len(twice):
            said = f"runs of {term.norm} with seed {twice['seed'].iloc[0]:g} differ in other options: give one of them"
            return Part(comparison, _none("inconclusive", said))
        # several comparisons take the same measure
        per_run = records.once(term.measure, partial(term.measure.per_run, records))
        numbers = per_run.reindex(chosen.index).to_numpy(dtype=float)
        coarse = np.zeros(len(chosen))
        if term.measure.resolution:
            coarse = term.measure.resolution(records).reindex(chosen.index).fillna(0).to_numpy(dtype=float)
            coarse = coarse / numbers if comparison.scale == "ratio" else coarse
        columns.append(pd.DataFrame({"number": numbers, "coarse": coarse}, index=chosen["seed"].astype(int)))
    both = pd.concat(columns, axis=1, join="inner").sort_index()
    a = both.iloc[:, 0].to_numpy()
    b = both.iloc[:, 2].to_numpy() if len(columns) == 2 else None
    numbers = combine(a, b, comparison.scale)
    unpaired = len(numbers) - int((~np.isnan(numbers)).sum())
    if unpaired:
        notes.append(f"{unpaired} seed{'s' if unpaired > 1 else ''} without a finite number or with {_FEW}")
    coarse = both.iloc[:, 1::2].to_numpy()
    resolution = float(np.nanmean(coarse)) if np.isfinite(coarse).any() else 0.0
    outcome = decide(
        numbers,
        comparison.region,
        comparison.scale,
        paired=comparison.paired,
        together=together if comparison.decides else 1,
        resolution=resolution,
    )
    return Part(comparison, outcome, tuple(notes))


def _usable(term: Term, runs: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """The ended runs of a normalisation; diverged ones only where the measure has a rule for them."""
    own = runs[runs["norm"] == term.norm]
    running = int((~own["state"].isin(ENDED)).sum())
    if running:
        notes.append(f"{running} of {term.norm} not ended, left out")
    own = own[own["state"].isin(ENDED)]
    diverged = own["state"] == "diverged"
    if diverged.any():
        counted = term.measure.diverged_count
        notes.append(f"{int(diverged.sum())} of {term.norm} diverged, {'counted as such' if counted else 'left out'}")
        own = own if counted else own[~diverged]
    return own


def _none(word: Word, reason: str) -> Outcome:
    return Outcome(word, reason=reason)


def plain(number: Any) -> str:
    """A config value for people."""
    if isinstance(number, float | np.floating):
        return "none" if math.isnan(number) else f"{number:g}".replace("e-0", "e-").replace("e+0", "e+")
    return str(number)


def table(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """The ledger as numbers: one row per claim, setting and comparison."""
    rows = []
    for verdict in verdicts:
        common: dict[str, Any] = {
            "claim": verdict.claim.name,
            "statement": verdict.claim.statement,
            "source": verdict.claim.source,
        }
        common |= {"setting": verdict.setting, "verdict": verdict.word, "reason": verdict.reason}
        for part in verdict.parts or (None,):
            if part is None:
                rows.append(common)
                continue
            o, c = part.outcome, part.comparison
            rows.append(
                common
                | {"comparison": c.what, "measure": c.a.measure.says, "scale": c.scale, "region": c.region.says()}
                | {"decides": c.decides, "outcome": o.word, "seeds": o.seeds, "effect": o.effect}
                | {"interval_low": o.low, "interval_high": o.high}
                | {"bootstrap_low": o.bootstrap_low, "bootstrap_high": o.bootstrap_high}
                | {"each_seed": " ".join(f"{x:.6g}" for x in o.each), "notes": "; ".join((o.reason, *part.notes))}
            )
    order = ["claim", "statement", "source", "setting", "verdict", "reason", "comparison", "measure", "scale", "region"]
    order += ["decides", "outcome", "seeds", "effect", "interval_low", "interval_high", "bootstrap_low"]
    order += ["bootstrap_high", "each_seed", "notes"]
    return pd.DataFrame(rows, columns=order)
