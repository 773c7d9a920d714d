"""A small classifier with a softmax over the pairs of colour and shape, and one over those of texture and shape.

It has a class for each pair, as sets of photos have one for "grey wolf" and none for "grey": so a class that is rare
is learned badly, and one without pictures not at all. Heads for colour, texture and shape would join what they have
seen apart. Array names: N pictures, H x W pixels, C = 3 colours.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from models.embedded.attributes import ABSENT
from pipelines.downstream.concepts import CLASSES, Classes
from pipelines.downstream.config import Training

_PATCH = 4
_WIDTHS = (32, 48, 64)
_WEIGHT_DECAY = 0.05
_TEST_BATCH = 256


class PairNet(nn.Module):
    """Patches of 4 x 4 pixels, then convolutions to a 4 x 4 grid; its mean and maximum are read by both heads."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in _WIDTHS:
            first = channels == 3
            size, stride, padding = (_PATCH, _PATCH, 0) if first else (3, 2, 1)
            layers += [nn.Conv2d(channels, width, size, stride, padding, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        self.body = nn.Sequential(*layers)
        self.heads = nn.ModuleList(nn.Linear(2 * channels, classes) for classes in CLASSES)

    def forward(self, pixels_NCHW: Tensor) -> list[Tensor]:
        """Logits of each kind of class, float [N, classes].

        pixels_NCHW: [N, 3, 64, 64], 0 to 255.
        """
        grid = self.body((pixels_NCHW.float() / 127.5 - 1.0).contiguous(memory_format=torch.channels_last))
        read = torch.cat([grid.mean((2, 3)), grid.amax((2, 3))], dim=1)
        return [head(read) for head in self.heads]


def train(pictures_NHWC: NDArray[np.uint8], classes: Classes, settings: Training, seed: int) -> PairNet:
    """A classifier, trained on some pictures; the same input gives the same one.

    pictures_NHWC: uint8 [N, 64, 64, 3].
    classes: int64 [N, 2]; where one is `ABSENT`, the picture teaches the other head alone.
    settings: how.
    seed: of the first weights, the order and the shifts.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = PairNet().to(memory_format=torch.channels_last)
        pixels_NCHW, labels = _pixels(pictures_NHWC), torch.from_numpy(classes)
        optimiser = torch.optim.AdamW(net.parameters(), lr=settings.learning_rate, weight_decay=_WEIGHT_DECAY)
        rate = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, settings.learning_rate, total_steps=max(settings.steps, 2), pct_start=0.2
        )
        order = torch.empty(0, dtype=torch.int64)
        for _ in range(settings.steps):
            while len(order) < settings.batch:
                order = torch.cat([order, torch.randperm(len(labels))])
            now, order = order[: settings.batch], order[settings.batch :]
            loss = _loss(net(_moved(pixels_NCHW[now], settings.shift)), labels[now])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            rate.step()
    return net.eval()


def _moved(pixels_NCHW: Tensor, most: int) -> Tensor:
    """The pictures, moved by as many pixels at random; what comes in is as their edges are."""
    right, down = torch.randint(0, 2 * most + 1, (2,)).tolist()
    height, width = pixels_NCHW.shape[2:]
    padded = F.pad(pixels_NCHW.float(), (most,) * 4, mode="replicate")
    return padded[:, :, down : down + height, right : right + width]


def _loss(logits: list[Tensor], labels: Tensor) -> Tensor:
    """The sum of both heads' mean cross entropies, over all pictures: one without a class of a kind adds nothing."""
    losses = [
        F.cross_entropy(of_kind, labels[:, kind], ignore_index=ABSENT, reduction="sum")
        for kind, of_kind in enumerate(logits)
    ]
    return torch.stack(losses).sum() / len(labels)


@torch.inference_mode()
def predicted(net: PairNet, pictures_NHWC: NDArray[np.uint8]) -> Classes:
    """The most probable classes of pictures, int64 [N, 2].

    pictures_NHWC: uint8 [N, 64, 64, 3].
    """
    pixels_NCHW = _pixels(pictures_NHWC)
    batches = (pixels_NCHW[at : at + _TEST_BATCH] for at in range(0, len(pixels_NCHW), _TEST_BATCH))
    parts = [torch.stack([of_kind.argmax(1) for of_kind in net(batch)], 1) for batch in batches]
    found: Classes = torch.cat(parts).numpy()
    return found


def _pixels(pictures_NHWC: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pictures_NHWC)).permute(0, 3, 1, 2)
