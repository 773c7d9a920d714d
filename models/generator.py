"""Prompts and seeds in, pictures out: the one generator that the batch job and the endpoint share."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import DiffusionPipeline
from numpy.typing import NDArray

from models.errors import ImageError, ModelError, PromptError
from models.families import family_of
from models.families.base import Encoded, stack
from models.interventions.clock import Clock
from models.interventions.hooks import interventions
from models.parallel.layout import ONE_RANK, Layout
from models.parallel.shards import WHOLE
from models.parallel.split import divide
from models.revision import folder_revision
from models.spec import Group, ModelSpec, Sampling

_ENCODED_PROMPTS_KEPT = 256


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What was loaded, in the words of the row contract."""

    model: str
    revision: str
    family: str
    dtype: str
    scheduler: str
    device: str


class Generator:
    """A diffusion pipeline, loaded once.

    layout: of the ranks that work on the same batches, of which this process is one; torch.distributed runs on them,
    and every call of `generate` must be made on all of them.

    Raises:
        ModelError: the folder or hub id holds no pipeline, or one of an unknown family.
    """

    def __init__(self, spec: ModelSpec, layout: Layout = ONE_RANK) -> None:
        device = spec.device if spec.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
        self._pipe: Any = _load(spec).to(device)
        self._pipe.set_progress_bar_config(disable=True)
        self._family = family_of(self._pipe)
        self._encoded: OrderedDict[tuple[str, int], Encoded] = OrderedDict()
        self._shards = WHOLE if layout.ranks == 1 else divide(self._pipe, self._family, layout, torch.device(device))
        self.info = ModelInfo(
            model=spec.path,
            revision=spec.revision,
            family=self._family.name,
            dtype=spec.dtype,
            scheduler=type(self._pipe.scheduler).__name__,
            device=device,
        )

    @property
    def vae(self) -> Any:
        """The pipeline's autoencoder."""
        return self._pipe.vae

    @torch.inference_mode()
    def generate(
        self, groups: Sequence[Group], on_step: Callable[[int, int], None] | None = None
    ) -> list[NDArray[np.uint8]]:
        """Make the images of several groups in one denoising batch.

        groups: all with the same `batch_key`; on_step: called with (steps done, steps) after each step.
        Returns one uint8 [B, H, W, 3] per group, in order. An image depends on its own group alone: its noise is drawn
        on the CPU from its own seed, and texts are encoded one by one.

        Raises:
            PromptError: a prompt is longer than the model reads.
            ImageError: the model produced NaN or infinite values.
            ModelError: the groups cannot share a batch.
        """
        first = groups[0]
        if any(group.batch_key != first.batch_key for group in groups):
            raise ModelError("groups of different size, sampling or interventions cannot share a denoising batch")
        sampling, samples = first.sampling, len(first.seeds)
        encoded = [self._encode(group.prompt, sampling) for group in groups]
        repeats = [samples] * len(groups)
        positive = stack([e.arguments for e in encoded], repeats)
        negative = None
        if sampling.guidance_scale > 1.0:
            negative = stack([self._encode(sampling.negative_prompt, sampling).arguments], [samples * len(groups)])
        clock = Clock(
            steps=sampling.steps,
            groups=len(groups),
            samples=samples,
            valid_BN=torch.stack([e.valid_N for e in encoded]).repeat_interleave(samples, dim=0),
            scheduler=self._pipe.scheduler,
            shards=self._shards,
        )
        arguments = self._family.arguments(positive, negative, sampling) | {
            "generator": [torch.Generator("cpu").manual_seed(seed) for group in groups for seed in group.seeds],
            "output_type": "np",
        }
        if on_step is not None:
            arguments["callback_on_step_end"] = _step_callback(on_step, sampling.steps)
        with interventions(self._pipe.transformer, self._family, clock, first.tora, first.repulsion):
            images = self._pipe(**arguments).images
        if not np.isfinite(images).all():
            raise ImageError("the model produced NaN or infinite pixels; try bfloat16 or float32, or weaker settings")
        pixels = np.rint(images * 255.0).astype(np.uint8)
        return [pixels[at : at + samples] for at in range(0, len(pixels), samples)]

    def _encode(self, prompt: str, sampling: Sampling) -> Encoded:
        key = (prompt, sampling.max_sequence_length)
        if key not in self._encoded:
            excess = self._family.truncation(self._pipe, prompt, sampling)
            if excess > 0:
                raise PromptError(f"the prompt is {excess} tokens longer than the model reads; shorten it")
            self._encoded[key] = self._family.encode(self._pipe, prompt, sampling)
            if len(self._encoded) > _ENCODED_PROMPTS_KEPT:
                self._encoded.popitem(last=False)
        self._encoded.move_to_end(key)
        return self._encoded[key]


def _load(spec: ModelSpec) -> Any:
    local = Path(spec.path).exists()
    if not local and (spec.path.startswith((".", "/", "~")) or spec.path.count("/") != 1):
        raise ModelError(f"model.path = {spec.path!r}: no such folder, and a hub id has the form owner/name")
    if local and spec.revision and (found := folder_revision(Path(spec.path))) != spec.revision:
        raise ModelError(f"model.path = {spec.path!r} holds {found} here, but the run was planned with {spec.revision}")
    try:
        revision = None if local else spec.revision or None
        index = DiffusionPipeline.load_config(spec.path, revision=revision)
        # diffusers wants a component that the pipeline was saved without (SD3 without T5) to be named once more.
        absent = {name: None for name, entry in index.items() if entry == [None, None]}
        return DiffusionPipeline.from_pretrained(
            spec.path, revision=revision, dtype=getattr(torch, spec.dtype), **absent
        )
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"model.path = {spec.path!r} cannot be loaded as a diffusers pipeline (diffusers {diffusers.__version__}): "
            f"{error}"
        ) from error


def _step_callback(on_step: Callable[[int, int], None], steps: int) -> Callable[..., dict[str, Any]]:
    def callback(pipe: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        on_step(index + 1, steps)
        return {}

    return callback
