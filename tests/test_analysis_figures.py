"""Statistics over seeds, the look, every figure on small and broken input, and the command line."""

from __future__ import annotations

import itertools
import math
import statistics as plain
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from analysis import figures, load_runs, statistics
from analysis.__main__ import main
from analysis.errors import WrongInput
from analysis.figures import Runs, training_curves
from analysis.figures._draw import in_series
from analysis.figures._rows import lengths_told
from analysis.figures._sheet import Divergence, Panel, Sheet
from analysis.style import NORMS, house, in_order, norm_style
from tests.made_runs import log, write_run


def frame(values: dict[tuple[str, int], list[float]], *, regression: bool = False, **columns: Any) -> pd.DataFrame:
    """A table as load_runs gives it: losses of (norm, seed) at steps 0, 1, ...; accuracies are 1/(1 + loss)."""
    rows = []
    for (norm, seed), losses in values.items():
        own = {"run": f"{norm}-{seed}", "norm": norm, "seed": seed, "data": "digits", "model": "mlp", "lr": 0.1}
        own |= {"state": "finished", "diverged_at": math.nan, "optimiser": "sgd", "batch_size": 8, "weight_decay": 0.0}
        own |= {"loss_reduction": "mean", "schedule": "constant", "numerics": "exact", "probe": "training"}
        own |= {"layer": None, "x": math.nan} | columns
        for step, loss in enumerate(losses):
            unit = "squared error, mean over the batch" if regression else "nats, mean over the batch"
            rows.append({**own, "step": step, "metric": "loss", "batch": "train", "unit": unit, "value": loss})
            rows.append({**own, "step": step, "metric": "data_loss", "batch": "test", "unit": unit, "value": loss})
            for batch in () if regression else ("train", "test"):
                accuracy = {"metric": "accuracy", "batch": batch, "unit": "fraction", "value": 1 / (1 + loss)}
                rows.append({**own, "step": step, **accuracy})
    return pd.DataFrame(rows)


# ----------------------------------------------------------------------------------------------------------- statistics


@pytest.mark.parametrize("centre", ["median", "mean"])
def test_centre_and_extremes_against_plain_python(centre: statistics.Centre) -> None:
    generator = np.random.default_rng(0)
    rows = [
        {"norm": norm, "step": step, "run": f"{norm}-{seed}", "value": generator.normal()}
        for norm, step, seed in itertools.product(("none", "batch"), range(5), range(4))
    ]
    rows[3]["value"] = math.nan  # no number there
    rows = [row for row in rows if (row["norm"], row["step"], row["run"]) != ("batch", 2, "batch-1")]
    summary = statistics.summarise(statistics.by_run(pd.DataFrame(rows), ["norm", "step"]), centre=centre)
    assert len(summary) == 10
    for (norm, step), found in summary.iterrows():
        there = [r["value"] for r in rows if r["norm"] == norm and r["step"] == step and not math.isnan(r["value"])]
        middle = plain.median(there) if centre == "median" else plain.fmean(there)
        assert found.centre == pytest.approx(middle, rel=1e-14)
        assert (found.low, found.high, found.runs) == (min(there), max(there), len(there))


def test_bootstrap_intervals_against_plain_resampling() -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(3, 12)) + np.array([[0.0], [5.0], [9.0]])
    values[2, :4] = math.nan
    table = pd.DataFrame(values)
    found = statistics.summarise(table, centre="mean", band="bootstrap", confidence=0.9, resamples=4000)
    for row, (_, low, high, runs) in zip(values, found.itertuples(index=False), strict=True):
        there = row[~np.isnan(row)]
        drawn = generator.choice(there, (4000, len(there))).mean(axis=1)
        assert [low, high] == pytest.approx(np.quantile(drawn, [0.05, 0.95]), abs=0.05)
        assert runs == len(there)
    again = statistics.summarise(table, centre="mean", band="bootstrap", confidence=0.9, resamples=4000)
    pd.testing.assert_frame_equal(found, again)


def test_no_interval_from_one_run_or_from_an_infinity() -> None:
    table = pd.DataFrame({"a": [1.0, 1.0, 1.0], "b": [math.nan, math.inf, 2.0]})
    found = statistics.summarise(table, band="bootstrap")
    assert found.low.isna().tolist() == [True, True, False]
    extremes = statistics.summarise(table)
    assert extremes.high.tolist() == [1.0, math.inf, 2.0]
    assert extremes.centre.tolist() == [1.0, math.inf, 1.5]


def test_a_band_is_over_runs_only() -> None:
    twice = pd.DataFrame({"run": ["a", "a"], "step": [0, 0], "value": [1.0, 2.0]})
    with pytest.raises(WrongInput, match="several values at the same step"):
        statistics.by_run(twice, ["step"])


def test_a_band_says_what_it_is() -> None:
    assert statistics.describe() == "line: median over seeds, band: min to max"
    assert "90 % bootstrap interval of the mean" in statistics.describe(centre="mean", band="bootstrap", confidence=0.9)


# ---------------------------------------------------------------------------------------------------------------- style


def test_normalisations_are_told_apart_in_colour_and_in_grey() -> None:
    styles = list(NORMS.values())
    assert len({style.dashes for style in styles}) == len(styles)
    assert len({style.marker for style in styles}) == len(styles)
    assert list(NORMS) == in_order(reversed(list(NORMS)))


def test_an_unknown_normalisation_has_a_style_of_its_name_alone() -> None:
    assert norm_style("mine") == norm_style("mine")
    styles = {norm_style(f"mine{i}") for i in range(50)}
    assert len(styles) > 20
    assert not {style.dashes for style in styles} & {style.dashes for style in NORMS.values()}
    assert in_order({"zeta", "alpha", "batch", "none"}) == ["none", "batch", "alpha", "zeta"]


def test_the_house_style_is_undone() -> None:
    before = dict(matplotlib.rcParams)
    with house():
        assert matplotlib.rcParams["svg.hashsalt"] == "batchnorm-suite"
    assert dict(matplotlib.rcParams) == before


# ------------------------------------------------------------------------------------------------------ training curves

DIVERGED = pd.concat(
    [
        frame({("batch", 0): [2.0, 1.0, 0.5, 0.4, 0.3], ("none", 0): [2.0, 2.0, 2.0, 1.0, 1.0]}),
        frame({("none", 1): [2.0, 1e9, math.inf]}, state="diverged", diverged_at=3.0),
    ]
)
MATERIAL = {
    "one number": frame({("none", 0): [2.0]}),
    "three seeds": frame({("batch", seed): [2.0, 1.0 + seed] for seed in range(3)}),
    "many seeds": frame({("batch", seed): [2.0, 1.0 + seed] for seed in range(7)}),
    "nothing positive on a logarithmic axis": frame({("none", 0): [0.0, -1.0]}, regression=True),
    "no test accuracy": DIVERGED[(DIVERGED.metric != "accuracy") | (DIVERGED.batch != "test")],
}


def computed(table: pd.DataFrame) -> Sheet:
    return training_curves.compute(Runs(table.reset_index(drop=True)))


@pytest.mark.parametrize("typed", ["fig04", "figure4", "Figure 4", "4", "fig4_landscape"])
def test_a_figure_by_its_number_alone_is_a_near_miss(typed: str) -> None:
    with pytest.raises(WrongInput, match="did you mean 'fig04_landscape'"):
        figures.get(typed)


def test_things_in_an_order_are_told_apart_in_grey_too() -> None:
    styles = [in_series(place / 5) for place in range(6)]
    assert len({style["marker"] for style in styles}) == 6
    light = [0.299 * r + 0.587 * g + 0.114 * b for r, g, b in (to_rgb(style["color"]) for style in styles)]
    assert all(later - earlier > 0.05 for earlier, later in itertools.pairwise(light))


def test_step_lengths_are_told_once_where_they_agree() -> None:
    assert lengths_told({"a": "1, 2 x lr", "b": "1, 2 x lr", "c": ""}) == ("1, 2 x lr",)
    assert lengths_told({"a": "1, 2 x lr", "b": "3 x lr"}) == ("a: 1, 2 x lr", "b: 3 x lr")
    assert lengths_told({"a": ""}) == ()


def test_unknown_figure() -> None:
    with pytest.raises(WrongInput, match=r"did you mean 'training_curves'\?"):
        figures.get("training_curve")


def panel_of(data: Sheet, quantity: str) -> Panel:
    return next(panel for panel in data.columns[0].panels if panel.name == quantity)


def test_the_curves_are_those_of_the_records() -> None:
    losses = {("batch", 0): [2.0, 1.0], ("batch", 1): [2.5, 0.5], ("batch", 2): [1.0, 3.0], ("none", 0): [9.0, 8.0]}
    data = computed(frame(losses))
    none, batch = panel_of(data, "training loss").curves
    assert (none.norm, batch.norm) == ("none", "batch")
    assert batch.median.tolist() == [2.0, 1.0]
    assert batch.least.tolist() == [1.0, 0.5]
    assert batch.greatest.tolist() == [2.5, 3.0]
    assert batch.each.tolist() == [[2.0, 1.0], [2.5, 0.5], [1.0, 3.0]]
    assert panel_of(data, "training accuracy").curves[1].median.tolist() == [1 / 3, 1 / 2]
    table = data.table()
    row = table[(table.quantity == "training loss") & (table.norm == "batch") & (table.step == 1)].iloc[0]
    assert (row["median"], row["min"], row["max"], row.runs, row.run_2) == (1.0, 0.5, 3.0, 3, 3.0)


def test_settings_are_columns() -> None:
    parts = [
        frame({("none", 0): [1.0]}, lr=lr, batch_size=size, run=f"{lr}-{size}") for lr in (0.5, 0.1) for size in (8, 64)
    ]
    data = computed(pd.concat([*parts, frame({("l1", 0): [1.0]}, regression=True, data="gaussian")]))
    assert [(c.setting.title, c.setting.subtitle) for c in data.columns] == [
        ("mlp on digits", "learning rate 0.1, batch size 8"),
        ("mlp on digits", "learning rate 0.1, batch size 64"),
        ("mlp on digits", "learning rate 0.5, batch size 8"),
        ("mlp on digits", "learning rate 0.5, batch size 64"),
        ("mlp on gaussian", "learning rate 0.1"),
    ]
    assert [panel.name for panel in data.columns[0].panels] == [
        "training accuracy",
        "test accuracy",
        "training loss",
    ]
    assert [(panel.name, panel.log) for panel in data.columns[4].panels] == [
        ("training loss", True),
        ("test loss", True),
    ]


def test_runs_that_differ_in_what_no_column_shows_are_not_passed_off_as_seeds() -> None:
    twice = pd.concat([frame({("l1", 0): [1.0]}), frame({("l1", 0): [2.0]}, run="centred")])
    assert "that differ in other options" in computed(twice).columns[0].setting.subtitle
    assert "differ" not in computed(MATERIAL["three seeds"]).columns[0].setting.subtitle


def test_a_diverged_run_is_marked_named_and_does_not_squeeze_the_others() -> None:
    data = computed(DIVERGED)
    curve = panel_of(data, "training loss").curves[0]
    assert curve.diverged == (Divergence("none-1", 3.0, 1e9),)
    with house():
        figure = Figure(layout="constrained")
        training_curves.draw(data, figure)
    loss = figure.axes[-1]
    assert loss.get_ylim()[1] < 3
    crosses = [line for line in loss.lines if line.get_marker() == "X" and len(line.get_xdata()) == 1]
    assert [(float(line.get_xdata()[0]), to_hex(line.get_color())) for line in crosses] == [(3.0, "#000000")]
    assert loss.get_legend().get_texts()[0].get_text() == "none: 1 of 2 diverged, at step 3"
    legend = figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["none", "batch"]
    said = legend.get_title().get_text().replace("\n", " ")
    assert said == "line: median over seeds, band: min to max (1 to 2 seeds); thin: each seed"


@pytest.mark.parametrize(("material", "thin"), [("three seeds", 3), ("many seeds", 0), ("one number", 0)])
def test_few_seeds_are_each_drawn(material: str, thin: int) -> None:
    with house():
        figure = Figure(layout="constrained")
        training_curves.draw(computed(MATERIAL[material]), figure)
    assert [len(axes.lines) for axes in figure.axes] == [thin + 1] * 3


def test_a_panel_without_data_says_what_is_missing() -> None:
    data = computed(MATERIAL["no test accuracy"])
    assert [panel.missing for panel in data.columns[0].panels] == [
        None,
        "no test accuracy is recorded\nin these 3 runs",
        None,
    ]
    nothing = computed(MATERIAL["nothing positive on a logarithmic axis"])
    assert nothing.columns[0].panels[0].missing == "no positive, finite training loss\nin this run"


def test_nothing_overlaps() -> None:
    """Titles, axis labels, ticks and legends of a crowded figure, as boxes on the page."""
    norms = [*NORMS, "a_norm_of_my_own"]
    columns = [
        frame({(n, 0): [2.0, 1.0] for n in norms}, lr=lr).assign(run=lambda f: f.norm + str(f.lr)) for lr in (1, 2, 3)
    ]
    columns.append(frame({("none", 1): [2.0]}, lr=2, state="diverged", diverged_at=1.0))
    columns += [frame({("none", 0): [2.0]}, lr=3, run=f"option {i}") for i in range(2)]  # a subtitle of three lines
    with house():
        figure = Figure(layout="constrained")
        training_curves.draw(computed(pd.concat(columns)), figure)
        figure.draw_without_rendering()
    boxes = [axes.get_tightbbox() for axes in figure.axes] + [legend.get_window_extent() for legend in figure.legends]
    for a, b in itertools.combinations(boxes, 2):
        assert not (a.x0 < b.x1 - 1 and b.x0 < a.x1 - 1 and a.y0 < b.y1 - 1 and b.y0 < a.y1 - 1)
    for box in boxes:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1


# --------------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    for seed in range(2):
        write_run(folder, seed=seed, lines=log(), parquet=seed == 0)
    write_run(folder, "none", lines=log(2), state="diverged", diverged_at=3)
    return folder


def test_figures_command(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["figures", str(runs)]) == 0
    printed = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert len(printed) == 4 * len(figures.names())
    assert all(path.is_absolute() and path.stat().st_size for path in printed)
    assert {path.parent for path in printed} == {runs / "figures"}
    assert main(["figures", str(runs), "--out", str(tmp_path / "new" / "out"), "--only", "training_curves"]) == 0
    assert (tmp_path / "new" / "out" / "training_curves.svg").read_bytes() == (
        runs / "figures" / "training_curves.svg"
    ).read_bytes()


def test_status_command(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(runs, seed=7, lines=log(3), state="running")
    write_run(runs, seed=8, state="failed", message="the disk\nis full")
    assert main(["status", str(runs)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len({line.index(word) for line, word in zip(lines[:2], ("state", "finished"), strict=True)}) == 1
    by_run = {line.split()[0]: line.split(maxsplit=3)[1:] for line in lines[1:-1]}
    assert by_run["digits-vgg_small-none-lr0.1-seed0"] == ["diverged", "1/400", "diverged at step 3"]
    assert by_run["digits-vgg_small-batch-lr0.1-seed0"] == ["finished", "3/400"]
    assert by_run[folder.name][:2] == ["running", "2/400"]
    assert by_run[folder.name][2].startswith("no sign of life for")
    assert by_run["digits-vgg_small-batch-lr0.1-seed8"] == ["failed", "0/400", "the disk is full"]
    assert lines[-1] == "5 runs: 2 finished, 1 diverged, 1 failed, 1 running"
    (folder / "status.json").write_text("{")
    assert main(["status", str(runs)]) == 1


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_table_command(runs: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"table.{kind}"
    assert main(["table", str(runs), str(path)]) == 0
    assert capsys.readouterr().out == f"{path}\n"
    expected = load_runs(runs)
    table = pd.read_csv(path) if kind == "csv" else pd.read_parquet(path)
    assert list(table.columns) == list(expected.columns)
    np.testing.assert_array_equal(table.value, expected.value)
    assert table.value.isin([math.inf]).any()
    for name in ("run", "metric", "layer", "x", "lr", "seed", "step"):
        there = expected[name].notna().to_numpy()
        assert (table[name].notna() == there).all()
        assert table[name][there].astype(str).tolist() == expected[name][there].astype(str).tolist()


def test_wrong_input_is_one_line_and_exit_code_2(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for arguments, said in [
        (["figures", str(tmp_path / "nowhere")], "no such folder"),
        (["figures", str(tmp_path / "empty")], "no runs in"),
        (["status", str(tmp_path / "file")], "not a folder"),
        (["figures", str(runs), "--only", "training_curve"], "did you mean 'training_curves'?"),
        (["figures", str(runs), "--out", str(tmp_path / "file")], "cannot use"),
        (["figures", str(runs), "--out", str(tmp_path / "file" / "inner")], "cannot use"),
        (["figures", str(runs), "--results-version", "7"], "results version 7"),
        (["figures", str(runs), "--results-version", "x"], "invalid int value"),
        (["table", str(runs), str(tmp_path / "t.xlsx")], ".csv or .parquet"),
        (["table", str(runs), str(tmp_path / "nowhere" / "t.csv")], "no such folder"),
        (["tables", str(runs)], "invalid choice"),
        ([], "required"),
    ]:
        assert main(arguments) == 2, arguments
        caught = capsys.readouterr()
        assert caught.out == ""
        assert said in caught.err
        assert caught.err.count("\n") == 1
    assert not [path for path in tmp_path.iterdir() if path.name not in ("empty", "file", "runs")]


def test_damage_is_one_line_and_exit_code_1(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (runs / "digits-vgg_small-batch-lr0.1-seed1" / "records.jsonl").write_text("{\n")
    assert main(["figures", str(runs)]) == 1
    said = capsys.readouterr().err
    assert "seed1/records.jsonl is damaged in line 1" in said
    assert said.count("\n") == 1
    assert not (runs / "figures").exists()


def test_mixed_versions_are_refused_and_can_be_chosen(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(runs, seed=5, lines=log(), version=2)
    assert main(["figures", str(runs)]) == 2
    assert "versions of the results, 1 and 2" in capsys.readouterr().err
    assert main(["figures", str(runs), "--results-version", "2", "--only", "training_curves"]) == 0


def test_a_full_disk_leaves_earlier_figures_as_they_were(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["figures", str(runs), "--only", "training_curves"]) == 0
    before = {path: path.read_bytes() for path in (runs / "figures").iterdir()}

    def half(self: Figure, path: Path, **_: Any) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Figure, "savefig", half)
    assert main(["figures", str(runs), "--only", "training_curves"]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (runs / "figures").iterdir()} == before
