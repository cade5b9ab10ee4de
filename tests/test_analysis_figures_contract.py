"""Every figure on small, incomplete and broken input: drawn from made-up numbers, never blank, never a traceback."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.figure import Figure

from analysis import figures
from analysis.errors import WrongInput
from analysis.figures import Runs
from analysis.style import house

GRID = (0.05, 0.25, 0.5, 1.0, 2.0, 4.0)
EDGES = tuple(np.linspace(-4, 4, 9))
PER_RUN = {"optimiser": "sgd", "batch_size": 8.0, "weight_decay": 0.0, "loss_reduction": "mean", "schedule": "constant"}
ALONG = ("landscape_loss", "gradient_difference", "effective_beta", "gradient_cosine")
ALONG += tuple(f"{metric}_along_random_{i}" for metric in ALONG[:2] for i in range(2))
SCALARS = ("gradient_norm", "effective_beta_limit_by_hessian")
LAYERED = ("ics_l2", "ics_relative", "ics_cosine", "mean_before_normalisation")
MOMENTS = ("mean_drift_since_last", "variance_drift_since_last")
THEORY = ("scaling_term", "mean_term", "correlation_term", "activation_gradient_squared", "sigma_mean")
THEORY += ("gamma_over_sigma_mean",)


class MadeUp:
    """Runs with every metric and array that a figure takes, their values drawn from a seed."""

    def __init__(
        self,
        norms: Sequence[str] = ("none", "batch", "noisy_batch", "l1"),
        seeds: int = 2,
        steps: Sequence[int] = (0, 10, 20),
        *,
        regression: bool = False,
        layers: int = 1,
        ends: dict[str, int] | None = None,
        values: Any = None,
        **columns: Any,
    ) -> None:
        self.steps, self.layers = list(steps), [f"{'layer' if regression else 'conv'}{i + 1}" for i in range(layers)]
        self.arrays: list[xr.DataArray] = []
        draw = np.random.default_rng(0)
        self.draw = (lambda size: draw.lognormal(size=size)) if values is None else lambda size: np.full(size, values)
        unit = "squared error, sum over the batch" if regression else "nats, mean over the batch"
        parts = []
        for norm in norms:
            for seed in range(seeds):
                own = {"run": f"{norm}-{seed}-{columns.get('lr', 0.1)}", "norm": norm, "seed": seed, "data": "digits"}
                own |= {"model": "deep_linear" if regression else "vgg_small", "lr": 0.1, "numerics": "exact"}
                end = (ends or {}).get(norm)
                own |= {
                    "state": "finished" if end is None else "diverged",
                    "diverged_at": math.nan if end is None else end,
                }
                own |= PER_RUN | columns
                probed = [step for step in self.steps if end is None or step <= end]
                rows = [part for step in probed for part in self._step(step, norm, regression, unit, step == end)]
                parts.append(pd.concat(rows).assign(**own))
                self._arrays(own, probed)
        self.table = pd.concat(parts, ignore_index=True)

    def _step(self, step: int, norm: str, regression: bool, unit: str, last: bool) -> list[pd.DataFrame]:
        def rows(probe: str, metric: str, batch: str, unit: str, count: int, **dims: Any) -> pd.DataFrame:
            values = self.draw(count)
            if last:  # what a run that blows up leaves behind
                values = np.where(np.arange(count) % 2, math.nan, math.inf)
            if metric == "accuracy":
                values = 1 / (1 + values)
            kept = {"layer": None, "x": math.nan} | dims
            return pd.DataFrame(
                {"step": step, "probe": probe, "metric": metric, "batch": batch, "unit": unit, "value": values, **kept}
            )

        def layered(metric: str) -> pd.DataFrame:
            return rows("some", metric, "train", "1", len(self.layers), layer=self.layers)

        made = [rows("training", "loss", "train", unit, 1), rows("training", "data_loss", "test", unit, 1)]
        if not regression:
            made += [rows("training", "accuracy", batch, "fraction", 1) for batch in ("train", "test")]
        made += [rows("landscape", metric, "train", "loss/parameter", len(GRID), x=GRID) for metric in ALONG]
        made += [rows("landscape", metric, "train", "loss/parameter", 1) for metric in SCALARS]
        made += [layered(metric) for metric in LAYERED]
        made += [layered(f"{metric}_before_normalisation") for metric in MOMENTS]
        if norm != "none":
            made += [layered(f"{metric}_after_normalisation") for metric in (*MOMENTS, "mean")]
        if "batch" in norm:
            made += [layered(metric) for metric in THEORY]
        return made

    def _arrays(self, own: dict[str, Any], steps: Sequence[int]) -> None:
        kinds: list[tuple[str, tuple[str, ...], tuple[int, ...], tuple[float, ...] | None]] = [
            ("histogram", ("bin",), (len(EDGES) + 1,), EDGES),
            ("unit_mean", ("unit",), (5,), None),
            ("unit_variance", ("unit",), (5,), None),
            ("percentiles", ("unit", "level"), (2, 3), (0.15, 0.5, 0.85)),
        ]
        for place in ("before_normalisation", *(["after_normalisation"] if own["norm"] != "none" else [])):
            for layer in self.layers:
                for metric, dims, shape, x in kinds:
                    values = self.draw((len(steps), *shape))
                    attrs = {"run": own["run"], "layer": layer, "x": x, "unit": "activation", "batch": "train"}
                    name = f"{metric}_{place}"
                    self.arrays.append(
                        xr.DataArray(values, dims=("step", *dims), coords={"step": list(steps)}, name=name, attrs=attrs)
                    )

    def __add__(self, other: MadeUp) -> MadeUp:
        self.table = pd.concat([self.table, other.table], ignore_index=True)
        self.arrays = self.arrays + other.arrays
        return self

    def runs(self, *, also: Sequence[str] = ()) -> Runs:
        """As `Runs.load` would give them."""

        def read(metric: str, names: Sequence[str], batch: str, layers: Sequence[str]) -> list[xr.DataArray]:
            return [
                a for a in self.arrays if a.name == metric and a.attrs["run"] in names and a.attrs["layer"] in layers
            ]

        return Runs(self.table, read, also)

    def without(self, *probes: str) -> MadeUp:
        self.table = self.table[~self.table["probe"].isin(probes)].reset_index(drop=True)
        return self


def both(**options: Any) -> MadeUp:
    return MadeUp(**options) + MadeUp(**{**options, "regression": True, "data": "gaussian", "lr": 1e-6})


MATERIAL = {
    "six numbers": lambda: both(norms=("none", "batch"), seeds=1),
    "one step": lambda: MadeUp(norms=("none", "batch"), seeds=1, steps=(0,)),
    "one seed, all norms": lambda: MadeUp(
        norms=("none", "batch", "noisy_batch", "l1", "l2", "linf", "my_norm"), seeds=1
    ),
    "seven seeds": lambda: MadeUp(norms=("none", "batch"), seeds=7),
    "diverged at step 3": lambda: both(norms=("none", "batch"), steps=(0, 1, 2, 3, 4), ends={"none": 3}),
    "diverged at once": lambda: MadeUp(norms=("none", "batch"), steps=(0, 1), ends={"none": 0, "batch": 0}),
    "a missing norm": lambda: MadeUp(norms=("batch",)),
    "other norms only": lambda: MadeUp(norms=("weight",)),
    "regression only": lambda: MadeUp(norms=("none", "batch"), regression=True),
    "only training": lambda: MadeUp(norms=("none", "batch")).without("landscape", "some"),
    "no matching metric": lambda: MadeUp(norms=("none",)).without("landscape", "some"),
    "nothing finite": lambda: MadeUp(norms=("none", "batch"), values=math.nan),
    "nothing positive": lambda: both(norms=("none", "batch"), values=0.0),
}


def drawn(name: str, runs: Runs, *, rendered: bool = True) -> Figure:
    """Ticks and scales are worked out, which is where bad numbers show; layout and files only where asked for."""
    with house():
        figure = Figure(layout="constrained")
        figures.get(name).draw(figures.get(name).compute(runs), figure)
        if rendered:
            figure.set_layout_engine(None)
            figure.draw_without_rendering()
    return figure


@pytest.mark.parametrize("material", MATERIAL)
def test_every_figure_draws_every_material_and_is_never_blank(material: str) -> None:
    made = MATERIAL[material]()
    if material == "no matching metric":
        made.table = both(norms=("none",)).table.query("metric == 'loss'").assign(metric="mine", probe="mine")
        made.arrays = []
    runs = made.runs()
    thorough = material in ("diverged at step 3", "nothing positive")
    for name in figures.names():
        figure = drawn(name, runs, rendered=thorough)
        assert figure.axes, name
        for axes in figure.axes:
            if axes.get_label() == "<colorbar>":
                continue
            there = any(len(line.get_xdata()) for line in axes.lines) or any(t.get_text() for t in axes.texts)
            assert there, (name, axes.get_ylabel())


def test_every_figure_says_what_is_missing_without_any_records() -> None:
    empty = Runs(MadeUp(norms=("none",), seeds=1).table[:0])
    for name in figures.names():
        texts = [text.get_text() for axes in drawn(name, empty).axes for text in axes.texts]
        assert any(text.startswith("no ") for text in texts), name
        assert len(figures.get(name).compute(empty).table()) == 0


def test_every_figure_tells_what_is_seen_and_what_is_expected() -> None:
    for name in figures.names():
        module = figures.get(name)
        assert all(len(text) > 20 for text in (module.TITLE, module.CAPTION, module.EXPECTED)), name
    assert len({figures.get(name).TITLE for name in figures.names()}) == len(figures.names())


def test_the_numbers_drawn_are_in_the_table() -> None:
    """Every y value of every line that is long enough to be a curve, found in the CSV of its figure."""
    runs = MadeUp(norms=("none", "batch", "noisy_batch"), steps=(0, 10, 20, 30)).runs()
    for name in (name for name in figures.names() if "linear" not in name):
        data = figures.get(name).compute(runs)
        table = data.table()
        numbers = table.select_dtypes("number").to_numpy().ravel()
        numbers = np.unique(np.round(numbers[np.isfinite(numbers)], 12))
        figure = drawn(name, runs, rendered=False)
        checked = 0
        for axes in figure.axes:
            if axes.get_xlabel() == "value" or not axes.get_yticks().size or axes.get_label() == "<colorbar>":
                continue
            for line in axes.lines:
                values = np.round(np.asarray(line.get_ydata(), dtype=float), 12)
                if len(values) == 4 and "histograms" not in name and np.isfinite(values).all():
                    assert np.isin(values, numbers).all(), name
                    checked += 1
        assert checked or "histograms" in name or name == "fig11_gradient_difference", name


@pytest.mark.parametrize("name", ["fig01_accuracy", "fig04_landscape", "theory_terms"])
def test_equal_runs_give_equal_bytes(name: str, tmp_path: Path) -> None:
    made = both(norms=("none", "batch"))
    first = figures.write(name, made.runs(), tmp_path / "a")
    assert [path.name for path in first] == [f"{name}.{kind}" for kind in ("svg", "png", "pdf", "csv")]
    assert sorted((tmp_path / "a").iterdir()) == sorted(first)
    made.table = made.table.sample(frac=1, random_state=0)
    second = figures.write(name, made.runs(), tmp_path / "b")
    for a, b in zip(first, second, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.suffix
    assert b"<dc:date>" not in first[0].read_bytes()


def test_a_norm_is_shown_where_it_was_asked_for_or_is_the_users_own() -> None:
    made = MadeUp(norms=("none", "batch", "layer", "my_norm"), seeds=1)
    shown = lambda also: set(figures.get("fig04_landscape").compute(made.runs(also=also)).table()["norm"])  # noqa: E731
    assert shown(()) == {"none", "batch", "my_norm"}
    assert shown(("layer",)) == {"none", "batch", "layer", "my_norm"}


# ------------------------------------------------------------------------------------------------------ a user's figure

MINE = '''
"""The last loss of each run."""
from dataclasses import dataclass
import pandas as pd

TITLE = "Last loss"

@dataclass
class Last:
    losses: pd.Series
    def table(self):
        return self.losses.reset_index()

def compute(runs):
    return Last(runs.records("loss", "train").sort_values("step").groupby("run", observed=True)["value"].last())

def draw(data, figure):
    figure.subplots().bar(data.losses.index.astype(str), data.losses)
'''


def test_a_figure_comes_from_the_users_own_file(tmp_path: Path) -> None:
    path = tmp_path / "last_loss.py"
    path.write_text(MINE)
    name, module = figures.from_file(path)
    assert (name, module.TITLE, module.CAPTION) == ("last_loss", "Last loss", "")
    made = MadeUp(norms=("none", "batch"), seeds=1)
    paths = figures.write(name, made.runs(), tmp_path / "out", module)
    assert [path.suffix for path in paths] == [".svg", ".png", ".pdf", ".csv"]
    expected = made.table.query("metric == 'loss' and step == 20").set_index("run")["value"]
    np.testing.assert_allclose(
        pd.read_csv(paths[-1]).set_index("run")["value"], expected[["batch-0-0.1", "none-0-0.1"]]
    )


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("mine.py", "TITLE = 'x'\n", "missing: compute, draw"),
        ("mine.py", "import nothing_of_this_name\n", "cannot be imported: ModuleNotFoundError"),
        ("mine.py", "def (:\n", "cannot be imported: SyntaxError"),
        ("mine.txt", MINE, "give a Python file"),
        ("theory_terms.py", MINE, "there is a figure 'theory_terms' already"),
    ],
)
def test_a_users_file_that_is_no_figure_is_refused_in_one_line(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(WrongInput, match=said) as refused:
        figures.from_file(tmp_path / name)
    assert "\n" not in str(refused.value)
