"""Both interventions in one block, and what their time goes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from jobs.benchmarks.cases import TORA, Model
from jobs.benchmarks.papers import align_by_svd
from jobs.benchmarks.timing import Timing
from models.interventions.numerics.eigen import eigh, large_eigenvalues
from models.interventions.repulsion.ascent import entropy_ascent
from models.interventions.repulsion.config import RepulsionConfig
from models.interventions.repulsion.push import displacement, repel
from models.interventions.repulsion.reference import repel_by_autograd
from models.interventions.tora.selection import TokenSelection
from models.interventions.tora.transform import semantic_direction, space_and_align
from models.tokens import Tokens

Calls = dict[str, Callable[[], object]]

SVD, AUTOGRAD = "TORA, full SVD per sample", "repulsion, autograd loop"
_PAPERS = (SVD, AUTOGRAD)

NAIVE_STEPS = 2
"""Of repulsion's automatic differentiation, which takes equally long for every step."""


def tora(model: Model, images: int, own: int, device: str, dtype: torch.dtype) -> Calls:
    """TORA on random text: as in a step that decomposes, as in the others, and the eigenproblem alone.

    images: of the group.
    own: the prompt's own tokens.
    """
    text_XBND = torch.randn(model.branches, images, model.text_tokens, model.width, device=device).to(dtype)
    valid_BN = (torch.arange(model.text_tokens, device=device) < own).expand(images, -1)
    selection = TokenSelection.of(Tokens.of(valid_BN, torch.ones_like(valid_BN)), TORA)
    fixed_BD = torch.randn(images, model.width, device=device)
    uncond_BND, cond_BND = text_XBND[0], text_XBND[-1]
    found: list[Any] = []

    def note(find: Callable[[Any], Any], rows: Any) -> Any:
        found[:] = [find(rows)]
        return found[0]

    def again(find: Callable[[Any], Any], rows: Any) -> Any:
        return found[0]

    def whole(align: Callable[..., object]) -> None:
        measured = model.branches > 1
        direction_BD = semantic_direction(cond_BND, uncond_BND, selection, TORA) if measured else fixed_BD
        align(cond_BND, direction_BD, selection, TORA)

    whole(partial(space_and_align, keep=note))
    rows_BMD = selection.gather_BMN @ cond_BND.float()
    gram_BMM = (rows_BMD @ rows_BMD.mT).double()
    eigenproblem = large_eigenvalues(gram_BMM.device, own) or eigh
    return {
        "TORA": lambda: whole(space_and_align),
        "TORA between decompositions": lambda: whole(partial(space_and_align, keep=again)),
        "TORA's eigenproblem": lambda: eigenproblem(gram_BMM),
        SVD: lambda: whole(align_by_svd),
    }


def repulsion(model: Model, images: int, config: RepulsionConfig, device: str, dtype: torch.dtype) -> Calls:
    """Repulsion on random text, and parts of it.

    images: of the group, 2 or more.
    config: the settings.
    """
    common = torch.randn(model.branches, 1, model.text_tokens, model.width, device=device)
    own = torch.randn(model.branches, images, model.text_tokens, model.width, device=device)
    text_GBND = (common + 0.3 * own).to(dtype)
    flat_GBX = text_GBND.flatten(2).float()
    mean_G1X = flat_GBX.mean(1, keepdim=True)
    rows_GRX = torch.cat([flat_GBX - mean_G1X, mean_G1X], dim=1)
    products_GRR, whole_GBB = (rows_GRX @ rows_GRX.mT).double(), (flat_GBX @ flat_GBX.mT).double()
    del flat_GBX, rows_GRX
    length_G = config.strength / config.inner_steps * whole_GBB.diagonal(dim1=1, dim2=2).mean(-1)
    settings = (config.strength, config.eta, config.inner_steps, config.max_displacement)
    naive = RepulsionConfig(strength=config.strength, inner_steps=NAIVE_STEPS)

    return {
        "repulsion": lambda: repel(text_GBND, config),
        "repulsion's B x B algebra": lambda: displacement(products_GRR, *settings, False),
        "its inner steps": lambda: entropy_ascent(whole_GBB, length_G, config.inner_steps, False),
        AUTOGRAD: lambda: repel_by_autograd(text_GBND.float(), naive),
    }


def without_papers_forms(calls: Calls) -> Calls:
    """The calls but for the papers' own forms."""
    return {name: call for name, call in calls.items() if name not in _PAPERS}


def show(table: Mapping[str, Timing]) -> None:
    """Print milliseconds of each part.

    table: name -> timing.
    """
    print("    in a block: " + ", ".join(f"{name} {1e3 * timing.seconds:.3g} ms" for name, timing in table.items()))
