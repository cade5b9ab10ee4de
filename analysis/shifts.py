"""Internal covariate shift in its two measures, which have one name: whether they rank two arms alike.

Definition 2.1 is how much a layer's gradient changes when the layers before it move; the refined coordinate check is
how much its output changes for the same reason, its own weights held.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analysis.claims import BySeed, Claim, Comparison, Term, in_forms, less
from analysis.measures import Levels, Measure, Window, over_training
from analysis.select import Arm


def of_gradients(window: Window) -> Measure:
    """Definition 2.1, relative; in the first layer it is 0, which is left out."""
    return over_training("ics_relative", name="||G - G'|| / ||G||", skip_first_layer=True, window=window)


def of_outputs(window: Window) -> Measure:
    """The change of a layer's output by its inputs alone, over the output; without the first layer, whose stay."""
    return over_training("input_part", name="change by inputs", skip_first_layer=True, window=window)


def both_shifts(
    name: str, source: str, a: Arm, b: Arm, *, levels: Levels | None, experiment: str, about: Mapping[str, Any]
) -> Claim:
    """The claim that in arm `a` layers shift less than in `b`, by both measures; *mixed*: they rank them differently.

    Args:
        name, source, experiment, about: as `Claim` has them.
        a, b: the arms.
        levels: of the data loss, for equal progress, which then decides, with equal steps beside it; None: equal steps
            decide, as where the arms do not come to the same losses.
    """

    def compared(measure: BySeed) -> Comparison:
        return less(Term.of(a, measure), Term.of(b, measure))

    windows: dict[str, Window] = {"equal loss": levels} if levels else {}
    windows["equal step"] = "all"
    comparisons = (
        in_forms(compared, {form: make(window) for form, window in windows.items()})
        for make in (of_gradients, of_outputs)
    )
    return Claim(
        name=name,
        statement=f"By one update, layers shift less with {a.name} than with {b.name}, whether the shift is that of "
        "gradients (Definition 2.1) or of outputs (refined coordinate check).",
        source=source,
        about=about,
        comparisons=tuple(comparisons),
        remark="Mixed: the two measures rank the arms in opposite order.",
        experiment=experiment,
        core=False,
    )
