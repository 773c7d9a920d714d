"""What each published checkpoint is run with: sampling, interventions, and how large it is.

Sampling is from the model cards and the diffusers documentation of each; for LongCat-Image, Ovis-Image, AuraFlow, Bria,
HunyuanVideo 1.5 and Mochi from the defaults and examples of diffusers 0.42.1, whose converter has HunyuanVideo 1.5's
guidance, and so are the 28 steps of FLUX.1 dev, Krea and Kontext (dev's card has 50). Step-distilled checkpoints
(Turbo, schnell, klein, distilled) want few steps and no classifier-free guidance; at other settings they give poor
pictures without an error. TORA is in its paper's form (arXiv 2510.03886: block input, sigma 1.3), which is the default
of its settings. Repulsion is in its paper's form too (arXiv 2603.28762: all joint blocks, both branches, M = 100, for
FLUX 50, in the first 4 of 28 steps, 1 of 4, or 1 of 20), with the strength of `repulsion_strength`. None of these
checkpoints has been run by this project: `models/recommended.py` says where each setting of a run comes from.

Sizes are from cards and config files, rounded, for estimates without a model's files. Importable without torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_T5, _CLIP_L, _CLIP_G, _QWEN25_VL, _MISTRAL = 4.8e9, 0.12e9, 0.7e9, 8.3e9, 24e9
_AUTOENCODER = 0.1e9
_STRENGTH_OF_A_STEP = 0.5


def repulsion_strength(blocks: int) -> float:
    """The strength at which a group of 4 or more keeps most of what it shares, whatever the number of joint blocks.

    In a block a small difference grows by about 2 * strength / B * |log of its share|, and this adds up over the blocks
    of a step, so what counts is strength times blocks. At 0.5 the mean cosine of groups of 4 and more that begin at
    0.99 or above is still above 0.9 after all blocks of a step; one of 3 that begins at 0.99 ends
    at 0.85, one of 2 at 0.75 (tests/models/test_recommended.py).
    """
    return round(_STRENGTH_OF_A_STEP / max(1, blocks - 1), 4)  # no family reads the text that leaves its last block


@dataclass(frozen=True, kw_only=True)
class Size:
    """Numbers of weights."""

    transformer: float
    text_encoders: tuple[float, ...]
    width: int
    """Of the transformer's tokens."""

    @property
    def parts(self) -> dict[str, int]:
        """Weights of each component, the autoencoder too."""
        encoders = {f"text_encoder_{number}": int(size) for number, size in enumerate(self.text_encoders, 1)}
        return {"transformer": int(self.transformer), **encoders, "vae": int(_AUTOENCODER)}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a pipeline folder's configs say of an architecture, and by which copies and fine-tunes are recognised."""

    pipeline: str
    """Class of the diffusers pipeline."""
    layers: int
    """Blocks of the first block list (`num_layers`; AuraFlow's `num_mmdit_layers`)."""
    single_layers: int = 0
    """Blocks of the second (`num_single_layers`; AuraFlow's `num_single_dit_layers`)."""
    width: int
    """Of the transformer's tokens: heads times their dimension."""
    guidance_embeds: bool = False
    """Guidance is an input of the transformer."""
    distilled: bool = False
    """`is_distilled` of the pipeline, or `use_meanflow` of the transformer."""

    @property
    def blocks(self) -> int:
        """Joint blocks."""
        return self.layers + self.single_layers


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A published checkpoint."""

    shape: Shape
    sampling: Mapping[str, Any]
    """Fields of `models.spec.Sampling`."""
    interventions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Name -> fields of its settings that are not the defaults."""
    size: Size | None = None
    """None where nobody has noted it here."""


def _of(
    shape: Shape, steps: int, guidance_scale: float, first_steps: int, *, size: Size | None = None,
    inner_steps: int = 100, **others: Any,
) -> Checkpoint:  # fmt: skip
    """first_steps: those in which repulsion acts."""
    repulsion = {
        "strength": repulsion_strength(shape.blocks),
        "inner_steps": inner_steps,
        "steps": (0.0, round(first_steps / steps, 4)),
    }
    return Checkpoint(
        shape=shape,
        sampling={"steps": steps, "guidance_scale": guidance_scale, **others},
        interventions={"repulsion": repulsion},
        size=size,
    )


_SD3_TEXT = (_CLIP_L, _CLIP_G, _T5)
_SD3_MEDIUM = Size(transformer=2.0e9, text_encoders=_SD3_TEXT, width=1536)
_SD35_MEDIUM = Size(transformer=2.5e9, text_encoders=_SD3_TEXT, width=1536)
_SD35_LARGE = Size(transformer=8.1e9, text_encoders=_SD3_TEXT, width=2432)
_FLUX = Size(transformer=11.9e9, text_encoders=(_CLIP_L, _T5), width=3072)
_FLUX2 = Size(transformer=32e9, text_encoders=(_MISTRAL,), width=6144)
_QWEN = Size(transformer=20.4e9, text_encoders=(_QWEN25_VL,), width=3072)
_LONGCAT = Size(transformer=6e9, text_encoders=(_QWEN25_VL,), width=3072)
_OVIS = Size(transformer=7e9, text_encoders=(2e9,), width=3072)
_AURA = Size(transformer=6.8e9, text_encoders=(1.2e9,), width=3072)
_BRIA = Size(transformer=4e9, text_encoders=(_T5,), width=2304)
_KREA2 = Size(transformer=12e9, text_encoders=(4.4e9,), width=6144)
_MOCHI = Size(transformer=10e9, text_encoders=(_T5,), width=3072)
_HUNYUAN_15 = Size(transformer=8.3e9, text_encoders=(_QWEN25_VL, 0.2e9), width=2048)

_SD3 = "StableDiffusion3Pipeline"
MEDIUM = Shape(pipeline=_SD3, layers=24, width=1536)
LARGE = Shape(pipeline=_SD3, layers=38, width=2432)
FLUX_DEV = Shape(pipeline="FluxPipeline", layers=19, single_layers=38, width=3072, guidance_embeds=True)
FLUX_SCHNELL = Shape(pipeline="FluxPipeline", layers=19, single_layers=38, width=3072)
KONTEXT = Shape(pipeline="FluxKontextPipeline", layers=19, single_layers=38, width=3072, guidance_embeds=True)
FLUX2_DEV = Shape(pipeline="Flux2Pipeline", layers=8, single_layers=48, width=6144, guidance_embeds=True)
_KLEIN = "Flux2KleinPipeline"
KLEIN_4B = Shape(pipeline=_KLEIN, layers=5, single_layers=20, width=3072, distilled=True)
KLEIN_BASE_4B = Shape(pipeline=_KLEIN, layers=5, single_layers=20, width=3072)
KLEIN_9B = Shape(pipeline=_KLEIN, layers=8, single_layers=24, width=4096, distilled=True)
KLEIN_BASE_9B = Shape(pipeline=_KLEIN, layers=8, single_layers=24, width=4096)
QWEN = Shape(pipeline="QwenImagePipeline", layers=60, width=3072)
QWEN_EDIT = Shape(pipeline="QwenImageEditPipeline", layers=60, width=3072)
QWEN_EDIT_PLUS = Shape(pipeline="QwenImageEditPlusPipeline", layers=60, width=3072)
CHROMA = Shape(pipeline="ChromaPipeline", layers=19, single_layers=38, width=3072)
COGVIEW4 = Shape(pipeline="CogView4Pipeline", layers=28, width=4096)
_HUNYUAN_IMAGE = "HunyuanImagePipeline"
HUNYUAN_IMAGE = Shape(pipeline=_HUNYUAN_IMAGE, layers=20, single_layers=40, width=3584)
HUNYUAN_IMAGE_DISTILLED = Shape(
    pipeline=_HUNYUAN_IMAGE, layers=20, single_layers=40, width=3584, guidance_embeds=True, distilled=True
)
HUNYUAN_VIDEO = Shape(pipeline="HunyuanVideoPipeline", layers=20, single_layers=40, width=3072, guidance_embeds=True)
HUNYUAN_VIDEO_15 = Shape(pipeline="HunyuanVideo15Pipeline", layers=54, width=2048)
LONGCAT = Shape(pipeline="LongCatImagePipeline", layers=10, single_layers=20, width=3072)
OVIS = Shape(pipeline="OvisImagePipeline", layers=6, single_layers=27, width=3072)
AURA = Shape(pipeline="AuraFlowPipeline", layers=4, single_layers=32, width=3072)
BRIA = Shape(pipeline="BriaPipeline", layers=8, single_layers=28, width=2304)  # of a copy: its own files are gated
KREA2 = Shape(pipeline="Krea2Pipeline", layers=28, width=6144)
KREA2_TURBO = Shape(pipeline="Krea2Pipeline", layers=28, width=6144, distilled=True)
MOCHI = Shape(pipeline="MochiPipeline", layers=48, width=3072)
COGVIDEOX_2B = Shape(pipeline="CogVideoXPipeline", layers=30, width=1920)
COGVIDEOX_5B = Shape(pipeline="CogVideoXPipeline", layers=42, width=3072)

_HD_VIDEO: dict[str, Any] = {"width": 1280, "height": 720, "frames": 129}
_SMALL_VIDEO: dict[str, Any] = {"width": 720, "height": 480, "frames": 49}
_VIDEO_480: dict[str, Any] = {"width": 848, "height": 480, "frames": 121, "max_sequence_length": 1000}
_VIDEO_720: dict[str, Any] = {**_VIDEO_480, "width": 1280, "height": 720}
_MOCHI_VIDEO: dict[str, Any] = {"width": 848, "height": 480, "frames": 85}
_LONG: dict[str, Any] = {"max_sequence_length": 512}
_LONG_NEGATIVE: dict[str, Any] = {**_LONG, "negative_prompt": " "}

CHECKPOINTS: Mapping[str, Checkpoint] = {
    "stabilityai/stable-diffusion-3-medium-diffusers": _of(MEDIUM, 28, 7.0, 4, size=_SD3_MEDIUM),
    "stabilityai/stable-diffusion-3.5-medium": _of(MEDIUM, 40, 4.5, 6, size=_SD35_MEDIUM),
    "stabilityai/stable-diffusion-3.5-large": _of(LARGE, 28, 3.5, 4, size=_SD35_LARGE),
    "stabilityai/stable-diffusion-3.5-large-turbo": _of(LARGE, 4, 0.0, 1, size=_SD35_LARGE, **_LONG),
    "black-forest-labs/FLUX.1-dev": _of(FLUX_DEV, 28, 3.5, 1, size=_FLUX, inner_steps=50, **_LONG),
    "black-forest-labs/FLUX.1-Krea-dev": _of(FLUX_DEV, 28, 4.5, 1, size=_FLUX, inner_steps=50, **_LONG),
    "black-forest-labs/FLUX.1-schnell": _of(FLUX_SCHNELL, 4, 0.0, 1, size=_FLUX, inner_steps=50),
    "black-forest-labs/FLUX.1-Kontext-dev": _of(KONTEXT, 28, 2.5, 1, size=_FLUX, inner_steps=50, **_LONG),
    "black-forest-labs/FLUX.2-dev": _of(FLUX2_DEV, 50, 4.0, 3, size=_FLUX2, inner_steps=50, **_LONG),
    "black-forest-labs/FLUX.2-klein-4B": _of(KLEIN_4B, 4, 1.0, 1, inner_steps=50, **_LONG),
    "black-forest-labs/FLUX.2-klein-9B": _of(KLEIN_9B, 4, 1.0, 1, inner_steps=50, **_LONG),
    "black-forest-labs/FLUX.2-klein-base-4B": _of(KLEIN_BASE_4B, 50, 4.0, 3, inner_steps=50, **_LONG),
    "black-forest-labs/FLUX.2-klein-base-9B": _of(KLEIN_BASE_9B, 50, 4.0, 3, inner_steps=50, **_LONG),
    "Qwen/Qwen-Image": _of(QWEN, 50, 4.0, 7, size=_QWEN, **_LONG_NEGATIVE),
    "Qwen/Qwen-Image-2512": _of(QWEN, 50, 4.0, 7, size=_QWEN, **_LONG_NEGATIVE),
    "Qwen/Qwen-Image-Edit": _of(QWEN_EDIT, 50, 4.0, 7, size=_QWEN, **_LONG_NEGATIVE),
    "Qwen/Qwen-Image-Edit-2509": _of(QWEN_EDIT_PLUS, 40, 4.0, 6, size=_QWEN, **_LONG_NEGATIVE),
    "Qwen/Qwen-Image-Edit-2511": _of(QWEN_EDIT_PLUS, 40, 4.0, 6, size=_QWEN, **_LONG_NEGATIVE),
    "lodestones/Chroma1-HD": _of(CHROMA, 40, 3.0, 6, **_LONG),
    "zai-org/CogView4-6B": _of(COGVIEW4, 50, 3.5, 7, max_sequence_length=1024),
    "hunyuanvideo-community/HunyuanImage-2.1-Diffusers": _of(HUNYUAN_IMAGE, 50, 3.5, 7, width=2048, height=2048),
    "hunyuanvideo-community/HunyuanImage-2.1-Distilled-Diffusers": _of(
        HUNYUAN_IMAGE_DISTILLED, 8, 3.25, 1, width=2048, height=2048
    ),
    "meituan-longcat/LongCat-Image": _of(LONGCAT, 50, 4.5, 7, size=_LONGCAT, **_LONG),
    "AIDC-AI/Ovis-Image-7B": _of(OVIS, 50, 5.0, 7, size=_OVIS),
    "fal/AuraFlow-v0.3": _of(AURA, 50, 3.5, 7, size=_AURA),
    "fal/AuraFlow-v0.2": _of(AURA, 50, 3.5, 7, size=_AURA),
    "fal/AuraFlow": _of(AURA, 50, 3.5, 7, size=_AURA),
    "briaai/BRIA-3.2": _of(BRIA, 30, 5.0, 4, size=_BRIA, max_sequence_length=128),
    # Their cards count the guidance scale from 0: 3.5 and 0.
    "krea/Krea-2-Raw": _of(KREA2, 52, 4.5, 7, size=_KREA2, **_LONG),
    "krea/Krea-2-Turbo": _of(KREA2_TURBO, 8, 1.0, 1, size=_KREA2, **_LONG),
    "hunyuanvideo-community/HunyuanVideo-1.5-Diffusers-480p_t2v": _of(
        HUNYUAN_VIDEO_15, 50, 6.0, 7, size=_HUNYUAN_15, **_VIDEO_480
    ),
    "hunyuanvideo-community/HunyuanVideo-1.5-Diffusers-480p_t2v_distilled": _of(
        HUNYUAN_VIDEO_15, 50, 1.0, 3, size=_HUNYUAN_15, **_VIDEO_480
    ),
    "hunyuanvideo-community/HunyuanVideo-1.5-Diffusers-720p_t2v": _of(
        HUNYUAN_VIDEO_15, 50, 6.0, 7, size=_HUNYUAN_15, **_VIDEO_720
    ),
    "hunyuanvideo-community/HunyuanVideo-1.5-Diffusers-720p_t2v_distilled": _of(
        HUNYUAN_VIDEO_15, 50, 1.0, 3, size=_HUNYUAN_15, **_VIDEO_720
    ),
    "genmo/mochi-1-preview": _of(MOCHI, 64, 4.5, 9, size=_MOCHI, **_MOCHI_VIDEO),
    "hunyuanvideo-community/HunyuanVideo": _of(HUNYUAN_VIDEO, 50, 6.0, 3, **_HD_VIDEO),
    "zai-org/CogVideoX-2b": _of(COGVIDEOX_2B, 50, 6.0, 7, **_SMALL_VIDEO),
    "zai-org/CogVideoX-5b": _of(COGVIDEOX_5B, 50, 6.0, 7, **_SMALL_VIDEO),
}
"""Hub id -> what is known of it. Of checkpoints of one shape, the first is what an unnamed copy is taken for."""

RENAMED = {
    "THUDM/CogView4-6B": "zai-org/CogView4-6B",
    "THUDM/CogVideoX-2b": "zai-org/CogVideoX-2b",
    "THUDM/CogVideoX-5b": "zai-org/CogVideoX-5b",
}
"""Hub id under which a checkpoint was published before -> the present one."""


_NAMES = {name.lower(): name for name in CHECKPOINTS} | {old.lower(): name for old, name in RENAMED.items()}


def named(path: str) -> str | None:
    """The name in `CHECKPOINTS` of a hub id, in which a hub takes capital letters for small ones; None where it is not
    known."""
    return _NAMES.get(path.lower())


def size_of(path: str) -> Size | None:
    """The size of the checkpoint with this hub id; None where it is not known."""
    name = named(path)
    return CHECKPOINTS[name].size if name else None
