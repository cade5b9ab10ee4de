"""The ledger on made-up records: planted effects, opposite ones, none; few seeds, missing and diverged runs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import claims, load_runs
from analysis.claims import Claim, Comparison, Region, Term, decide, engine, final, less, more, steps_to_learn
from analysis.claims.engine import Verdict
from analysis.errors import WrongInput
from analysis.loader import RECORD_COLUMNS, RUN_COLUMNS
from tests.test_analysis_loader import field, finite, write_run

LAYERS = ["conv1", "conv2", "conv3"]
X = [0.5, 1.0, 2.0, 4.0]
STEPS = range(0, 121, 4)
NORMS = ("none", "batch", "noisy_batch", "l1", "l2", "linf", "noise")
LP = ("l1", "l2", "linf")

_DRIFTS = [f"{what}_drift_since_last_before_normalisation" for what in ("wasserstein", "mean", "variance")]
_THEORY = ["scaling_term", "mean_term", "correlation_term", "theorem_4_2_bend_term", "sigma_median"]


def fields(regression: bool) -> dict[str, Any]:
    unit = "squared error, summed over the batch" if regression else "nats"
    training = {
        "loss": field("loss", unit, "train", "before"),
        "data_loss": field("data_loss", unit, "train", "before"),
        "test_data_loss": field("data_loss", unit, "test", "before"),
    }
    if not regression:
        training |= {f"{b}accuracy": field("accuracy", "fraction", b[:-1] or "train", "before") for b in ("", "test_")}
    landscape = {"gradient_norm": field("gradient_norm", "1", "train", "before")}
    for suffix in ("", "_along_random_0"):
        for metric in ("landscape_loss", "gradient_difference", "effective_beta"):
            landscape[metric + suffix] = field(metric + suffix, "1", "train", "along", ["x"], x=X)

    def by_layer(metrics: list[str], batch: str = "train") -> dict[str, Any]:
        return {f"{m}.{batch}": field(m, "1", batch, "before", ["layer"], layer=LAYERS) for m in metrics}

    drift = [*_DRIFTS, "variance_before_normalisation"]
    return {
        "training": training,
        "landscape": landscape,
        "ics": by_layer(["ics_l2", "ics_relative", "ics_cosine"]),
        "activations": by_layer(drift) | by_layer(drift, "fixed"),
        "theory": by_layer(_THEORY),
    }


def values(norm: str, lr: float, regression: bool, step: int, wobble: Callable[[], float]) -> dict[str, dict[str, Any]]:
    """What each claim says, as numbers: the published picture drawn large. `wobble()` is a factor near 1."""
    plain = norm in ("none", "noise")
    rough = 5.0 if plain else 1.0
    time = {"none": 40.0, "noisy_batch": 9.0}.get(norm, 8.0)
    share = 1 - math.exp(-step / time)
    if norm == "noise" or (norm == "none" and lr == 0.5):
        share = 0.01 * step / 120
    settled = step > 2.2 * time and not regression
    loss = (0.5 if norm == "l1" else 1.0) * (2.3 - 2 * share) * wobble()
    training = {"loss": loss, "data_loss": loss, "test_data_loss": loss}
    if not regression:
        training["accuracy"] = 0.1 + 0.9 * share
        training["test_accuracy"] = (0.1 + (0.7 if plain else 0.8) * share) * wobble()
    early = 3.0 if step <= 40 else 1.0
    landscape: dict[str, Any] = {"gradient_norm": 1.0 * wobble()}
    for suffix in ("", "_along_random_0"):
        landscape[f"landscape_loss{suffix}"] = [loss * (1 + 0.1 * rough * early * x * wobble()) for x in X]
        landscape[f"gradient_difference{suffix}"] = [0.1 * rough * x * wobble() for x in X]
        landscape[f"effective_beta{suffix}"] = [rough / x * wobble() for x in X]
    shift = 0.1 if settled else 1.0
    ics = {
        "ics_l2.train": [0.0, *(shift * (1.0 if plain else 1.2) * wobble() for _ in LAYERS[1:])],
        "ics_relative.train": [0.0, *(0.5 * wobble() for _ in LAYERS[1:])],
        "ics_cosine.train": [1.0, *((0.98 if plain else 0.1) + 0.01 * math.log(wobble()) for _ in LAYERS[1:])],
    }
    activations = {}
    for batch in ("train", "fixed"):
        moved = {"noisy_batch": 3.0, **dict.fromkeys(LP, 2.0)}.get(norm, 1.0)
        for name in _DRIFTS:
            activations[f"{name}.{batch}"] = [0.0 if step == 0 else moved * wobble() for _ in LAYERS]
        activations[f"variance_before_normalisation.{batch}"] = [1.0 for _ in LAYERS]
    made = {"training": training, "landscape": landscape, "ics": ics, "activations": activations}
    if norm == "batch":
        sigma = 2.0 + 4 * step / 120
        terms = [1.0, 0.05 * wobble(), 0.05 * wobble(), -1.0 if step % 20 == 0 else 1.0, sigma * wobble()]
        made["theory"] = {f"{name}.train": [term] * 3 for name, term in zip(_THEORY, terms, strict=True)}
    return made


def write_sweep(
    folder: Path,
    *,
    norms: tuple[str, ...] = NORMS,
    seeds: int = 3,
    lrs: tuple[float, ...] = (0.1, 0.5),
    linear: bool = True,
) -> Path:
    """The published picture as run folders: classification at two learning rates, and the deep linear network."""
    for regression, lr in [*((False, lr) for lr in lrs), *([(True, 1e-6)] if linear else [])]:
        for norm in norms:
            for seed in range(seeds):
                generator = np.random.default_rng([seed, NORMS.index(norm), int(lr * 1e6)])
                lines = [
                    {"step": step, "probe": probe, "values": finite(numbers)}
                    for step in STEPS
                    for probe, numbers in values(
                        norm, lr, regression, step, lambda g=generator: float(np.exp(0.02 * g.normal()))
                    ).items()
                ]
                config: dict[str, Any] = {"optim": {"lr": lr}, "steps": 120}
                if regression:
                    config |= {"data": {"name": "gaussian", "label": "gaussian"}, "model": {"name": "deep_linear"}}
                run = write_run(folder, norm, seed, config=config)
                described = json.loads((run / "status.json").read_text())
                (run / "status.json").write_text(json.dumps({**described, "step": 120, "steps": 120}))
                (run / "fields.json").write_text(json.dumps(fields(regression)))
                (run / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


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


# ---------------------------------------------------------------------------------------------------- rate of errors

DRAWS = 4000
# three standard deviations of a rate of 5 %
ALLOWED = 0.05 + 3 * math.sqrt(0.05 * 0.95 / DRAWS)
PAIRED = {
    "normal": lambda g, n: g.normal(size=n),
    "log-normal": lambda g, n: np.exp(g.normal(size=n)) - np.exp(g.normal(size=n)),
    "uniform": lambda g, n: g.random(n) - g.random(n),
    "Laplace": lambda g, n: g.laplace(size=n),
    "heavy tails": lambda g, n: g.standard_t(2, n),
    "one side diverges at random": lambda g, n: 5.0 * (g.integers(0, 2, n) - g.integers(0, 2, n)),
}
SINGLE = {"normal": PAIRED["normal"], "exponential": lambda g, n: g.exponential(size=n) - 1}


@pytest.fixture
def no_bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "_bootstrap", lambda numbers: (math.nan, math.nan))


def wrong_rate(draw: Callable[..., np.ndarray], seeds: int, region: Region, edge: float, **options: Any) -> float:
    """How often there is a verdict although the truth lies on the region's edge, where either is wrong."""
    generator = np.random.default_rng(0)
    words = [decide.decide(edge + draw(generator, seeds), region, "value", **options).word for _ in range(DRAWS)]
    return sum(word != "inconclusive" for word in words) / DRAWS


@pytest.mark.usefixtures("no_bootstrap")
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("law", PAIRED)
def test_wrong_verdicts_of_paired_comparisons_are_below_5_percent(law: str, seeds: int) -> None:
    assert wrong_rate(PAIRED[law], seeds, Region(low=0.0), 0.0, paired=True) <= ALLOWED


@pytest.mark.usefixtures("no_bootstrap")
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("law", SINGLE)
def test_wrong_verdicts_against_a_threshold_are_below_5_percent(law: str, seeds: int) -> None:
    assert wrong_rate(SINGLE[law], seeds, Region(high=0.5), 0.5, paired=False) <= ALLOWED


@pytest.mark.usefixtures("no_bootstrap")
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("spread", [0.2, 0.5, 1.0])
def test_wrong_verdicts_from_numbers_on_a_grid_are_below_5_percent(spread: float, seeds: int) -> None:
    """Steps read every so often: without the floor under the deviation, equal readings look certain."""

    def draw(generator: np.random.Generator, n: int) -> np.ndarray:
        place = generator.random()  # where the grid lies
        return np.round(place + spread * generator.normal(size=n)) - np.round(place + spread * generator.normal(size=n))

    assert wrong_rate(draw, seeds, Region(low=0.0), 0.0, paired=True, resolution=1.0) <= ALLOWED


@pytest.mark.usefixtures("no_bootstrap")
@pytest.mark.parametrize("seeds", [3, 5])
def test_wrong_verdicts_of_equivalence_are_below_5_percent(seeds: int) -> None:
    region = Region(-0.5, 0.5)
    tight = wrong_rate(lambda g, n: 0.05 * g.normal(size=n), seeds, region, 0.5, paired=True)
    wide = wrong_rate(PAIRED["normal"], seeds, region, 0.5, paired=True)
    assert max(tight, wide) <= ALLOWED


@pytest.mark.usefixtures("no_bootstrap")
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("together", [2, 9])
def test_wrong_verdicts_of_claims_of_several_comparisons_are_below_5_percent(together: int, seeds: int) -> None:
    generator = np.random.default_rng(0)
    wrong = 0
    for _ in range(DRAWS // 4):
        numbers = generator.normal(size=(together, seeds))
        parts = [decide.decide(n, Region(low=0.0), "value", paired=True, together=together) for n in numbers]
        wrong += decide.worst([part.word for part in parts]) != "inconclusive"
    assert wrong / (DRAWS // 4) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / (DRAWS // 4))


@pytest.mark.usefixtures("no_bootstrap")
@pytest.mark.parametrize(("seeds", "found"), [(3, 0.55), (5, 0.99)])
def test_an_effect_of_four_deviations_is_found(seeds: int, found: float) -> None:
    generator = np.random.default_rng(0)
    words = [
        decide.decide(4 + generator.normal(size=seeds), Region(low=0.0), "value", paired=True).word for _ in range(1000)
    ]
    assert words.count("supported") / 1000 > found
    assert words.count("contradicted") == 0


def test_intervals_against_plain_formulas() -> None:
    numbers = np.log([2.0, 3.0, 2.5, 4.0])
    outcome = decide.decide(numbers, Region(low=1.0), "ratio", paired=True)
    assert outcome.effect == pytest.approx(math.exp(numbers.mean()))
    # Student's t at 0.98, three degrees of freedom: 3.4819
    half = 3.4819 * numbers.std(ddof=1) / 2
    assert (outcome.low, outcome.high) == pytest.approx(
        (math.exp(numbers.mean() - half), math.exp(numbers.mean() + half)), rel=1e-3
    )
    assert 2.0 < outcome.bootstrap_low < outcome.effect < outcome.bootstrap_high < 4.0
    assert outcome.word == "supported"
    assert outcome.each == pytest.approx((2.0, 3.0, 2.5, 4.0))


def test_equal_and_infinite_numbers_have_intervals_too() -> None:
    same = decide.decide(np.zeros(3), Region(low=0.0), "value", paired=True)
    assert (same.word, same.low, same.high, same.bootstrap_low) == ("inconclusive", 0.0, 0.0, 0.0)
    endless = decide.combine(np.array([np.inf, 1.0, 0.0]), np.array([1.0, 1.0, 0.0]), "ratio")
    assert np.exp(endless[:2]) == pytest.approx([1000.0, 1.0])
    assert math.isnan(endless[2])


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
