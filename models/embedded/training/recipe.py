"""The whole recipe of the embedded model, stage by stage. Each stage resumes, and is skipped once it is done."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

from models.embedded import WEIGHTS
from models.embedded.training import mmdit, oracle, scorer, turbo, vae
from models.embedded.training.data import RenderedSet, rendered_set
from models.embedded.training.export import export_pipeline
from models.embedded.training.latents import Latents, encode_all
from models.embedded.training.tokenizer import build_tokenizer

LONG_TAILED = {"count": 120_000, "seed": 1, "balanced": False}
BALANCED_ORACLE = {"count": 60_000, "seed": 2, "balanced": True}
BALANCED_SCORER = {"count": 60_000, "seed": 4, "balanced": True}

_SEEDS = {"clean": 11, "noisy": 12, "turbo": 21}
_WARM_START_SEED = 100


@dataclass(frozen=True)
class Recipe:
    """Stages as methods; `work` holds data and checkpoints, `weights` receives what is shipped.

    warm_start: take the autoencoder from `weights`, and let the MM-DiT start from there instead of from nothing, on
    other captions and noise; steps: of an MM-DiT phase, instead of the recipe's own (0); device: of the stage turbo.
    """

    work: Path
    weights: Path = WEIGHTS
    warm_start: bool = False
    steps: int = 0
    device: str = "cpu"

    @property
    def stages(self) -> dict[str, Callable[[], None]]:
        """Stage name -> what it does, in the order in which they are needed."""
        return {
            "vae": self.train_vae,
            "oracle": self.train_oracle,
            "scorer": self.train_scorer,
            "mmdit-clean": self.train_clean,
            "mmdit-noisy": self.train_noisy,
            "export": self.export,
            "turbo": self.distil,
        }

    def data(self, name: str, settings: dict[str, int]) -> RenderedSet:
        """A rendered set under `work`."""
        return rendered_set(
            self.work / "data",
            name,
            count=settings["count"],
            seed=settings["seed"],
            balanced=bool(settings["balanced"]),
        )

    @property
    def _checkpoints(self) -> Path:
        return self.work / "ckpt"

    @cached_property
    def tokenizer(self) -> CLIPTokenizer:
        """Shared by the text encoders and the scorer."""
        return build_tokenizer(self.work / "tokenizer")

    @cached_property
    def _long_tailed(self) -> RenderedSet:
        return self.data("longtail", LONG_TAILED)

    @cached_property
    def _vae(self) -> AutoencoderKL:
        if self.warm_start:
            shipped = self.weights / "pipeline"
            loaded: AutoencoderKL = AutoencoderKL.from_pretrained(shipped, subfolder="vae", torch_dtype=torch.float32)
            return loaded.to(memory_format=torch.channels_last).eval()
        return vae.train_vae(self._long_tailed.images, self._checkpoints, seed=0)

    @cached_property
    def _latents(self) -> Latents:
        return encode_all(self._vae, self._long_tailed.images, self.work / "data")

    def train_vae(self) -> None:
        """Autoencoder, then the latents of the training pictures."""
        _ = self._latents

    def train_oracle(self) -> None:
        """Oracle, written to the shipped weights."""
        net = oracle.train_oracle(self.data("balanced", BALANCED_ORACLE), self._checkpoints, seed=1)
        self.weights.mkdir(parents=True, exist_ok=True)
        save_file({k: v.half().contiguous() for k, v in net.state_dict().items()}, self.weights / "oracle.safetensors")

    def train_scorer(self) -> None:
        """open_clip model, written to the shipped weights."""
        torch.manual_seed(2)
        net = scorer.untrained_scorer(self.tokenizer)
        if self.warm_start:
            net.load_state_dict(load_file(self.weights / "clip" / "open_clip_model.safetensors"))
        seed = 2 + (_WARM_START_SEED if self.warm_start else 0)
        data = self.data("balanced", BALANCED_SCORER)
        net = scorer.train_scorer(net, data, self.tokenizer, self._checkpoints, seed=seed)
        scorer.export_scorer(net, self.tokenizer, self.weights / "clip")

    def _checkpoint(self, phase: str) -> Path:
        return self._checkpoints / f"mmdit-{phase}.ckpt"

    def _untrained(self) -> mmdit.TextToLatent:
        torch.manual_seed(0)
        return mmdit.TextToLatent(self.tokenizer, vae.LATENT_CHANNELS, vae.LATENT_SIZE)

    def _averaged(self, phase: str) -> mmdit.TextToLatent:
        """What a phase has reached."""
        model = self._untrained()
        model.load_state_dict(torch.load(self._checkpoint(phase), weights_only=True)["average"])
        return model

    def _train(self, phase: str) -> None:
        if phase == "noisy" and self._checkpoint("clean").exists():
            model = self._averaged("clean")
        else:
            model = self._untrained()
            if self.warm_start:
                model.load_shipped(self.weights / "pipeline")
            elif phase == "noisy":
                raise FileNotFoundError(f"{self._checkpoint('clean')} is missing: run the stage mmdit-clean first")
        settings = mmdit.PHASES[phase]
        if self.steps:
            settings = replace(settings, loop=replace(settings.loop, steps=self.steps))
        mmdit.train_phase(
            f"mmdit-{phase}",
            model,
            self.tokenizer,
            self._latents.values,
            self._long_tailed.labels,
            settings,
            self._checkpoints,
            seed=_SEEDS[phase] + (_WARM_START_SEED if self.warm_start else 0),
        )

    def train_clean(self) -> None:
        """MM-DiT and text encoders on captions without noise."""
        self._train("clean")

    def train_noisy(self) -> None:
        """The same on captions with wrong attributes, which makes rare pairs hard."""
        self._train("noisy")

    def export(self) -> None:
        """The diffusers folder, from the last phase that has begun."""
        model = self._averaged("noisy" if self._checkpoint("noisy").exists() else "clean")
        export_pipeline(self._vae, model, self.tokenizer, self._latents, self.weights / "pipeline")

    def distil(self) -> None:
        """The LoRA for four steps, from the exported pipeline."""
        teacher = self._untrained()
        teacher.load_shipped(self.weights / "pipeline")
        student = turbo.distil(teacher, self.tokenizer, self._checkpoints, seed=_SEEDS["turbo"], device=self.device)
        turbo.save_lora(student, self.weights / "turbo")


def prepare_threads(count: int) -> None:
    """Use `count` CPU threads (0: all)."""
    torch.set_num_threads(count or os.cpu_count() or 1)
