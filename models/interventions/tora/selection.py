"""Which tokens of a sample TORA acts on, as matrices that select them: constant for a run.

The selected tokens enter the algebra as the rows of X = G E, with E all tokens [N, D] and G the gather matrix; the
change of X goes back to all tokens through the scatter matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.interventions.tora.config import ToraConfig
from models.tokens import Tokens


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenSelection:
    """The tokens that TORA acts on, in all blocks and steps of a run.

    M is the number of places for selected tokens; a sample with fewer leaves its last places empty.
    """

    selected_BN1: Tensor
    """bool [B, N, 1]: whether the token is one of them."""
    gather_BMN: Tensor
    """float32 [B, M, N]: from all tokens to the selected ones, minus their mean where `centre` is set; empty places
    are 0."""
    scatter_BNM: Tensor
    """float32 [B, N, M]: from the selected tokens back to all; 0 for a sample of rank below 2, or of an empty text,
    which is not changed."""
    mean_B1N: Tensor
    """float32 [B, 1, N]: from all tokens to the mean of the selected ones."""
    elbow_rows_BMM: Tensor
    """float64 [B, M, M]: chooses the number of principal directions; see `elbow_rows`."""
    order_M1: Tensor
    """float64 [M, 1]: M - 1 to 0, the rank of each singular value from the largest, where they are sorted ascending."""

    @staticmethod
    def of(tokens: Tokens, config: ToraConfig) -> TokenSelection:
        """The selection of the prompt's own tokens.

        tokens: of one branch.
        config: the settings.
        """
        index_BM, places = tokens.index_BM, tokens.index_BM.shape[1]
        own_BM = tokens.own_BN.gather(1, index_BM)
        index_N = torch.arange(tokens.length, device=index_BM.device)
        one_hot_BMN = (index_BM[:, :, None] == index_N) & own_BM[:, :, None]
        pick_BMN = one_hot_BMN.float()
        count_B11 = own_BM.sum(-1).float()[:, None, None]
        mean_B1N = pick_BMN.sum(1, keepdim=True) / count_B11.clamp_min(1.0)
        rank_B11 = count_B11 - float(config.centre)
        return TokenSelection(
            selected_BN1=one_hot_BMN.any(1)[:, :, None],
            gather_BMN=pick_BMN - own_BM[:, :, None] * mean_B1N * config.centre,
            scatter_BNM=pick_BMN.mT * ((rank_B11 >= 2) & ~tokens.empty_B[:, None, None]),
            mean_B1N=mean_B1N,
            elbow_rows_BMM=elbow_rows(rank_B11.double(), places, config.components),
            order_M1=torch.arange(places, dtype=torch.float64, device=index_BM.device).flip(0)[:, None],
        )

    @staticmethod
    def sets(tokens: Tokens, config: ToraConfig) -> list[TokenSelection]:
        """Sets of tokens, each with a decomposition, a mean and a number of principal directions of its own: see
        `ToraConfig.encoders`.

        tokens: of one branch.
        config: the settings.
        """
        parts = tokens.of_each_encoder() if config.encoders == "apart" else [tokens]
        return [TokenSelection.of(part, config) for part in parts]

    def zero_others(self, tokens_BND: Tensor) -> Tensor:
        """The tokens, with 0 in place of those that are not selected: in products with the matrices 0 x NaN is NaN.

        tokens_BND: float [B, N, D].
        """
        return torch.where(self.selected_BN1, tokens_BND, 0.0)

    def mean(self, tokens_BND: Tensor) -> Tensor:
        """Mean of the selected tokens, float32 [B, 1, D].

        tokens_BND: float [B, N, D].
        """
        return self.mean_B1N @ self.zero_others(tokens_BND.float())


def elbow_rows(rank_B11: Tensor, places: int, components: int) -> Tensor:
    """The matrix E, float64 [B, M, M], for which the largest entry of |E s| is in row k, counted from 1.

    k is the number of principal directions (step 2 of `reference`), s the singular values, ascending. `components` = 0
    applies Maximum Distance to Chord to the curve (j, s_j), j = 1..rank, s descending: the chord joins its first and
    last point, and k is the j farthest from it. All points have the same chord, so the vertical distance decides, which
    is linear in s. Otherwise k is `components`, or rank - 1 where that is less.

    rank_B11: float64 [B, 1, 1], rank of the selected tokens.
    places: M.
    components: see `ToraConfig`.
    """
    j_M = torch.arange(places, dtype=torch.float64, device=rank_B11.device)
    last_B11 = (rank_B11 - 1.0).clamp_min(0.0)
    eye_MM = torch.eye(places, dtype=torch.float64, device=rank_B11.device)
    first_B1M, at_last_B1M = eye_MM[:1], (j_M == last_B11).double()
    if components > 0:
        k_B11 = last_B11.clamp_max(float(components))
        descending_BMM = (j_M[:, None] == k_B11 - 1.0) * first_B1M
    else:
        along_BM1 = j_M[:, None] / last_B11.clamp_min(1.0)
        chord_BMM = first_B1M * (1.0 - along_BM1) + at_last_B1M * along_BM1
        descending_BMM = (eye_MM - chord_BMM) * (j_M[:, None] <= last_B11)
    return descending_BMM.flip(-1)
