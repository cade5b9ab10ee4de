"""A sweep from its jobs to its last line: what is done is left alone, the rest carried out, each accounted for."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from experiments.errors import RunFailure, WrongInput
from experiments.runs.files import write_json
from experiments.runs.folder import came_to, read_status
from experiments.runs.format import SWEEP
from experiments.runs.run import longer_than
from experiments.schema import HEARTBEAT_SECONDS
from experiments.sweeps.job import Job, Result, kind_of, seconds_left, try_out
from experiments.sweeps.launchers import Launcher, build_launcher
from experiments.sweeps.waves import Configs, Wave, waves

POLL_SECONDS = 1.0
"""Time between two looks at runs that other processes have."""

WAITING_SECONDS = 60.0
"""Time between two lines that say so."""

_MOST_NAMED = 20


TimeLeft: TypeAlias = Callable[[Sequence[Job]], str]
"""From the jobs that are left a line that says how long they will take; empty: nothing to say now."""


def run_sweep(configs: Configs, results: list[tuple[str, Result]], time_left: TimeLeft = lambda jobs: "") -> None:
    """Does what is missing of the runs that ``configs`` describe.

    Args:
        configs: of each job what sets it apart on the command line, and its configuration as plain dictionaries.
        results: of each job its run's name and what came of it; filled as they end, so that an interruption keeps them.
        time_left: asked after each job that has ended.

    Raises:
        WrongInput, RunFailure: before anything is started.
        KeyboardInterrupt: the person stopped it; what ran has saved a checkpoint where it could.
    """
    first = configs[0][1] if configs else {}
    if len({config["runs_dir"] for _, config in configs}) > 1:
        raise WrongInput("runs_dir: several values; a sweep has one folder")
    begun, so_far = False, list[Job]()
    try:
        with contextlib.ExitStack() as announcements:  # until the last wave, lest a watcher takes a pause for the end
            for wave in waves(configs):
                if not wave.jobs:
                    continue
                launcher = build_launcher(first["launcher"], first["runs_dir"])
                if first["dry"]:
                    _say_what_would_be_done(wave, launcher)
                    results += [(job.title, Result("listed", str(job.path))) for job in wave.jobs]
                    return
                at_a_time = launcher.concurrent(wave.jobs)  # may refuse a job, so before anything is written
                _check_writable(Path(first["runs_dir"]).expanduser().absolute())
                begun, so_far = True, [*so_far, *wave.jobs]
                announcements.enter_context(announced(so_far, at_a_time))
                _until_all_ended(wave, launcher, results, time_left)
    finally:
        if begun and first["report"]:
            report(Path(first["runs_dir"]))


def _until_all_ended(wave: Wave, launcher: Launcher, results: list[tuple[str, Result]], time_left: TimeLeft) -> None:
    """Carries out the jobs that nobody else has, waits for those that somebody has, and takes up what they leave."""
    standings = {job.path: job.standing() for job in wave.jobs}
    open_jobs = [job for job in wave.jobs if not standings[job.path].ended]
    if done := [job for job in wave.jobs if standings[job.path].ended]:
        results += [(job.title, Result(standings[job.path].state, str(job.path))) for job in done]
        print(f"{len(done)} of {len(wave.jobs)} runs are done already", flush=True)
        for job in done:
            if said := longer_than(job.path, job.config["steps"]):
                print(f"  {job.title}{said}", flush=True)
    number = len(results) + len(open_jobs) + len(wave.further) + len(wave.missing)
    told = -WAITING_SECONDS

    def account(job: Job, result: Result) -> None:
        _account(job, result, number, results)
        open_jobs.remove(job)
        if line := time_left([*open_jobs, *wave.further]):
            print(line, flush=True)

    while open_jobs:
        standings = {job.path: job.standing() for job in open_jobs}
        for job in [job for job in open_jobs if standings[job.path].ended]:  # by another process, meanwhile
            account(job, Result(standings[job.path].state, str(job.path)))
        mine = [job for job in open_jobs if standings[job.path].state != "running"]
        accounted = len(results)
        for job, result in launcher.launch(mine) if mine else ():
            if result.state != "busy":  # somebody took it up a moment ago
                account(job, result)
        if open_jobs and len(results) == accounted:
            if time.monotonic() - told >= WAITING_SECONDS:
                names = ", ".join(f"{job.title} ({standings[job.path].note or 'busy'})" for job in open_jobs[:3])
                print(f"waiting for {len(open_jobs)} runs that other processes have: {names} ...", flush=True)
                told = time.monotonic()
            time.sleep(POLL_SECONDS)


@contextlib.contextmanager
def announced(jobs: Sequence[Job], at_a_time: int) -> Iterator[None]:
    """Within it, a file under :data:`SWEEP` names the sweep's runs, for whoever watches; its date is kept fresh."""
    runs_dir = Path(jobs[0].config["runs_dir"]).expanduser().absolute()
    file = runs_dir / SWEEP / f"sweep-{socket.gethostname()}-{os.getpid()}.json"
    write_json(file, {"runs": {job.path.name: job.config["steps"] for job in jobs}, "at_a_time": at_a_time})
    ended = threading.Event()

    def keep_fresh() -> None:
        while not ended.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(file)

    thread = threading.Thread(target=keep_fresh, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        file.unlink(missing_ok=True)


def _account(job: Job, result: Result, number: int, results: list[tuple[str, Result]]) -> None:
    result = replace(result, text=result.text.removeprefix(f"{job.path}: "))
    results.append((job.title, result))
    told = ""
    if result.state in ("finished", "diverged"):
        with contextlib.suppress(RunFailure, OSError):  # what it came to is lost with a damaged file, and no more
            told = came_to(read_status(job.path))
    print(f"[{len(results)}/{number}] {result.state:<9} {job.title}{told}", flush=True)
    if result.code:
        print(f"error: {job.title}: {result.text}", file=sys.stderr, flush=True)


def _check_writable(runs_dir: Path) -> None:
    """Says once, before all, what else every job would say.

    Raises:
        WrongInput: nothing can be written there.
        RunFailure: the disk is full.
    """
    try:
        (runs_dir / SWEEP).mkdir(parents=True, exist_ok=True)
        probe = runs_dir / SWEEP / "writable"
        probe.write_bytes(b"?" * 4096)
        probe.unlink()
    except OSError as error:
        kind = RunFailure if error.errno in (errno.ENOSPC, errno.EDQUOT) else WrongInput
        raise kind(
            f"runs_dir={runs_dir}: cannot write there: {error.strerror}; nothing was started or touched"
        ) from error


def report(runs_dir: Path) -> None:
    """Writes the report of all runs there, in a process of its own: the analysis reads folders, never this process."""
    subprocess.run([sys.executable, "-m", "analysis", "report", str(runs_dir)], check=False)


def _say_what_would_be_done(wave: Wave, launcher: Launcher) -> None:
    """The first job's plan of probes, a table of the jobs and where they stand, and how long the rest takes."""
    jobs = [*wave.jobs, *wave.further]
    standings = [job.standing() for job in jobs]
    left = seconds_left(jobs, standings)
    seconds_a_step, plan = try_out(jobs[0].config)
    print(f"{jobs[0].title}: {plan}")
    measured = {kind_of(jobs[0].config): seconds_a_step}
    timed_now = False
    for i, (job, standing) in enumerate(zip(jobs, standings, strict=True)):
        if left[i] is None and standing.state != "wrong input":
            kind = kind_of(job.config)
            if kind not in measured:
                measured[kind], _ = try_out(job.config)
            left[i], timed_now = measured[kind] * job.config["steps"], True
    for job, standing, seconds in list(zip(jobs, standings, left, strict=True))[: len(wave.jobs)]:
        step = f"{standing.status.get('step', 0)}/{job.config['steps']}"
        note = f"  {standing.note}" if standing.note else ""
        takes = "" if standing.ended or seconds is None else spell(seconds)
        print(f"{standing.state:<11} {step:>13} {takes:>8}  {job.title}{note}")
    if wave.further:
        keys = ", ".join(dict.fromkeys(job.config["pilots"] for job in wave.further))
        print(f"then {len(wave.further)} or more of other seeds, where claims choose on these ({keys})")
    counts = Counter("running elsewhere" if standing.state == "running" else standing.state for standing in standings)
    print(f"{len(jobs)} runs: {', '.join(f'{count} {state}' for state, count in counts.most_common())}")
    kept = ("finished", "diverged", "running", "wrong input", "damaged")
    todo = [i for i, standing in enumerate(standings) if standing.state not in kept]
    if todo:
        total = sum(left[i] or 0.0 for i in todo)
        at_a_time = max(1, launcher.concurrent([jobs[i] for i in todo]))
        how = "from steps timed just now" if timed_now else "from runs like them"
        print(f"{len(todo)} to do: about {spell(total / at_a_time)} with {at_a_time} at a time ({how})")


def spell(seconds: float) -> str:
    """A duration for people."""
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds:.1g} s"


def summarise(results: Sequence[tuple[str, Result]], runs_dirs: Sequence[Path]) -> None:
    """The sweep's last lines: how many ended how, and why those that did not end well did not."""
    counts = Counter(result.state for _, result in results)
    ordered = sorted(counts, key=lambda state: (("finished", "diverged", state).index(state), state))
    print(f"{len(results)} runs: " + ", ".join(f"{counts[state]} {state}" for state in ordered))
    odd = [(name, result) for name, result in results if result.code or result.state == "diverged"]
    for name, result in odd[:_MOST_NAMED]:
        print(f"  {result.state}: {name}" + (f": {result.text}" if result.code else ""))
    if len(odd) > _MOST_NAMED:
        print(f"  and {len(odd) - _MOST_NAMED} more")
    for folder in runs_dirs:
        print(f"  in {folder}")
