"""How far each run is: once as a plain table, or live in a terminal, from nothing but the run folders on the disk."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.errors import WrongInput
from analysis.folders import find_runs, folders_below
from analysis.run_folder import ENDED
from experiments.runs.format import SWEEP

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType

SILENT_SECONDS = 60
"""A run that trains is heard of every two seconds."""

_ROOM = 10
"""Lines of the terminal that are not runs."""


def show(paths: Sequence[Path]) -> int:
    """Prints one line per run, then how many are in which state. Exit code 1 if one is damaged.

    Raises:
        WrongInput: there are no runs.
    """
    from analysis import load_status

    status = load_status(paths)
    rows = [["run", "experiment", "state", "step", "rate", "left", "message"]]
    rows += [
        [row.run, origin(row), row.state, _steps(row), _rate(row), _left(row), message(row)]
        for row in status.itertuples()
    ]
    if not any(row[1] for row in rows[1:]):
        rows = [[row[0], *row[2:]] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print(_counted(Counter(status["state"])))
    return 1 if "damaged" in set(status["state"]) else 0


def watch(paths: Sequence[Path], seconds: float) -> int:
    """Shows the same live until no run is left that could still move, or Ctrl-C.

    Raises:
        WrongInput: rich is missing, or there is nothing to watch.
    """
    try:
        from rich.console import Console
        from rich.live import Live
    except ImportError as error:
        raise WrongInput("--watch: the package rich is missing; pip install rich") from error

    console = Console()
    seen = Watch(paths)
    seen.look()
    with Live(seen.drawn(console.height), console=console, auto_refresh=False, screen=False) as live:
        try:
            while seen.going_on:
                time.sleep(seconds)
                seen.look()
                live.update(seen.drawn(console.height), refresh=True)
        except KeyboardInterrupt:
            pass
    return 0


@dataclass
class Watch:
    """What is known of the runs at ``paths``; those that have ended are read once."""

    paths: Sequence[Path]
    rows: dict[str, Any] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)
    """Runs that a living sweep has listed and that are neither running nor done."""
    at_a_time: int = 1
    """Runs at a time, of all living sweeps."""

    def look(self) -> None:
        """Reads what may have changed.

        Raises:
            WrongInput: there are neither runs nor a sweep.
        """
        from analysis.loader import load_status

        listed, self.at_a_time = _sweeps(self.paths)
        try:
            folders = find_runs(self.paths)
        except WrongInput:
            if not listed:
                raise
            folders = []
        ended = {run for run, row in self.rows.items() if row.state in ENDED}
        moving = [folder for folder in folders if folder.name not in ended]
        present = {folder.name for folder in folders}
        self.rows = {run: row for run, row in self.rows.items() if run in present}
        if moving:
            self.rows.update({row.run: row for row in load_status(moving).itertuples()})
        moving_on = {run for run, row in self.rows.items() if row.state in ENDED or row.state == "running"}
        self.waiting = listed - moving_on

    @property
    def going_on(self) -> bool:
        """Whether anything can still change without somebody typing a command."""
        return bool(self.waiting) or any(row.state == "running" and not _silent(row) for row in self.rows.values())

    @property
    def seconds_left(self) -> float | None:
        """Until all that is running or waiting has ended, if a rate is known."""
        left = [row.seconds_left for row in self.rows.values() if row.state == "running"]
        whole = [
            row.steps / row.steps_per_second
            for row in self.rows.values()
            if row.steps_per_second == row.steps_per_second
        ]
        if not left and not self.waiting:
            return 0.0
        if any(seconds != seconds for seconds in left) or (self.waiting and not whole):
            return None
        each = sum(whole) / len(whole) if whole else 0.0
        return max(max(left, default=0.0), (sum(left) + len(self.waiting) * each) / max(1, self.at_a_time))

    def drawn(self, height: int) -> RenderableType:
        """A table for a terminal of ``height`` lines: what runs and what went wrong first."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        urgency = {"failed": 0, "damaged": 0, "running": 1, "interrupted": 2, "diverged": 3, "finished": 5}
        ordered = sorted(self.rows.values(), key=lambda row: (urgency.get(row.state, 4), row.run))
        named = any(origin(row) for row in ordered)
        colours = {"failed": "red", "damaged": "red", "diverged": "yellow", "running": "cyan", "finished": "green"}
        table = Table(box=None, pad_edge=False, expand=True)
        for title, options in {
            "run": {"ratio": 1, "overflow": "ellipsis", "no_wrap": True},
            **({"experiment": {}} if named else {}),
            "state": {},
            "": {"width": 20},
            "step": {"justify": "right"},
            "rate": {"justify": "right"},
            "left": {"justify": "right"},
            "message": {"ratio": 1, "overflow": "fold"},
        }.items():
            table.add_column(title, **options)  # type: ignore[arg-type]
        room = max(5, height - _ROOM)
        for row in ordered[:room]:
            done = row.step if row.step == row.step else 0
            bar = ProgressBar(total=max(1.0, row.steps), completed=done, width=20)
            state = Text(str(row.state), style=colours.get(row.state, ""))
            own = [origin(row)] if named else []
            table.add_row(row.run, *own, state, bar, _steps(row), _rate(row), _left(row), message(row))
        counts = Counter(str(row.state) for row in ordered)
        if untouched := len(self.waiting - set(self.rows)):
            counts["waiting"] = untouched
        told = _counted(counts)
        if self.seconds_left:
            told += f"; about {spell(self.seconds_left)} left"
        more = [Text(f"and {len(ordered) - room} more", style="dim")] if len(ordered) > room else []
        return Group(table, *more, Text(told, style="bold"))


def _sweeps(paths: Sequence[Path]) -> tuple[set[str], int]:
    """The runs that living sweeps have listed there, and how many of them go at a time."""
    listed: set[str] = set()
    at_a_time = 0
    for folder in [folder / SWEEP for folder in folders_below(map(Path, paths))]:
        for file in folder.glob("sweep-*.json") if folder.is_dir() else ():
            try:
                if time.time() - os.stat(file).st_mtime > SILENT_SECONDS:
                    continue  # of a sweep that was killed
                told: Mapping[str, Any] = json.loads(file.read_bytes())
                listed |= set(told["runs"])
                at_a_time += int(told["at_a_time"])
            except (OSError, ValueError, KeyError, TypeError):  # it ended a moment ago
                continue
    return listed, max(1, at_a_time)


def _counted(counts: Mapping[str, int]) -> str:
    told = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return f"{sum(counts.values())} runs: {', '.join(f'{count} {state}' for state, count in told)}"


def origin(row: pd.Series) -> str:
    """The experiment that a run belongs to, and its arm of it, as far as the run names them."""
    return ": ".join(name for name in (row.experiment, row.arm) if isinstance(name, str))


def _steps(row: pd.Series) -> str:
    return "/".join("?" if value != value else f"{value:.0f}" for value in (row.step, row.steps))


def _rate(row: pd.Series) -> str:
    rate = row.steps_per_second
    return "" if rate != rate or row.state not in ("running", *ENDED) else f"{rate:.3g}/s"


def _left(row: pd.Series) -> str:
    return "" if row.seconds_left != row.seconds_left else spell(row.seconds_left)


def spell(seconds: float) -> str:
    """A duration for people."""
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _silent(row: pd.Series) -> bool:
    return bool(time.time() - row.heartbeat > SILENT_SECONDS)


def message(row: pd.Series) -> str:
    """What else is to be said of a run."""
    if isinstance(row.message, str):
        return " ".join(row.message.split())
    if row.state == "diverged":
        return f"diverged at step {row.diverged_at:.0f}"
    if row.state == "running" and _silent(row):
        return f"no sign of life for {spell(time.time() - row.heartbeat)}; its sweep, called again, takes it over"
    return ""
