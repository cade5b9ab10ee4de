"""The rates of wrong verdicts, in short: `benchmarks/error_rates.py` with few draws, six seeds, and every kind."""

from __future__ import annotations

import math
import runpy
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import partly

SCRIPT: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "error_rates.py"))
DRAWS = 300
ALLOWED = 0.05 + 3 * math.sqrt(0.05 * 0.95 / DRAWS)
"""Three standard deviations of a rate of 5 %."""


SHORT = ("log-normal", "Laplace", "two log-normal arms", "stuck in 0.1", "deviation 0.2 steps", "9 comparisons")
ROWS = [row for row in SCRIPT["rows"]((6,)) if row.shape not in SHORT]


@pytest.mark.parametrize("row", partly(ROWS, 8), ids=lambda row: f"{row.kind}, {row.shape}")
def test_a_word_at_the_edge_is_wrong_in_at_most_5_percent_to_each_side(row: Any) -> None:
    assert max(SCRIPT["rates"](row.judge, DRAWS // 4 if row.kind == "ranks over families" else DRAWS)) <= ALLOWED


@pytest.mark.parametrize("shape", ["normal", "stuck in 0.3"])
def test_few_seeds_lean_as_rarely_to_the_wrong_side(shape: str) -> None:
    for row in SCRIPT["rows"]((3,)):
        if (row.kind, row.shape) == ("ratio, difference", shape):
            assert max(SCRIPT["rates"](row.judge, DRAWS)) <= ALLOWED


def test_what_is_there_is_found() -> None:
    """One comparison of six seeds: 2 times nearly always; of nine that must all hold seldom, of their mean again."""
    assert SCRIPT["power"](6, 2.0, 100) > 0.85
    assert SCRIPT["power"](6, 2.0, 50, composite=9) < SCRIPT["power"](6, 2.0, 50, composite=-9)
