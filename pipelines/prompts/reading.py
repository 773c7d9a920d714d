"""Reads the rows of all prompt files and templates in order. A bad row fails alone; the job goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from pipelines.dataset.failures import Failure
from pipelines.dataset.run_json import PromptFile
from pipelines.dataset.sources import Picture
from pipelines.dataset.storage import Storage
from pipelines.prompts import files as prompt_files
from pipelines.prompts.carry import Carried
from pipelines.prompts.config import Prompts
from pipelines.prompts.expansion.ask import answered
from pipelines.prompts.expansion.config import Expand
from pipelines.prompts.pictures import NOTHING, Given, PictureReader, ahead
from pipelines.prompts.places import find
from pipelines.prompts.rows import Checker, Dropped, FailedPrompt, PromptRow
from pipelines.prompts.settings import Rules
from pipelines.prompts.templates.rows import templates
from pipelines.prompts.values import printable
from pipelines.prompts.wanted import Wanted


def read(
    prompts: Prompts,
    answers: Storage | None = None,
    *,
    rules: Rules | None = None,
    wanted: Wanted | None = None,
    carried: Sequence[Carried] = (),
    keep: Callable[[Picture], None] | None = None,
    pictures: PictureReader | None = None,
) -> Iterator[PromptRow | FailedPrompt | Dropped]:
    """Every row of the prompt files in order, then those of the templates, with about 20 bytes of memory per prompt,
    and 20 more for given ids. The last template takes none where its parts show that no two of its prompts are equal.

    prompts: the settings.
    answers: the output folder of the run, which keeps what a language model has answered. Without one nobody is asked:
        the rows are those that would be expanded.
    rules: what the run asks of rows; None reads no settings of theirs.
    wanted: the columns to read, which remembers the others; None for those that the other arguments say.
    carried: what goes along.
    keep: takes the pictures of a good row, before the row is given, which has their ids only.
    pictures: reads them, where rows are read more than once; None for one of its own.

    Raises:
        UserError: when a file cannot be read, or the language model cannot be asked.
    """
    check = Checker(prompts, rules, carried, keep)
    wanted = wanted or Wanted(prompts.columns, settings=rules is not None, carried=[one.path[0] for one in carried])
    unchecked = islice(_unchecked(prompts, wanted), prompts.limit or None)
    rows = (
        check.row(source, values, different and not prompts.expand, given=given)
        for (source, values, different, _), given in _with_pictures(unchecked, prompts, pictures)
    )
    yield from rows if prompts.expand is None or answers is None else _expanded(rows, check, prompts.expand, answers)


def _expanded(
    rows: Iterator[PromptRow | FailedPrompt | Dropped], check: Checker, expand: Expand, output: Storage
) -> Iterator[PromptRow | FailedPrompt | Dropped]:
    """Each row, and what a language model has written for it."""
    asked = ((row, row.prompt if isinstance(row, PromptRow) else None) for row in rows)
    for row, answers in answered(asked, expand, output):
        if not isinstance(row, PromptRow):
            yield row
            continue
        row = row._replace(concept=row.concept or row.prompt)
        if expand.keep_original:
            yield row
        if isinstance(answers, Failure):
            yield FailedPrompt(row.source, row.prompt, answers)
        else:
            yield from check.answers(row, answers)


_Unchecked = tuple[str, Any, bool, str]
"""(source, values, whether no later row can have its prompt, URI of the prompt file) of a row."""


def _with_pictures(
    rows: Iterator[_Unchecked], prompts: Prompts, pictures: PictureReader | None
) -> Iterator[tuple[_Unchecked, Given | Failure]]:
    """Every row with its pictures."""
    if not prompts.columns.pictured:
        return ((row, NOTHING) for row in rows)
    reader = pictures or PictureReader(prompts)

    def of(row: _Unchecked) -> Given | Failure:
        _, values, _, uri = row
        return reader.of(uri, values) if isinstance(values, Mapping) else NOTHING

    return ahead(rows, of)


def _unchecked(prompts: Prompts, wanted: Wanted) -> Iterator[_Unchecked]:
    """Every row."""
    filled = templates(prompts)
    for source in find(prompts):
        name = printable(source.uri)
        for number, values in prompt_files.read(source, prompts, wanted):
            yield f"{name}:{number}", values, False, source.uri
    for template in filled:
        different = template is filled[-1] and template.all_different
        for number, texts in template.rows():
            yield f"{template.at}:{number}", texts, different, ""


def digests(prompts: Prompts) -> tuple[PromptFile, ...]:
    """The content of every prompt file and template in order, without paths but for the keys in them.

    Raises:
        UserError: when a file cannot be read.
    """
    return (*map(prompt_files.digest, find(prompts)), *(template.digest() for template in templates(prompts)))
