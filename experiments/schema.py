"""The typed frame of every configuration, and the values it allows. Imports no torch: composing must stay quick.

What a group chooses (data, model, norm, optim) is open here: its options are the typed signature of the class or
function that the group's ``name`` builds, checked by :func:`experiments.options.build`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

from experiments import criteria
from experiments.errors import WrongInput, near_miss

HEARTBEAT_SECONDS = 2.0
"""Time between two signs of life of a run, whatever it is doing; its lease lasts longer than two of them."""


@dataclass
class Numerics:
    """How arithmetic is done; part of a run's identity."""

    name: str = "exact"
    deterministic: bool = True
    """torch.use_deterministic_algorithms, and no cuDNN autotuning."""
    tf32: bool = False
    """TensorFloat-32 in matrix products and convolutions on a GPU."""


@dataclass
class Evaluation:
    """When the built-in measurements are taken: mini-batch and test set, loss and accuracy."""

    every: int = 50
    """Steps between evaluations; step 0 and the end are always evaluated."""
    test_every: int = 1
    """The test set at every that-many-th evaluation."""
    batch_size: int = 1000
    """Samples per forward pass over the test set. Of the plain test set it changes nothing but rounding; draws of noise
    and of attacks go by the batch."""
    population: bool = True
    """At the end (and at evaluation.kinds_every) also the test function by population statistics, over as many whole
    training batches as there are, at most 50. It costs a pass over them for each normalisation, and one over the test
    set."""
    kinds: dict[str, Any] = field(default_factory=dict)
    """Further evaluations of the test set, by label: where statistics come from, and what is done to inputs."""
    kinds_every: int = 0
    """These at every that-many-th evaluation of the test set too; 0: at the end only."""


@dataclass
class Checkpoint:
    """When the run can be taken up again. No effect on results."""

    seconds: float = 20.0
    """Wall time between checkpoints; 0 for one after every step."""
    keep: list[int] = field(default_factory=list)
    """Steps whose checkpoint is kept for good, for probing again later."""


@dataclass
class Probing:
    """What is measured while the network trains, and when."""

    every: int = 100
    """The base schedule: steps between probed steps, from step 0 on. A probe may take a multiple of it."""
    spacing: str = "linear"
    """linear; log: step 0 and ten steps in every power of ten, whatever ``every`` says; or progress: each of the first
    twenty steps, then where the data loss crosses a level, and at least every ``every`` steps."""
    at: Any = None  # a list of steps; not typed so, because a typed list takes no interpolation
    """Exactly these steps, whatever ``every`` and ``spacing`` say."""
    fixed_batch: int = 256
    """Samples of the batch that is chosen once and watched throughout."""
    dtype: str = "trained"
    """trained: evaluate in the type that training computes in; float64: in double precision."""
    use: dict[str, Any] = field(default_factory=dict)
    """The probes, by label: name, file and options of each."""


@dataclass
class Chosen:
    """What was chosen of each group, by the name that was typed. No effect on results."""

    data: str | None = None
    model: str | None = None
    norm: str | None = None
    optim: str | None = None


GROUP_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "data": {
        "file": None,
        "subset": None,
        "test_subset": None,
        "augment": False,
        "standardise": True,
        "order": "reshuffled",
        "order_file": None,
        "grouped_by": None,
        "groups_per_batch": None,
        "label_noise": 0.0,
        "label": None,
    },
    "model": {
        "file": None,
        "initialisation": "glorot",
        "gain": 1.0,
        "init_std": 0.01,
        "positive": 0.0,
        "gains": [],
        "gamma": "ones",
        "fixed_output": None,
        "norm_at": None,
    },
    "norm": {"file": None},
    "optim": {
        "file": None,
        "lr": MISSING,
        "batch_size": 128,
        "weight_decay": 0.0,
        "loss": "mean",
        "criterion": None,
        "schedule": "constant",
        "milestones": [],
        "factor": 0.1,
        "groups": [],
    },
}
"""What every choice of a group has unless its YAML file says otherwise, so that a user's own need not repeat it.

Open, where typed fields would be closed: the other options of a choice are those of what its ``name`` builds.
"""


def _defaults(group: str) -> Any:
    return field(default_factory=lambda: copy.deepcopy(dict(GROUP_DEFAULTS[group])))


@dataclass
class Config:
    """One run."""

    data: Any = _defaults("data")  # noqa: RUF009 (makes a field, each time with a dictionary of its own)
    model: Any = _defaults("model")  # noqa: RUF009
    norm: Any = _defaults("norm")  # noqa: RUF009
    optim: Any = _defaults("optim")  # noqa: RUF009
    choices: Chosen = field(default_factory=Chosen)
    probes: Probing = field(default_factory=Probing)
    numerics: Numerics = field(default_factory=Numerics)
    evaluation: Evaluation = field(default_factory=Evaluation)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    scale: str = MISSING
    """The size that experiments choose among their own; no effect beside them."""
    steps: int = MISSING
    seed: int = 0
    diverged_above: float = 1e8
    """A run whose training loss is not finite or above this bound has diverged; it ends there, as a result."""

    label: str | None = None
    """The experiment that a run was made for; no effect on results."""
    confirm: bool = False
    """Of a sweep: its jobs with the confirmatory seeds, 10 to 15, in place of its own."""
    arm: str | None = None
    """The arm of its sweep that a run was made for; no effect on results, those of the arm's overrides aside."""
    probe_again: str | None = None
    """A run folder: probe that run at its kept checkpoints with these probes, instead of training."""
    runs_dir: str = "runs"
    run_name: str | None = None
    """The run folder's name; null derives it from the configuration."""
    device: str = "auto"
    threads: int = MISSING
    resume: str = "exact"
    retry_diverged: bool = False
    """Train a run that diverged again, from its last checkpoint."""
    lease_seconds: float = 60.0
    """Silence after which a run's process on another host counts as dead, and the run may be taken over."""
    launcher: Any = MISSING
    """Who carries out the jobs of a sweep."""
    mirror: Any = None
    """Where records are also sent while training."""
    pilots: str | None = None
    """Of a sweep: a key over which the two lowest seeds have all values, the others those that claims choose there."""
    report: bool = False
    """Write the report of ``runs_dir`` when the sweep has ended, however it went."""
    dry: bool = False


def register_schema() -> None:
    """Makes the schema the first entry of conf/config.yaml's defaults list, and ``${by_scale:...}`` known."""
    ConfigStore.instance().store(name="schema", node=Config)
    OmegaConf.register_new_resolver("by_scale", by_scale, replace=True)


def by_scale(sizes: Mapping[str, Any], *, _root_: Mapping[str, Any]) -> Any:
    """What ``${by_scale:{demo:300, full:15000}}`` stands for, in a value or in a defaults list.

    Args:
        sizes: by the names of scales, what they mean at this place.
        _root_: the configuration, or the groups chosen so far; OmegaConf gives it.

    Raises:
        WrongInput: the scale has no size here.
    """
    scale = str(_root_["scale"])
    if scale not in sizes:
        raise WrongInput(f"scale={scale}: the experiment has no such size; {near_miss(scale, map(str, sizes))}")
    return sizes[scale]


NAMED_GROUPS = tuple(GROUP_DEFAULTS)
"""The groups of what is trained: each choice is of something with a name, and names the run."""

OPTIMISATION_KEYS = tuple(key for key in GROUP_DEFAULTS["optim"] if key != "file")
"""Keys of the optim group that every optimiser has; the others are options of the one that it names."""


def validate(config: Mapping[str, Any]) -> None:
    """Checks everything that can be checked without building anything.

    Args:
        config: the resolved configuration as plain dictionaries.

    Raises:
        WrongInput: the first value that is not allowed, by key.
    """
    if _get(config, "confirm"):
        raise WrongInput("confirm=true: is of a sweep, whose seeds it chooses; add --multirun (-m), or give the seed")
    _number(config, "steps", at_least=0, whole=True)
    _number(config, "seed", at_least=0, at_most=2**63 - 1, whole=True)
    _number(config, "threads", at_least=1, at_most=1024, whole=True)
    _number(config, "evaluation.every", at_least=1, whole=True)
    _number(config, "evaluation.test_every", at_least=1, whole=True)
    _number(config, "evaluation.batch_size", at_least=1, whole=True)
    _number(config, "evaluation.kinds_every", at_least=0, whole=True)
    _number(config, "checkpoint.seconds", at_least=0)
    _number(config, "diverged_above", above=0)
    _number(config, "lease_seconds", above=2 * HEARTBEAT_SECONDS)
    _number(config, "optim.lr", above=0)
    _number(config, "optim.weight_decay", at_least=0)
    _number(config, "optim.factor", above=0)
    if _get(config, "optim.batch_size") is not None:
        _number(config, "optim.batch_size", at_least=1, whole=True)
    _choice(config, "optim.loss", ("mean", "sum"))
    if _get(config, "optim.criterion") is not None:
        _choice(config, "optim.criterion", criteria.NAMES)
    _choice(config, "optim.schedule", ("constant", "step", "cosine"))
    _choice(config, "resume", ("exact", "anyway"))
    _choice(config, "probes.spacing", ("linear", "log", "progress"))
    at = _get(config, "probes.at")
    if at is not None and (not isinstance(at, list) or any(type(step) is not int for step in at)):
        raise WrongInput(f"probes.at={at}: must be a list of steps, for example [0,10,100]")
    _choice(config, "probes.dtype", ("trained", "float64"))
    _number(config, "probes.every", at_least=1, whole=True)
    _number(config, "probes.fixed_batch", at_least=1, whole=True)
    for step in _get(config, "checkpoint.keep"):
        if not 0 < step <= config["steps"]:
            raise WrongInput(f"checkpoint.keep={step}: must be between 1 and steps={config['steps']}")
    frozen_after = config["norm"].get("frozen_after")
    if isinstance(frozen_after, int) and frozen_after >= max(1, config["steps"]):  # the statistics would never freeze
        steps = f"steps={config['steps']}"
        allowed = f"at least 1 and less than {steps}, or null" if config["steps"] > 1 else f"null where {steps}"
        raise WrongInput(f"norm.frozen_after={frozen_after}: must be {allowed}")
    milestones = _get(config, "optim.milestones")
    if not isinstance(milestones, list) or any(not isinstance(m, int) or m < 1 for m in milestones):
        raise WrongInput(f"optim.milestones={milestones}: must be a list of steps, for example [1000,2000]")
    if sorted(set(milestones)) != milestones:
        raise WrongInput(f"optim.milestones={milestones}: must increase")
    if config["optim"]["schedule"] == "step" and not milestones:
        raise WrongInput("optim.milestones=[]: optim.schedule=step needs the steps at which the rate is cut")
    if _get(config, "optim.batch_size") is None:
        usual = GROUP_DEFAULTS["data"]
        for key in ("order", "order_file", "grouped_by", "groups_per_batch"):
            value = config["data"].get(key, usual[key])
            if value != usual[key]:
                raise WrongInput(f"data.{key}={value}: is without effect: optim.batch_size=null takes all samples")


def _get(config: Mapping[str, Any], key: str) -> Any:
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            raise WrongInput(f"{key}: is missing")
        node = node[part]
    return node


def _number(
    config: Mapping[str, Any],
    key: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    whole: bool = False,
) -> None:
    value = _get(config, key)
    kind: Callable[[Any], bool] = (lambda v: isinstance(v, int)) if whole else (lambda v: isinstance(v, (int, float)))
    what = "a whole number" if whole else "a number"
    unbounded = key == "diverged_above"  # where infinity says that only a loss that is not finite has diverged
    if isinstance(value, bool) or not kind(value) or not (math.isfinite(value) or (unbounded and value > 0)):
        raise WrongInput(f"{key}={value}: must be {what}")
    if at_most is not None and value > at_most:
        raise WrongInput(f"{key}={value}: must be {what}, at most {at_most}")
    if at_least is not None and value < at_least:
        raise WrongInput(f"{key}={value}: must be {what}, at least {at_least}")
    if above is not None and value <= above:
        raise WrongInput(f"{key}={value}: must be {what} above {above}")


def _choice(config: Mapping[str, Any], key: str, allowed: tuple[str, ...]) -> None:
    value = _get(config, key)
    if value not in allowed:
        raise WrongInput(f"{key}={value}: {near_miss(str(value), allowed)}")
