"""Sums over tensors, in float64: in float32 the norm of two million numbers is off by 4e-5."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

SMALL, PIECE = 2**13, 2**17
"""Numbers up to which tensors are summed together, and in pieces of which large ones are."""


def sums(terms: Callable[..., Sequence[Tensor]], *lists: Sequence[Tensor]) -> Tensor:
    """(terms, tensors): for each tensor (or pair of tensors) the sums of ``terms``, taken in float64.

    Small tensors are taken together and large ones in pieces that fit a cache: on one core that is 6 times faster
    than tensor by tensor.

    Args:
        terms: maps flat float64 pieces, one of each list, to tensors of the same length that are to be summed.
        lists: tensors of equal shapes at equal places.
    """
    lists = tuple([as_real(value.detach()) for value in values] for values in lists)
    small = [i for i, value in enumerate(lists[0]) if value.numel() <= SMALL]
    found: dict[int, Tensor] = {}
    if small:
        flat = [torch.cat([values[i].reshape(-1) for i in small]).double() for values in lists]
        lengths = _lengths(tuple(lists[0][i].numel() for i in small), flat[0].device)
        stacked = torch.stack(list(terms(*flat)), 1)
        # unsafe: not checking the lengths, which on a GPU would wait for it
        found.update(zip(small, torch.segment_reduce(stacked, "sum", lengths=lengths, unsafe=True), strict=True))
    for i in range(len(lists[0])):
        if i not in found:
            pieces = zip(*(values[i].reshape(-1).split(PIECE) for values in lists), strict=True)
            parts = [torch.stack([t.sum() for t in terms(*(x.double() for x in piece))]) for piece in pieces]
            found[i] = torch.stack(parts).sum(0)
    return torch.stack([found[i] for i in range(len(lists[0]))], 1)


def as_real(value: Tensor) -> Tensor:
    """A complex tensor as twice as many real numbers: products then are real parts, and norms those of both parts."""
    return torch.view_as_real(value.resolve_conj()) if value.is_complex() else value


@functools.lru_cache(maxsize=256)
def _lengths(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(lengths, device=device)


def norms(values: Sequence[Tensor]) -> Tensor:
    """(n,): Euclidean norm of each tensor."""
    return sums(lambda a: (a.square(),), values)[0].sqrt()


def products(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """(n,): inner product of each pair."""
    return sums(lambda x, y: (x * y,), a, b)[0]


def distances(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """(n,): norm of the difference of each pair."""
    return sums(lambda x, y: ((x - y).square(),), a, b)[0].sqrt()


def comparison(gradients: Sequence[Tensor], reference: Sequence[Tensor]) -> Tensor:
    """(3, n): norms of the differences, inner products, norms of ``gradients``."""
    found = sums(lambda x, y: ((x - y).square(), x * y, x.square()), gradients, reference)
    return torch.stack([found[0].sqrt(), found[1], found[2].sqrt()])
