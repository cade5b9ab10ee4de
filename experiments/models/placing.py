"""Which layers of a model are normalised: ``norm`` as models get it, and what ``model.norm_at`` means."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from torch import nn

from experiments.errors import WrongInput
from experiments.norms import NormalisedLayer
from experiments.patterns import matching


class Placing:
    """What a model calls as ``norm``: applies the configured normalisation to a layer, where it is wanted.

    Args:
        apply: :func:`experiments.norms.apply_norm` with the configured normalisation.
        plain: the same without any.
        wanted: the numbers of the calls, in their order, that normalise; None: as the model says.
    """

    def __init__(
        self,
        apply: Callable[..., NormalisedLayer],
        plain: Callable[..., NormalisedLayer],
        wanted: Collection[int] | None = None,
    ) -> None:
        self.apply, self.plain, self.wanted = apply, plain, wanted
        self.blocks: list[NormalisedLayer] = []
        self.output: NormalisedLayer | None = None

    def __call__(
        self, layer: nn.Module | None = None, *, output: bool = False, normalised: bool | None = None, **options: Any
    ) -> NormalisedLayer:
        """The layer, perhaps with a normalisation and an activation.

        Args:
            layer: the layer; None for a normalisation that stands alone (``units`` and ``dims`` are then given).
            output: whether it is the layer that gives the network's output, which is normalised only where
                ``model.norm_at`` says so.
            normalised: whether it is normalised where nothing is said; None: unless it is the output.
            options: activation, placement, units and dims, see :func:`experiments.norms.apply_norm`.
        """
        chosen = normalised if normalised is not None else not output
        if self.wanted is not None:
            chosen = len(self.blocks) in self.wanted
        block = (self.apply if chosen else self.plain)(layer, **options)
        self.blocks.append(block)
        if output:
            self.output = block
        return block

    def named(self, network: nn.Module) -> list[str]:
        """What the blocks are called in ``network``, in the order of the calls; "" for one that is not in it."""
        names = {id(module): name for name, module in network.named_modules()}
        return [names.get(id(block), "") for block in self.blocks]

    def chosen_by(self, norm_at: str | Sequence[str], network: nn.Module) -> frozenset[int]:
        """The numbers of the calls that ``model.norm_at`` means, in a network that was built with this.

        Args:
            norm_at: "all" layers, the "output" alone, the "hidden" ones, the "last_hidden" one alone, "all_but_last":
                the hidden ones but the last; or names of blocks, or patterns of them.
            network: what was built.

        Raises:
            WrongInput: it means no layer of this network.
        """
        names = self.named(network)
        output = [i for i, block in enumerate(self.blocks) if block is self.output]
        hidden = [i for i in range(len(names)) if i not in output]
        meant = {
            "all": hidden + output,
            "output": output,
            "hidden": hidden,
            "last_hidden": hidden[-1:],
            "all_but_last": hidden[:-1],
        }
        if not isinstance(norm_at, str) or norm_at not in meant:
            found = matching("model.norm_at", norm_at, filter(None, names), also=meant)
            return frozenset(i for i, name in enumerate(names) if name in found)
        if norm_at in ("all", "output") and not output:
            raise WrongInput(
                f"model.norm_at={norm_at}: this model does not say which layer is its output "
                "(norm(layer, output=True)); choose hidden, or names of layers"
            )
        if not meant[norm_at]:
            raise WrongInput(f"model.norm_at={norm_at}: this model has no such layer; its layers: {', '.join(names)}")
        return frozenset(meant[norm_at])
