"""Arms as a person names them on a command line."""

from __future__ import annotations

import re
from collections.abc import Sequence

from analysis.errors import WrongInput, near_miss
from analysis.select import LENGTH, NORM, Arm


def keys_of(by: Sequence[str]) -> tuple[str, ...]:
    """The keys that make arms where a person names some; none: the normalisation. WrongInput: the runs' length."""
    if LENGTH in by:
        raise WrongInput(f"--by {LENGTH}: runs of different lengths are never held against each other")
    return tuple(dict.fromkeys(by)) or (NORM,)


def arm_named(name: str, arms: Sequence[Arm]) -> Arm:
    """The arm of this name. WrongInput with the nearest name."""
    for arm in arms:
        if arm.name == name:
            return arm
    keys = arms[0].keys if arms else (NORM,)
    what = "the normalisation" if keys == (NORM,) else f"the arm (by {', '.join(keys)})"
    raise WrongInput(f"no run of {what} {name!r}; {near_miss(name, [arm.name for arm in arms])}")


def arm_names(names: str, arms: Sequence[Arm]) -> list[str]:
    """One name, or two; a comma within brackets, or in the name of an arm, separates none."""
    if names in {arm.name for arm in arms}:
        return [names]
    told = [name.strip() for name in re.split(r",(?![^\[]*\])", names)]
    if len(told) > 2 or len(set(told)) < len(told) or not all(told):
        raise WrongInput(f"{names}: a card holds one arm, or two different ones, as A,B")
    return told
