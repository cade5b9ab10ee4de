"""Numbers of two figures and of three verdicts once more, from the tables of runs alone: pandas, nothing of the suite.

python tests/independent/from_tables.py     # of results/cifar10-jpeg-vgg16
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

FOLDER = Path(__file__).parents[2] / "results" / "cifar10-jpeg-vgg16"


class Run(NamedTuple):
    """A run's normalisation, seed, and records."""

    norm: str
    seed: int
    records: pd.DataFrame

    def of(self, metric: str, batch: str = "train", probe: str | None = None) -> pd.DataFrame:
        """The rows of a metric."""
        found = self.records[(self.records["metric"] == metric) & (self.records["batch"] == batch)]
        return found if probe is None else found[found["probe"] == probe]


def runs(folder: Path = FOLDER) -> list[Run]:
    """All runs whose tables are packed in a folder of results."""
    found: dict[str, dict[str, bytes]] = {}
    with tarfile.open(folder / "runs.tar.xz") as packed:
        for member in packed:
            if member.isfile() and (stream := packed.extractfile(member)) is not None:
                path = Path(member.name)
                found.setdefault(path.parent.name, {})[path.name] = stream.read()
    made = []
    for files in found.values():
        config = json.loads(files["config.json"])["config"]
        made.append(Run(config["norm"]["name"], config["seed"], pd.read_parquet(io.BytesIO(files["records.parquet"]))))
    return sorted(made, key=lambda run: (run.norm, run.seed))


def of_seeds(curves: list[pd.Series]) -> pd.Series:
    """The median of several curves where all have a number."""
    return pd.concat(curves, axis=1).dropna().median(axis=1)


def training_accuracy(run: Run) -> pd.Series:
    """Figure 1: accuracy on each step's own batch."""
    return run.of("accuracy").set_index("step")["value"]


def along_the_gradient(run: Run, end: str) -> pd.Series:
    """Figure 4 (a): the least or greatest loss over steps of 0.5 to 4 learning rates, at each probed step."""
    rows = run.of("landscape_loss", probe="landscape")
    return rows[rows["x"].between(0.5, 4)].groupby("step")["value"].agg("min" if end == "low" else "max")


def final_test_accuracy(run: Run) -> float:
    """S1: the median of the last tenth of evaluations, at least the last one."""
    values = run.of("accuracy", "test").sort_values("step")["value"].to_numpy()
    return float(np.median(values[-max(1, round(len(values) / 10)) :]))


def exponent_of_shift(run: Run) -> float:
    """S9: slope of log ||G - G'|| on log ||G|| over probed steps, median over layers but the first."""
    shift = run.of("ics_l2").pivot_table("value", "step", "layer", observed=True)
    size = run.of("gradient_norm", probe="gradients").pivot_table("value", "step", "layer", observed=True)
    first = run.of("ics_l2")["layer"].iloc[0]
    slopes = []
    for layer in shift.columns:
        if layer != first:
            own = pd.concat([np.log(size[layer]), np.log(shift[layer])], axis=1).dropna().to_numpy()
            slopes.append(np.polyfit(own[:, 0], own[:, 1], 1)[0])
    return float(np.median(slopes))


def sigma_during_training(run: Run) -> float:
    """S23: greatest over least sigma of a layer's median unit, median over layers."""
    sigma = run.of("sigma_median").groupby("layer", observed=True)["value"]
    return float((sigma.max() / sigma.min()).median())


def main() -> None:
    """Prints them, seed by seed."""
    found = runs()
    for norm in dict.fromkeys(run.norm for run in found):
        own = [run for run in found if run.norm == norm]
        accuracy = of_seeds([training_accuracy(run) for run in own])
        ends = [of_seeds([along_the_gradient(run, end) for run in own]) for end in ("low", "high")]
        print(f"{norm}, seeds {', '.join(str(run.seed) for run in own)}")
        print(f"  figure 1, training accuracy at the last step: {accuracy.iloc[-1]:.3f}")
        print(f"  figure 4, loss along the gradient before the first step: {ends[0][0]:.4f} to {ends[1][0]:.4f}")
        print("  S1, test accuracy:", *(f"{final_test_accuracy(run):.4f}" for run in own))
        print("  S9, exponent:", *(f"{exponent_of_shift(run):.3f}" for run in own))
        if norm == "batch":
            print("  S23, greatest over least sigma:", *(f"{sigma_during_training(run):.4f}" for run in own))


if __name__ == "__main__":
    main()
