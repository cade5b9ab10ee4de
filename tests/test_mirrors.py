"""Numbers are also sent to a mirror: all of them, once each, and the run folder is none the worse for it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import experiments
from analysis import load_runs
from experiments.errors import WrongInput
from tests.runs import small
from tests.sweeping import assert_same_results

MIRROR = """
import json


class Mirror:
    def __init__(self, folder, start, *, name_of_file: str = "mirror.txt"):
        self.file = open(folder / name_of_file, "a")

    def write(self, probe, step, numbers):
        self.file.write(json.dumps([probe, step, numbers]) + "\\n")

    def close(self):
        self.file.close()
"""
PROBED = ("probes=[gradients,landscape]", "probes.every=2")


def test_a_users_mirror_gets_every_number(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MIRROR)
    chosen = [f"mirror.file={tmp_path}/mine.py", "mirror.name=Mirror", "+mirror.name_of_file=sent.txt"]
    run = experiments.run(small(tmp_path / "mirrored", *PROBED, *chosen)).path
    lines = [json.loads(line) for line in (run / "sent.txt").read_text().splitlines()]
    sent = [(probe, step, value) for probe, step, numbers in lines for value in numbers.values()]
    table = load_runs(run)
    assert sorted(sent) == sorted(zip(table.probe, table.step, table.value, strict=True))
    names = {name for _, _, numbers in lines for name in numbers}
    layers, multiples = set(table.layer.dropna()), {f"{x:g}" for x in table.x.dropna()}
    assert {name.partition("/")[2] for name in names} == {"", *layers, *multiples}
    experiments.run(small(tmp_path / "plain", *PROBED))
    assert_same_results(tmp_path / "plain", tmp_path / "mirrored")


def test_tensorboard_reads_what_was_recorded(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="no tensorboard")
    run = experiments.run(small(tmp_path, "mirror=tensorboard", *PROBED)).path
    events = accumulator.EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    table = load_runs(run)
    loss = table[(table.probe == "training") & (table.metric == "loss")]
    told = [(event.step, event.value) for event in events.Scalars("training/loss")]
    assert told == [(step, pytest.approx(value, rel=1e-6)) for step, value in zip(loss.step, loss.value, strict=True)]


def test_a_missing_package_and_a_wrong_class_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "torch.utils.tensorboard", None)
        with pytest.raises(WrongInput, match="mirror=tensorboard: its package is missing; pip install tensorboard"):
            experiments.run(small(tmp_path, "mirror=tensorboard"))
    (tmp_path / "mine.py").write_text("class Mirror:\n    def __init__(self, folder, start):\n        pass\n")
    with pytest.raises(WrongInput, match=r"mirror\.name=Mirror: must have the methods write and close"):
        experiments.run(small(tmp_path, f"mirror.file={tmp_path}/mine.py", "mirror.name=Mirror"))
