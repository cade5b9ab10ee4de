"""What was run and how: the settings of run folders, what is missing of them, and where they come from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.claims.engine import DIFFERING, SETTING, plain
from analysis.errors import WrongInput, near_miss
from analysis.folders import RunFolders
from analysis.loader import load_descriptions, load_status
from analysis.style import in_order

_NOT_A_SETTING = ("norm.", "seed", "probes.", "evaluation.", "steps", "data.fingerprint")
_MOST_NAMED = 12


@dataclass(frozen=True)
class Sweep:
    """Runs, described. `folders`: they themselves; `runs`: one row each; `further`: by run, options beyond the usual
    that tell settings apart."""

    folders: RunFolders
    runs: pd.DataFrame
    further: pd.DataFrame | None
    starts: tuple[tuple[str, Mapping[str, Any]], ...]

    @classmethod
    def load(
        cls, paths: Sequence[Path], norms: Sequence[str] | None = None, results_version: int | None = None
    ) -> Sweep:
        """The runs at `paths`, only those of `norms` if given. Raises WrongInput and DamagedFile."""
        folders = RunFolders.read(paths, results_version)
        described, status = load_descriptions(folders), load_status(folders).set_index("run")
        rows = [_row(run, status.loc[run["run"]]) for run in described]
        runs = pd.DataFrame(rows)
        identities = {run["run"]: dict(_flat(run["identity"])) for run in described}
        starts = [(run["run"], start) for run in described for start in run["starts"]]
        if norms is not None:
            for norm in norms[:1]:  # the others are only compared with
                if norm not in set(runs["norm"]):
                    raise WrongInput(f"no run of the normalisation {norm!r}; {near_miss(norm, set(runs['norm']))}")
            runs = runs[runs["norm"].isin(norms)].reset_index(drop=True)
            there = set(runs["run"])
            folders, starts = folders.only(there), [(run, start) for run, start in starts if run in there]
        return cls(folders, runs, _further(runs, identities), tuple(starts))

    @property
    def states(self) -> list[str]:
        return list(self.runs["state"])

    def lead(self) -> str:
        """One sentence for the head of a page."""
        runs = self.runs
        norms, seeds = in_order(runs["norm"]), sorted({int(seed) for seed in runs["seed"]})
        settings = len(list(self._settings()))
        several = f"{len(seeds)} seeds" if len(seeds) > 1 else "one seed"
        one = "one setting" if settings == 1 else f"{settings} settings"
        return f"{_runs(len(runs))}: {', '.join(norms)}; {several}; {one}."

    def problems(self) -> list[str]:
        """Runs that failed, diverged or have not ended, and seeds that one normalisation has and another lacks."""
        said = []
        for state in ("failed", "interrupted", "running", "not started", "diverged"):
            own = self.runs[self.runs["state"] == state]
            if len(own):
                named = [
                    f"{run} ({note})" if note else str(run) for run, note in zip(own["run"], own["note"], strict=True)
                ]
                more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
                said.append(f"{state}: {', '.join(named[:_MOST_NAMED])}{more}")
        for label, runs in self._settings():
            ended = runs[runs["state"].isin(("finished", "diverged"))]
            seeds = set(runs["seed"])
            lacking = {norm: seeds - set(ended.loc[ended["norm"] == norm, "seed"]) for norm in in_order(runs["norm"])}
            told = [
                f"{norm} seed {', '.join(f'{s:g}' for s in sorted(some))}" for norm, some in lacking.items() if some
            ]
            if told:
                said.append(f"{label}: not ended or not run: {'; '.join(told)}")
            elif len(seeds) < 3:
                said.append(f"{label}: {len(seeds)} seed{'s' if len(seeds) > 1 else ''}; a verdict needs three")
        return said

    def tables(self) -> list[dict[str, Any]]:
        """Settings, then provenance, then every run, for the page."""
        made: list[dict[str, Any]] = []
        rows: list[list[Any]] = []
        for label, runs in self._settings():
            first = runs.iloc[0]
            by_norm = Counter(runs["norm"])
            options = "; ".join(f"{name.replace('_', ' ')} {plain(first[name])}" for name in DIFFERING)
            rows.append([label, ", ".join(f"{norm} × {by_norm[norm]}" for norm in in_order(by_norm)), options])
        made.append({"title": "Settings", "columns": ["Setting", "Runs", "How"], "rows": rows, "folded": False})
        rows = [
            [what if i == 0 else "", answer, count]
            for what, answers in self._provenance().items()
            for i, (answer, count) in enumerate(Counter(answers).most_common(8))
        ]
        made.append({"title": "Where the runs come from", "columns": ["", "", "Starts"], "rows": rows, "folded": False})
        commands = Counter(str(start.get("command", "")) for _, start in self.starts)
        rows = [[command, count] for command, count in commands.most_common(50) if command]
        if rows:
            made.append({"title": "Commands", "columns": ["Command", "Starts"], "rows": rows, "folded": True})
        columns = ["run", "state", "step", "steps", "note"]
        rows = [[plain(row[name]) for name in columns] for row in self.runs.to_dict("records")]
        made.append({"title": f"All {_runs(len(rows))}", "columns": columns, "rows": rows, "folded": True})
        return made

    def table(self) -> pd.DataFrame:
        """One row per run, with its configuration's chief values and its provenance."""
        last = dict(self.starts)
        keys = ("started", "ended", "git_commit", "git_dirty", "device", "device_name", "threads", "command")
        own = self.runs.drop(columns="folder")
        return own.assign(**{key: [last.get(run, {}).get(key) for run in own["run"]] for key in keys})

    def _settings(self) -> Iterator[tuple[str, pd.DataFrame]]:
        for values, alike in self.runs.groupby(SETTING, sort=True, dropna=False):
            yield f"{values[1]} on {values[0]}, learning rate {plain(values[2])}", alike

    def _provenance(self) -> dict[str, list[str]]:
        """What is asked -> one answer per start."""
        starts = [start for _, start in self.starts]
        found = {
            "commit": [
                f"{str(start.get('git_commit'))[:12]}{' with changes not committed' if start.get('git_dirty') else ''}"
                for start in starts
            ],
            "device": [f"{start.get('device')} ({start.get('device_name')})" for start in starts],
            "threads": [str(start.get("threads")) for start in starts],
        }
        names = sorted({name for start in starts for name in (start.get("versions") or {})})
        found |= {name: [str((start.get("versions") or {}).get(name)) for start in starts] for name in names}
        found["results version"] = [str(version) for version in self.runs["results_version"]]
        return found


def _row(run: Mapping[str, Any], status: pd.Series) -> dict[str, Any]:
    config = run["config"]
    optim = config.get("optim", {})

    def name(value: Any) -> Any:
        return value.get("name") if isinstance(value, Mapping) else value

    note = " ".join(str(status["message"] or "").split())
    if status["state"] == "diverged" and not math.isnan(float(status["diverged_at"])):
        note = f"at step {status['diverged_at']:.0f}"
    return {
        "run": run["run"],
        "state": status["state"],
        "step": status["step"],
        "steps": status["steps"],
        "note": note,
        **{key: status[key] for key in ("data", "model", "norm", "lr", "seed")},
        "optimiser": optim.get("name"),
        "batch_size": optim.get("batch_size"),
        "weight_decay": optim.get("weight_decay"),
        "loss_reduction": optim.get("loss"),
        "schedule": name(optim.get("schedule")),
        "numerics": name(config.get("numerics")),
        "results_version": run["results_version"],
        "folder": run["folder"],
    }


def _further(runs: pd.DataFrame, identities: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame | None:
    """Options that differ between runs which the usual columns, the normalisation and the seed do not tell apart."""
    keys: dict[str, None] = {}
    for _, alike in runs.groupby([*SETTING, *DIFFERING, "norm", "seed"], dropna=False):
        if len(alike) > 1:
            flat = [identities[run] for run in alike["run"]]
            for key in dict.fromkeys(key for one in flat for key in one):
                if len({repr(one.get(key)) for one in flat}) > 1 and not key.startswith(_NOT_A_SETTING):
                    keys[key] = None
    if not keys:
        return None
    values = {key: [str(identities[run].get(key)) for run in runs["run"]] for key in keys}
    return pd.DataFrame(values, index=pd.Index(runs["run"]))


def _flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _runs(count: int) -> str:
    return "one run" if count == 1 else f"{count} runs"
