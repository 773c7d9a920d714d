"""The table [prompts.expand]: further prompts from a language model."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from models.chat import Service
from models.errors import require
from pipelines.prompts.templates.text import Text

PLACES = tuple(one.name for one in fields(Service))
"""Settings that say where and how it is asked, not what."""

_INSTRUCTIONS = {
    "scenes": "Write {n} different prompts for a text-to-image model. Each shows this in a scene of its own, with "
    "another place, light and view, and names it in these very words: {prompt}. One sentence each. Answer with a "
    "JSON array of {n} texts and with nothing else.",
    "paraphrases": "Write {n} different prompts for a text-to-image model that all show exactly this, nothing more and "
    "nothing less, in other words: {prompt}. One sentence each. Answer with a JSON array of {n} texts and with nothing "
    "else.",
}
_OWN_FIELDS = ("model", "messages", "stream", "n")


@dataclass(frozen=True, kw_only=True)
class Expand(Service):
    """Each prompt becomes several, which a language model writes."""

    model: str
    """Its name there."""
    kind: Literal["scenes", "paraphrases"] = "scenes"
    """What is asked for: the prompt in different scenes, or in different words."""
    instruction: str = ""
    """What is asked, in words of your own, with {prompt} and {n}; "" takes those for `kind`."""
    count: int = 4
    """Prompts for each, 1 to 100."""
    keep_original: bool = True
    """Whether the prompt itself is made too."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further fields of the request, such as temperature, max_tokens and seed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.model), "model", self.model, "needs the name of a model")
        require(1 <= self.count <= 100, "count", self.count, "needs 1 to 100")
        for name in self.options:
            require(name not in _OWN_FIELDS, "options", name, "is set by the other settings")
        known = {("prompt", ""), ("n", "")}
        references = {*Text(self.instruction, "instruction").references}
        require(references <= known, "instruction", self.instruction, "knows {prompt} and {n} only")
        good = not self.instruction or ("prompt", "") in references
        require(good, "instruction", self.instruction, "needs {prompt}")

    @property
    def most(self) -> int:
        """Prompts that one becomes at most."""
        return self.count + self.keep_original

    def body(self, prompt: str) -> dict[str, Any]:
        """The request for a prompt, as `/chat/completions` takes it."""
        text = Text(self.instruction or _INSTRUCTIONS[self.kind], "instruction")
        words = {"prompt": prompt, "n": str(self.count)}
        asked = text.filler(tidy=False)([words[name] for name, _ in text.references])
        return {**self.options, "model": self.model, "messages": [{"role": "user", "content": asked}]}
