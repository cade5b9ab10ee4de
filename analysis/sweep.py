"""What was run and how: the settings of run folders, what is missing of them, and where they come from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import select
from analysis.columns import column
from analysis.decide import SEEDS
from analysis.folders import Damaged, RunFolders
from analysis.loader import load_descriptions, load_status
from analysis.runs import Runs
from analysis.select import Arm, Setting, plain, words_of
from analysis.usable import ended

_MOST_NAMED = 12
_HASH = 64
"""Digits of a hash, of which a table shows the first twelve."""


@dataclass(frozen=True)
class Sweep:
    """Runs, described.

    Attributes:
        runs: the trainings.
        arms: what is told apart within a setting.
        each: one row per run folder: run, state, step, steps, note, results_version, and the keys of what was trained.
        starts: run folder and entry of its provenance, one for each start.
    """

    runs: Runs
    arms: tuple[Arm, ...]
    each: pd.DataFrame
    starts: tuple[tuple[str, Mapping[str, Any]], ...]

    @classmethod
    def load(cls, paths: Sequence[Path], results_version: int | None = None, damaged: Damaged | None = None) -> Sweep:
        """The runs at `paths`, every normalisation an arm; `damaged` as `Runs.load` takes it.

        Raises:
            WrongInput, DamagedFile: as `Runs.load` does.
        """
        runs = Runs.load(RunFolders.read(paths, results_version, damaged=damaged))
        folders = runs.folders or RunFolders([])
        described, status = load_descriptions(folders), load_status(folders).set_index("run")
        rows = [_row(run, status.loc[run["run"]]) for run in described]
        trained = [{**run.trained, "seed": run.column("seed")} for run in folders]
        keys = dict.fromkeys(key for own in trained for key in own)
        each = pd.DataFrame(rows).assign(**{key: column([own.get(key) for own in trained]) for key in keys})
        starts = tuple((run["run"], start) for run in described for start in run["starts"])
        return cls(runs, tuple(select.arms_by(runs)), each, starts)

    def only(self, arms: Sequence[Arm]) -> Sweep:
        """The trainings of some arms, each with all of its folders."""
        names = list(dict.fromkeys(run for arm in arms for run in arm.runs(self.runs)))
        there = {folder for folder, name in self.runs.training.items() if name in set(names)}
        each = self.each[self.each["run"].isin(there)].reset_index(drop=True)
        starts = tuple((run, start) for run, start in self.starts if run in there)
        return Sweep(self.runs.only(names), tuple(arms), each, starts)

    @cached_property
    def settings(self) -> list[Setting]:
        """The settings of its arms."""
        return select.settings(self.runs, self.arms)

    @property
    def states(self) -> list[tuple[str, int]]:
        """State of runs -> how many, the most first."""
        return sorted(Counter(self.each["state"]).items(), key=lambda item: (-item[1], item[0]))

    def lead(self) -> str:
        """One sentence for the head of a page."""
        counts = [count for setting in self.settings for count in setting.counts.values()]
        few, many = min(counts), max(counts)
        seeds = _count(few, "seed") if few == many else f"{few} to {many} seeds"
        names = ", ".join(arm.name for arm in self.arms)
        if len(self.arms) > _MOST_NAMED:
            names = f"{len(self.arms)} normalisations"
        runs, settings = _count(len(self.each), "run"), _count(len(self.settings), "setting")
        return f"{runs}: {names}; {settings}; {seeds} per arm and setting."

    def problems(self) -> list[str]:
        """Runs that failed, diverged or have not ended, and seeds that one arm of a setting has and another lacks."""
        damaged = None if self.runs.folders is None else self.runs.folders.damaged
        said = list((damaged or {}).values())
        for state in ("failed", "interrupted", "running", "not started", "diverged"):
            own = self.each[self.each["state"] == state]
            if len(own):
                named = [
                    f"{run} ({note})" if note else str(run) for run, note in zip(own["run"], own["note"], strict=True)
                ]
                more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
                said.append(f"{state}: {', '.join(named[:_MOST_NAMED])}{more}")
        lacking = [told for setting in self.settings for told in _lacking(setting)]
        if len(lacking) > _MOST_NAMED:
            some = (
                f"{len(lacking)} of {len(self.settings)} settings lack seeds for a verdict, or seeds that one arm has"
            )
            lacking = [f"{some} and another lacks; each verdict says how many it has"]
        return [*said, *lacking]

    def tables(self) -> list[dict[str, Any]]:
        """Settings, then provenance, then every run, for the page."""
        rows: list[list[Any]] = []
        common, telling = self._shared()
        words = _words([*telling, *(key for key, _ in common)])
        for setting in self.settings:
            options = [(key, setting.values[key]) for key in telling if _has(setting, key)]
            rows.append([setting.label, _arms(setting), _options(options, words)])
        made = [_table("Settings", ["Setting", "Arms", "How all of its runs were trained"], rows)]
        made.append(_table("Alike in all settings", ["", ""], [[words[k], _short(v)] for k, v in common], True))
        rows = [
            [what if i == 0 else "", answer, count]
            for what, answers in self._provenance().items()
            for i, (answer, count) in enumerate(Counter(answers).most_common(8))
        ]
        made.append(_table("Where the runs come from", ["", "", "Starts"], rows))
        commands = Counter(str(start.get("command", "")) for _, start in self.starts)
        rows = [[command, count] for command, count in commands.most_common(50) if command]
        if rows:
            made.append(_table("Commands", ["Command", "Starts"], rows, True))
        columns = ["run", "state", "step", "steps", "note"]
        rows = [[plain(row[name]) for name in columns] for row in self.each[columns].to_dict("records")]
        made.append(_table(f"All {_count(len(rows), 'run')}", columns, rows, True))
        return made

    def table(self) -> pd.DataFrame:
        """One row per run folder, with its configuration and its provenance."""
        last = dict(self.starts)
        keys = ("started", "ended", "git_commit", "git_dirty", "device", "device_name", "threads", "command")
        return self.each.assign(**{key: [last.get(run, {}).get(key) for run in self.each["run"]] for key in keys})

    def _shared(self) -> tuple[list[tuple[str, Any]], list[str]]:
        """Keys and values that all settings share; keys in which some differ, each in the configuration's order."""
        keys = list(dict.fromkeys(key for setting in self.settings for key in setting.values))
        common, telling = [], []
        for key in keys:
            values = [setting.values.get(key) for setting in self.settings]
            if len({plain(value) for value in values}) == 1:
                common.append((key, values[0]))
            else:
                telling.append(key)
        return common, telling

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
        found["results version"] = [str(version) for version in self.each["results_version"]]
        return found


def _lacking(setting: Setting) -> list[str]:
    """What a setting lacks for verdicts."""
    seeds = set(setting.runs.each["seed"].astype(int))
    told = []
    for name in setting.names:
        own = set(ended(setting.runs.only(setting.of[name])).each["seed"].astype(int))
        if lacking := sorted(seeds - own):
            told.append(f"{name} seed {', '.join(map(str, lacking))}")
    if told:
        return [f"{setting.label}: not ended or not run: {'; '.join(told)}"]
    return [f"{setting.label}: {_count(len(seeds), 'seed')}; {SEEDS} are a verdict"] if len(seeds) < SEEDS else []


def _arms(setting: Setting) -> str:
    """Every arm of a setting with its seeds, and what went wrong."""
    diverged = setting.diverged
    told = []
    for name, count in setting.counts.items():
        lost = f", {len(diverged[name])} diverged" if name in diverged else ""
        told.append(f"{name} × {_count(count, 'seed')}{lost}")
    return "; ".join(told)


def _has(setting: Setting, key: str) -> bool:
    return any(setting.runs.has(run, key) for run in setting.runs.each.index)


def _options(options: Sequence[tuple[str, Any]], words: Mapping[str, str]) -> str:
    return "; ".join(f"{words[key]} {_short(value)}" for key, value in options)


def _short(value: Any) -> str:
    text = plain(value)
    return f"{text[:12]}…" if len(text) == _HASH and not text.strip("0123456789abcdef") else text


def _table(title: str, columns: list[str], rows: list[list[Any]], folded: bool = False) -> dict[str, Any]:
    return {"title": title, "columns": columns, "rows": rows, "folded": folded}


def _row(run: Mapping[str, Any], status: pd.Series) -> dict[str, Any]:
    note = " ".join(str(status["message"] or "").split())
    if status["state"] == "diverged" and not math.isnan(float(status["diverged_at"])):
        note = f"at step {status['diverged_at']:.0f}"
    own = {name: status[name] for name in ("state", "step", "steps")}
    return {"run": run["run"], **own, "note": note, "results_version": run["results_version"]}


def _words(keys: Sequence[str]) -> dict[str, str]:
    """Keys for people, whole where two would read alike."""
    short = Counter(map(words_of, keys))
    return {key: words_of(key) if short[words_of(key)] == 1 else key for key in keys}


def _count(number: int, what: str) -> str:
    return f"one {what}" if number == 1 else f"{number} {what}s"
