"""From the recorded flow of data to leaves and layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import nn

from probes.engine.flow import INPUT, Node
from probes.network import Layer, Leaf, normalises_by_batch

_AGAIN = "again"
"""A weight leaf that runs once more: its weights belong to the first time."""
_NO_ACTIVATION = ("norm", "weight", "other", _AGAIN)


class _Match(NamedTuple):
    """The normalisation of a weight leaf."""

    norm: Node
    activation: Node | None
    """Between the two, where the leaf is fed by it."""
    feeds: bool
    """Whether the leaf feeds it; else it is fed by it."""


class Flow:
    """Nodes, who reads whom, and the layers that they form.

    Args:
        network: what was recorded.
        nodes: from a :class:`probes.engine.flow.Recorder`.
        before: tap that enters each normalisation, by its own tap.
        entries: places in the program where it can be entered; (0,) where there is none.
    """

    def __init__(
        self, network: nn.Module, nodes: Sequence[Node], before: Mapping[str, str], entries: Sequence[int] = (0,)
    ) -> None:
        self.network, self.nodes, self.before, self.entries = network, nodes, before, entries
        self.names = {id(parameter): name for name, parameter in network.named_parameters()}
        self.dimensions = {name: parameter.ndim for name, parameter in network.named_parameters()}
        self.readers: dict[int, list[Node]] = {}
        self.above: list[int] = []  # the places that a node is computed from, as bits
        self.uses: dict[str, int] = {}  # of each parameter, as bits
        for node in nodes:
            above = 0
            for place in node.sources - {INPUT}:
                above |= self.above[place] | 1 << place
                if node.new:
                    self.readers.setdefault(place, []).append(node)
            self.above.append(above)
            for name in node.parameters:
                self.uses[name] = self.uses.get(name, 0) | 1 << node.place
        self._name_functions()

    def _name_functions(self) -> None:
        """A function that uses parameters is named after them; where it is no step its output is no tap."""
        self.labels: dict[int, str] = {}
        called = {node.module for node in self.nodes}
        owned: set[str] = set()
        times: dict[str, int] = {}
        for node in self.nodes:
            weights = {name for name in node.parameters if self.dimensions[name] >= 2}
            if node.module is not None:
                if node.kind == "weight" and node.tap != node.module:
                    node.kind = _AGAIN
                self.labels[node.place] = node.tap or ""
            elif node.parameters:
                if weights and node.kind == "other":
                    node.kind = _AGAIN if weights <= owned else "weight"
                first = next((name for name in node.parameters if name in weights), next(iter(node.parameters)))
                owner = first.rpartition(".")[0]
                used_only = owner and owner not in called and not any(self.network.get_submodule(owner).children())
                label = owner if used_only else first
                times[label] = times.get(label, 0) + 1
                self.labels[node.place] = label if times[label] == 1 else f"{label}@{times[label]}"
            owned |= weights

    # ---- leaves

    def leaves(self) -> tuple[Leaf, ...]:
        """Every step, and every other place where parameters are used; what enters a normalisation has a leaf too."""
        found = []
        axes = {}
        for node in self.nodes:
            tap = node.tap or self.labels.get(node.place)
            if tap is None:
                continue
            kind = "other" if node.kind == _AGAIN else node.kind
            shape = node.shape or ()
            axis = node.axis if node.axis is not None else -1 if len(shape) == 3 else 1
            seen = node.tap is not None and node.shape is not None
            if tap in self.before:
                axes[self.before[tap]] = axis
                if self.before[tap].endswith(ENTERS):
                    found.append(Leaf(self.before[tap], None, "other", shape, 0, axis=axis, step=node.step))
            used = tuple(node.parameters)
            joins = node.module is None and not used and len(node.sources) > 1
            found.append(Leaf(tap, node.module, kind, shape, node.operations, used, axis, node.step, seen, joins))
        return tuple(dataclasses.replace(leaf, axis=axes.get(leaf.tap, leaf.axis)) for leaf in found)

    # ---- layers

    def layers(self) -> tuple[Layer, ...]:
        """In the order of their weight leaves."""
        matches, alone = self._match()
        weights = [node for node in self.nodes if node.kind == "weight"]
        found = [self._layer(node, matches.get(node.place)) for node in weights]
        found += [self._layer(node, _Match(node, None, True)) for node in alone]
        return tuple(sorted(found, key=lambda layer: layer.first))

    def _match(self) -> tuple[dict[int, _Match], list[Node]]:
        """(the normalisation of each weight leaf, by its place; those that are no leaf's).

        A leaf has the normalisation that it feeds alone. One whose source has another already (pre-activation), that
        reads a sum, or that stands in one module with a leaf that it feeds and not with its source, belongs to the
        first free leaf that it feeds. Those that only see data come last.
        """
        bits = sum(1 << node.place for node in self.nodes if node.kind == "weight")
        within = {last.place for node in self.nodes for last in self._run(node)[1:]}
        norms = [n for n in self.nodes if n.kind == "norm" and n.tap is not None and n.place not in within]
        matches: dict[int, _Match] = {}
        alone = []
        for norm in sorted(norms, key=lambda n: not self.above[n.place] & bits):
            source = self._source(norm)
            fed = [(leaf, between) for leaf, between in self._fed(norm) if leaf.place not in matches]
            if source is not None and source.place not in matches:
                beside = any(_parent(leaf) == _parent(norm) for leaf, _ in fed)
                if _parent(source) == _parent(norm) or not beside:
                    matches[source.place] = _Match(norm, None, True)
                    continue
            if fed:
                leaf, between = min(fed, key=lambda pair: pair[0].place)
                matches[leaf.place] = _Match(norm, between, False)
            else:
                alone.append(norm)
        return matches, alone

    def _run(self, node: Node) -> list[Node]:
        """A normalisation and those that directly follow it alone (batch, noise); nothing for another node."""
        run = [node] if node.kind == "norm" and node.tap is not None else []
        while run:
            readers = self.readers.get(run[-1].place, [])
            if len(readers) != 1 or readers[0].kind != "norm" or len(readers[0].sources) != 1:
                break
            run.append(readers[0])
        return run

    def _source(self, norm: Node) -> Node | None:
        """The weight leaf of which ``norm`` and nothing else reads the output."""
        node = norm
        while len(node.sources) == 1:
            place = next(iter(node.sources))
            if place == INPUT or len(self.readers[place]) != 1:
                return None
            node = self.nodes[place]
            if node.kind == "weight":
                return node
            if node.kind in ("norm", _AGAIN):
                return None
        return None

    def _fed(self, norm: Node) -> list[tuple[Node, Node | None]]:
        """The weight leaves that ``norm`` feeds, with the activation function between."""
        found: list[tuple[Node, Node | None]] = []
        queue: list[tuple[Node, Node | None]] = [(self._run(norm)[-1], None)]
        for node, between in queue:
            for reader in self.readers.get(node.place, []):
                if reader.kind == "weight":
                    found.append((reader, between))
                elif reader.kind not in ("norm", _AGAIN) and len(reader.sources) == 1:
                    is_activation = between is None and reader.kind not in _NO_ACTIVATION
                    queue.append((reader, reader if is_activation else between))
        return found

    def _activation(self, node: Node, own: list[Node]) -> Node | None:
        """The first activation function on the way from ``node`` on which nothing joins or leaves."""
        while True:
            readers = self.readers.get(node.place, [])
            if len(readers) != 1 or len(readers[0].sources) != 1:
                return None
            node = readers[0]
            if node.kind not in _NO_ACTIVATION:
                return node
            if node.kind != "other" and node not in own:
                return None

    def _layer(self, node: Node, match: _Match | None) -> Layer:
        run = [] if match is None else self._run(match.norm)
        activation = match.activation if match is not None and not match.feeds else None
        activation = activation or self._activation(node, run)
        if activation is not None and activation.tap is None:
            activation = None
        weights = tuple(n for n in node.parameters if node.kind == "weight" and self._is_weight(n))
        own = list(node.parameters)
        if match is not None and match.feeds:
            own = list(dict.fromkeys([*own, *(name for norm in run for name in norm.parameters)]))
        affine, epsilon = self._normalisation(run[0] if run else None)
        tap = node.tap if node.shape is not None else None
        name = self.labels.get(node.place) or node.tap or ""
        return Layer(
            name=name.removesuffix(".layer") if name != "layer" else name,
            weights=weights,
            all_weights=self._all_weights(node),
            gamma=affine.get("weight"),
            beta=affine.get("bias"),
            parameters=tuple(own),
            compound=sum(self.dimensions[name] >= 2 and ".parametrizations." not in name for name in weights) > 1,
            **self._place(node, weights, own),
            before_normalisation=self.before[run[0].tap or ""] if run else tap,
            after_normalisation=run[-1].tap if run else None,
            normalisation=run[0].tap if run else None,
            batch_norm_epsilon=epsilon,
            activation=activation.tap if activation is not None else None,
            activation_kind=activation.kind if activation is not None else None,
        )

    def _all_weights(self, node: Node) -> tuple[str, ...]:
        held = (
            []
            if node.module is None
            else [self.names[id(p)] for p in self.network.get_submodule(node.module).parameters()]
        )
        names = dict.fromkeys([*node.parameters, *held])
        return tuple(name for name in names if node.kind == "weight" and self._is_weight(name))

    def _is_weight(self, name: str) -> bool:
        """The factors of a reparametrised weight count as weights whatever their shape; biases do not."""
        return self.dimensions[name] >= 2 or ".parametrizations.weight." in f".{name}"

    def _normalisation(self, node: Node | None) -> tuple[dict[str, str], float | None]:
        """The names of its weight and bias, by these words, trained or not; the eps of a batch normalisation."""
        if node is None or node.module is None:
            return {}, None
        module: Any = self.network.get_submodule(node.module)
        affine = {n.rpartition(".")[2]: self.names[id(p)] for n, p in module.named_parameters()}
        return affine, module.eps if normalises_by_batch(module) else None

    def _place(self, node: Node, weights: Sequence[str], own: Sequence[str]) -> dict[str, Any]:
        """Where a layer stands in the order."""
        uses = 1 << node.place
        for name in weights:
            uses |= self.uses[name]
        places = [n.place for n in self.nodes if uses >> n.place & 1]
        some, every = 0, ~0
        for place in places:
            some, every = some | self.above[place], every & self.above[place]
        preceding = [name for name, used in self.uses.items() if name not in own and used & some]
        operations = sum(n.operations for n in self.nodes if self.above[n.place] & uses)
        step = self.nodes[places[0]].step
        return {
            "first": node.place,
            "entry": max(entry for entry in self.entries if entry <= step),
            "preceding": tuple(preceding),
            "astride": {name: self._tied(name, weights) for name in preceding if self.uses[name] & ~every},
            "backward": operations + sum(self.nodes[place].operations for place in places if weights),
        }

    def _tied(self, name: str, weights: Sequence[str]) -> str:
        """The parameter that is used in several places: ``name``, or else the layer's own weight."""
        several = self.uses[name] & (self.uses[name] - 1)
        return name if several or not weights else weights[0]


def _parent(node: Node) -> str:
    return (node.module or "").rpartition(".")[0]


ENTERS = ":input"
"""Ends the name of the tap that enters a normalisation, where it is no other leaf's output."""
