"""The open_clip scorer, trained on balanced renders with hard negative captions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPTokenizer

from models.embedded.attributes import ABSENT, HEADS, NAMES, scene_of
from models.embedded.captions import CaptionStyle, caption
from models.embedded.training.data import RenderedSet
from models.embedded.training.loop import LoopConfig, train
from models.embedded.training.tokenizer import MAX_TOKENS

LOOP = LoopConfig(steps=4000, learning_rate=1.5e-3, ema_decay=0.998, cooldown=0.7, weight_decay=0.05)
BATCH, HARD_NEGATIVES = 96, 5
RELATIONS = 0.75
"""Share of each batch with two things: they are what is hard."""

_HEAD_SCALE = 10.0
_HARD, _READ = 2.0, 6.0
"""Weights of the losses on altered captions and on what the heads read, beside 1 for the contrastive ones."""
_PIXELS = 128
"""Side of what the tower sees, twice the pictures': it shrinks its input by 4 before its first block, and by 32 in all,
too much for the texture of a small thing."""

STYLE = CaptionStyle(
    keep_shape=0.97, keep_colour=0.85, keep_texture=0.75, keep_size=0.5, keep_position=0.5, keep_background=0.65
)

_WORDS_BY_KIND = {word: words for words in HEADS.values() for word in words}


def model_config(vocabulary_size: int) -> dict[str, Any]:
    """open_clip's model configuration."""
    return {
        "embed_dim": 128,
        "vision_cfg": {
            "image_size": _PIXELS,
            "width": 24,
            "layers": [1, 1, 1, 1],
        },
        "text_cfg": {
            "context_length": MAX_TOKENS,
            "vocab_size": vocabulary_size,
            "width": 128,
            "heads": 4,
            "layers": 3,
            "hf_tokenizer_name": "local",
            "tokenizer_kwargs": {"clean": "whitespace"},
        },
    }


def altered(text: str, rng: np.random.Generator) -> str:
    """`text` with one attribute word replaced by another of its kind."""
    words = text.split(" ")
    places = [i for i, word in enumerate(words) if word in _WORDS_BY_KIND]
    if not places:
        return text + " at night"
    place = places[int(rng.integers(len(places)))]
    others = [word for word in _WORDS_BY_KIND[words[place]] if word != words[place]]
    words[place] = others[int(rng.integers(len(others)))]
    return " ".join(words)


class _Pupil(nn.Module):
    """The CLIP model and, for training only, linear heads that read every attribute off the image vector: words alone
    teach it slowly what to look at."""

    def __init__(self, clip: nn.Module, width: int) -> None:
        super().__init__()
        self.clip = clip
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(words)) for name, words in HEADS.items()})


def untrained_scorer(tokenizer: CLIPTokenizer) -> nn.Module:
    """The open_clip model before training."""
    config = model_config(len(tokenizer))
    config["text_cfg"] = {k: v for k, v in config["text_cfg"].items() if "tokenizer" not in k}
    net: nn.Module = open_clip.CLIP(**config)
    return net


def train_scorer(
    net: nn.Module,
    data: RenderedSet,
    tokenizer: CLIPTokenizer,
    directory: Path,
    *,
    seed: int,
    loop: LoopConfig = LOOP,
) -> nn.Module:
    """Contrastive training (Radford et al. 2021), each picture also against captions that differ in one attribute."""
    torch.manual_seed(seed)
    pupil = _Pupil(net, model_config(0)["embed_dim"]).to(memory_format=torch.channels_last)
    alone = data.labels[:, NAMES.index("arrangement")] == HEADS["arrangement"].index("single")
    related = round(RELATIONS * BATCH)
    kinds = [(np.flatnonzero(~alone), related), (np.flatnonzero(alone), BATCH - related)]

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([seed, step])
        rows = np.sort(np.concatenate([rng.choice(kind, count, replace=False) for kind, count in kinds]))
        pixels = torch.from_numpy(data.images[rows]).permute(0, 3, 1, 2).float()
        texts = [caption(scene_of(data.labels[row]), rng, STYLE) for row in rows]
        texts += [altered(text, rng) for text in texts for _ in range(HARD_NEGATIVES)]
        ids = tokenizer(texts, padding="max_length", max_length=MAX_TOKENS, return_tensors="pt").input_ids
        noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(step))
        # The fused attention's backward pass is slow on a CPU for so short sequences.
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            image, text, scale = net(_normalise(_enlarged(pixels + 8.0 * noise)), ids)
        image = image.float()
        scores = scale.clamp_max(100.0) * image @ text.float().T
        target = torch.arange(BATCH)
        hard = torch.cat([scores[target, target, None], scores[:, BATCH:].view(BATCH, BATCH, -1)[target, target]], 1)
        labels = torch.from_numpy(data.labels[rows].astype(np.int64))
        read = torch.stack(
            [
                F.cross_entropy(head(_HEAD_SCALE * image), labels[:, i], ignore_index=ABSENT)
                for i, head in enumerate(pupil.heads.values())
            ]
        ).mean()
        total = (
            F.cross_entropy(scores, target)
            + F.cross_entropy(scores[:, :BATCH].T, target)
            + _HARD * F.cross_entropy(hard, torch.zeros(BATCH, dtype=torch.long))
            + _READ * read
        )
        return total, {"hard": float((hard.argmax(1) == 0).float().mean()), "attributes": float(read.detach())}

    pupil.load_state_dict(train("scorer", pupil, loss, loop, directory))
    return net.eval()


def _enlarged(pixels: Tensor) -> Tensor:
    """As open_clip's preprocessing does; antialiasing has no effect here but to choose the kernel that Pillow has."""
    size = (_PIXELS, _PIXELS)
    return F.interpolate(pixels, size, mode="bicubic", antialias=True).to(memory_format=torch.channels_last)


def _normalise(pixels: Tensor) -> Tensor:
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(3, 1, 1)
    deviation = torch.tensor(open_clip.OPENAI_DATASET_STD).view(3, 1, 1)
    return (pixels / 255.0 - mean) / deviation


def export_scorer(net: nn.Module, tokenizer: CLIPTokenizer, directory: Path) -> None:
    """Write a folder that open_clip loads as `local-dir:FOLDER`."""
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(directory)
    config = {
        "model_cfg": model_config(len(tokenizer)),
        "preprocess_cfg": {
            "mean": list(open_clip.OPENAI_DATASET_MEAN),
            "std": list(open_clip.OPENAI_DATASET_STD),
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
    }
    (directory / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    state = {k: v.half().contiguous() for k, v in net.state_dict().items()}
    save_file(state, directory / "open_clip_model.safetensors")
