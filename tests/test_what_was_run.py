"""What was run: settings by what all their runs share, seeds for each arm, and what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analysis.sweep import Sweep
from tests.made_runs import log, write_run

OPTIONS: dict[str, dict[str, Any]] = {
    "narrow": {"model": {"width": 0.125, "momentum": 1}, "optim": {"name": "adam", "batch_size": 16}, "steps": 20},
    "wide": {"model": {"width": 0.5, "momentum": 1}},
}


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    """None at both widths, batch at one: the narrow ones have another optimiser, batch size and length."""
    for name, config in OPTIONS.items():
        for norm in ("none", "batch") if name == "wide" else ("none",):
            for seed in range(3):
                write_run(tmp_path / name, norm, seed, config=config, lines=log()).rename(
                    tmp_path / f"{name}{norm}{seed}"
                )
    write_run(tmp_path / "more", "batch", 3, config=OPTIONS["wide"], state="failed", message="lost")
    paths = [path for path in tmp_path.iterdir() if (path / "config.json").exists()]
    for path in paths:
        text = (path / "config.json").read_text()
        name = f"digits-vgg_small-{'none' if 'none' in path.name else 'batch'}-lr0.1-seed{path.name[-1]}"
        (path / "config.json").write_text(text.replace(f'"run": "{name}"', f'"run": "{path.name}"'))
    return Sweep.load([*paths, tmp_path / "more"])


def table(sweep: Sweep, title: str) -> list[list[Any]]:
    return next(made["rows"] for made in sweep.tables() if made["title"] == title)


def test_a_row_states_what_its_runs_share(sweep: Sweep) -> None:
    rows = {label: (arms, how) for label, arms, how in table(sweep, "Settings")}
    assert len(rows) == 2
    (narrow, wide) = (next(row for label, row in rows.items() if f"width {width}" in label) for width in (0.125, 0.5))
    assert narrow[0] == "none × 3 seeds"
    assert wide[0] == "none × 3 seeds; batch × 4 seeds"
    assert set(narrow[1].split("; ")) == {"width 0.125", "optimiser adam", "batch size 16", "steps 20"}
    assert set(wide[1].split("; ")) == {"width 0.5", "optimiser sgd", "batch size 64", "steps 400"}
    alike = dict(table(sweep, "Alike in all settings"))
    assert alike["learning rate"] == "0.1"
    assert (alike["model.momentum"], alike["optim.momentum"]) == ("1", "0"), "one word for both would be neither"
    assert not {"optimiser", "batch size", "steps", "width"} & set(alike)


def test_seeds_are_counted_for_each_arm_and_setting(sweep: Sweep) -> None:
    assert sweep.lead() == "10 runs: none, batch; 2 settings; 3 to 4 seeds per arm and setting."


def test_what_is_missing_is_told_by_setting_and_arm(sweep: Sweep) -> None:
    failed, few, lacking = sweep.problems()
    assert few.endswith(": 3 seeds; 6 are a verdict")
    assert failed == "failed: digits-vgg_small-batch-lr0.1-seed3 (lost)"
    assert "0.5" in lacking
    assert lacking.endswith("not ended or not run: none seed 3; batch seed 3")


def test_a_table_of_runs_holds_what_was_trained(sweep: Sweep) -> None:
    rows = sweep.table().set_index("run")
    assert len(rows) == 10
    assert rows.loc["narrownone0", ["optim", "optim.batch_size", "model.width", "steps", "seed"]].tolist() == [
        "adam",
        16,
        0.125,
        20,
        0,
    ]


def test_too_few_seeds_are_told(tmp_path: Path) -> None:
    for seed in range(2):
        write_run(tmp_path, "batch", seed, lines=log())
    (said,) = Sweep.load([tmp_path]).problems()
    assert said.endswith(": 2 seeds; 6 are a verdict")


@pytest.mark.parametrize("number", [12, 13])
def test_of_many_settings_and_many_normalisations_a_count_is_told(tmp_path: Path, number: int) -> None:
    for place in range(number):
        made = write_run(tmp_path / f"{place}", f"norm{place}", lines=log(), config={"steps": 20 + place})
        text = (made / "config.json").read_text()
        (made / "config.json").write_text(text.replace(f'"run": "{made.name}"', f'"run": "{place}"'))
    sweep = Sweep.load([tmp_path])
    problems = sweep.problems()
    assert len(problems) == (12 if number == 12 else 1)
    assert problems[0].startswith("13 of 13 settings lack seeds for a verdict") == (number == 13)
    assert ("norm7" in sweep.lead()) == (number == 12)
    assert ("13 normalisations" in sweep.lead()) == (number == 13)


def test_some_arms_keep_every_folder_of_their_trainings(tmp_path: Path) -> None:
    write_run(tmp_path, "none", lines=log())
    for place, every in (("a", 10), ("b", 20)):  # one training, looked at twice
        made = write_run(tmp_path, "batch", lines=log(), config={"probes": {"every": every}})
        text = (made / "config.json").read_text()
        (made / "config.json").write_text(text.replace(f'"run": "{made.name}"', f'"run": "{place}"'))
        (made / "provenance.json").write_text('{"starts": [{"command": "looks"}]}')
        made.rename(tmp_path / place)
    whole = Sweep.load([tmp_path])
    assert whole.lead().startswith("3 runs: none, batch; one setting; one seed per arm")
    part = whole.only([arm for arm in whole.arms if arm.name == "batch"])
    assert part.lead() == "2 runs: batch; one setting; one seed per arm and setting."
    assert list(part.each["run"]) == ["a", "b"]
    assert [run for run, _ in part.starts] == ["a", "b"]
    assert part.states == [("finished", 2)]
