"""The oracle: a classifier that reads the attributes of a picture of the embedded world.

A small network, trained on balanced renders only, so that it has no prior for typical pairs. It is used to evaluate
results, never to filter or guide them, and shares neither data nor architecture with the open_clip scorer.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from models.embedded import WEIGHTS
from models.embedded.attributes import HEADS, Labels

_SLOT_OF = {name: 0 if name[-2:] not in ("_0", "_1") else 1 + int(name[-1]) for name in HEADS}
_WIDTH = 96


class OracleNet(nn.Module):
    """Convolutions to an 8 x 8 grid, two transformer layers, and three read-out tokens (scene, thing 0, thing 1)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width, stride in ((32, 2), (64, 1), (64, 2), (96, 1), (_WIDTH, 2)):
            layers += [nn.Conv2d(channels, width, 3, stride, 1), nn.GroupNorm(8, width), nn.SiLU()]
            channels = width
        self.stem = nn.Sequential(*layers)
        self.readout = nn.Parameter(torch.randn(3, _WIDTH) * 0.02)
        self.place = nn.Parameter(torch.randn(64, _WIDTH) * 0.02)
        self.mixer = nn.ModuleList(
            nn.TransformerEncoderLayer(_WIDTH, 4, 2 * _WIDTH, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(2)
        )
        self.norm = nn.LayerNorm(_WIDTH)
        self.heads = nn.ModuleDict({name: nn.Linear(_WIDTH, len(words)) for name, words in HEADS.items()})

    def features(self, pixels_BCHW: Tensor) -> Tensor:
        """The read-out tokens, float [B, 3, 96].

        pixels_BCHW: float [B, 3, 64, 64] in [-1, 1].
        """
        grid_BND = self.stem(pixels_BCHW).flatten(2).transpose(1, 2) + self.place
        tokens = torch.cat([self.readout.expand(len(grid_BND), -1, -1), grid_BND], dim=1)
        for layer in self.mixer:
            tokens = layer(tokens)
        result: Tensor = self.norm(tokens[:, :3])
        return result

    def forward(self, pixels_BCHW: Tensor) -> dict[str, Tensor]:
        """Logits of every attribute: name -> float [B, classes].

        pixels_BCHW: float [B, 3, 64, 64] in [-1, 1].
        """
        tokens = self.features(pixels_BCHW)
        return {name: head(tokens[:, _SLOT_OF[name]]) for name, head in self.heads.items()}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What the oracle sees in n pictures."""

    labels: Labels
    """int8 [n, 10]: the most probable class of each attribute, in the order of `HEADS`."""
    confidence: NDArray[np.float32]
    """float32 [n, 10]: the probability of that class."""
    features: NDArray[np.float32]
    """float32 [n, 288]: for distances between sets of pictures."""

    def first(self, count: int) -> Reading:
        """The reading of the first `count` pictures."""
        return Reading(labels=self.labels[:count], confidence=self.confidence[:count], features=self.features[:count])


class Oracle:
    """Reads the attributes of pictures.

    weights: a safetensors file of `OracleNet`.
    """

    def __init__(self, weights: Path = WEIGHTS / "oracle.safetensors") -> None:
        self.net = OracleNet()
        self.net.load_state_dict({k: v.float() for k, v in load_file(weights).items()})
        self.net.eval()

    @torch.inference_mode()
    def read(self, images_NHWC: NDArray[np.uint8], batch: int = 250) -> Reading:
        """What the oracle sees in pictures.

        images_NHWC: uint8 [n, 64, 64, 3], n at least 1.
        batch: pictures in one pass of the network.
        """
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        for at in range(0, len(images_NHWC), batch):
            pixels = torch.from_numpy(np.array(images_NHWC[at : at + batch])).permute(0, 3, 1, 2)
            tokens = self.net.features(pixels.float() / 127.5 - 1.0)
            best = [head(tokens[:, _SLOT_OF[name]]).softmax(-1).max(-1) for name, head in self.net.heads.items()]
            parts.append(
                (torch.stack([b.indices for b in best], 1), torch.stack([b.values for b in best], 1), tokens.flatten(1))
            )
        labels, confidence, features = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
        return Reading(labels=labels.astype(np.int8), confidence=confidence, features=features)
