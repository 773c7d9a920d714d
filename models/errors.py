"""The errors that models raise, a helper for their messages, tests for errors of torch, and the check of a setting."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ModelError(ValueError):
    """The model cannot be loaded or cannot be used with these settings."""


class ServiceError(ModelError):
    """A service that a model asks cannot be used at all: nothing answers there, or the key is wrong. No group is at
    fault, so that a job ends."""


class PromptError(ValueError):
    """One prompt cannot be encoded; other prompts are not affected."""


class ImageError(ValueError):
    """The model produced something that is not a picture (NaN or infinite values)."""


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """The end of a message that suggests the known word nearest to `word`; "" where none is near.

    word: what was written.
    known: what could be meant.
    cutoff: least similarity, as for `difflib.get_close_matches`.
    """
    near = nearest(word, known, cutoff)
    return f"; did you mean {near!r}?" if near else ""


def meant(word: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """The end of a message about an unknown word: the nearest known one or, where none is near, all of them. Arguments
    as of `did_you_mean`."""
    names = list(known)
    return did_you_mean(word, names, cutoff) or f"; known: {', '.join(names) or 'none'}"


def nearest(word: str, known: Iterable[str], cutoff: float) -> str:
    """The known word nearest to `word`; "" where none is near. Arguments as of `did_you_mean`."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)), "")


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, so that a smaller batch may fit. torch has an error class for it on a GPU only."""
    words = str(error)
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "out of memory" in words
        or "can't allocate memory" in words
    )


def device_lost(error: BaseException) -> bool:
    """Whether this process has lost its GPU: after an illegal access or a failed assertion every call fails."""
    fatal = type(error).__name__ == "AcceleratorError" or "CUDA error" in str(error) or "cuDNN error" in str(error)
    return fatal and not out_of_memory(error)


def require(good: bool, name: str, value: object, rule: str) -> None:
    """Check one setting.

    good: whether its value is in range.
    name: name of the setting.
    value: its value.
    rule: what the setting needs, for the message.

    Raises:
        ValueError: when the value is out of range; the message has name, value and rule.
    """
    if not good:
        raise ValueError(f"{name} = {value!r} is out of range: {rule}")
