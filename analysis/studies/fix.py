"""Fixing the rules of a study: beside its claims stands what decides them, so that no rule changes unnoticed.

`rules.json` in a study's folder holds for each claim the rule in words, the date on which it was fixed, the SHA-256 of
the data that decide, and, where they changed later, the date of the latest change. A test compares. A rule that was
changed on purpose is fixed anew, which prints what changed:

    python -m analysis.studies.fix [STUDY or FOLDER ...]
"""

from __future__ import annotations

import datetime
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis import best, measures, progress, studies
from analysis.claims import Claim, Comparison, Term
from analysis.decide import outcome, typical
from analysis.errors import WrongInput
from analysis.select import plain

FILE = "rules.json"
CONSTANTS = {
    outcome: ("SEEDS", "PROVISIONAL", "LEANS"),
    typical: ("ALPHA",),
    best: ("PILOTS",),
    measures: ("END",),
    progress: ("LEARNT", "PART", "SMOOTHED_OVER", "LEVELS_PER_OCTAVE", "FEWEST_STEPS"),
}
"""What every verdict depends on besides."""


def data_of(claim: Claim) -> dict[str, Any]:
    """All that decides a claim, as plain data."""
    return {
        "comparisons": [_of_comparison(comparison) for comparison in claim.comparisons],
        "about": _of_condition(claim.about),
        "untestable": claim.untestable,
        "seeds": claim.seeds,
        "needs first": list(claim.needs_first),
        "constants": {name: repr(getattr(module, name)) for module, names in CONSTANTS.items() for name in names},
    }


def _of_comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "terms": [_of_term(term) for term in comparison.terms],
        "kind": repr(comparison.kind),
        "smallest": repr(comparison.counts_from),
        "region": [repr(float(end)) for end in (comparison.region.low, comparison.region.high)],
        "decides": comparison.decides,
        "about": _of_condition(comparison.about),
        "form": comparison.form,
        "forms": [_of_comparison(form) for form in comparison.forms],
    }


def _of_term(term: Term) -> dict[str, Any]:
    measure = term.measure
    own = {
        "name": measure.name,
        "says": measure.says,
        "metrics": measure.metrics,
        "free": measure.free,
        "diverged": measure.diverged_count,
    }
    return {"arm": [[key, plain(value)] for key, value in term.arm.where], **own}


def _of_condition(about: Any) -> list[list[str]]:
    return sorted([key, plain(value)] for key, value in about.items())


def digest(claim: Claim) -> str:
    """SHA-256 of all that decides a claim; its statement, remark and pictures do not."""
    return hashlib.sha256(json.dumps(data_of(claim), sort_keys=True).encode()).hexdigest()


def fixed(study: studies.Study) -> dict[str, dict[str, str]]:
    """Claim -> rule, fixed, sha256 (and changed) as they were fixed; empty where none were.

    Raises:
        WrongInput: the file is damaged.
    """
    file = _file(study)
    if not file.is_file():
        return {}
    try:
        found: dict[str, dict[str, str]] = json.loads(file.read_bytes())
        assert all({"rule", "fixed", "sha256"} <= set(entry) for entry in found.values())
    except (ValueError, AssertionError, AttributeError, TypeError) as error:
        raise WrongInput(f"{file} is damaged: it must hold rule, fixed and sha256 of each claim") from error
    return found


def changes(study: studies.Study) -> list[str]:
    """How the claims differ from what was fixed, one line each."""
    before, now = fixed(study), {claim.name: claim for claim in study.claims}
    told = [f"{name}: new: {claim.rule}" for name, claim in now.items() if name not in before]
    for name, claim in now.items():
        if name in before and before[name]["sha256"] != digest(claim):
            told.append(f"{name}: was: {before[name]['rule']}  Is: {claim.rule}")
    return told + [f"{name}: gone: {entry['rule']}" for name, entry in before.items() if name not in now]


def fix(study: studies.Study, today: datetime.date) -> list[str]:
    """Fixes the rules as they are now; gives what changed. A rule of which only the words changed keeps its date."""
    before, told = fixed(study), changes(study)
    if told or any(before[claim.name]["rule"] != claim.rule for claim in study.claims):
        entries = {}
        for claim in study.claims:
            old, sha = before.get(claim.name), digest(claim)
            entry = {"rule": claim.rule, "fixed": old["fixed"] if old else today.isoformat(), "sha256": sha}
            if old and old["sha256"] != sha:
                entry["changed"] = today.isoformat()
            elif old and "changed" in old:
                entry["changed"] = old["changed"]
            entries[claim.name] = entry
        _file(study).write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n")
    return told


def _file(study: studies.Study) -> Path:
    return Path(sys.modules[study.package].__path__[0]) / FILE


def main(arguments: Sequence[str]) -> int:
    """Fixes the named studies, a user's own by its folder; without names all of the suite's."""
    try:
        own = [name for name in arguments if name not in studies.names()]
        found = [study for study in studies.load(own) if not arguments or study.name in arguments or _given(study, own)]
        for study in found:
            told = fix(study, datetime.date.today())
            print("\n".join(f"{study.name} {line}" for line in told) or f"{study.name}: nothing changed")
    except WrongInput as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _given(study: studies.Study, folders: Sequence[str]) -> bool:
    return _file(study).parent.resolve() in [Path(folder).resolve() for folder in folders]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
