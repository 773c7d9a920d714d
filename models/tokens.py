"""The text tokens of a denoising batch: which of them are whose, for every image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.encoded import Encoded, pad_tokens
from models.parallel.shards import Shards


@dataclass(frozen=True, kw_only=True, eq=False)
class Tokens:
    """The N text tokens of one branch, for the B images of the batch; at most M of them are the prompt's own."""

    own_BN: Tensor
    """bool [B, N]: the prompt's own tokens, on which TORA acts."""
    index_BM: Tensor
    """int64 [B, M]: positions, from 0 to N - 1, of the prompt's own tokens; those of an image with fewer than M come
    before others."""
    attended_BN1: Tensor
    """bool [B, N, 1]: whether the model attends to the token (some models attend to padding)."""
    reads_all: bool
    """Whether the model attends to all tokens of all images. Repulsion acts on all that it attends to, as its paper
    does: a template's tokens, which start the same for all samples of a group, take up the samples' images block by
    block."""
    padding_BN: Tensor
    """bool [B, N]: the padding that the model attends to."""
    encoder_BN: Tensor
    """int64 [B, N]: the number of the text encoder that a token comes from."""
    empty_B: Tensor
    """bool [B]: whether the text has no tokens but its encoders' marks."""

    @property
    def length(self) -> int:
        """N, the number of tokens with padding."""
        return self.attended_BN1.shape[1]

    def of_own_images(self, shards: Shards) -> Tokens:
        """The tokens of this rank's images only."""
        own = shards.group.own_rows
        return Tokens(
            own_BN=own(self.own_BN),
            index_BM=own(self.index_BM),
            attended_BN1=own(self.attended_BN1),
            reads_all=self.reads_all,
            padding_BN=own(self.padding_BN),
            encoder_BN=own(self.encoder_BN),
            empty_B=own(self.empty_B),
        )

    def with_padding(self) -> Tokens:
        """The same text with the padding that the model attends to counted as its own. Synchronises with the device."""
        return Tokens.of(self.own_BN | self.padding_BN, self.attended_BN1[:, :, 0], encoder_BN=self.encoder_BN)

    def of_each_encoder(self) -> list[Tokens]:
        """The same text once for each text encoder, with its tokens only. Synchronises with the device."""
        numbers = sorted(set(self.encoder_BN[self.own_BN].tolist()))
        return [
            Tokens.of(
                self.own_BN & (self.encoder_BN == number),
                self.attended_BN1[:, :, 0],
                padding_BN=self.padding_BN,
                encoder_BN=self.encoder_BN,
                empty_B=self.empty_B,
            )
            for number in numbers
        ]

    @staticmethod
    def of(
        own_BN: Tensor,
        attended_BN: Tensor,
        *,
        padding_BN: Tensor | None = None,
        encoder_BN: Tensor | None = None,
        empty_B: Tensor | None = None,
    ) -> Tokens:
        """The tokens that masks over all N tokens describe. Synchronises with the device: call it once per run.

        own_BN: bool [B, N], the prompt's own tokens.
        attended_BN: bool [B, N], the tokens that the model attends to.
        padding_BN: bool [B, N], the padding among them; None where there is none.
        encoder_BN: int64 [B, N], each token's encoder; None where all tokens come from one.
        empty_B: bool [B], the empty texts; None where there is none.
        """
        most = max(1, int(own_BN.sum(-1).max()))
        return Tokens(
            own_BN=own_BN,
            # The prompt's tokens first, each part in its order.
            index_BM=(~own_BN).to(torch.int8).argsort(dim=-1, stable=True)[:, :most],
            attended_BN1=attended_BN[:, :, None],
            reads_all=bool(attended_BN.all()),
            padding_BN=torch.zeros_like(own_BN) if padding_BN is None else padding_BN,
            encoder_BN=torch.zeros_like(own_BN, dtype=torch.int64) if encoder_BN is None else encoder_BN,
            empty_B=torch.zeros_like(own_BN[:, 0]) if empty_B is None else empty_B,
        )


def tokens_of(encoded: Sequence[Encoded], samples: int) -> Tokens:
    """The tokens of several prompts, of which the shorter are padded at their end; nothing attends to that padding.

    encoded: the text of each prompt.
    samples: images of each.
    """

    def rows(per_token: Sequence[Tensor]) -> Tensor:
        return rows_of(per_token, samples)

    own_BN = rows([text.own_N for text in encoded])
    encoders = [text.encoder_N for text in encoded if text.encoder_N is not None]
    return Tokens.of(
        own_BN,
        rows([text.attended_N for text in encoded]),
        padding_BN=rows([text.attended_N & ~text.valid_N for text in encoded]),
        encoder_BN=rows(encoders) if encoders else None,
        empty_B=torch.tensor([text.empty for text in encoded], device=own_BN.device).repeat_interleave(samples),
    )


def rows_of(per_token: Sequence[Tensor], samples: int) -> Tensor:
    """Rows [B, N] of a value for each token of several prompts; 0 for the padding of the shorter ones.

    per_token: [N] of each prompt.
    samples: images of each.
    """
    longest = max(len(one) for one in per_token)
    return torch.cat([pad_tokens(one[None], longest) for one in per_token]).repeat_interleave(samples, dim=0)
