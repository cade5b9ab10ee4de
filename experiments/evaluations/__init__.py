"""Evaluations of the test set: by which statistics, on which inputs, of which samples. One file for each of each.

A run's built-in one takes the running statistics and clean inputs. Further ones are configured in ``evaluation.kinds``;
the next source of statistics, change of inputs or choice of samples is one file, of ours or (``file:``) of the user's.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from experiments.data import Batch, Data
from experiments.discovery import Registry
from experiments.errors import WrongInput
from experiments.evaluations.base import INPUTS, STATISTICS, TESTED, Inputs, Occasion, Statistics, Tested
from experiments.evaluations.holders import holders
from experiments.kinds import DEFAULTS, spelled_out
from experiments.options import build, raised_by_user, users_place
from probes.engine.carried import Carried
from probes.errors import ProbeError
from probes.generators import RandomState
from probes.objective import Objective
from probes.randomness import at_step
from probes.statistics import in_domain_of

__all__ = [
    "INPUTS",
    "STATISTICS",
    "TESTED",
    "Evaluation",
    "Evaluations",
    "Inputs",
    "Statistics",
    "Tested",
    "build_evaluations",
    "plain_values",
    "score",
]

log = logging.getLogger("experiments")

PARTS: Mapping[str, Registry[Any]] = {"statistics": STATISTICS, "inputs": INPUTS, "data": TESTED}
"""What an evaluation consists of."""

BUILT_IN = "population"
"""The label of the evaluation that ``evaluation.population`` asks for, and the name of its source of statistics."""


def score(
    answers: Iterable[tuple[Tensor, Batch]],
    data_loss: Callable[[Tensor, Tensor], Tensor],
    reduction: str,
    data: Data,
    by_domain: bool = True,
) -> dict[str, float]:
    """Data loss per sample and, of classes, accuracy over all samples, and over those of each domain.

    Args:
        answers: by batch, outputs (samples, outputs), and the batch itself.
        data_loss: of outputs and targets.
        reduction: mean or sum, what ``data_loss`` takes over a batch.
        data: whose test set it is. A domain's values have names that end in its own.
        by_domain: whether to tell domains apart.
    """
    whole = _Tally(data_loss, reduction, data.spec.task)
    domains = {name: _Tally(data_loss, reduction, data.spec.task) for name in data.domains if by_domain}
    for output, batch in answers:
        whole.add(output, batch.targets)
        for domain, tally in enumerate(domains.values()):
            assert batch.domain is not None
            own = batch.domain.eq(domain)
            if own.any():
                tally.add(output[own], batch.targets[own])
    values = whole.values("")
    for name, tally in domains.items():
        values |= tally.values(f"_{name}") if tally.samples else {}
    return values


class _Tally:
    """Loss and hits, summed up over batches."""

    def __init__(self, data_loss: Callable[[Tensor, Tensor], Tensor], reduction: str, task: str) -> None:
        self.data_loss, self.reduction, self.task = data_loss, reduction, task
        self.loss, self.correct, self.samples = 0.0, 0, 0

    def add(self, output: Tensor, targets: Tensor) -> None:
        """Counts samples in."""
        loss = self.data_loss(output, targets).item()
        self.loss += loss if self.reduction == "sum" else loss * len(output)
        self.samples += len(output)
        if self.task == "classification":
            self.correct += int((output.argmax(1) == targets).sum())

    def values(self, ending: str) -> dict[str, float]:
        """Per sample, under names with this ending."""
        values = {f"test_data_loss{ending}": self.loss / self.samples}
        if self.task == "classification":
            values[f"test_accuracy{ending}"] = self.correct / self.samples
        return values


@dataclass(frozen=True)
class Evaluation:
    """Some samples by one source of statistics, on inputs to which one thing is done."""

    label: str
    statistics: Statistics
    inputs: Inputs
    tested: Tested
    named: tuple[str, str, str]
    """What the three are called."""
    asked: bool = True
    """Whether it was asked for; otherwise what goes wrong in it only leaves it out."""

    @property
    def point(self) -> str:
        """What it is, as the records say it: "population statistics", "running statistics, pgd inputs"."""
        statistics, inputs, tested = self.named
        done = "" if inputs == DEFAULTS["inputs"] else f", {inputs} inputs"
        return f"{statistics} statistics{done}{'' if tested == DEFAULTS['data'] else f', {tested} data'}"

    @torch.no_grad()
    def values(self, network: nn.Module, reduction: str, occasion: Occasion) -> dict[str, float]:
        """The numbers of :func:`score`; on a copy, and with the global generators put back: nothing moves."""
        random = RandomState(next(network.parameters()).device)
        occasion = replace(occasion, data=self.tested.of(occasion.data))
        try:
            evaluated = self.statistics.prepared(Carried(network).copy.eval(), occasion)

            def answers() -> Iterator[tuple[Tensor, Batch]]:
                for place, batch in enumerate(occasion.some(self.statistics.test_batches(occasion))):
                    forward = functools.partial(self._forward, evaluated, occasion, batch)
                    yield forward(self.inputs.changed(batch, forward, occasion, place)), batch

            by_domain = self.tested.by_domain
            return score(answers(), occasion.objective.data_loss, reduction, occasion.data, by_domain)
        finally:
            random.restore()

    def _forward(self, network: nn.Module, occasion: Occasion, batch: Batch, inputs: Tensor) -> Tensor:
        """The network's outputs for other inputs of the same samples."""
        with at_step(occasion.data.seed, occasion.step), self.statistics.taken(), in_domain_of(batch):
            output: Tensor = network(inputs)
        return output


def plain_values(network: nn.Module, reduction: str, occasion: Occasion) -> dict[str, float]:
    """The built-in evaluation: by the running statistics, on clean inputs, of the test set and of each further one.

    Values of a further test set have names that end in its own. Nothing moves.
    """
    parts = (STATISTICS.get("running")(), INPUTS.get("clean")(), TESTED.get("whole")())
    plain = Evaluation("", *parts, (DEFAULTS["statistics"], DEFAULTS["inputs"], DEFAULTS["data"]))
    values = plain.values(network, reduction, occasion)
    for name in occasion.data.test_sets:
        own = replace(plain, tested=TESTED.get("named")(test_set=name)).values(network, reduction, occasion)
        values |= {f"{key}_{name}": value for key, value in own.items()}
    return values


@dataclass(frozen=True)
class Evaluations:
    """A run's further evaluations, and when they are due."""

    kinds: tuple[Evaluation, ...]
    every: int
    """Steps between two times; 0: at the end only."""
    steps: int
    """Where the end is."""
    reduction: str
    occasion: Occasion
    """Of the run, at its start."""

    def values(self, network: nn.Module, step: int, plain: Mapping[str, float]) -> dict[str, float]:
        """All numbers that are due at ``step``, named after the labels.

        Args:
            network: left as it is.
            step: of training.
            plain: those of the test set as it is, which are the population's too where there are no statistics.
        """
        if step != self.steps and not (self.every and step % self.every == 0):
            return {}
        return self.all_values(network, step, plain)

    def only(self, labels: Iterable[str]) -> Evaluations:
        """Those of these labels."""
        wanted = set(labels)
        return replace(self, kinds=tuple(kind for kind in self.kinds if kind.label in wanted))

    def all_values(self, network: nn.Module, step: int, plain: Mapping[str, float] | None = None) -> dict[str, float]:
        """The same, due or not."""
        found: dict[str, float] = {}
        for kind in self.kinds:
            occasion = replace(self.occasion, step=step, label=kind.label)
            same = kind.label == BUILT_IN and not occasion.holders
            try:
                own = plain if same and plain is not None else kind.values(network, self.reduction, occasion)
            except Exception as error:
                _left_out(kind, error)
                continue
            found |= {f"{kind.tested.batch}{key.removeprefix('test')}_{kind.label}": x for key, x in own.items()}
        return found

    def fields(self, loss_unit: str) -> dict[str, tuple[str, str, str, str, str]]:
        """What is recorded, by key: metric, unit, batch ("test, <label>"), point (which statistics) and reference."""
        found = {}
        for kind in self.kinds:
            domains = self.occasion.data.domains if kind.tested.by_domain else ()
            for part in ("", *(f"_{name}" for name in domains)):
                batch = kind.tested.batch
                where = (f"{batch}{part}, {kind.label}", kind.point, "evaluation mode")
                loss = ("data_loss", f"{loss_unit}, mean over {kind.tested.samples_of}", *where)
                found[f"{batch}_data_loss{part}_{kind.label}"] = loss
                if self.occasion.data.spec.task == "classification":
                    found[f"{batch}_accuracy{part}_{kind.label}"] = ("accuracy", "fraction", *where)
        return found


def build_evaluations(config: Mapping[str, Any], network: nn.Module, objective: Objective, data: Data) -> Evaluations:
    """The further evaluations that the configuration chooses, each tried once.

    The built-in one is left out where the network cannot be evaluated so, and that is logged.

    Raises:
        WrongInput: an unknown source or change, a wrong option, or one that is none for these data or this network.
    """
    chosen = spelled_out(config["evaluation"]["kinds"])
    asked = set(chosen)
    if config["evaluation"]["population"] and BUILT_IN not in chosen:
        chosen |= spelled_out({BUILT_IN: {"statistics": BUILT_IN}})
    evaluation = config["evaluation"]
    try:
        held = holders(network, data.batch(0), config["seed"]) if chosen else ()
    except Exception as error:  # the run itself will tell
        log.debug("no further evaluations: %s", error)
        chosen, held = {}, ()
    _refuse_one_name_twice(chosen, (*data.domains, *data.test_sets))
    few = min(evaluation["batch_size"], data.batch_size)
    occasion = Occasion(data, objective, 0, few, held, "", trial=True)
    kinds = []
    for label, parts in chosen.items():
        kind = _built(label, parts, label in asked)
        try:
            kinds.append(_tried(kind, network, config["optim"]["loss"], replace(occasion, label=label)))
        except Exception as error:
            _left_out(kind, error)
    every = evaluation["kinds_every"] * evaluation["every"] * evaluation["test_every"]
    whole = replace(occasion, batch_size=evaluation["batch_size"], trial=False)
    return Evaluations(tuple(kinds), every, config["steps"], config["optim"]["loss"], whole)


def _refuse_one_name_twice(labels: Iterable[str], domains: Iterable[str]) -> None:
    """Raises WrongInput where two numbers of test sets would be recorded under one name."""
    parts = ["", *(f"_{name}" for name in domains)]
    taken = set(parts)
    for label in labels:
        for name in (f"{part}_{label}" for part in parts):
            if name in taken:
                raise WrongInput(
                    f"evaluation.kinds.{label}: test_data_loss{name} is recorded already; choose another label"
                )
            taken.add(name)


def _left_out(kind: Evaluation, error: Exception) -> None:
    """Raises an evaluation's error where it was asked for; the built-in one is left out, and that is logged."""
    if kind.asked:
        raise error
    said = str(error).removeprefix(f"evaluation.kinds.{kind.label}: ")
    log.info("no %s: %s", kind.point, said if isinstance(error, ValueError) else f"{type(error).__name__}: {said}")


def _built(label: str, parts: Mapping[str, Mapping[str, Any]], asked: bool) -> Evaluation:
    made, key = {}, f"evaluation.kinds.{label}"
    usual = {**DEFAULTS, "statistics": label}
    if label in STATISTICS.names() and {part: parts[part]["name"] for part in PARTS} != usual:
        raise WrongInput(
            f"{key}: this label is kept for {label} statistics on clean inputs of the whole test set; choose another"
        )
    for part, registry in PARTS.items():
        options = parts[part]
        entry = registry.get(options["name"], options.get("file"), f"{key}.{part}")
        own = {name: value for name, value in options.items() if name not in ("name", "file")}
        made[part] = build(f"{key}.{part}", entry, (), own)
    told = (_told(parts["statistics"]), _told(parts["inputs"]), _told(parts["data"]))
    return Evaluation(label, made["statistics"], made["inputs"], made["data"], told, asked)


def _told(part: Mapping[str, Any]) -> str:
    """A part by its name, and the options that were given: what the records know of it."""
    given = ", ".join(f"{key}={value}" for key, value in part.items() if key not in ("name", "file"))
    return f"{part['name']}({given})" if given else str(part["name"])


def _tried(kind: Evaluation, network: nn.Module, reduction: str, occasion: Occasion) -> Evaluation:
    """The evaluation itself, once it has been found possible: one batch tells.

    Raises:
        WrongInput: it is none for these data or this network, or the user's code raised something.
    """
    key = f"evaluation.kinds.{kind.label}"
    try:
        data = kind.tested.of(occasion.data)
        kind.statistics.check(data, occasion.holders)
        kind.inputs.check(data)
        kind.values(network, reduction, occasion)
    except (ValueError, ProbeError) as error:
        raise WrongInput(f"{key}: {error}") from error
    except Exception as error:
        if users_place(error) is None:
            raise
        raise raised_by_user(key, kind.point, error) from error
    return kind
