"""Which runs count, in verdicts, comparisons and figures alike.

A run counts once it has ended: one that is under way has not yet had the time to do what is asked. A diverged run
counts where the measure has a rule for it (it never learnt), and is left out of what probes measured. One that was not
looked at for what is measured has nothing to say, which is not the same as having no number.
"""

from __future__ import annotations

from analysis.claims import BySeed
from analysis.run_folder import ENDED
from analysis.runs import Runs


def ended(runs: Runs) -> Runs:
    """Those in which nothing more is to be done."""
    return runs.only(runs.each.index[runs.each["state"].isin(ENDED)])


def usable(runs: Runs, measure: BySeed, arm: str) -> tuple[Runs, tuple[str, ...]]:
    """The runs that a measure counts.

    Args:
        runs: those of one arm.
        measure: what is to be measured of them.
        arm: its name, for the notes.

    Returns:
        The runs that count, and notes on those that are left out or did not finish.
    """
    notes = []
    own = ended(runs)
    if running := len(runs.each) - len(own.each):
        notes.append(f"{running} of {arm} not ended, left out")
    diverged = own.each["state"] == "diverged"
    if count := int(diverged.sum()):
        notes.append(f"{count} of {arm} diverged, {'counted as such' if measure.diverged_count else 'left out'}")
        own = own if measure.diverged_count else own.only(own.each.index[~diverged])
    # Across a key one run may tell where the best value is and another, of other probes, what is measured there.
    for metric, batch in () if measure.free else measure.metrics:
        asked = own.declaring(metric, batch)
        if len(asked) < len(own.each):
            notes.append(f"{len(own.each) - len(asked)} of {arm} were not asked for {metric}, left out")
            own = own.only([run for run in own.each.index if run in asked])
    return own, tuple(notes)
