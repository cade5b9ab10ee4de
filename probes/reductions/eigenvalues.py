"""Extreme eigenvalues and spectral densities of a symmetric map that is known by its products with vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]


class Extreme(NamedTuple):
    """The ends of a spectrum: the largest eigenvalues, descending, then the smallest, ascending."""

    values: Tensor
    """(wanted,), float64."""
    residuals: Tensor
    """(wanted,), float64: ||H v - value v|| of each unit vector."""
    vectors: Tensor
    """(wanted, numbers), orthonormal."""
    products: int
    """How many were taken."""
    along: float
    """<s, H s> of the last starting vector s, as it was given."""


def finite(product: Product) -> Product:
    """``product``, which raises FloatingPointError where it is not finite."""

    def checked(v: Tensor) -> Tensor:
        image = product(v)
        if not torch.isfinite(image.norm()):
            raise FloatingPointError("a product with the Hessian is not finite")
        return image

    return checked


def extreme_eigenvalues(
    product: Product,
    start: Sequence[Tensor],
    fresh: Callable[[], Tensor],
    largest: int,
    smallest: int,
    tolerance: float,
    limit: int,
    room: int,
) -> Extreme:
    """Rayleigh-Ritz on a basis that grows by the residual of the first pair that is not yet good enough.

    From one vector this is Lanczos's method with full orthogonalisation (all residuals are then parallel); from the
    eigenvectors of a step before it goes on where they stand (generalised Davidson, Morgan & Scott 1986). A full basis
    keeps what lies at the wanted ends (thick restart, Wu & Simon 2000).

    Args:
        product: v -> H v.
        start: vectors to begin with; those that are 0 or depend on others are passed over.
        fresh: draws a vector, for when the basis is invariant before all that is wanted was found.
        largest, smallest: how many eigenvalues of each end; together at most the dimension.
        tolerance: a pair is good enough when its residual is at most this share of the largest |eigenvalue| known.
        limit: of products; at least as many as ``start`` and as are wanted.
        room: vectors of the basis, at least one more than either, or the dimension.
    """
    numbers, wanted, good = len(start[0]), largest + smallest, 0
    basis = _Basis(product, start[0], min(room, numbers))
    for vector in start:
        basis.add(vector)
    along = basis.form(start[-1])
    while True:
        while basis.size < wanted:
            basis.add(fresh())
        values, weights = torch.linalg.eigh(basis.inner[: basis.size, : basis.size])
        chosen = [*range(basis.size - 1, basis.size - 1 - largest, -1), *range(smallest)]
        bound = tolerance * values.abs().max()
        while good < wanted:
            residual = basis.residual(values[chosen[good]], weights[:, chosen[good]])
            if residual.norm() > bound:
                break
            good += 1
        last = basis.used >= limit or basis.size >= numbers
        if last or good == wanted:  # a pair that was good enough may have lost a little since
            residuals = [basis.residual(values[i], weights[:, i]).norm().double().cpu() for i in chosen]
            good = next((i for i, found in enumerate(residuals) if found > bound), wanted)
            if last or good == wanted:
                vectors = basis.combined(weights[:, chosen])
                return Extreme(values[chosen], torch.stack(residuals), vectors, basis.used, along)
            continue
        if basis.size == basis.room:
            more = max((basis.room - wanted) // 2, 1)
            top = largest + (more if not smallest else more // 2 if largest else 0)
            bottom = smallest + (more - (top - largest) if smallest else 0)
            basis.keep(values, weights, [*range(bottom), *range(basis.size - top, basis.size)])
        if not basis.add(residual):
            basis.add(fresh())


class _Basis:
    """Orthonormal vectors, their images, and the inner products of both.

    Args:
        product: v -> H v.
        like: a vector of the kind.
        room: for so many.
    """

    def __init__(self, product: Product, like: Tensor, room: int) -> None:
        self.product, self.room, self.size, self.used = product, room, 0, 0
        self.vectors, self.images = (like.new_empty(room, len(like)) for _ in range(2))
        self.inner = torch.zeros(room, room, dtype=torch.float64)

    def add(self, vector: Tensor) -> bool:
        """Takes what is new in ``vector``, by one product; False: nothing is."""
        before = vector.norm()
        for _ in range(3):
            there = self.vectors[: self.size]
            length = vector.norm()
            vector = vector - there.T @ (there @ vector)
            if vector.norm() > 0.5 * length:  # rounding can no longer have left much of the others in it
                break
        left = vector.norm()
        if not torch.isfinite(left):
            raise FloatingPointError("a vector of the basis is not finite")
        if left <= 1e-5 * before:
            return False
        self.vectors[self.size] = vector / left
        self.images[self.size] = self.product(self.vectors[self.size])
        self.used, self.size = self.used + 1, self.size + 1
        row = (self.vectors[: self.size] @ self.images[self.size - 1]).double().cpu()
        self.inner[self.size - 1, : self.size] = self.inner[: self.size, self.size - 1] = row
        return True

    def form(self, vector: Tensor) -> float:
        """<v, H v> of a vector within the basis."""
        weights = (self.vectors[: self.size] @ vector).double().cpu()
        return float(weights @ self.inner[: self.size, : self.size] @ weights)

    def combined(self, weights: Tensor) -> Tensor:
        """(columns, numbers): combinations of the basis."""
        return weights.T.to(self.vectors) @ self.vectors[: self.size]

    def residual(self, value: Tensor, weights: Tensor) -> Tensor:
        """H v - value v of a combination."""
        weights = weights.to(self.vectors)
        return weights @ self.images[: self.size] - float(value) * (weights @ self.vectors[: self.size])

    def keep(self, values: Tensor, weights: Tensor, chosen: Sequence[int]) -> None:
        """Leaves the chosen combinations alone."""
        rows = weights[:, list(chosen)].T.to(self.vectors)
        for held in (self.vectors, self.images):
            held[: len(chosen)] = rows @ held[: self.size]
        self.size = len(chosen)
        self.inner.zero_()
        self.inner[: self.size, : self.size] = torch.diag(values[list(chosen)])


def lanczos_quadrature(product: Product, start: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights, (steps,) each, float64: Gauss quadrature of the spectral measure of ``start``.

    sum_k weights_k f(nodes_k) is <s, f(H) s> for the unit vector s along ``start``, exactly for polynomials up to
    degree 2 ``steps`` - 1 (Golub & Welsch 1969; Ghorbani et al. 2019). The weights are squares of the first components
    of the tridiagonal matrix's eigenvectors; all vectors are kept and orthogonalised against. Where the Krylov space
    ends sooner, the nodes that are left over are 0 and so are their weights.
    """
    vectors = start.new_zeros(min(steps, len(start)), len(start))
    vectors[0] = start / start.norm()
    diagonal, beside = [], []
    for k in range(len(vectors)):
        image = product(vectors[k])
        diagonal.append(float(image @ vectors[k]))
        scale = image.norm()
        for _ in range(2):
            image = image - vectors[: k + 1].T @ (vectors[: k + 1] @ image)
        length = image.norm()
        if k + 1 == len(vectors) or not length > 1e-5 * scale:
            break
        beside.append(float(length))
        vectors[k + 1] = image / length
    tridiagonal = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    if beside:
        off = torch.diag(torch.tensor(beside, dtype=torch.float64), 1)
        tridiagonal += off + off.T
    values, first = torch.linalg.eigh(tridiagonal)
    nodes, weights = (torch.zeros(steps, dtype=torch.float64) for _ in range(2))
    nodes[: len(values)], weights[: len(values)] = values, first[0].square()
    return nodes, weights
