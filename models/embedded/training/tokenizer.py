"""The embedded model's CLIP tokenizer: byte-level BPE in which every word of the world is one token."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from models.embedded import world
from models.embedded.captions import RELATIONS, UNNAMED_SHAPE

MAX_TOKENS = 16
"""Begin and end marks included; the longest caption of the world has 14."""

BEGIN, END = "<|startoftext|>", "<|endoftext|>"


def vocabulary() -> list[str]:
    """Every word that a caption can hold."""
    relations = [word for relation in RELATIONS for word in relation.split()]
    attributes = [*world.SHAPES, *world.COLOURS, *world.TEXTURES, *world.BACKGROUNDS, *world.SIZES, *world.POSITIONS]
    return sorted({"a", "an", "the", "and", "at", "on", "photo", UNNAMED_SHAPE, *relations, *attributes})


def build_tokenizer(directory: Path) -> CLIPTokenizer:
    """Write `vocab.json` and `merges.txt` to `directory` and load them as stock CLIPTokenizer."""
    directory.mkdir(parents=True, exist_ok=True)
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token=END))
    bpe.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(vocab_size=10_000, min_frequency=1, end_of_word_suffix="</w>", show_progress=False)
    bpe.train_from_iterator([vocabulary()], trainer)
    trained = json.loads(bpe.to_str())["model"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    symbols = [*alphabet, *(f"{c}</w>" for c in alphabet)]
    merged = [token for token in trained["vocab"] if token not in set(symbols)]
    vocab = {token: i for i, token in enumerate([*symbols, *merged, BEGIN, END])}
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in trained["merges"]]
    (directory / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False))
    (directory / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    tokenizer = CLIPTokenizer(
        str(directory / "vocab.json"), str(directory / "merges.txt"), model_max_length=MAX_TOKENS, pad_token=END
    )
    for word in vocabulary():
        if len(tokenizer(word, add_special_tokens=False).input_ids) != 1:
            raise ValueError(f"{word!r} is not one token: {tokenizer.tokenize(word)}")
    return tokenizer
