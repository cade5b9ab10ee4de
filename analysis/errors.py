"""The two ways in which looking at runs can end badly, told apart by the exit code."""

from __future__ import annotations

from experiments.discovery import WrongInput, near_miss

__all__ = ["DamagedFile", "WrongInput", "near_miss"]


class DamagedFile(RuntimeError):
    """A file of a run folder cannot be understood. The line names it, and says what would help. Exit code 1."""
