"""Yes/no questions about pictures to a vision-language model of transformers, in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from models.errors import ModelError

_FORMS = ("{}", " {}")
"""How the word may stand behind the template."""


class LocalModel:
    """A vision-language model, loaded once.

    model: folder or hub id of an image-text-to-text model; its weights are in safetensors.
    revision: on the hub, "" for the newest.
    device: "cpu", "cuda", or "auto" for CUDA where there is one.

    Raises:
        ModelError: when it cannot be loaded, or has no chat template or no token for "yes" or "no".
    """

    def __init__(self, model: str, revision: str, device: str) -> None:
        self._device = device if device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
        where: dict[str, Any] = {"revision": revision} if revision else {}
        dtype = torch.bfloat16 if self._device.startswith("cuda") else torch.float32
        try:
            net = AutoModelForImageTextToText.from_pretrained(model, use_safetensors=True, dtype=dtype, **where)
            self._processor: Any = AutoProcessor.from_pretrained(model, **where)
        except (OSError, ValueError) as error:
            raise ModelError(f"model = {model!r} cannot be loaded by transformers: {error}") from error
        if not getattr(self._processor, "chat_template", None):
            raise ModelError(f"model = {model!r}: its processor has no chat template")
        self._net: Any = net.eval().to(self._device)
        self._ids = {word: self._tokens(word) for word in ("yes", "no")}
        if lacking := [word for word, ids in self._ids.items() if not ids]:
            raise ModelError(f"model = {model!r}: its tokenizer has no single token for {lacking[0]!r}")
        self.name = model

    @torch.inference_mode()
    def ask(self, asked: Sequence[tuple[NDArray[np.uint8], str]]) -> list[float]:
        """As of `models.scorers.yes_no.Answers`. The pictures of a question are one batch: no text needs padding."""
        answers = [0.0] * len(asked)
        batches: dict[tuple[str, tuple[int, ...]], list[int]] = {}
        for at, (image_HWC, text) in enumerate(asked):
            batches.setdefault((text, image_HWC.shape), []).append(at)
        for (text, _), places in batches.items():
            shares_N = self._yes([Image.fromarray(asked[at][0]) for at in places], text)
            for at, share in zip(places, shares_N, strict=True):
                answers[at] = share
        return answers

    def _yes(self, pictures: list[Image.Image], question: str) -> list[float]:
        content = [{"type": "image"}, {"type": "text", "text": question}]
        text = self._processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        inputs = self._processor(
            images=[[picture] for picture in pictures], text=[text] * len(pictures), return_tensors="pt"
        ).to(self._device, self._net.dtype)
        chances_NV = self._net(**inputs).logits[:, -1].float().softmax(-1)
        yes_N, no_N = (chances_NV[:, self._ids[word]].sum(-1) for word in ("yes", "no"))
        shares: list[float] = (yes_N / (yes_N + no_N)).tolist()
        return shares

    def _tokens(self, word: str) -> list[int]:
        """The tokens that are this word and nothing else, in any case."""
        tokenizer = self._processor.tokenizer
        forms = [form.format(case) for form in _FORMS for case in (word, word.capitalize(), word.upper())]
        ids = [tokenizer.encode(form, add_special_tokens=False) for form in forms]
        return sorted({one[0] for one in ids if len(one) == 1 and one[0] != tokenizer.unk_token_id})
