"""Random-weight models of the real classes, small enough for a test."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def tool(name: str) -> str:
    """Path of a program that was installed beside this Python."""
    return str(Path(sys.executable).parent / name)


def save_pipeline(folder: Path) -> str:
    """A StableDiffusion3Pipeline: two joint blocks, two CLIP text encoders, no T5, a VAE that halves the image."""
    import torch

    from tests.support.toys import parts

    torch.manual_seed(0)
    words = parts.clip_tokenizer(folder)
    transformer = parts.library.SD3Transformer2DModel(
        sample_size=8,
        patch_size=1,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=2 * parts.WIDTH,
        caption_projection_dim=32,
        pooled_projection_dim=2 * parts.WIDTH,
        out_channels=4,
        pos_embed_max_size=16,
    )
    vae = parts.kl()
    parts.randomise(transformer)
    pipeline = parts.library.StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=parts.flow_scheduler(),
        vae=vae,
        text_encoder=parts.clip(words, positions=words.model_max_length, projected=True),
        tokenizer=words,
        text_encoder_2=parts.clip(words, positions=words.model_max_length, projected=True),
        tokenizer_2=words,
        text_encoder_3=None,
        tokenizer_3=None,
    )
    pipeline.save_pretrained(folder / "pipeline")
    return str(folder / "pipeline")


def save_clip(folder: Path) -> str:
    """An open_clip model of one layer each for images and texts."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model_config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 16, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model_config, "preprocess_cfg": preprocess}))
    model = open_clip.CLIP(**model_config)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    return str(folder)


def save_classifier(folder: Path) -> str:
    """An image classifier of one layer with the labels "normal" and "Not Safe"."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    labels = {0: "normal", 1: "Not Safe"}
    config = ViTConfig(image_size=16, patch_size=8, initializer_range=1.0, id2label=labels, **sizes)
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)
    return str(folder)


def save_vision_language_model(folder: Path) -> str:
    """A Llava model of one layer each for pictures and texts, which knows "yes", "no" and letters."""
    import torch
    import transformers

    from tests.support.toys import parts

    torch.manual_seed(0)
    words = parts.tokenizer(seen=["yes no Yes No"] * 9, specials=["<image>"])
    words.chat_template = (
        "{% for m in messages %}{% for part in m['content'] %}"
        "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
        "{% endfor %}{% endfor %}{% if add_generation_prompt %}<s>{% endif %}"
    )
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    library = parts.encoders
    config = library.LlavaConfig(
        vision_config=library.CLIPVisionConfig(image_size=16, patch_size=8, **sizes),
        text_config=library.LlamaConfig(vocab_size=len(words), num_key_value_heads=2, **sizes),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    net = library.LlavaForConditionalGeneration(config)
    parts.randomise(net)
    net.save_pretrained(folder)
    pictures = transformers.CLIPImageProcessor(size={"height": 16, "width": 16}, crop_size={"height": 16, "width": 16})
    library.LlavaProcessor(
        pictures,
        words,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token="<image>",
        chat_template=words.chat_template,
    ).save_pretrained(folder)
    return str(folder)
