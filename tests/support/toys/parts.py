"""Tokenizers, text encoders and autoencoders of the real classes at toy size, from which toy pipelines are built."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from torch import nn

library: Any = diffusers  # which has no types
encoders: Any = transformers

WIDTH = 16
"""Hidden size of the text encoders."""

CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{{ m['content'][0]['text'] }}{% endif %}"
    "</s>{% endfor %}{% if add_generation_prompt %}<s>{% endif %}"
)
"""Something before and something after the prompt, as the models' templates have."""


TWO_BLOCKS: dict[str, Any] = {
    "patch_size": 1,
    "in_channels": 16,
    "num_layers": 2,
    "num_single_layers": 2,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": WIDTH,
    "axes_dims_rope": (4, 4, 8),
}
"""Settings of transformers that are built like FLUX.1's."""


def tokenizer(
    *, seen: Sequence[str] = (), first: str = "", last: str = "", side: str = "right", specials: Sequence[str] = ()
) -> Any:
    """A byte-level BPE tokenizer that has words for the texts in `seen` (a model's template) and bytes for the rest."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        min_frequency=1,
        show_progress=False,
        special_tokens=["<pad>", "<s>", "</s>", *specials],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    inner.train_from_iterator(seen, trainer)
    around = [(mark, inner.token_to_id(mark)) for mark in (first, last) if mark]
    if around:
        inner.post_processor = processors.TemplateProcessing(
            single=" ".join(part for part in (first, "$A", last) if part), special_tokens=around
        )
    return encoders.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        padding_side=side,
        chat_template=CHAT,
        model_max_length=2048,
    )


def t5_tokenizer() -> Any:
    return tokenizer(last="</s>")


def t5(tokenizer: Any, kind: Any = encoders.T5EncoderModel) -> Any:
    config = kind.config_class(
        vocab_size=len(tokenizer), d_model=WIDTH, d_kv=8, d_ff=32, num_layers=1, num_heads=2, is_encoder_decoder=False
    )
    return kind(config)


def clip_tokenizer(folder: Path) -> Any:
    """A CLIPTokenizer whose words are single bytes, so that it needs no downloaded vocabulary."""
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return encoders.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16)


def clip(tokenizer: Any, *, positions: int = 77, projected: bool = False) -> Any:
    config = encoders.CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=positions,
        projection_dim=WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return encoders.CLIPTextModelWithProjection(config) if projected else encoders.CLIPTextModel(config)


def decoder_config(tokenizer: Any, layers: int) -> dict[str, Any]:
    """Settings that the decoder-only language models share."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 32,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 2048,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


QWEN_MARKS = {"image": "<|image_pad|>", "start": "<|vision_start|>", "end": "<|vision_end|>", "video": "<|video_pad|>"}

_DESCRIBE = (
    "Describe the image by detailing the color, shape, size, texture, quantity, text, spatial relationships of the "
    "objects and background:"
)


def qwen_tokenizer(seen: str = _DESCRIBE) -> Any:
    return tokenizer(seen=[seen], specials=("<|im_start|>", "<|im_end|>", *QWEN_MARKS.values()))


def qwen25_vl_config(tokenizer: Any) -> Any:
    ids = {name: tokenizer.convert_tokens_to_ids(mark) for name, mark in QWEN_MARKS.items()}
    return encoders.Qwen2_5_VLConfig(
        text_config={
            **decoder_config(tokenizer, 3),
            "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e6},
        },
        vision_config={
            "depth": 1,
            "hidden_size": WIDTH,
            "intermediate_size": 32,
            "num_heads": 2,
            "out_hidden_size": WIDTH,
            "fullatt_block_indexes": [0],
        },
        image_token_id=ids["image"],
        vision_start_token_id=ids["start"],
        vision_end_token_id=ids["end"],
    )


def qwen25_vl(tokenizer: Any) -> Any:
    return encoders.Qwen2_5_VLForConditionalGeneration(qwen25_vl_config(tokenizer))


def qwen_processor(tokenizer: Any) -> Any:
    """Makes tokens of pictures, few of them, and of text."""
    return encoders.Qwen2VLProcessor(
        image_processor=encoders.Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=56 * 56),
        tokenizer=tokenizer,
        video_processor=encoders.Qwen2VLVideoProcessor(),
        chat_template=CHAT,
    )


def kl(latent_channels: int = 4, shift_factor: float = 0.0) -> Any:
    """An AutoencoderKL that halves the image."""
    return library.AutoencoderKL(
        sample_size=16,
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=4,
        use_quant_conv=False,
        use_post_quant_conv=False,
        shift_factor=shift_factor,
        scaling_factor=1.0,
    )


def qwen_vae(downsamplings: int = 2) -> Any:
    """An AutoencoderKLQwenImage that shrinks the image by 2 ** downsamplings."""
    return library.AutoencoderKLQwenImage(
        base_dim=4,
        z_dim=4,
        dim_mult=[1] * (downsamplings + 1),
        num_res_blocks=1,
        temperal_downsample=[False] * downsamplings,
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )


def flow_scheduler(**settings: Any) -> Any:
    return library.FlowMatchEulerDiscreteScheduler(**settings)


def randomise(*modules: nn.Module) -> None:
    """The usual initialisation is so small that the prompt would not show in the image."""
    with torch.no_grad():
        for module in modules:
            for parameter in module.parameters():
                parameter.normal_(std=0.2)


def sharpen(transformer: nn.Module, gain: float) -> None:
    """Make attention choose: queries and keys are scaled by the weights of their norms."""
    norms = [p for name, p in transformer.named_parameters() if re.search(r"norm_(added_)?[qk]\.weight$", name)]
    assert norms
    with torch.no_grad():
        for weight in norms:
            weight.fill_(gain)


def clip_parts(folder: Path) -> tuple[Any, Any]:
    """A CLIP tokenizer and a text encoder for it."""
    words = clip_tokenizer(folder)
    return words, clip(words)
