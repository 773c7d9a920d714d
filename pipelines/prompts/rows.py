"""Checks the rows of prompt files one by one. A bad row fails alone."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pipelines.dataset.failures import Failure
from pipelines.dataset.sources import Picture
from pipelines.prompts.carry import Carried
from pipelines.prompts.columns import TEXTS
from pipelines.prompts.config import Prompts
from pipelines.prompts.expansion.counterfactual import carried_over
from pipelines.prompts.hash_set import HashSet
from pipelines.prompts.pictures import NOTHING, Given
from pipelines.prompts.settings import PLAIN, OwnSettings, RowSettings, Rules, check_words
from pipelines.prompts.values import Unusable, clean_text, label, printable

REPEATED = "RepeatedPrompt"


class Edit(NamedTuple):
    """What a prompt edits. Pictures are named by their ids (`pipelines.dataset.sources`)."""

    sources: tuple[str, ...] = ()
    """The pictures; () for a prompt that draws a new one."""
    mask: str | None = None
    """What of the first one is painted anew; None for everything."""
    target: str | None = None
    """See `Columns.target_caption`."""


NO_EDIT = Edit()
"""Of a run without pictures."""


class PromptRow(NamedTuple):
    """A good prompt. Texts are in their normal form (`pipelines.prompts.text`)."""

    prompt_id: str
    """Given, or derived from the text."""
    prompt: str
    """The text."""
    concept: str | None
    """See `Columns`."""
    rarity: str | None
    """See `Columns`."""
    counterfactual: str | None
    """See `Columns`."""
    source: str
    """file:line (Parquet and JSON: file:row, from 1), or the template and the number of the combination, from 1."""
    prompt_changes: tuple[str, ...] | None = None
    """What the normal form has changed of the text; None where it was in it already."""
    noise: str = ""
    """What image seeds follow from in place of the id; "" for the id. Rows of one text that differ in their settings
    have the same, so that they can be compared image by image."""
    settings: RowSettings = PLAIN
    """What the row has of its own."""
    carried: tuple[Any, ...] = ()
    """What goes along with it, in the order of the columns that were asked for."""
    edit: Edit = NO_EDIT
    """What it edits."""


class FailedPrompt(NamedTuple):
    """A bad row, which becomes a row in failed/."""

    source: str
    """As in `PromptRow`."""
    prompt: str | None
    """The text as far as it could be read."""
    failure: Failure
    """Why it is bad."""


class Dropped(NamedTuple):
    """A repeated prompt where `prompts.duplicates` is "drop"."""

    source: str
    """As in `PromptRow`."""


def single(text: str, max_characters: int) -> PromptRow | FailedPrompt:
    """A single prompt, checked and cleaned like a row of a file.

    text: the prompt.
    max_characters: longest prompt.
    """
    row = Checker(Prompts(path="request", max_characters=max_characters)).row("request", (text, *_NO_OTHERS))
    assert not isinstance(row, Dropped)  # the first prompt is never a repeat
    return row


class Checker:
    """Checks rows, and remembers them to find repeated prompts and ids.

    prompts: the settings.
    rules, carried, keep: as of `pipelines.prompts.reading.read`.
    """

    def __init__(
        self,
        prompts: Prompts,
        rules: Rules | None = None,
        carried: Sequence[Carried] = (),
        keep: Callable[[Picture], None] | None = None,
    ) -> None:
        self._prompts = prompts
        self._target = prompts.columns.read_from(["target_caption"])["target_caption"]
        self._keep = keep
        self._columns = prompts.columns.read_from(TEXTS)
        self._rules = rules
        self._settings = OwnSettings(prompts.columns, rules, prompts.max_characters) if rules else None
        self._carried = carried
        self._texts = HashSet()
        self._ids = HashSet()
        self._repeats: Counter[int] = Counter()

    def row(
        self,
        source: str,
        values: Any,
        different: bool = False,
        settings: RowSettings = PLAIN,
        given: Given | Failure = NOTHING,
        edit: Edit = NO_EDIT,
    ) -> PromptRow | FailedPrompt | Dropped:
        """Check a row.

        source: as in `PromptRow`.
        values: as a format of files gives them, or a tuple of those of `TEXTS`.
        different: whether no later one can have its prompt, so that it need not be remembered.
        settings: of a tuple.
        given: the pictures of what is no tuple.
        edit: of a tuple.
        """
        if isinstance(values, Failure):
            return FailedPrompt(source, None, values)
        of_texts = isinstance(values, tuple)
        prompt, given_id, *labels = values if of_texts else map(values.get, self._columns.values())
        try:
            text, changes = clean_text(prompt, "prompt", self._prompts.max_characters)
            if text is None:
                raise Unusable("EmptyPrompt", "the prompt is empty")
            explicit_id = label(given_id, "prompt_id", self._prompts.max_characters)
            concept = label(labels[0], "concept", self._prompts.max_characters)
            rarity = label(labels[1], "rarity", self._prompts.max_characters)
            counterfactual = label(labels[2], "counterfactual", self._prompts.max_characters)
            if self._settings and not of_texts and not self._settings.columns.isdisjoint(values):
                settings = self._settings.of(values)
            if self._rules:
                check_words(self._rules.words(settings.own), text)
            carried = self._along({} if of_texts else values) if self._carried else ()
            if self._prompts.columns.pictured and not of_texts:
                edit = self._edit(values, given, settings)
            prompt_id, noise = self._identify(text, explicit_id, different, settings, edit)
        except Unusable as unusable:
            unread = prompt is None or isinstance(prompt, Failure)
            shown = None if unread else printable(str(prompt))[: self._prompts.max_characters]
            return FailedPrompt(source, shown, unusable.failure)
        if prompt_id is None:
            return Dropped(source)
        if self._keep is not None and isinstance(given, Given):
            for one in (*given.sources, *([given.mask] if given.mask else [])):
                self._keep(one)
        return PromptRow(
            prompt_id, text, concept, rarity, counterfactual, source, changes or None, noise, settings, carried, edit
        )

    def _edit(self, values: Mapping[str, Any], given: Given | Failure, settings: RowSettings) -> Edit:
        if isinstance(given, Failure):
            raise Unusable(given.error_type, given.error)
        if not given.sources and (strength := dict(settings.own).get("denoising_strength")):
            raise Unusable("BadSetting", f"denoising_strength = {strength!r} has no effect: the row has no picture")
        target = None if self._target is None else values.get(self._target)
        return Edit(
            tuple(one.id for one in given.sources),
            given.mask.id if given.mask else None,
            label(target, "target_caption", self._prompts.max_characters),
        )

    def answers(self, of: PromptRow, texts: Iterable[str]) -> Iterator[PromptRow | FailedPrompt | Dropped]:
        """Check prompts that are written for another one. All but the text is as there; a repeated one is left out."""
        for number, text in enumerate(texts, start=1):
            found = self.row(f"{of.source}, answer {number}", (text, *_NO_OTHERS), settings=of.settings, edit=of.edit)
            if isinstance(found, PromptRow):
                yield of._replace(
                    prompt_id=found.prompt_id,
                    prompt=found.prompt,
                    counterfactual=carried_over(found.prompt, of.prompt, of.counterfactual),
                    source=found.source,
                    prompt_changes=found.prompt_changes,
                    noise=found.noise,
                )
            elif isinstance(found, FailedPrompt) and found.failure.error_type == REPEATED:
                yield Dropped(found.source)
            else:
                yield found

    def _along(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        try:
            return tuple(one.of(values) for one in self._carried)
        except ValueError as error:
            raise Unusable("BadCarriedValue", str(error)) from None

    def _identify(
        self, text: str, explicit_id: str | None, different: bool, settings: RowSettings, edit: Edit
    ) -> tuple[str | None, str]:
        """The prompt's id, None for a repeat that is dropped; and its `noise`."""
        if edit.sources:
            text = f"{text}\0{json.dumps({'sources': edit.sources, 'mask': edit.mask})}"
        whole = text
        if settings is not PLAIN:
            own = (settings.own, settings.seed)  # more images of the same kind are no other prompt
            whole = text if own == _NOTHING_OWN else f"{text}\0{json.dumps(own)}"
        text_hash = _hash(whole)
        repeated = text_hash in self._texts
        if repeated and self._prompts.duplicates == "drop":
            return None, ""
        if repeated and self._prompts.duplicates == "fail":
            raise Unusable(REPEATED, "this prompt was there before; prompts.duplicates says what then happens")
        if explicit_id is not None:
            id_hash = _hash(explicit_id)
            if id_hash in self._ids:
                raise Unusable(
                    "RepeatedPromptId", f"prompt_id {explicit_id!r} was there before; every prompt needs its own"
                )
            self._ids.add(id_hash)
        if not different:
            self._texts.add(text_hash)
        if explicit_id is not None:
            return explicit_id, ""
        if repeated:
            self._repeats[text_hash] += 1
        times = f" #{self._repeats[text_hash]}" if repeated else ""
        prompt_id = f"{_hash(whole + times) if times else text_hash:016x}"
        return prompt_id, "" if whole is text else f"{_hash(text + times):016x}"


_NO_OTHERS = (None,) * (len(TEXTS) - 1)
_NOTHING_OWN = (PLAIN.own, PLAIN.seed)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
