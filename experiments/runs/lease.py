"""Who may write to a run folder: one process at a time, on any host that shares the disk.

Two things say so. A lock of the operating system (``lock``) is let go by the kernel the moment its process dies, but
only the kernel that gave it knows that. A lease file (``lease-1``, ``lease-2``, ...) is seen by every host; its holder
renews its time of modification while it lives. Taking a lease over means creating the next number, which on a shared
disk only one can; a holder that was only asleep finds its number gone or overtaken, and stops writing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import json
import os
import socket
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.errors import RunFailure
from experiments.runs.format import LEASE, LOCK
from experiments.schema import HEARTBEAT_SECONDS


class RunBusy(RunFailure):
    """Another process is writing to this run folder, or did so too short a time ago to be given up."""


class LeaseLost(RunBusy):
    """This process slept for so long that another one took its run over."""


@dataclass(frozen=True)
class Holder:
    """Who holds, or held, a run folder."""

    number: int
    host: str
    pid: int
    boot: str
    """Of the running kernel: its locks are known to whoever has the same."""
    locked: bool
    """Whether it also has the folder's lock."""
    token: str
    """Of this one lease: numbers begin again when all are released."""
    age: float
    """Seconds since it was last heard of, by the clock of the disk."""


class Lease:
    """The right to write to ``folder``, until :meth:`release`.

    Args:
        folder: the run folder; must exist.
        limit: seconds without a sign of life after which a holder on another host counts as dead.

    Raises:
        RunBusy: somebody else has it; the line says who, since when it was silent, and the limit.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path, limit: float) -> None:
        self.folder, self._limit = folder, limit
        self._token = uuid.uuid4().hex
        self._lock = open(folder / LOCK, "a+")  # noqa: SIM115 - held as long as the lease
        try:
            locked = _try_lock(self._lock.fileno())
            for _ in range(4):  # whoever only looks has the lock for an instant
                if locked is False:
                    time.sleep(0.05)
                    locked = _try_lock(self._lock.fileno())
            self._number = self._take(limit, locked)
        except BaseException:
            self._lock.close()
            raise
        self._released = threading.Event()
        self._checked = time.time()
        self._thread = threading.Thread(target=self._renew, name=f"lease of {folder.name}", daemon=True)
        self._thread.start()

    def _take(self, limit: float, locked: bool | None) -> int:
        while True:
            holder = holder_of(self.folder)
            if holder is None and locked is False:  # it has the lock, and is about to write its lease
                raise RunBusy(f"{self.folder}: another process is writing to this run folder; wait for it or stop it")
            if holder is not None and _lives(holder, limit, locked):
                raise RunBusy(
                    f"{self.folder}: process {holder.pid} on {holder.host} is writing to this run folder (last heard "
                    f"of {holder.age:.0f} s ago; after lease_seconds={limit:g} without a sign of life a process on "
                    "another host counts as dead); wait for it or stop it"
                )
            number = holder.number + 1 if holder else 1
            with contextlib.suppress(FileExistsError):  # another process was faster: look again
                self._write(number, locked is True)
                return number

    def _write(self, number: int, locked: bool) -> None:
        """Creates the lease file, whole, or raises FileExistsError."""
        me = {"host": socket.gethostname(), "pid": os.getpid(), "boot": _boot(), "locked": locked}
        content = json.dumps({**me, "token": self._token})
        draft = self.folder / f"lease.{uuid.uuid4().hex}.tmp"
        draft.write_text(content, encoding="utf-8")
        try:
            os.link(draft, self._file(number))
        except FileExistsError:
            raise
        except OSError:  # a disk without hard links
            with open(self._file(number), "x", encoding="utf-8") as file:
                file.write(content)
        finally:
            draft.unlink(missing_ok=True)

    def _file(self, number: int) -> Path:
        return self.folder / f"{LEASE}{number}"

    def _renew(self) -> None:
        while not self._released.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):  # a full or absent disk is told by whoever writes records
                if self._is_mine():
                    os.utime(self._file(self._number))

    def _is_mine(self) -> bool:
        """Whether the newest lease is this one."""
        holder = holder_of(self.folder)
        return holder is not None and (holder.number, holder.token) == (self._number, self._token)

    def check(self) -> None:
        """Raises LeaseLost if another process has taken the run over; to be called before anything is written.

        It looks at the disk once a second at most: nobody takes over from a process that was heard of a second ago.
        """
        if abs(time.time() - self._checked) < min(1.0, self._limit / 4):
            return
        self._checked = time.time()
        if not self._is_mine():
            raise LeaseLost(
                f"{self.folder}: this process was silent for so long that another one took the run over; it goes on "
                "there, and nothing more is written from here"
            )

    def release(self) -> None:
        """Lets others write."""
        self._released.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            if self._is_mine():
                for number, file in sorted(_files(self.folder)):  # the newest, which counts, last
                    if number <= self._number:
                        file.unlink(missing_ok=True)
        self._lock.close()


def holder_of(folder: Path) -> Holder | None:
    """Who holds or last held the lease of ``folder``; None where it was released or never taken.

    Raises:
        OSError: the folder cannot be read.
    """
    files = _files(folder)
    if not files:
        return None
    number, file = max(files)
    try:
        with open(file, encoding="utf-8") as opened:  # opened before it is dated: a network disk may date from memory
            told: dict[str, Any] = json.loads(opened.read() or "{}")
            renewed = os.fstat(opened.fileno()).st_mtime
    except FileNotFoundError:  # released a moment ago
        return holder_of(folder)
    except ValueError:
        told, renewed = {}, file.stat().st_mtime
    return Holder(
        number=number,
        host=str(told.get("host", "?")),
        pid=int(told.get("pid", 0)),
        boot=str(told.get("boot", "?")),
        locked=bool(told.get("locked", False)),
        token=str(told.get("token", "")),
        age=max(0.0, _disk_time(folder) - renewed),
    )


def is_held(folder: Path, limit: float) -> Holder | None:
    """The living holder of the lease of ``folder``, if there is one. Takes nothing."""
    holder = holder_of(folder)
    if holder is None:
        return None
    try:
        with open(folder / LOCK, "a+") as lock:
            locked = _try_lock(lock.fileno())
    except OSError:  # a disk that can only be read
        locked = None
    return holder if _lives(holder, limit, locked) else None


def _lives(holder: Holder, limit: float, locked: bool | None) -> bool:
    """Whether to leave it alone.

    Args:
        holder: of the newest lease.
        limit: see :class:`Lease`.
        locked: we got the folder's lock (True), another process has it (False), the disk has no locks (None).
    """
    if holder.boot == _boot() and holder.locked and locked is not None:
        return not locked
    return holder.age <= limit


def _files(folder: Path) -> list[tuple[int, Path]]:
    """The lease files there, by number."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(LEASE)]
    return [(int(name[len(LEASE) :]), folder / name) for name in names if name[len(LEASE) :].isdigit()]


def _try_lock(descriptor: int) -> bool | None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        return None  # not on this disk (ENOLCK, EOPNOTSUPP, ...)
    return True


def _disk_time(folder: Path) -> float:
    """Now, by the clock that dates the files of ``folder``: hosts disagree, their disk does not."""
    try:
        with open(folder / LOCK, "a+") as lock:
            os.utime(lock.fileno())
            return os.fstat(lock.fileno()).st_mtime
    except OSError:  # a disk that can only be read
        return time.time()


@functools.cache
def _boot() -> str:
    """Names the running kernel."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return socket.gethostname()
