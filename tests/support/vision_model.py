"""An endpoint that answers questions about pictures: how bright they are, whatever is asked."""

from __future__ import annotations

import base64
import io
import math
from typing import Any

import numpy as np
from PIL import Image

from tests.support.language_model import Model, said


class Vision(Model):
    """Says "yes" with the probability of `bright`, of which a part is spelled in another way."""

    def subject(self, body: dict[str, Any]) -> str:
        return str(body["messages"][0]["content"][1]["text"])

    def choice(self, prompt: str, body: dict[str, Any]) -> dict[str, Any]:
        url = body["messages"][0]["content"][0]["image_url"]["url"]
        data = base64.b64decode(url.removeprefix("data:image/png;base64,"))
        yes = bright(np.asarray(Image.open(io.BytesIO(data))), prompt)
        if not body.get("logprobs"):
            return said("Yes." if yes > 0.5 else "No.")
        spelled = {"Yes": 0.5 * yes, " yes": 0.25 * yes, "No": 0.75 * (1 - yes), "It": 0.25}
        top = [{"token": token, "logprob": math.log(chance)} for token, chance in spelled.items()]
        return said("Yes") | {"logprobs": {"content": [{"token": "Yes", "logprob": -1.0, "top_logprobs": top}]}}


def bright(pixels_HWC: Any, question: str) -> float:
    """From the picture and, so that questions differ, the length of the question."""
    return 0.1 + 0.7 * float(pixels_HWC.mean()) / 255 + 0.1 / len(question)
