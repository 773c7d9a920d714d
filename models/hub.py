"""What the hub of models is asked for a repository. Importable without torch."""

from __future__ import annotations

from typing import Any

LORA_WEIGHTS = "pytorch_lora_weights.safetensors"
"""As diffusers names the weights of a LoRA, and which of several it takes."""

_SECONDS = 10.0


def told(repository: str, revision: str) -> Any | None:
    """What the hub says of a repository, a `huggingface_hub.ModelInfo`; None where it gives no answer that can be read.

    repository: its id.
    revision: branch, tag or commit; "" for the main branch.

    Raises:
        HFValidationError: it is no id.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, HTTPError  # type: ignore[attr-defined]  # of its HTTP client

    try:
        return HfApi().model_info(repository, revision=revision or None, timeout=_SECONDS)
    except HFValidationError:
        raise
    except (OSError, HTTPError, ValueError):
        return None
