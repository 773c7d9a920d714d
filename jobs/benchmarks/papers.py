"""Both methods as their papers give them, in place of this project's forms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from torch import Tensor

from models.interventions.repulsion import groups
from models.interventions.repulsion.reference import repel_by_autograd
from models.interventions.tora import alignment, reference
from models.interventions.tora.config import ToraConfig
from models.interventions.tora.selection import TokenSelection


@contextmanager
def papers_forms() -> Iterator[None]:
    """Run the body with both methods as the papers give them."""
    with (
        mock.patch.object(groups, "repel", lambda sets, config, _total: repel_by_autograd(sets, config)),
        mock.patch.object(alignment, "space_and_align", lambda *arguments: align_by_svd(*arguments[:4])),
    ):
        yield


def align_by_svd(tokens: Tensor, direction: Tensor, selection: TokenSelection, config: ToraConfig) -> Tensor:
    """`models.interventions.tora.transform.space_and_align` by a singular value decomposition of each sample."""
    valid = selection.scatter_BNM.amax(-1) > 0
    return reference.align_by_svd(tokens.float(), direction, valid, config).to(tokens.dtype)
