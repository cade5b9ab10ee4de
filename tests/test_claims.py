"""The ledger on made-up records: planted effects, opposite ones, none; few seeds, missing and diverged runs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import claims, load_runs
from analysis.claims import Claim, Comparison, Region, Term, decide, engine, final, less, more, steps_to_learn
from analysis.claims.engine import Verdict
from analysis.errors import WrongInput
from analysis.loader import RECORD_COLUMNS, RUN_COLUMNS
from tests.made_sweep import write_sweep


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return load_runs(write_sweep(tmp_path_factory.mktemp("sweep")))


def renamed(frame: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    return frame.assign(norm=frame["norm"].astype(str).replace(names))


def word(frame: pd.DataFrame, name: str, setting: str = "") -> str:
    found = {v.word for v in claims.judge(frame, [claims.get(name)]) if setting in v.setting}
    assert len(found) == 1, found
    return found.pop()


# ---------------------------------------------------------------------------------------------------- all the claims


def test_the_ledger_has_the_published_claims() -> None:
    assert claims.names() == [f"S{i}" for i in range(1, 25)]
    for claim in claims.load():
        assert claim.statement.endswith(".")
        assert claim.rule.endswith((".", ".)"))
        assert bool(claim.comparisons) != bool(claim.untestable)
        assert "Santurkar" in claim.source


@pytest.fixture(scope="module")
def verdicts(sweep: pd.DataFrame) -> list[Verdict]:
    return claims.judge(sweep, claims.load())


def test_every_claim_is_supported_by_records_that_follow_it(verdicts: list[Verdict]) -> None:
    for verdict in verdicts:
        if verdict.claim.untestable:
            assert (verdict.claim.name, verdict.word, verdict.seeds) == ("S24", "not testable", 0)
        elif "0.5" not in verdict.setting or verdict.claim.name == "S2":
            assert (verdict.claim.name, verdict.word, verdict.seeds) == (verdict.claim.name, "supported", 3)
    assert {v.claim.name for v in verdicts} == set(claims.names())


def test_settings_are_judged_apart(sweep: pd.DataFrame, verdicts: list[Verdict]) -> None:
    vgg, linear = "vgg_small on digits, learning rate", "deep_linear on gaussian, learning rate 1e-6"
    assert {v.setting for v in verdicts if v.claim.name == "S23"} == {f"{vgg} 0.1", f"{vgg} 0.5", linear}
    assert [v.setting for v in verdicts if v.claim.name == "S2"] == [f"{vgg} 0.5"]
    # the plain network does not train at 0.5, and the noise takes nothing from it
    assert word(sweep, "S6", "rate 0.1") == "supported"
    assert word(sweep, "S6", "rate 0.5") == "contradicted"


@pytest.mark.parametrize(
    ("name", "names"),
    [
        *(
            (name, {"none": "batch", "batch": "none"})
            for name in ("S1", "S8", "S10", "S11", "S12", "S13", "S14", "S16")
        ),
        ("S4", {"none": "noisy_batch", "noisy_batch": "none"}),
        ("S5", {"none": "noisy_batch", "noisy_batch": "none"}),
        ("S6", {"batch": "noise", "noise": "batch"}),
        ("S17", {"none": "batch", "batch": "none", "l1": "noise", "noise": "l1"}),
        ("S18", {"batch": "l1", "l1": "batch"}),
        ("S19", {"none": "l1", "l1": "none"}),
        ("S20", {"none": "l2", "l2": "none"}),
        ("S3", {"linf": "batch", "batch": "linf"}),
    ],
)
def test_the_opposite_is_contradicted(sweep: pd.DataFrame, name: str, names: dict[str, str]) -> None:
    frame = renamed(sweep[sweep["lr"] != 0.5], names)
    assert "contradicted" in {v.word for v in claims.judge(frame, [claims.get(name)])}


def test_no_effect_is_inconclusive(sweep: pd.DataFrame) -> None:
    """Two normalisations with the very same numbers up to seeds: neither supported nor contradicted."""
    only = sweep[(sweep["norm"] == "batch") & (sweep["lr"] != 0.5)]
    runs = only["run"].astype(str)
    other = only.assign(run="other-" + runs, norm="none", seed=(only["seed"] + 1) % 3)
    both = pd.concat([only.assign(run=runs, norm="batch"), other])
    for name in ("S1", "S10", "S11", "S12", "S13", "S16"):
        verdicts = claims.judge(both, [claims.get(name)])
        assert "supported" not in {v.word for v in verdicts}, name
    assert word(both, "S12") == "inconclusive"
    assert word(both, "S3") == "supported"  # a claim that there is no difference


def test_nothing_was_run() -> None:
    verdicts = claims.judge(pd.DataFrame(columns=[*RUN_COLUMNS, *RECORD_COLUMNS]), claims.load())
    assert [v.claim.name for v in verdicts] == claims.names()
    for verdict in verdicts:
        assert verdict.word == ("not testable" if verdict.claim.untestable else "not run")
        assert verdict.reason


# --------------------------------------------------------------------------------------------- what may be missing


def first(frame: pd.DataFrame, name: str) -> Verdict:
    return next(v for v in claims.judge(frame, [claims.get(name)]) if "rate 0.1" in v.setting)


def test_fewer_than_three_seeds_never_decide(sweep: pd.DataFrame) -> None:
    for seeds in (1, 2):
        few = sweep[sweep["seed"] < seeds]
        asked = [claim for claim in claims.load() if seeds == 2 or claim.name in ("S1", "S2", "S8")]
        verdicts = [v for v in claims.judge(few, asked) if v.parts]
        assert {v.word for v in verdicts} == {"inconclusive"}
        assert f"{seeds} seed" in verdicts[0].reason
        outcome = verdicts[0].parts[0].outcome
        assert math.isnan(outcome.low)
        assert outcome.effect > 1


def test_missing_runs_and_metrics_are_named(sweep: pd.DataFrame) -> None:
    gone = first(sweep[sweep["norm"] != "noisy_batch"], "S4")
    assert (gone.word, gone.reason) == ("not run", "no runs of noisy_batch")
    silent = first(sweep[sweep["probe"] != "ics"], "S7")
    assert silent.word == "not testable"
    assert "no run of batch records ics_l2 on the train batch" in silent.reason
    half = first(sweep[(sweep["norm"] != "none") | (sweep["seed"] > 0)], "S1")
    assert (half.word, half.seeds) == ("inconclusive", 2)
    sparse = first(sweep[(sweep["probe"] == "training") | (sweep["step"] == 0)], "S11")
    assert sparse.word == "inconclusive"
    assert "too few probed steps" in " ".join(sparse.parts[0].notes)


def test_runs_that_have_not_ended_are_left_out_and_named(sweep: pd.DataFrame) -> None:
    state = sweep["state"].astype(str).mask((sweep["norm"] == "batch") & (sweep["seed"] == 2), "running")
    verdict = first(sweep.assign(state=state), "S1")
    assert verdict.seeds == 2
    assert verdict.parts[0].notes == ("1 of batch not ended, left out",)


def test_diverged_runs_count_for_training_and_not_for_the_landscape(sweep: pd.DataFrame) -> None:
    mine = sweep["norm"] == "none"
    state = sweep["state"].astype(str).mask(mine, "diverged")
    cut = sweep.assign(state=state)[~mine | (sweep["step"] < 40)]
    training = first(cut, "S1")
    assert training.word == "supported"
    steps, accuracy = (part.outcome for part in training.parts)
    # never: the run's length, 120 steps, over 20; accuracy: that of the untrained network, a tenth
    assert steps.each == pytest.approx([6.0] * 3)
    assert accuracy.effect == pytest.approx(0.9 - 0.1, abs=0.05)
    assert "3 of none diverged, counted as such" in training.parts[0].notes
    landscape = first(cut, "S11")
    assert (landscape.word, landscape.seeds) == ("inconclusive", 0)
    assert "3 of none diverged, left out" in landscape.parts[0].notes


def test_two_runs_of_one_seed_are_not_taken_for_two_seeds(sweep: pd.DataFrame) -> None:
    again = sweep[(sweep["norm"] == "batch") & (sweep["lr"] == 0.1)]
    twice = pd.concat(
        [sweep.assign(run=sweep["run"].astype(str)), again.assign(run="again-" + again["run"].astype(str))]
    )
    verdict = first(twice, "S1")
    assert verdict.word == "inconclusive"
    assert "differ in other options" in verdict.reason
    further = pd.DataFrame({"model.width": ["1"] * twice["run"].nunique()}, index=pd.Index(twice["run"].unique()))
    further[further.index.str.startswith("again-")] = "2"
    told = [v for v in claims.judge(twice, [claims.get("S1")], further) if "rate 0.1" in v.setting]
    assert [(v.setting.rpartition(", ")[2], v.word) for v in told] == [
        ("model.width 1", "supported"),
        ("model.width 2", "not run"),
    ]


# ----------------------------------------------------------------------------------------------------- a user's own

OWN = """
from analysis.claims import Claim, Term, final, less
loss = final("data_loss", "train")
CLAIMS = [Claim("mine", "Linf ends lower than L2.", "me, today", "Final loss below 1.", "runs of l2 and linf",
                (less("final loss, linf / l2", Term("linf", loss), Term("l2", loss)),))]
"""


def test_a_claim_of_a_users_own_is_one_entry(tmp_path: Path, sweep: pd.DataFrame) -> None:
    file = tmp_path / "my_claims.py"
    file.write_text(OWN)
    loaded = claims.load([file])
    assert [claim.name for claim in loaded] == [*claims.names(), "mine"]
    assert {v.word for v in claims.judge(sweep, [claims.get("mine", loaded)])} <= {
        "inconclusive",
        "supported",
        "contradicted",
    }
    better = sweep["value"].mask((sweep["norm"] == "linf") & (sweep["metric"] == "data_loss"), sweep["value"] / 2)
    assert {v.word for v in claims.judge(sweep.assign(value=better), [claims.get("mine", loaded)])} == {"supported"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        ("CLAIMS = 3", "must hold CLAIMS"),
        ("import nowhere", "ModuleNotFoundError"),
        ("from analysis.claims import Claim\nCLAIMS = [Claim('S1', '', '', '', '')]", "'S1' is there twice"),
    ],
)
def test_wrong_files_of_claims(tmp_path: Path, content: str | None, said: str) -> None:
    file = tmp_path / "my_claims.py"
    if content is not None:
        file.write_text(content)
    with pytest.raises(WrongInput, match=said) as caught:
        claims.load([file])
    assert "\n" not in str(caught.value)


def test_unknown_claims_have_a_near_miss() -> None:
    with pytest.raises(WrongInput, match=r"unknown claim 'S111'; did you mean 'S11'\?"):
        claims.get("S111")


def test_the_table_of_the_ledger(verdicts: list[Verdict]) -> None:
    table = claims.table(verdicts)
    assert len(table) == sum(max(1, len(v.parts)) for v in verdicts)
    row = table[(table["claim"] == "S1") & (table["setting"].str.endswith("0.1"))].iloc[0]
    assert (row["verdict"], row["outcome"], row["seeds"], row["region"]) == ("supported", "supported", 3, "above 1")
    assert row["interval_low"] < row["effect"] < row["interval_high"]
    assert len(row["each_seed"].split()) == 3


def test_measures_against_plain_computation(sweep: pd.DataFrame) -> None:
    (setting,) = [s for s in engine.settings_of(sweep) if s.label.endswith("0.1")]
    one = sweep[(sweep["lr"] == 0.1) & (sweep["norm"] == "none") & (sweep["seed"] == 1)]
    run = str(one["run"].iloc[0])
    accuracy = one[(one["metric"] == "accuracy") & (one["batch"] == "train")]
    reached = min(s for s, v in zip(accuracy["step"], accuracy["value"], strict=True) if v >= 0.9)
    assert steps_to_learn().per_run(setting.records)[run] == reached
    test = one[(one["metric"] == "accuracy") & (one["batch"] == "test") & (one["step"] >= 108)]
    assert final("accuracy", "test").per_run(setting.records)[run] == pytest.approx(np.median(test["value"]))
    loss = one[one["metric"] == "landscape_loss"]
    ranges = [max(part) - min(part) for _, part in loss.groupby("step")["value"]]
    measured = claims.over_training("landscape_loss", along="range").per_run(setting.records)[run]
    assert measured == pytest.approx(np.median(ranges))
    inner = loss[loss["x"].between(1, 2)]
    ranges = [max(part) - min(part) for step, part in inner.groupby("step")["value"] if step <= reached]
    measured = claims.over_training("landscape_loss", along="range", grid=(1, 2), window="learning")
    assert measured.per_run(setting.records)[run] == pytest.approx(np.median(ranges))
    ics = one[(one["metric"] == "ics_l2") & (one["layer"] != "conv1") & (one["step"] > reached)]
    layers = [np.median(part) for _, part in ics.groupby("step")["value"]]
    measured = claims.over_training("ics_l2", skip_first_layer=True, window="learnt")
    assert measured.per_run(setting.records)[run] == pytest.approx(np.median(layers))


def test_a_point_that_is_no_number_is_infinitely_far(sweep: pd.DataFrame) -> None:
    bad = (sweep["metric"] == "landscape_loss") & (sweep["x"] == 4.0) & (sweep["norm"] == "none")
    verdict = first(sweep.assign(value=sweep["value"].mask(bad)), "S10")
    assert verdict.parts[0].outcome.effect == pytest.approx(decide.LARGEST_RATIO)


def test_comparisons_that_do_not_decide_are_only_shown(sweep: pd.DataFrame) -> None:
    speed = steps_to_learn()
    yes, no = Term("none", speed), Term("batch", speed)
    claim = Claim("X", "", "", "", "", (more("a", yes, no), less("b", yes, no, decides=False)), task="classification")
    verdict = next(v for v in claims.judge(sweep, [claim]) if "rate 0.1" in v.setting)
    assert [part.outcome.word for part in verdict.parts] == ["supported", "contradicted"]
    assert verdict.word == "supported"
    assert Comparison("c", yes, Region(low=0.0)).paired is False
