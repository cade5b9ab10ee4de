"""The ledger: published claims, each decided from records by a rule that was fixed before.

A file here holds CLAIMS, a tuple of `Claim`; adding a claim is one entry. A user's own come from their own file, which
holds CLAIMS too: `from analysis.claims import Claim, Term, more, ...`. How a verdict is reached, and how often it is
wrong, stands in `analysis.claims.decide`.
"""

from __future__ import annotations

import importlib
import runpy
from collections.abc import Iterable
from pathlib import Path

from analysis.claims.engine import Verdict, judge, settings_of, table
from analysis.claims.measures import drift, final, learnt_share, over_training, steps_to_learn
from analysis.claims.model import MUCH, SIMILAR, Claim, Comparison, Measure, Region, Term, alike, less, more, value
from analysis.errors import WrongInput, near_miss

__all__ = ["MUCH", "SIMILAR", "Claim", "Comparison", "Measure", "Region", "Term", "Verdict"]
__all__ += ["alike", "drift", "final", "get", "judge", "learnt_share", "less", "load", "more", "names"]
__all__ += ["over_training", "settings_of", "steps_to_learn", "table", "value"]

_FILES = ("training", "shift", "landscape", "lp", "theory")


def load(files: Iterable[Path] = ()) -> list[Claim]:
    """All claims, S1 first, then those of the users' files. WrongInput: a file without claims, a name used twice."""
    claims = [claim for file in _FILES for claim in importlib.import_module(f"{__name__}.{file}").CLAIMS]
    claims.sort(key=lambda claim: int(claim.name[1:]))
    for file in files:
        claims += _from(Path(file))
    names = [claim.name for claim in claims]
    for name in names:
        if names.count(name) > 1:
            raise WrongInput(f"claim {name!r} is there twice; give yours another name")
    return claims


def names() -> list[str]:
    """The names of the claims of this room."""
    return [claim.name for claim in load()]


def get(name: str, claims: Iterable[Claim] | None = None) -> Claim:
    """The claim of this name. WrongInput with the nearest name."""
    known = {claim.name: claim for claim in (load() if claims is None else claims)}
    if name not in known:
        raise WrongInput(f"unknown claim {name!r}; {near_miss(name, known)}")
    return known[name]


def _from(file: Path) -> list[Claim]:
    if not file.is_file():
        raise WrongInput(f"--claims {file}: no such file")
    try:
        claims = runpy.run_path(str(file)).get("CLAIMS")
    except Exception as error:
        raise WrongInput(f"--claims {file}: {type(error).__name__}: {error}") from error
    if not isinstance(claims, list | tuple) or not all(isinstance(claim, Claim) for claim in claims) or not claims:
        raise WrongInput(f"--claims {file}: must hold CLAIMS, a list of analysis.claims.Claim")
    return list(claims)
