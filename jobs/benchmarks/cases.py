"""What the interventions' cost is measured and worked out for: two published models at 1024 x 1024 pixels, groups of 1,
4 and 8, prompts of 60, 120 and 333 tokens of their own, and repulsion in a group of 64."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from models.interventions.repulsion.config import RepulsionConfig
from models.interventions.tora.config import ToraConfig

GROUPS, PROMPT_TOKENS, LARGE_GROUP = (1, 4, 8), (60, 120, 333), 64
TORA_BUDGET, REPULSION_BUDGET = 0.05, 0.01
"""Shares of a step, which the cost should not exceed."""

TORA = ToraConfig()


@dataclass(frozen=True, kw_only=True)
class Model:
    """Dimensions of a published model, and of its usual run. Random weights cost what the trained ones do."""

    name: str
    """For tables."""
    transformer: str
    """Class in diffusers."""
    config: dict[str, Any] = field(hash=False)
    """Its arguments, where they are not the defaults."""
    first_block: dict[str, Any] = field(hash=False)
    """Arguments that cut it to its first block, a dual-stream one whose text goes on."""
    rotary: int = 0
    """Dimension of rotary embeddings that a block takes; 0 where positions are added to the tokens."""
    width: int
    """Of its tokens."""
    blocks: int
    """Joint blocks, single-stream ones too."""
    text_tokens: int
    """Text tokens with padding."""
    image_tokens: int = 4096
    """Image tokens, at 1024 x 1024 pixels."""
    branches: int
    """2 with classifier-free guidance, in one call; else 1."""
    steps: int = 28
    """Denoising steps."""
    tau: int
    """Steps in which repulsion acts."""
    inner_steps: int
    """M of repulsion."""

    @property
    def repulsion(self) -> RepulsionConfig:
        """Contextual repulsion as its paper has it for this model, in all steps of a benchmark that runs a few."""
        return RepulsionConfig(inner_steps=self.inner_steps, steps=(0.0, 1.0))


SD35_LARGE = Model(
    name="SD3.5-Large",
    transformer="SD3Transformer2DModel",
    config={
        "sample_size": 128,
        "patch_size": 2,
        "in_channels": 16,
        "out_channels": 16,
        "num_layers": 38,
        "num_attention_heads": 38,
        "attention_head_dim": 64,
        "joint_attention_dim": 4096,
        "caption_projection_dim": 2432,
        "pooled_projection_dim": 2048,
        "pos_embed_max_size": 192,
        "qk_norm": "rms_norm",
    },
    first_block={"num_layers": 2},
    width=2432,
    blocks=38,
    text_tokens=333,
    branches=2,
    tau=4,
    inner_steps=100,
)
FLUX1_DEV = Model(
    name="FLUX.1-dev",
    transformer="FluxTransformer2DModel",
    config={"guidance_embeds": True},
    first_block={"num_layers": 1, "num_single_layers": 0},
    rotary=128,
    width=3072,
    blocks=57,
    text_tokens=512,
    branches=1,
    tau=1,
    inner_steps=50,
)
MODELS = (SD35_LARGE, FLUX1_DEV)
