"""Toy pipelines of the FLUX.2 family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffusers.pipelines.flux2.system_messages import SYSTEM_MESSAGE

from tests.support.toys import parts
from tests.support.toys.parts import WIDTH, encoders, library


def _shared_parts(guidance: bool) -> dict[str, Any]:
    transformer = library.Flux2Transformer2DModel(
        patch_size=1,
        in_channels=4,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=3 * WIDTH,
        timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=guidance,
    )
    vae = library.AutoencoderKLFlux2(
        sample_size=16,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(4, 4),
        layers_per_block=1,
        latent_channels=1,
        norm_num_groups=1,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    return {"transformer": transformer, "vae": vae, "scheduler": parts.flow_scheduler()}


def flux2(folder: Path) -> Any:
    words = parts.tokenizer(seen=[SYSTEM_MESSAGE], side="left", specials=("<|system|>", "<|user|>"))
    config = encoders.Mistral3Config(
        text_config={"model_type": "mistral", **parts.decoder_config(words, 30)},
        vision_config={
            "model_type": "pixtral",
            "hidden_size": WIDTH,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
    )
    text_encoder = encoders.Mistral3ForConditionalGeneration(config)
    return library.Flux2Pipeline(text_encoder=text_encoder, tokenizer=words, **_shared_parts(True))


def flux2_klein(folder: Path, *, distilled: bool = False) -> Any:
    words = parts.tokenizer(specials=("<|user|>",))
    text_encoder = encoders.Qwen3ForCausalLM(encoders.Qwen3Config(**parts.decoder_config(words, 27)))
    parts_of_it = {"text_encoder": text_encoder, "tokenizer": words, **_shared_parts(False)}
    return library.Flux2KleinPipeline(**parts_of_it, is_distilled=distilled)
