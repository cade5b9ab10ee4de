"""What the plain script reads from the tables of runs is what the committed figures and the ledger say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.independent import from_tables
from tests.independent.from_tables import FOLDER, Run, of_seeds


@pytest.fixture(scope="module")
def found() -> list[Run]:
    return from_tables.runs()


def drawn(figure: str, panel: str, norm: str, curve: str | None) -> pd.Series:
    """The medians behind one curve of a committed figure."""
    rows = pd.read_csv(FOLDER / f"{figure}.medians.csv")
    rows = rows[rows["panel"].str.startswith(panel) & (rows["arm"] == norm)]
    rows = rows[rows["curve"].isna() if curve is None else rows["curve"] == curve]
    return rows.set_index("at")["median"]


@pytest.mark.parametrize("norm", ["none", "batch", "noisy_batch"])
def test_figures_1_and_4(found: list[Run], norm: str) -> None:
    own = [run for run in found if run.norm == norm]
    shown = drawn("fig01_accuracy", "training accuracy", norm, None)
    again = of_seeds([from_tables.training_accuracy(run) for run in own])
    assert len(shown) > 100
    np.testing.assert_allclose(again.reindex(shown.index), shown, atol=1e-6)
    for end in ("low", "high"):
        shown = drawn("fig04_landscape", "loss along", norm, end)
        again = of_seeds([from_tables.along_the_gradient(run, end) for run in own])
        both = shown.index.intersection(again.index)  # runs are probed by progress: at other steps some have no number
        assert len(both) > 5
        np.testing.assert_allclose(again[both], shown[both], rtol=1e-5)


def each_seed(claim: str, comparison: str) -> list[float]:
    """The numbers of the seeds behind a verdict, in their order."""
    rows = pd.read_csv(FOLDER / "ledger.csv")
    (row,) = rows[(rows["claim"] == claim) & (rows["comparison"] == comparison)].to_dict("records")
    return [float(number) for number in str(row["each_seed"]).split()]


def test_three_verdicts(found: list[Run]) -> None:
    by_norm = {norm: [run for run in found if run.norm == norm] for norm in ("none", "batch")}
    tested = {norm: [from_tables.final_test_accuracy(run) for run in own] for norm, own in by_norm.items()}
    gained = [b - a for a, b in zip(*tested.values(), strict=True)]
    assert gained == pytest.approx(each_seed("S1", "final test accuracy, batch - none"), abs=1e-5)
    again = [from_tables.exponent_of_shift(run) for run in by_norm["batch"]]
    assert again == pytest.approx(each_seed("S9", "exponent of the shift on ||G||, batch"), rel=1e-4)
    again = [from_tables.sigma_during_training(run) for run in by_norm["batch"]]
    assert again == pytest.approx(each_seed("S23", "greatest / least sigma during training, batch"), rel=1e-4)
