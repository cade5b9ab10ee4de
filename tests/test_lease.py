"""Who may write to a run folder: one at a time, on any host; a dead one's place is taken, a living one's is not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from experiments.runs import lease
from experiments.runs.folder import RunFolder, mark_dead
from experiments.runs.format import FieldDescription
from experiments.runs.lease import Lease, LeaseLost, RunBusy, holder_of, is_held
from experiments.runs.records import RecordWriter

ROOT = Path(__file__).parent.parent


def left_by_another_host(folder: Path, seconds_ago: float, number: int = 1) -> Path:
    """A lease as a process on another host leaves it."""
    file = folder / f"lease-{number}"
    file.write_text(json.dumps({"host": "node17", "pid": 4242, "boot": "another kernel"}))
    then = time.time() - seconds_ago
    os.utime(file, (then, then))
    return file


def test_a_second_process_is_told_who_has_the_run(tmp_path: Path) -> None:
    first = Lease(tmp_path, 60)
    with pytest.raises(RunBusy, match=rf"process {os.getpid()} on \S+ is writing to this run folder"):
        Lease(tmp_path, 60)
    assert is_held(tmp_path, 60)
    first.release()
    assert is_held(tmp_path, 60) is None
    assert holder_of(tmp_path) is None
    Lease(tmp_path, 60).release()


def test_what_a_killed_process_of_this_machine_left_is_taken_over_at_once(tmp_path: Path) -> None:
    code = f"from pathlib import Path; from experiments.runs.lease import Lease; Lease(Path({str(tmp_path)!r}), 60); "
    code += "print('taken', flush=True); import time; time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == "taken\n"
    with pytest.raises(RunBusy, match=f"process {process.pid} on"):
        Lease(tmp_path, 0.001)  # it lives: no limit makes it dead
    process.send_signal(signal.SIGKILL)
    process.communicate()
    Lease(tmp_path, 3600).release()


def test_a_lease_of_another_host_is_left_alone_until_the_limit(tmp_path: Path) -> None:
    left_by_another_host(tmp_path, seconds_ago=50)
    with pytest.raises(
        RunBusy, match=r"process 4242 on node17 .* \(last heard of 50 s ago; after lease_seconds=60 without"
    ):
        Lease(tmp_path, 60)
    assert is_held(tmp_path, 60)
    assert is_held(tmp_path, 40) is None
    mine = Lease(tmp_path, 40)
    assert holder_of(tmp_path).number == 2
    mine.release()
    assert not list(tmp_path.glob("lease-*"))


def test_one_of_many_takes_over_from_a_dead_host_even_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "_try_lock", lambda descriptor: None)
    for attempt in range(30):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        left_by_another_host(folder, seconds_ago=100, number=attempt + 1)
        barrier = Barrier(8)

        def take(folder: Path = folder, barrier: Barrier = barrier) -> Lease | None:
            barrier.wait()
            try:
                return Lease(folder, 60)
            except RunBusy:
                return None

        with ThreadPoolExecutor(8) as pool:
            taken = [got for got in pool.map(lambda _: take(), range(8)) if got is not None]
        assert len(taken) == 1
        taken[0].release()


def test_a_holder_that_slept_through_another_ones_whole_turn_is_not_taken_for_the_next(tmp_path: Path) -> None:
    """Numbers begin again when all are released: it is the token that tells."""
    sleeper = Lease(tmp_path, 60)
    (tmp_path / "lease-1").unlink()  # another took over, and released both
    (tmp_path / "lease-1").write_text(json.dumps({"host": "node17", "pid": 1, "boot": "another", "token": "other"}))
    sleeper._checked -= 100
    with pytest.raises(LeaseLost):
        sleeper.check()
    sleeper.release()
    assert holder_of(tmp_path).token == "other"


def test_a_lease_without_the_lock_is_not_judged_by_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left_by_another_host(tmp_path, seconds_ago=1000)
    with monkeypatch.context() as patched:  # the disk still has the dead host's lock
        patched.setattr(lease, "_try_lock", lambda descriptor: False)
        mine = Lease(tmp_path, 60)
    assert is_held(tmp_path, 60)  # now anybody gets the lock
    with pytest.raises(RunBusy):
        Lease(tmp_path, 60)
    mine.release()


def test_of_many_run_folders_one_is_had_and_the_others_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "_try_lock", lambda descriptor: None)
    for attempt in range(20):
        path = tmp_path / str(attempt)
        barrier = Barrier(8)

        def take(path: Path = path, barrier: Barrier = barrier) -> RunFolder | None:
            barrier.wait()
            try:
                return RunFolder(path, 60)
            except RunBusy:
                return None

        with ThreadPoolExecutor(8) as pool:
            taken = [got for got in pool.map(lambda _: take(), range(8)) if got is not None]
        assert len(taken) == 1
        taken[0].lease.release()


def test_a_dead_process_is_not_blamed_for_what_another_made_of_its_run(tmp_path: Path) -> None:
    def describe(folder: RunFolder) -> None:
        raise AssertionError("config.json is there")

    folder = RunFolder(tmp_path / "run", 60)
    (folder.path / "config.json").write_text("{}")
    folder.set_status("running", 5, 10)
    folder.lease.release()
    told = json.loads((folder.path / "status.json").read_text())
    (folder.path / "status.json").write_text(json.dumps({**told, "checkpoint": 4, "since": 123.0}))
    mark_dead(folder.path, os.getpid() + 1, "killed", "", 60, describe)
    assert json.loads((folder.path / "status.json").read_text())["state"] == "running"
    mark_dead(folder.path, os.getpid(), "killed", "last words", 60, describe)
    after = json.loads((folder.path / "status.json").read_text())
    assert (after["state"], after["message"], after["checkpoint"], after["since"]) == ("failed", "killed", 4, 123.0)
    (folder.path / "status.json").write_text(json.dumps({**told, "state": "finished"}))
    mark_dead(folder.path, os.getpid(), "killed", "", 60, describe)
    assert json.loads((folder.path / "status.json").read_text())["state"] == "finished"


def test_the_holder_is_heard_of_while_it_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 0.05)
    mine = Lease(tmp_path, 60)
    os.utime(tmp_path / "lease-1", (0, 0))
    time.sleep(0.5)
    assert holder_of(tmp_path).age < 0.5
    mine.release()
    assert not list(tmp_path.glob("lease*"))


def test_a_holder_that_slept_writes_nothing_more(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", 60)
    folder.set_status("running", 3, 10)
    described = FieldDescription("loss", "nats", "train", "before").to_json()
    records = RecordWriter(folder.path, {"p": {"loss": described}}, may_write=folder.lease.check)
    records.append("p", 0, {"loss": 1.0})
    before = {file.name: file.read_bytes() for file in folder.path.iterdir() if not file.name.startswith("lease")}
    left_by_another_host(folder.path, seconds_ago=0, number=2)
    folder.lease._checked -= 100  # the sleep
    with pytest.raises(LeaseLost, match="another one took the run over"):
        records.append("p", 1, {"loss": 2.0})
    folder.lease._checked -= 100
    with pytest.raises(LeaseLost):
        folder.save_checkpoint({"step": 4})
    folder.lease._checked -= 100
    with pytest.raises(LeaseLost):
        folder.set_status("running", 4, 10)
    folder.lease._checked -= 100
    folder.failed(4, 10, LeaseLost("lost"))
    folder.lease._checked -= 100
    folder.failed(4, 10, RuntimeError("anything"))
    records.close()
    after = {file.name: file.read_bytes() for file in folder.path.iterdir() if not file.name.startswith("lease")}
    assert after == before
    folder.lease.release()
    assert (folder.path / "lease-2").exists()  # the other's
