"""Prompts and seeds in, pictures out: the one generator that the batch job and the endpoint share."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import beginning as begun
from models.denoising import Denoising
from models.drawn import Drawn
from models.encoded import Encoded, stack
from models.errors import ImageError
from models.families import family_of
from models.families.base import Branch, Family
from models.hooks.blocks import interventions
from models.hooks.record import Measure, TextRecord, displacement, of_group
from models.interventions.registry import entry_of
from models.limits import check
from models.loading.adapters import Adapters
from models.loading.compile import compile_blocks
from models.loading.describe import describe
from models.loading.dtype import resolved
from models.loading.load import load
from models.loading.placement import place
from models.parallel.division import UNDIVIDED, Division
from models.parallel.shards import WHOLE
from models.parallel.split import divide
from models.previews import Previews, Watch
from models.samplers import steps_of
from models.spec import Group, ModelSpec, Sampling
from models.texts import Texts
from models.tokens import Tokens, rows_of, tokens_of


class Generator:
    """A diffusion pipeline, loaded once.

    spec: which model, and how it is loaded.
    divided: how several ranks, of which this process is one, share the work, or a function that says so for the family.
        torch.distributed must run on the ranks, and every call of `generate` must be made on all of them.

    Raises:
        ModelError: when the folder or hub id holds no pipeline, or one of an unknown family.
    """

    def __init__(self, spec: ModelSpec, divided: Division | Callable[[Family], Division] = UNDIVIDED) -> None:
        device = spec.device if spec.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
        spec = resolved(spec, gpus=device != "cpu")
        self._pipe: Any = place(load(spec), spec, device)
        self._pipe.set_progress_bar_config(disable=True)
        self._family = family_of(self._pipe)
        self._texts = Texts(self._pipe, self._family)
        self._adapters = Adapters(self._pipe, spec.loras)
        divided = divided if isinstance(divided, Division) else divided(self._family)
        self._settings: Callable[[], AbstractContextManager[None]] = nullcontext
        if spec.compile:
            self._settings = compile_blocks(self.transformer, self._family, device, divided)
        self._shards = divide(self._pipe, self._family, divided, torch.device(device)) if divided.ranks > 1 else WHOLE
        self.info = describe(self._pipe, self._family, self._adapters, spec, device=device, ranks=divided.ranks)

    @property
    def peak_memory_bytes(self) -> int:
        """Peak GPU memory of this process in bytes; 0 without a GPU."""
        return torch.cuda.max_memory_allocated(device) if (device := self.info.device).startswith("cuda") else 0

    @property
    def vae(self) -> Any:
        """The pipeline's autoencoder."""
        return self._pipe.vae

    @property
    def transformer(self) -> Any:
        """The pipeline's transformer."""
        return self._pipe.transformer

    @property
    def pipeline(self) -> Any:
        """The diffusers pipeline."""
        return self._pipe

    @property
    def family(self) -> Family:
        """The family of the model."""
        return self._family

    def holding(self, prompt: str, sampling: Sampling, words: str) -> Tensor:
        """Which text tokens of a prompt stand for some of its words, bool [N]; arguments and errors as of
        `Texts.holding`."""
        encoded = self._texts.encode(prompt, (), sampling, self._adapters.now)
        return self._texts.holding(prompt, encoded, words)

    def generate(
        self, groups: Sequence[Group], on_step: Callable[[int, int], None] | None = None
    ) -> list[NDArray[np.uint8]]:
        """The pixels alone of what `draw` makes; arguments and errors as there."""
        return [drawn.pixels for drawn in self.draw(groups, on_step)]

    @torch.inference_mode()
    def draw(
        self,
        groups: Sequence[Group],
        on_step: Callable[[int, int], None] | None = None,
        measure: Measure = displacement,
        previews: Previews | None = None,
    ) -> list[Drawn]:
        """Make the images of several groups, in one denoising batch where the model can take their texts together.

        Returns the groups in order. An image depends on its own group alone: its noise is drawn on the CPU from its own
        seed, and texts are encoded one by one.

        groups: one or more, all with the same `batch_key`.
        on_step: called with (steps done, steps) after each step of the sampler, of which one of second order makes
            more than `Sampling.steps` (`models.samplers.steps_of`). What it raises ends the run.
        measure: gives the numbers of an edit.
        previews: who wants to see the images while they are made; only where `ModelInfo.previews` says that it works.

        Raises:
            PromptError: when a prompt is longer than the model reads, or a picture is missing, broken or not taken.
            ImageError: when the model produced NaN or infinite values.
            ModelError: when the groups cannot share a batch, or have settings that the model does not support.
        """
        first = groups[0]
        check(groups, self._pipe, self._family, self.info)
        self._adapters.use(first.loras)
        acting = self._adapters.now
        encoded = [self._texts.encode(group.prompt, self._read(group), first.sampling, acting) for group in groups]
        batches: dict[Hashable, list[int]] = {}
        for index, text in enumerate(encoded):
            batches.setdefault((text.together, self._read(groups[index])), []).append(index)
        made: dict[int, Drawn] = {}
        for number, batch in enumerate(batches.values()):
            report = _steps_of_all(on_step, number, len(batches), self._steps(first))
            drawn = self._denoise(
                [groups[i] for i in batch],
                [encoded[i] for i in batch],
                report,
                measure,
                None if previews is None else previews.of(batch),
            )
            made.update(zip(batch, drawn, strict=True))
        return [made[index] for index in range(len(groups))]

    def _denoise(
        self,
        groups: Sequence[Group],
        encoded: Sequence[Encoded],
        on_step: Callable[[int], None],
        measure: Measure,
        previews: Previews | None,
    ) -> list[Drawn]:
        """The images of groups whose texts can share a batch."""
        first, family, pipe = groups[0], self._family, self._pipe
        beginning = family.beginning(first)
        if beginning is not None:
            pipe = begun.pipeline_of(pipe, beginning)
        sampling, samples = first.sampling, len(first.seeds)
        guided = family.has_negative(pipe, sampling)
        tokens: dict[Branch, Tokens] = {"cond": tokens_of(encoded, samples)}
        positive = stack([text.arguments for text in encoded], [samples] * len(groups))
        negative: dict[str, Tensor] = {}
        negative_cut: Mapping[str, int] = {}
        if guided or any(entry_of(config).reads_negative for config in first.interventions):
            without = self._texts.encode(
                sampling.negative_prompt, self._read(first), sampling, self._adapters.now, what="negative prompt"
            )
            negative = stack([without.arguments], [samples * len(groups)])
            negative_cut = without.cut
            tokens["uncond"] = tokens_of([without], samples * len(groups))
        run = Denoising(
            steps=self._steps(first),
            groups=len(groups),
            samples=samples,
            family=family,
            blocks=len(family.blocks(pipe.transformer)),
            tokens=tokens,
            guided=guided,
            seeds=[seed for group in groups for seed in group.seeds],
            scheduler=pipe.scheduler,
            adapted=self._adapters.on_transformer,
            negative=negative,
            holding=lambda words: rows_of(
                [self._texts.holding(one.prompt, text, words) for one, text in zip(groups, encoded, strict=True)],
                samples,
            ),
            shards=self._shards,
            on_step=on_step,
        )
        decodes = beginning is None or beginning.decodes
        arguments = {
            **family.arguments(pipe, positive, negative if guided else None, sampling),
            **encoded[0].shared,
            **(begun.arguments(pipe, groups) if beginning is not None else {}),
            "generator": [torch.Generator("cpu").manual_seed(seed) for seed in run.seeds],
            "output_type": "np" if decodes else "latent",
        }
        if previews is not None and family.decode is not None:
            arguments["callback_on_step_end"] = Watch(run, sampling, family.decode, previews)
        record = TextRecord(run, measure)
        with self._settings(), interventions(pipe.transformer, run, first.interventions, record):
            made = family.call(pipe, arguments)
        run.end()
        pictures = made.frames if family.frames_per_second else made.images
        if not decodes:
            pictures = begun.pixels(pipe, family, pictures, sampling)
        pixels, edits = _pixels(pictures), record.read()
        return [
            Drawn(
                pixels=pixels[at : at + samples],
                tokens_cut=text.cut,
                negative_tokens_cut=negative_cut,
                edits=of_group(edits, at, samples),
            )
            for text, at in zip(encoded, range(0, len(pixels), samples), strict=True)
        ]

    def _steps(self, group: Group) -> int:
        beginning = self._family.beginning(group)
        share = 1.0 if beginning is None else group.sampling.denoising_strength
        return steps_of(self._pipe.scheduler, group.sampling.steps, share)

    def _read(self, group: Group) -> tuple[bytes, ...]:
        """The pictures that are read with the group's text."""
        return () if self._family.beginning(group) is not None else group.pictures


def _pixels(pictures: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Numbers of 0 to 255 from those of 0 to 1; one picture at a time, as a group of videos has gigabytes.

    Raises:
        ImageError: when one is no number.
    """
    pixels = np.empty(pictures.shape, np.uint8)
    for number, picture in enumerate(pictures):
        if not np.isfinite(picture).all():
            raise ImageError("the model produced NaN or infinite pixels; try bfloat16 or float32, or weaker settings")
        pixels[number] = np.rint(picture * 255.0)
    return pixels


def _steps_of_all(
    on_step: Callable[[int, int], None] | None, batch: int, batches: int, steps: int
) -> Callable[[int], None]:
    """`on_step` for one of several denoising batches that count as one run."""

    def report(done: int) -> None:
        if on_step is not None:
            on_step(batch * steps + done, batches * steps)

    return report
