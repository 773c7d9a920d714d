"""The interventions' cost on a GPU, worked out on paper: an estimate, good to a factor of about two; nothing is run.

A block's work is counted as operations, bytes and kernels, and as rounds: what a program that holds a whole matrix in
one multiprocessor does between two barriers. A `Gpu` says how long each takes; its defaults are assumptions about an
H100. Assumed too: kernels run one after the other, but for those of a decomposition that comes a step late, and the
host is always ahead of the device. The model itself counts
as its matrix products and attention, at a rate that covers all the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from math import ceil

from jobs.benchmarks.cases import TORA_BUDGET, Model

JACOBI_LARGEST = 64
"""`models.interventions.numerics.kernels.FEW`, which needs Triton to be imported."""

FEW_KERNELS, MANY_KERNELS, APPLY_KERNELS, DIRECTION_KERNELS, REPULSION_KERNELS = 78, 196, 8, 6, 60
"""GPU kernels of a block: of a decomposition, of up to `JACOBI_LARGEST` tokens and of more; of the change's application
and of the direction from both branches, in every step; of repulsion. tests/jobs/test_bench.py counts them."""

PRODUCTS = 76
"""Products of whole matrices in a decomposition of more than `JACOBI_LARGEST` tokens, counted there too."""

_APPLY_BYTES, _DIRECTION_BYTES, _REPULSION_BYTES, _OWN_BYTES = 40, 44, 48, 16
"""Bytes read and written for each number in the text, which comes and goes as bfloat16 and is float32 in between; the
last for each in the tokens that take part."""

_SWEEPS, _ASCENT_SWEEPS = 8, 1
"""Sweeps over all pairs of columns: of an eigenproblem, and of an inner step of repulsion, which starts close by: all
but the first take a single one at the strengths that are recommended, in groups of 4 to 64."""

_TURN, _FRAMED_TURN = 12, 24
"""Operations for an entry of the matrix when its columns are turned, without and with the frame beside it."""

_SECTIONS, _SECTION = 10, 30e-9
"""Of the intervals around eigenvalues: how many follow each other, and the seconds of a row in each."""

_TILE, _SUM = 64, 4096
"""Rows and columns of the part of a product that a multiprocessor computes, and terms of its sums."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """Speeds, as programs reach them."""

    dense: float = 450e12
    """bfloat16 operations a second in the model's own products."""
    single: float = 30e12
    """float32 operations a second."""
    double: float = 30e12
    """float64 operations a second."""
    bandwidth: float = 2.5e12
    """Bytes a second, to and from memory."""
    launch: float = 3e-6
    """Seconds of a kernel that has next to nothing to do."""
    multiprocessors: int = 132
    """In all."""
    round: float = 1e-6
    """Seconds from barrier to barrier in one multiprocessor."""
    alone: float = 1e11
    """float64 operations a second of one multiprocessor."""
    alone_bandwidth: float = 1e11
    """Bytes a second between one multiprocessor and the cache that all share."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a call does. Operations are those of a GPU that is busy as a whole: where products are too small for that,
    more than the products have."""

    kernels: float = 0.0
    """Calls of kernels."""
    single: float = 0.0
    """float32 operations."""
    double: float = 0.0
    """float64 operations."""
    moved: float = 0.0
    """Bytes to and from memory."""
    rounds: float = 0.0
    """One after the other, in one multiprocessor."""
    alone: float = 0.0
    """float64 operations in one multiprocessor."""
    alone_moved: float = 0.0
    """Bytes that pass through one multiprocessor."""
    alone_seconds: float = 0.0
    """Chains of dependent operations in one thread."""

    def __add__(self, other: Work) -> Work:
        return Work(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def times(self, factor: float) -> Work:
        """The work of several calls, or the share of one that falls to each step."""
        return Work(**{f.name: factor * getattr(self, f.name) for f in fields(self)})

    def seconds(self, gpu: Gpu) -> dict[str, float]:
        """Seconds by what they go to."""
        return {
            "kernels": self.kernels * gpu.launch,
            "products": self.single / gpu.single + self.double / gpu.double,
            "memory": self.moved / gpu.bandwidth,
            "eigenproblems": self.rounds * gpu.round
            + self.alone / gpu.alone
            + self.alone_moved / gpu.alone_bandwidth
            + self.alone_seconds,
        }


def step_seconds(model: Model, images: int, gpu: Gpu) -> float:
    """Seconds of a step of the model. A token meets 12 width^2 weights in a block, of its own stream."""
    tokens, width = model.image_tokens + model.text_tokens, model.width
    operations = 24 * width**2 * tokens + 4 * tokens**2 * width
    return images * model.branches * model.blocks * operations / gpu.dense


def decomposition(model: Model, images: int, own: int, gpu: Gpu) -> Work:
    """TORA's decomposition of the tokens of one block.

    images: of the batch; a matrix each.
    own: tokens that take part.
    """
    gram = Work(single=_product(images, own + 1, own + 1, model.width, gpu))
    if own <= JACOBI_LARGEST:
        return gram + Work(kernels=FEW_KERNELS) + _jacobi(own)
    # Householder's reduction passes over what is left of the matrix, reading and writing it.
    reduction = Work(rounds=own, alone_moved=16 * own**3 / 2)
    count = Work(alone_seconds=_SECTIONS * own * _SECTION)
    double = PRODUCTS * _product(images, own, own, own, gpu)
    cholesky = Work(rounds=own)
    return gram + reduction + count + cholesky + Work(kernels=MANY_KERNELS, double=double)


def application(model: Model, images: int, own: int, gpu: Gpu) -> Work:
    """The rest of TORA in one block, which every step has: the direction, and the change applied to the text."""
    text = model.text_tokens
    single = (
        _product(images, own, model.width, text, gpu)
        + _product(images, text, own + 1, own, gpu)
        + _product(images, text, model.width, own + 1, gpu)
    )
    measured = model.branches > 1  # else the direction was measured in the first block
    return Work(
        kernels=APPLY_KERNELS + DIRECTION_KERNELS * measured,
        single=single,
        moved=images * model.width * (text * (_APPLY_BYTES + _DIRECTION_BYTES * measured) + own * _OWN_BYTES),
    )


def beside(model: Model, images: int, own: int, gpu: Gpu) -> Work:
    """What a decomposition beside the model takes from it: its products, and as many multiprocessors as it has
    matrices, for as long as it needs them. It is assumed to be done when the next step asks for it."""
    alone = decomposition(model, images, own, replace(gpu, multiprocessors=1))
    products = Work(single=alone.single, double=alone.double)
    return products + replace(alone, single=0.0, double=0.0).times(images / gpu.multiprocessors)


def tora(model: Model, images: int, own: int, gpu: Gpu, refresh_steps: int = 1, lag_steps: int = 0) -> Work:
    """TORA in all blocks, as it falls to each step of a run. The two settings are those of `ToraConfig`."""
    found = ceil(model.steps / refresh_steps)
    waited = 1 if lag_steps else found
    block = decomposition(model, images, own, gpu).times(waited) + beside(model, images, own, gpu).times(found - waited)
    return (application(model, images, own, gpu) + block.times(1 / model.steps)).times(model.blocks)


def repulsion(model: Model, images: int, gpu: Gpu) -> Work:
    """Repulsion of one group, as it falls to each step of a run."""
    values, sets = model.text_tokens * model.width, model.branches
    size = _power_of_2(images)
    turns = model.inner_steps * _ASCENT_SWEEPS * (size - 1)
    block = Work(
        kernels=REPULSION_KERNELS,
        single=2 * _product(sets, images, images + 1, values, gpu),
        moved=_REPULSION_BYTES * sets * images * values,
        rounds=turns,
        alone=_FRAMED_TURN * turns * size**2,
    )
    return (block + _jacobi(images)).times((model.blocks - 1) * model.tau / model.steps)


def share(work: Work, model: Model, images: int, gpu: Gpu) -> float:
    """The work's time over that of a step of the model."""
    return sum(work.seconds(gpu).values()) / step_seconds(model, images, gpu)


def fewest_refresh_steps(
    model: Model, images: int, own: int, gpu: Gpu, budget: float, lag_steps: int = 0
) -> int | None:
    """The least `refresh_steps` at which TORA keeps to a share of the step; None where none does."""
    for every in range(1, model.steps + 1):
        if share(tora(model, images, own, gpu, every, lag_steps), model, images, gpu) <= budget:
            return every
    return None


def _jacobi(rows: int) -> Work:
    """Of all matrices at once: each has a multiprocessor."""
    size = _power_of_2(rows)
    turns = _SWEEPS * (size - 1)
    return Work(rounds=size + turns, alone=_TURN * turns * size**2)


def _product(matrices: int, rows: int, columns: int, inner: int, gpu: Gpu) -> float:
    """Operations of products, counted as if all multiprocessors worked."""
    tiles = matrices * ceil(rows / _TILE) * ceil(columns / _TILE) * ceil(inner / _SUM)
    return 2.0 * matrices * rows * columns * inner / min(1.0, tiles / gpu.multiprocessors)


def _power_of_2(rows: int) -> int:
    return 1 << (max(rows, 2) - 1).bit_length()


def show(models: Sequence[Model], groups: Sequence[int], prompts: Sequence[int], large_group: int, gpu: Gpu) -> None:
    """Print the expected shares of all cases, and the assumptions.

    groups: group sizes.
    prompts: numbers of the prompt's own tokens.
    large_group: the size of a group for repulsion alone; 0 for none.
    """
    assumed = ", ".join(f"{f.name} {getattr(gpu, f.name):.3g}" for f in fields(gpu))
    print(f"\nexpected on a GPU by a cost model, not measured, in % of a step of the model; assumed: {assumed}")
    late = f"a step late, within {TORA_BUDGET:.0%}"
    print(f"  {'':12}{'':24}{'TORA':>8}  {'of it':8}{'':34}{f'within {TORA_BUDGET:.0%}':>14}{late:>37}")
    print(
        f"  {'':12}{'images':>7}{'tokens':>8}{'step, s':>9}{'':8}{'kernels':>10}{'products':>10}{'memory':>8}"
        f"{'eigenproblems':>15}{'refresh_steps':>15}{'TORA':>8}{'TORA':>8}{'refresh_steps':>15}{'TORA':>8}{'repulsion':>11}"
    )
    for model in models:
        for images, own in product(groups, prompts):
            step = step_seconds(model, images, gpu)
            kernels, products, memory, eigen = tora(model, images, own, gpu).seconds(gpu).values()
            beside_it = share(tora(model, images, own, gpu, lag_steps=1), model, images, gpu)
            within = ""
            for lag in (0, 1):
                every = fewest_refresh_steps(model, images, own, gpu, TORA_BUDGET, lag)
                least = share(tora(model, images, own, gpu, every or model.steps, lag), model, images, gpu)
                within += f"{beside_it:8.1%}" * lag + f"{every or 'no':>15}{least:8.1%}"
            print(
                f"  {model.name:12}{images:7}{own:8}{step:9.3f}{(kernels + products + memory + eigen) / step:8.1%}"
                f"{kernels / step:10.1%}{products / step:10.1%}{memory / step:8.1%}{eigen / step:15.1%}{within}"
            )
        for images in (*groups, *([large_group] if large_group else [])):
            if images > 1:
                pushed = share(repulsion(model, images, gpu), model, images, gpu)
                print(f"  {model.name:12}{images:7}{'':112}{pushed:8.2%}")
