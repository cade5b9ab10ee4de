"""The medians behind a figure: recomputed from the runs' tables, small, and in words that are understood."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import figures
from analysis.drawing import medians
from tests.made_figures import MadeUp, every_kind
from tests.pages import ROOT
from tests.test_analysis_figures_contract import Kinds, filled


def written(name: str, made: MadeUp, folder: Path) -> pd.DataFrame:
    """The medians beside a figure's picture, as a person's spreadsheet reads them."""
    paths = figures.write(name, made.runs(), folder)
    assert paths[-1] == folder / f"{name}.medians.csv"
    assert paths[-1].with_suffix("").with_suffix(".png").is_file()
    return pd.read_csv(paths[-1], keep_default_na=False, na_values=[""])


def test_training_curves_are_medians_over_seeds(tmp_path: Path) -> None:
    """By plain pandas on the table of the runs: every seed was looked at on the same steps."""
    made = MadeUp(norms=("none", "batch"), seeds=5)
    told = written("training_curves", made, tmp_path)
    assert set(told["arm"]) == {"none", "batch"}
    assert set(told["axis"]) == {"step"}
    assert told["thinned"].isna().all()
    assert set(told["seeds"]) == {5}
    of_loss = made.table[(made.table["metric"] == "data_loss") & (made.table["batch"] == "train")]
    own = told[told["panel"] == "training loss"]
    assert len(own) == 2 * 3
    for row in own.itertuples():
        values = of_loss[(of_loss["norm"] == row.arm) & (of_loss["step"] == row.at)]["value"]
        assert len(values) == 5
        found = (row.median, row.lowest, row.highest)
        np.testing.assert_allclose(found, (values.median(), values.min(), values.max()), rtol=2e-5)


def test_a_landscapes_ends_are_medians_of_each_seeds_extremes(tmp_path: Path) -> None:
    made = MadeUp(norms=("none", "batch"), seeds=3)
    told = written("fig04_landscape", made, tmp_path)
    frame = made.table[(made.table["metric"] == "landscape_loss") & (made.table["probe"] == "landscape")]
    frame = frame[frame["x"].between(0.5, 4)]  # the paper's step lengths, in learning rates
    ends = frame.groupby(["norm", "run", "step"])["value"].agg(["min", "max"]).reset_index()
    own = told[told["panel"].str.startswith("loss along")].set_index(["arm", "curve", "at"])
    assert len(own) == 2 * 2 * 3
    for norm in ("none", "batch"):
        for step in (0, 10, 20):
            here = ends[(ends["norm"] == norm) & (ends["step"] == step)]
            for curve, end in (("low", "min"), ("high", "max")):
                row = own.loc[(norm, curve, step)]
                assert row["median"] == pytest.approx(sorted(here[end])[1], rel=2e-5)
                assert (row["lowest"], row["highest"]) == pytest.approx((here[end].min(), here[end].max()), rel=2e-5)
                assert row["seeds"] == 3


def test_percentiles_of_a_histogram_are_those_of_values_spread_evenly_in_its_bins() -> None:
    edges, density = [-1.0, 0.0, 2.0, 3.0, 7.0], [0.1, 0.2, 0.0, 0.1]  # shares 0.1, 0.4, 0, 0.4; 0.1 lies outside
    rows = [
        ("digits", "density", "batch", "conv1", 4, 10, low, high, value, 0.1)
        for low, high, value in zip(edges[:-1], edges[1:], density, strict=True)
    ]
    columns = ["setting", "quantity", "norm", "layer", "seed", "step", "low", "high", "density", "outside"]
    told = medians.medians(pd.DataFrame(rows, columns=columns))
    values = [
        np.linspace(a, b, round(10_000 * d * (b - a))) for a, b, d in zip(edges, edges[1:], density, strict=False)
    ]
    expected = np.percentile(np.concatenate(values), [15, 50, 85])
    np.testing.assert_allclose(told["median"], expected, atol=2e-3)
    assert list(told["curve"]) == [f"conv1, seed 4, {p}th percentile" for p in (15, 50, 85)]
    assert list(told["at"]) == [10, 10, 10]
    assert list(told["seeds"]) == [1, 1, 1]


def long_table(points: int, curves: int) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    steps = np.tile(np.arange(points), curves)
    value = draw.lognormal(size=points * curves)
    return pd.DataFrame(
        {
            "setting": "vgg_small on digits",
            "quantity": "loss",
            "norm": np.repeat([f"arm {i}" for i in range(curves)], points),
            "step": steps,
            "median": value,
            "min": value / 2,
            "max": value * 2,
            "runs": 6,
            "run_0": value,
        }
    )


def test_many_points_are_thinned_with_a_word() -> None:
    table = long_table(points=4001, curves=3)
    content = medians.as_csv(medians.medians(table))
    assert 50_000 < len(content) <= medians.LARGEST == 200_000
    told = pd.read_csv(io.BytesIO(content))
    (word,) = set(told["thinned"])
    every = int(word.removeprefix("every ").partition("th")[0])
    assert word == f"every {every}th of 4001 points, and the last"
    for arm, rows in told.groupby("arm"):
        assert list(rows["at"]) == sorted({*range(0, 4001, every), 4000})
        own = table[table["norm"] == arm].set_index("step")["median"]
        np.testing.assert_allclose(rows["median"], own.loc[rows["at"]], rtol=1e-5)


def test_few_points_are_all_there_and_a_short_curve_beside_long_ones_keeps_its_ends() -> None:
    few = medians.medians(long_table(points=20, curves=2))
    assert len(pd.read_csv(io.BytesIO(medians.as_csv(few)))) == 40
    both = pd.concat([few.assign(curve="short").query("at < 2"), few])
    told = medians.thinned(both, 7)
    assert list(told[told["curve"] == "short"]["at"]) == [0, 1, 0, 1]
    assert set(told[told["curve"] == "short"]["thinned"]) == {""}
    assert list(told[(told["curve"] == "") & (told["arm"] == "arm 0")]["at"]) == [0, 7, 14, 19]


def test_where_nothing_is_enough_each_curve_keeps_its_ends() -> None:
    told = pd.read_csv(io.BytesIO(medians.as_csv(medians.medians(long_table(points=3, curves=3000)))))
    assert (told.groupby("arm")["at"].apply(list).map(tuple) == (0, 2)).all()


def test_what_is_not_finite_or_has_no_medians_is_left_out() -> None:
    table = long_table(points=3, curves=1)
    table["median"] = [1.0, np.nan, np.inf]
    assert list(medians.medians(table)["at"]) == [0]
    for other in (pd.DataFrame({"mine": [1]}), pd.DataFrame({"median": ["much"]}), pd.DataFrame({"density": [1.0]})):
        assert len(medians.medians(other)) == 0


@pytest.mark.long
def test_every_figure_has_medians_that_say_where() -> None:
    """Of the first made-up runs that have what the figure is about."""
    kinds = Kinds(every_kind(norms=("none", "batch", "noisy_batch", "noise"), steps=(0, 10, 11, 30)))
    for name in figures.names():
        table = filled(name, kinds).table()
        told = medians.medians(table)
        assert tuple(told.columns) == medians.COLUMNS
        assert len(told), name
        assert told["axis"].ne("").all(), name
        assert np.isfinite(told[["at", "median"]].to_numpy(dtype=float)).all(), name
        assert not told.duplicated(["setting", "panel", "arm", "curve", "axis", "at"]).any(), name
        if "median" in table:
            drawn = table["median"][np.isfinite(table["median"].to_numpy(dtype=float))]
            assert {*drawn} <= {*told["median"]}, name


def test_the_page_names_every_column() -> None:
    told = (ROOT / "docs" / "report.md").read_text()
    assert all(f"`{column}`" in told for column in medians.COLUMNS)


def test_words_of_a_users_own_tell_curves_apart() -> None:
    """A column that no figure of ours has: its rows are curves of their own, each thinned by itself."""
    table = pd.DataFrame(
        {"flavour": ["a", "b"] * 3, "step": [0, 0, 1, 1, 2, 2], "median": [0.0, 5.0, 1.0, 6.0, 2.0, 7.0]}
    )
    told = medians.medians(table)
    assert told.groupby("curve")["median"].apply(list).to_dict() == {"a": [0.0, 1.0, 2.0], "b": [5.0, 6.0, 7.0]}
    assert len(medians.thinned(told, 2)) == 4  # the first and the last of each
