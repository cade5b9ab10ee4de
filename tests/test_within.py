"""The long matrices within a time: what it reaches runs, what is left out is counted, never passed over in silence."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def outcome(folder: Path, *options: str, seed: int = 1) -> str:
    """What pytest says of the tests in ``folder``, under the options of this project's tests."""
    environment = {key: value for key, value in os.environ.items() if key not in ("SAMPLE_NOTHING", "PYTEST_ADDOPTS")}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "tests.conftest",
            "-p",
            "no:cacheprovider",
            "-v",
            "-ra",
            *options,
            folder,
        ],
        cwd=ROOT,
        env=environment | {"SAMPLE_SEED": str(seed), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


SLOW = "import time\n\ndef test_first(): time.sleep(2)\n\ndef test_second(): time.sleep(2)\n"
NEVER = """
import pytest

@pytest.fixture(scope="module")
def shared(): raise AssertionError("made for tests that are left out")

def test_first(shared): ...

def test_second(shared): ...
"""


def files(folder: Path, text: str) -> Path:
    """Eight files of two tests."""
    folder.mkdir()
    for name in "abcdefgh":
        (folder / f"test_{name}.py").write_text(text)
    return folder


def counted(said: str, word: str) -> int:
    return int((re.findall(rf"(\d+) {word}", said) or [0])[-1])


def order(said: str) -> list[tuple[str, str]]:
    return re.findall(r"test_(\w)\.py::test_(\w+) ", said)


def test_what_the_time_does_not_reach_is_skipped_and_counted_in_an_order_drawn_by_files(tmp_path: Path) -> None:
    reached = outcome(files(tmp_path / "slow", SLOW), "--within=5")
    skipped = counted(reached, "skipped")
    assert 1 <= counted(reached, "passed") <= 3
    assert counted(reached, "passed") + skipped == 16
    assert re.search(rf"SKIPPED \[{skipped}\] .*: the 5 seconds of --within are over", reached)
    drawn = [order(reached), order(outcome(files(tmp_path / "never", NEVER), "--within=0", seed=2))]
    for tests in drawn:
        assert sorted(tests) == sorted((name, test) for name in "abcdefgh" for test in ("first", "second"))
        assert all(tests[i] == (tests[i + 1][0], "first") for i in range(0, 16, 2))
    assert drawn[0] != drawn[1]


def test_workers_skip_the_same_and_what_tests_share_is_not_made_for_those_left_out(tmp_path: Path) -> None:
    assert counted(outcome(files(tmp_path / "never", NEVER), "-n2", "--within=0"), "skipped") == 16
