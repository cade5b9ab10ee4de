"""The long matrices within a time: what was drawn runs, what is left out is counted, never passed over in silence."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def outcome(folder: Path, *options: str, seed: int = 1) -> str:
    """What pytest says of the tests in ``folder``, under the options of this project's tests."""
    environment = {key: value for key, value in os.environ.items() if key not in ("SAMPLE_NOTHING", "TESTS_BEGAN")}
    return subprocess.run(
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
    ).stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight files of two tests, each of which takes half a second."""
    for name in "abcdefgh":
        test = "import time\n\ndef test_first(): time.sleep(0.5)\n\ndef test_second(): time.sleep(0.5)\n"
        (tmp_path / f"test_{name}.py").write_text(test)
    return tmp_path


def order(said: str) -> list[tuple[str, str]]:
    return re.findall(r"test_(\w)\.py::test_(\w+) ", said)


def test_what_the_time_does_not_reach_is_skipped_and_counted_in_an_order_drawn_by_files(folder: Path) -> None:
    said = outcome(folder, "--within=1.2")
    passed = int(re.search(r"(\d+) passed", said)[1])  # type: ignore[index]
    skipped = int(re.search(r"(\d+) skipped", said)[1])  # type: ignore[index]
    assert passed + skipped == 16
    assert passed <= 3
    assert re.search(rf"SKIPPED \[{skipped}\] .*: the 1\.2 seconds of --within are over", said)
    drawn = [order(said), order(outcome(folder, "--within=0", seed=2))]
    for tests in drawn:
        assert sorted(tests) == sorted((name, test) for name in "abcdefgh" for test in ("first", "second"))
        assert all(tests[i] == (tests[i + 1][0], "first") for i in range(0, 16, 2))
    assert drawn[0] != drawn[1]
