"""Which of the pilots' runs lie where claims choose: the values at which an experiment's other seeds must be run."""

from __future__ import annotations

from collections.abc import Iterable

from analysis import select
from analysis.across import grid_of, needed_by
from analysis.claims import Claim, Comparison, Unanswerable
from analysis.measure import shared_levels
from analysis.runs import Runs
from analysis.select import Ambiguous, Setting
from analysis.usable import usable


def chosen(runs: Runs, claims: Iterable[Claim]) -> set[str]:
    """Names of the run folders whose like, with another seed, some of the claims reads.

    Of a best value the one that the seeds at hand choose (at the grid's end too), and where a claim goes over all
    values, or can choose none of them, all.
    """
    found: set[str] = set()
    for claim in claims:
        for setting in select.settings(runs, claim.arms, free=claim.free, about=claim.about):
            for comparison in claim.comparisons:
                for form in (comparison, *comparison.forms):
                    found |= _read(form, setting)
    return {folder for folder, training in runs.training.items() if training in found}


def _read(comparison: Comparison, setting: Setting) -> set[str]:
    terms = [term for term in comparison.terms if term.arm.name in setting.names]
    grid = grid_of(setting.runs, {key: None for term in terms for key in term.measure.free})
    counted = [usable(setting.own(t.arm.name), t.measure, t.arm.name)[0] for t in terms]
    found: set[str] = set()
    try:
        grid |= shared_levels([(t.measure, own) for t, own in zip(terms, counted, strict=True)])
    except (Ambiguous, Unanswerable):
        return found
    for term, own in zip(terms, counted, strict=True):
        try:
            found |= needed_by(term.measure, own, grid) or set(setting.own(term.arm.name).each.index)
        except (Ambiguous, Unanswerable):  # the verdict will say it; no seed more would change that
            continue
    return found
