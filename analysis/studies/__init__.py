"""Studies: a folder for each published explanation, with what it says, its claims, its figures, its published numbers.

    analysis/studies/<author><year>/
        __init__.py     STUDY, a `Study`
        claims.py       CLAIMS, or a folder claims/ of such files
        figures/*.py    one file per figure (see `analysis.figures`)
        rules.json      the rules as they were fixed, with their dates (see `analysis.studies.fix`)

Whatever else it needs (step grids, layer numbers, published curves) lies beside them. A user's own study is such a
folder anywhere: `report RUNS --study FOLDER`. Files within a study import
each other relatively (`from . import grids`).
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import pkgutil
import re
import runpy
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from analysis.claims import Claim
from analysis.errors import WrongInput, near_miss

OWN = "own"
"""Name of the study that claims in a user's files make."""


@dataclass(frozen=True)
class Beside:
    """What else was found of a claim: a replication, a correction, another set-up. Shown beside it; decides nothing.

    Args:
        claims: their names.
        source: who found it, with what set-up.
        says: what was found, in a sentence or two of ours.
    """

    claims: tuple[str, ...]
    source: str
    says: str


@dataclass(frozen=True)
class Study:
    """One published explanation.

    Args:
        title: of the publication, or of the explanation.
        source: authors, year, place.
        says: what it says, in two or three sentences of ours.
        predicts: what it predicts, in one.
        experiments: what must be run for it, by name, in the order in which to run it.
        published: the publication's own settings, by key; certainty asks for them.
        beside: corrections and replications, with the claims that they concern.
        name, claims, figures, package: filled in from the folder; figures are imported when they are asked for.
    """

    title: str
    source: str
    says: str
    predicts: str
    experiments: tuple[str, ...] = ()
    published: tuple[Mapping[str, Any], ...] = ()
    beside: tuple[Beside, ...] = ()
    name: str = ""
    claims: tuple[Claim, ...] = ()
    figures: tuple[str, ...] = ()
    package: str = ""

    @property
    def of_user(self) -> bool:
        """Whether it lies in a user's own folder or file."""
        return not self.package.startswith(f"{__name__}.")

    def beside_claim(self, name: str) -> list[Beside]:
        """What others found of one of its claims."""
        return [found for found in self.beside if name in found.claims]

    def figure(self, name: str) -> ModuleType:
        """The module of one of its figures."""
        return importlib.import_module(f"{self.package}.figures.{name}")


def names() -> list[str]:
    """The names of the suite's own studies."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)


def load(folders: Iterable[str | Path] = (), files: Iterable[str | Path] = ()) -> list[Study]:
    """All studies, by year, then those of the users' folders, then the claims of users' files as one more.

    Raises:
        WrongInput: a folder that is no study, a file without CLAIMS; a name, a claim or a figure that is there twice.
    """
    found = sorted((_of(importlib.import_module(f"{__name__}.{name}"), name) for name in names()), key=_by_year)
    found += [_from(Path(folder)) for folder in folders]
    further = [claim for file in files for claim in _claims_of(Path(file))]
    if further:
        found.append(Study("Your own", "", "", "", name=OWN, claims=tuple(further)))
    for what, several in (
        ("study", [study.name for study in found]),
        ("claim", [claim.name for study in found for claim in study.claims]),
        ("figure", [name for study in found for name in study.figures]),
    ):
        for name in several:
            if several.count(name) > 1:
                raise WrongInput(f"{what} {name!r} is there twice; give yours another name")
    return found


def get(name: str, studies: Iterable[Study] | None = None) -> Study:
    """The study of this name. WrongInput with the nearest name."""
    known = {study.name: study for study in (load() if studies is None else studies)}
    if name not in known:
        raise WrongInput(f"unknown study {name!r}; {near_miss(name, known)}")
    return known[name]


def claims(studies: Iterable[Study] | None = None) -> list[Claim]:
    """All their claims, study by study."""
    return [claim for study in (load() if studies is None else studies) for claim in study.claims]


def claim(name: str, studies: Iterable[Study] | None = None) -> Claim:
    """The claim of this name. WrongInput with the nearest name."""
    known = {claim.name: claim for claim in claims(studies)}
    if name not in known:
        raise WrongInput(f"unknown claim {name!r}; {near_miss(name, known)}")
    return known[name]


def _claims_of(file: Path) -> list[Claim]:
    """The claims of a user's file."""
    if not file.is_file():
        raise WrongInput(f"--claims {file}: no such file")
    try:
        held = runpy.run_path(str(file)).get("CLAIMS")
    except Exception as error:  # whatever a user's file raises
        raise WrongInput(f"--claims {file}: {type(error).__name__}: {error}") from error
    if not isinstance(held, list | tuple) or not all(isinstance(claim, Claim) for claim in held) or not held:
        raise WrongInput(f"--claims {file}: must hold CLAIMS, a list of analysis.claims.Claim")
    return list(held)


def _by_year(study: Study) -> tuple[str, str]:
    year = re.search(r"\d{4}", study.name)
    return (year[0] if year else "9999", study.name)


def _of(package: ModuleType, name: str) -> Study:
    parts = {info.name for info in pkgutil.iter_modules(package.__path__)}
    found: list[Claim] = []
    if "claims" in parts:
        for module in _modules(importlib.import_module(f"{package.__name__}.claims")):
            found += getattr(module, "CLAIMS", ())
    figures: list[str] = []
    if "figures" in parts:
        folder = importlib.import_module(f"{package.__name__}.figures")
        figures = sorted(info.name for info in pkgutil.iter_modules(folder.__path__) if not info.name.startswith("_"))
    ordered = sorted(found, key=lambda claim: [int(t) if t.isdigit() else 0 for t in re.split(r"(\d+)", claim.name)])
    study: Study = package.STUDY
    named = {claim for beside in study.beside for claim in beside.claims}
    if unknown := sorted(named - {claim.name for claim in found}):
        raise WrongInput(f"study {name!r}: beside names the claim {unknown[0]!r}, which the study does not have")
    return replace(study, name=name, claims=tuple(ordered), figures=tuple(figures), package=package.__name__)


def _modules(start: ModuleType) -> Iterator[ModuleType]:
    """A file, or a folder and the files in it."""
    yield start
    for info in pkgutil.iter_modules(getattr(start, "__path__", ())):
        yield importlib.import_module(f"{start.__name__}.{info.name}")


def _from(folder: Path) -> Study:
    """The study in a user's own folder."""
    start = folder / "__init__.py"
    if not start.is_file():
        raise WrongInput(f"--study {folder}: no such study; give a folder with an __init__.py that holds STUDY")
    if not folder.resolve().name.isidentifier():
        raise WrongInput(f"--study {folder}: the folder's name must be letters, digits and _, as in author2020")
    key = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
    name = f"user_study_{key}"
    for known in [known for known in sys.modules if known == name or known.startswith(f"{name}.")]:
        del sys.modules[known]
    spec = importlib.util.spec_from_file_location(name, start, submodule_search_locations=[str(folder.resolve())])
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[name] = package
    try:
        spec.loader.exec_module(package)
        if not isinstance(getattr(package, "STUDY", None), Study):
            raise WrongInput(f"--study {folder}: its __init__.py must hold STUDY, an analysis.studies.Study")
        return _of(package, folder.resolve().name)
    except WrongInput:
        raise
    except Exception as error:  # whatever a user's file raises
        raise WrongInput(f"--study {folder}: {type(error).__name__}: {error}") from error
