"""LoRAs: loaded once beside the model, and switched from batch to batch."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from models.errors import ModelError
from models.loading.revision import content_revision
from models.spec import Lora


def load_loras(pipe: Any, loras: Sequence[Lora]) -> None:
    """Load LoRAs into a pipeline, each under its name.

    pipe: a diffusers pipeline on the CPU.
    loras: which ones.

    Raises:
        ModelError: when the pipeline takes none, or a file cannot be read, holds nothing for this model, or is another
            one than the run was planned with.
    """
    for lora in loras:
        at = f"model.loras.{lora.name}: {lora.path!r}"
        if not hasattr(pipe, "load_lora_weights"):
            raise ModelError(f"{at}: diffusers loads no LoRAs into a {type(pipe).__name__}")
        local = Path(lora.path).exists()
        if local and lora.revision and (found := content_revision(Path(lora.path))) != lora.revision:
            raise ModelError(f"{at} holds {found} here, but the run was planned with {lora.revision}")
        try:
            with _quiet_where_a_part_has_none():
                pipe.load_lora_weights(
                    lora.path,
                    weight_name=lora.weight_name or None,
                    revision=None if local else lora.revision or None,
                    adapter_name=lora.name,
                )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise ModelError(f"{at} cannot be loaded as a LoRA of a {type(pipe).__name__}: {error}") from error
        if not any(lora.name in names for names in pipe.get_list_adapters().values()):
            raise ModelError(f"{at} holds nothing for a {type(pipe).__name__}: is it of another model?")


@contextmanager
def _quiet_where_a_part_has_none() -> Iterator[None]:
    """Without diffusers' warning of each part of the pipeline that a LoRA leaves as it is: most change the transformer
    alone, and one that changes nothing is an error here."""
    logs = [logging.getLogger(f"diffusers.loaders.{name}") for name in ("lora_base", "peft")]
    for log in logs:
        log.addFilter(_is_of_a_part_that_has_some)
    try:
        yield
    finally:
        for log in logs:
            log.removeFilter(_is_of_a_part_that_has_some)


def _is_of_a_part_that_has_some(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("No LoRA keys associated")


class Adapters:
    """The LoRAs of a loaded pipeline.

    pipe: with all of them loaded.
    loras: which ones they are.
    """

    def __init__(self, pipe: Any, loras: Sequence[Lora]) -> None:
        self._pipe, self._all = pipe, tuple(loras)
        self._loaded = {replace(lora, scale=1.0) for lora in loras}
        self.now: tuple[Lora, ...] = ()
        """Those that act."""
        if loras:
            pipe.disable_lora()

    @property
    def on_transformer(self) -> bool:
        """Whether any of those that act changes the transformer."""
        return self.change_transformer(self.now)

    def change_transformer(self, loras: Sequence[Lora]) -> bool:
        """Whether any of some LoRAs changes the transformer.

        loras: of those that are loaded.
        """
        changed = self._pipe.get_list_adapters().get("transformer", ()) if loras else ()
        return any(lora.name in changed for lora in loras)

    def use(self, loras: tuple[Lora, ...] | None) -> None:
        """Have these act and no others.

        loras: as `Group.loras`.

        Raises:
            ModelError: when one was not loaded.
        """
        wanted = self._all if loras is None else loras
        for lora in wanted:
            if replace(lora, scale=1.0) not in self._loaded:
                known = ", ".join(one.name for one in self._all) or "none"
                raise ModelError(f"the LoRA {lora.name!r} was not loaded with the model (loaded: {known})")
        if wanted and wanted != self.now:
            if not self.now:
                self._pipe.enable_lora()
            self._pipe.set_adapters([lora.name for lora in wanted], [lora.scale for lora in wanted])
        elif self.now and not wanted:
            self._pipe.disable_lora()
        self.now = wanted
