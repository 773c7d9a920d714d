"""The embedded model's CLIP tokenizer: byte-level BPE in which every word of the world is one token."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer

from models.embedded import world
from models.embedded.captions import RELATIONS, UNNAMED_SHAPE

MAX_TOKENS = 16
"""Begin and end marks included; the longest caption of the world has 14."""

BEGIN, END = "<|startoftext|>", "<|endoftext|>"
_END_OF_WORD = "</w>"


def vocabulary() -> list[str]:
    """Every word that a caption can hold."""
    relations = [word for relation in RELATIONS for word in relation.split()]
    attributes = [*world.SHAPES, *world.COLOURS, *world.TEXTURES, *world.BACKGROUNDS, *world.SIZES, *world.POSITIONS]
    return sorted({"a", "an", "the", "and", "at", "on", "photo", UNNAMED_SHAPE, *relations, *attributes})


def build_tokenizer(directory: Path) -> CLIPTokenizer:
    """Write `vocab.json` and `merges.txt` to `directory` and load them as stock CLIPTokenizer."""
    directory.mkdir(parents=True, exist_ok=True)
    merges = _merges(vocabulary())
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    symbols = [*alphabet, *(f"{c}{_END_OF_WORD}" for c in alphabet)]
    vocab = {token: i for i, token in enumerate([*symbols, *map("".join, merges), BEGIN, END])}
    (directory / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False))
    (directory / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, merges)]) + "\n")
    tokenizer = CLIPTokenizer(
        str(directory / "vocab.json"), str(directory / "merges.txt"), model_max_length=MAX_TOKENS, pad_token=END
    )
    for word in vocabulary():
        if len(tokenizer(word, add_special_tokens=False).input_ids) != 1:
            raise ValueError(f"{word!r} is not one token: {tokenizer.tokenize(word)}")
    return tokenizer


def _merges(words: Sequence[str]) -> list[tuple[str, str]]:
    """Byte-pair merges (Sennrich et al. 2016) until each word is one token.

    Of equally frequent pairs the first in the alphabet is merged. `tokenizers.trainers.BpeTrainer` takes any of them:
    the ids of some words then change from one process to the next, and with them the meaning of trained weights.
    """
    spelled = [[*word[:-1], word[-1] + _END_OF_WORD] for word in words]
    merges = []
    while counts := Counter(pair for tokens in spelled for pair in pairwise(tokens)):
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        spelled = [_joined(tokens, best) for tokens in spelled]
    return merges


def _joined(tokens: Sequence[str], pair: tuple[str, str]) -> list[str]:
    result: list[str] = []
    for token in tokens:
        if result and (result[-1], token) == pair:
            result[-1] += token
        else:
            result.append(token)
    return result
