"""One toy pipeline per family: the real classes, random weights, two blocks of each kind."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.flux2.system_messages import SYSTEM_MESSAGE
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE

from tests.tiny import clip_tokenizer
from tests.toys import parts
from tests.toys.parts import WIDTH, encoders, library


def sd3(folder: Path) -> Any:
    """Like SD3.5 Medium: dual attention in the first block; with T5."""
    words, t5_words = clip_tokenizer(folder), parts.t5_tokenizer()
    transformer = library.SD3Transformer2DModel(
        sample_size=8,
        patch_size=1,
        in_channels=4,
        num_layers=3,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=2 * WIDTH,
        caption_projection_dim=32,
        pooled_projection_dim=2 * WIDTH,
        out_channels=4,
        pos_embed_max_size=16,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    t5 = encoders.T5EncoderModel(
        encoders.T5Config(vocab_size=len(t5_words), d_model=2 * WIDTH, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    )
    return library.StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=parts.flow_scheduler(),
        vae=parts.kl(),
        text_encoder=parts.clip(words, projected=True),
        tokenizer=words,
        text_encoder_2=parts.clip(words, projected=True),
        tokenizer_2=words,
        text_encoder_3=t5,
        tokenizer_3=t5_words,
    )


def _flux(pipeline: Any, folder: Path, *, guidance: bool = True) -> Any:
    words, text_encoder = parts.clip_parts(folder)
    t5_words = parts.t5_tokenizer()
    transformer = library.FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=guidance,
    )
    return pipeline(
        transformer=transformer,
        scheduler=parts.flow_scheduler(),
        vae=parts.kl(),
        text_encoder=text_encoder,
        tokenizer=words,
        text_encoder_2=parts.t5(t5_words),
        tokenizer_2=t5_words,
    )


def flux(folder: Path) -> Any:
    return _flux(library.FluxPipeline, folder)


def flux_schnell(folder: Path) -> Any:
    """Its guidance was distilled away."""
    return _flux(library.FluxPipeline, folder, guidance=False)


def flux_kontext(folder: Path) -> Any:
    return _flux(library.FluxKontextPipeline, folder)


def _flux2_parts(guidance: bool) -> dict[str, Any]:
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
        down_block_types=("DownEncoderBlock2D",),
        up_block_types=("UpDecoderBlock2D",),
        block_out_channels=(4,),
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
    return library.Flux2Pipeline(text_encoder=text_encoder, tokenizer=words, **_flux2_parts(True))


def flux2_klein(folder: Path, *, distilled: bool = False) -> Any:
    words = parts.tokenizer(specials=("<|user|>",))
    text_encoder = encoders.Qwen3ForCausalLM(encoders.Qwen3Config(**parts.decoder_config(words, 27)))
    parts_of_it = {"text_encoder": text_encoder, "tokenizer": words, **_flux2_parts(False)}
    return library.Flux2KleinPipeline(**parts_of_it, is_distilled=distilled)


def _qwen_transformer() -> Any:
    return library.QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        axes_dims_rope=(8, 4, 4),
    )


def _qwen_words(seen: str) -> Any:
    return parts.tokenizer(seen=[seen], specials=("<|im_start|>", "<|im_end|>", *parts.QWEN_MARKS.values()))


_DESCRIBE = (
    "Describe the image by detailing the color, shape, size, texture, quantity, text, spatial relationships of the "
    "objects and background:"
)


def qwen_image(folder: Path) -> Any:
    words = _qwen_words(_DESCRIBE)
    return library.QwenImagePipeline(
        transformer=_qwen_transformer(),
        scheduler=parts.flow_scheduler(),
        vae=parts.qwen_vae(),
        text_encoder=parts.qwen25_vl(words),
        tokenizer=words,
    )


def qwen_image_edit(folder: Path) -> Any:
    """Its autoencoder shrinks by 64, because the pipeline brings the picture to edit to one megapixel."""
    words = _qwen_words("Describe the key features of the input image (color, shape, size, texture")
    images = encoders.Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=56 * 56)
    videos = encoders.Qwen2VLVideoProcessor()
    return library.QwenImageEditPipeline(
        transformer=_qwen_transformer(),
        scheduler=parts.flow_scheduler(),
        vae=parts.qwen_vae(6),
        text_encoder=parts.qwen25_vl(words),
        tokenizer=words,
        processor=encoders.Qwen2VLProcessor(
            image_processor=images, tokenizer=words, video_processor=videos, chat_template=parts.CHAT
        ),
    )


def chroma(folder: Path) -> Any:
    words = parts.t5_tokenizer()
    transformer = library.ChromaTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        axes_dims_rope=(4, 4, 8),
        approximator_hidden_dim=32,
        approximator_layers=1,
        approximator_num_channels=16,
    )
    return library.ChromaPipeline(
        transformer=transformer,
        scheduler=parts.flow_scheduler(),
        vae=parts.kl(),
        text_encoder=parts.t5(words),
        tokenizer=words,
    )


def cogview4(folder: Path) -> Any:
    words = parts.tokenizer(first="<s>", side="left")
    text_encoder = encoders.GlmModel(encoders.GlmConfig(**parts.decoder_config(words, 2)))
    transformer = library.CogView4Transformer2DModel(
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        text_embed_dim=WIDTH,
        time_embed_dim=8,
        condition_dim=4,
        rope_axes_dim=(16, 16),
    )
    return library.CogView4Pipeline(
        transformer=transformer,
        scheduler=parts.flow_scheduler(base_shift=0.25, max_shift=0.75, use_dynamic_shifting=True),
        vae=parts.kl(),
        text_encoder=text_encoder,
        tokenizer=words,
    )


def hunyuan_image(folder: Path, *, distilled: bool = False) -> Any:
    words = _qwen_words(_DESCRIBE)
    transformer = library.HunyuanImageTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=2,
        num_single_layers=2,
        num_refiner_layers=1,
        patch_size=(1, 1),
        text_embed_dim=WIDTH,
        text_embed_2_dim=WIDTH,
        rope_axes_dim=(8, 8),
        guidance_embeds=distilled,
        use_meanflow=distilled,
    )
    vae = library.AutoencoderKLHunyuanImage(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(32, 32),
        layers_per_block=1,
        spatial_compression_ratio=2,
        sample_size=16,
        scaling_factor=1.0,
    )
    letters = encoders.ByT5Tokenizer()
    guider = None if distilled else library.AdaptiveProjectedMixGuidance(adaptive_projected_guidance_start_step=1)
    return library.HunyuanImagePipeline(
        transformer=transformer,
        scheduler=parts.flow_scheduler(),
        vae=vae,
        text_encoder=parts.qwen25_vl(words),
        tokenizer=words,
        text_encoder_2=parts.t5(letters),
        tokenizer_2=letters,
        guider=guider,
        ocr_guider=guider,
    )


def hunyuan_video(folder: Path) -> Any:
    words, text_encoder = parts.clip_parts(folder)
    llama_words = parts.tokenizer(seen=[DEFAULT_PROMPT_TEMPLATE["template"]], first="<s>")
    llama = encoders.LlamaModel(encoders.LlamaConfig(**parts.decoder_config(llama_words, 2)))
    transformer = library.HunyuanVideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=10,
        num_layers=2,
        num_single_layers=2,
        num_refiner_layers=1,
        patch_size=1,
        patch_size_t=1,
        guidance_embeds=True,
        text_embed_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        rope_axes_dim=(2, 4, 4),
    )
    vae = library.AutoencoderKLHunyuanVideo(
        latent_channels=4,
        down_block_types=("HunyuanVideoDownBlock3D",) * 4,
        up_block_types=("HunyuanVideoUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        scaling_factor=1.0,
        spatial_compression_ratio=8,
        temporal_compression_ratio=4,
    )
    return library.HunyuanVideoPipeline(
        transformer=transformer,
        scheduler=parts.flow_scheduler(shift=7.0),
        vae=vae,
        text_encoder=llama,
        tokenizer=llama_words,
        text_encoder_2=text_encoder,
        tokenizer_2=words,
    )


def cogvideox(folder: Path) -> Any:
    words = parts.t5_tokenizer()
    transformer = library.CogVideoXTransformer3DModel(
        num_attention_heads=4,
        attention_head_dim=8,
        in_channels=4,
        out_channels=4,
        time_embed_dim=8,
        text_embed_dim=WIDTH,
        num_layers=2,
        sample_width=2,
        sample_height=2,
        sample_frames=9,
        patch_size=2,
        temporal_compression_ratio=4,
        max_text_seq_length=24,
    )
    vae = library.AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=4,
    )
    return library.CogVideoXPipeline(
        transformer=transformer,
        scheduler=library.CogVideoXDDIMScheduler(),
        vae=vae,
        text_encoder=parts.t5(words),
        tokenizer=words,
    )


BUILDERS: dict[str, Callable[[Path], Any]] = {
    "sd3": sd3,
    "flux": flux,
    "flux-kontext": flux_kontext,
    "flux2": flux2,
    "flux2-klein": flux2_klein,
    "qwen-image": qwen_image,
    "qwen-image-edit": qwen_image_edit,
    "chroma": chroma,
    "cogview4": cogview4,
    "hunyuan-image": hunyuan_image,
    "hunyuan-video": hunyuan_video,
    "cogvideox": cogvideox,
}
"""Family name -> builder of its toy pipeline; a builder may write files of its own below the folder."""

DISTILLED: dict[str, Callable[[Path], Any]] = {
    "flux-schnell": flux_schnell,
    "flux2-klein-distilled": partial(flux2_klein, distilled=True),
    "hunyuan-image-distilled": partial(hunyuan_image, distilled=True),
}
"""The checkpoints of some families that take few steps and no guidance."""


def save(name: str, folder: Path) -> str:
    """Build a toy pipeline and save it; returns the folder that holds it."""
    torch.manual_seed(0)
    pipeline = (BUILDERS | DISTILLED)[name](folder)
    parts.randomise(*(m for n, m in pipeline.components.items() if n.startswith(("transformer", "text_encoder"))))
    pipeline.save_pretrained(folder / "pipeline")
    return str(folder / "pipeline")
