"""Errors of files that are read like prompts, but asked for elsewhere: they name the settings of that place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pipelines.errors import UserError


@contextmanager
def other_names(names: Mapping[str, str]) -> Iterator[None]:
    """What is read inside has settings of other names than those of [prompts].

    names: key of [prompts], such as "path" or "columns.prompt" -> its name there.

    Raises:
        UserError: as what is read inside, with these names.
    """
    try:
        yield
    except UserError as error:
        keys = "|".join(map(re.escape, names))
        said = re.sub(rf"(?<![\w./-])prompts\.({keys})(?!\w)", lambda found: names[found[1]], str(error))
        raise UserError(said) from error
