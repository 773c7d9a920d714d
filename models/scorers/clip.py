"""Image-text scores with open_clip: the embedded scorer and real models through the same calls."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image

from models.errors import ModelError


class ClipScorer:
    """An open_clip model, loaded once.

    model, pretrained: as open_clip names them, such as "ViT-L-14" and "openai", or "local-dir:FOLDER" for a folder with
    `open_clip_config.json` and weights (then `pretrained` stays empty).

    Raises:
        ModelError: open_clip knows no such model or weights.
    """

    def __init__(self, model: str, pretrained: str = "", device: str = "auto") -> None:
        self._device = device if device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            net, _, self._preprocess = open_clip.create_model_and_transforms(model, pretrained=pretrained or None)
            self._tokenize = open_clip.get_tokenizer(model)
        except (RuntimeError, ValueError, OSError) as error:
            name = f"scoring.model = {model!r}, scoring.pretrained = {pretrained!r}"
            raise ModelError(f"{name} cannot be loaded by open_clip: {error}") from error
        self._net = net.eval().to(self._device)
        self.name = f"{model}/{pretrained}" if pretrained else model
        self.dim = len(self.embed_texts([""])[0])

    @torch.inference_mode()
    def embed_images(self, images_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Unit image vectors: uint8 [n, H, W, 3] -> float32 [n, dim]."""
        pixels = torch.stack([self._preprocess(Image.fromarray(image)) for image in images_NHWC])
        vectors: NDArray[np.float32] = (
            self._net.encode_image(pixels.to(self._device), normalize=True).float().cpu().numpy()
        )
        return vectors

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit text vectors: n texts -> float32 [n, dim]."""
        tokens = self._tokenize(list(texts)).to(self._device)
        vectors: NDArray[np.float32] = self._net.encode_text(tokens, normalize=True).float().cpu().numpy()
        return vectors
