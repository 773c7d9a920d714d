"""What a loaded model is. Importable without torch: who asks for pictures elsewhere knows no more of it."""

from __future__ import annotations

from dataclasses import dataclass

from models.errors import ModelError


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What was loaded, as the rows of a dataset name it."""

    model: str
    """Folder or hub id."""
    revision: str
    """Revision of the weights, as in `ModelSpec`."""
    family: str
    """Name of the family."""
    dtype: str
    """Of the transformer and the text encoders."""
    scheduler: str
    """Class of the sampler."""
    device: str
    """Where it runs, "cpu" or "cuda" with or without a number."""
    frames_per_second: int
    """Of a video; 0 for images."""
    frame_step: int = 1
    """A video has 1 frame more than a multiple of it."""
    previews: bool = False
    """Whether images can be seen while they are made."""
    pictures: tuple[int, int] = (0, 0)
    """Least and most pictures of a group."""
    begins_from_pictures: bool = False
    """Whether denoising begins from the picture, as `Sampling.denoising_strength` says; otherwise pictures are read."""
    masks: bool = False
    """Whether it takes a mask."""
    sigmas: bool = False
    """Whether it takes noise levels, as `Sampling.sigmas` names them."""
    negative: bool = False
    """Whether it runs on a negative prompt, where the guidance scale asks for guidance."""
    flow_matching: bool = False
    """Whether its sampler does flow matching."""
    adapted: bool = False
    """Whether a LoRA that was loaded with it changes the transformer."""
    packed: bool = False
    """Whether its latents are rows of patches, and no pictures, when the transformer sees them."""
    size_multiple: int = 1
    """Width and height are multiples of it."""

    def check_sigmas(self, sigmas: tuple[float, ...]) -> None:
        """Check that noise levels that are named act.

        sigmas: as of `models.spec.Sampling`.

        Raises:
            ModelError: when the model does not take them.
        """
        if sigmas and not self.sigmas:
            raise ModelError(
                f"sampling.sigmas = {list(sigmas)}: {self.family} takes no noise levels with "
                f"{self.scheduler}; leave them out"
            )
