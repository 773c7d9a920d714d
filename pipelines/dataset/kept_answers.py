"""Answers of a service about pictures, kept with a run, so that none is asked for twice: a file for each picture."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.dataset import records
from pipelines.dataset.storage import Storage

FOLDER = "judgements"
_ADVICE = "Remove the file, and it is asked again."


@dataclass(frozen=True, kw_only=True)
class Answered:
    """The content of a file in `judgements/`."""

    about: dict[str, str]
    """What the answers are about and how they were given: the hash of the picture, and the model."""
    answers: dict[str, float]
    """Question -> answer."""


class KeptAnswers:
    """A `models.scorers.base.Kept` in an output folder.

    output: the folder.
    """

    def __init__(self, output: Storage) -> None:
        self._output = output

    def find(self, key: Mapping[str, str]) -> dict[str, float]:
        """As of `Kept`.

        Raises:
            UserError: when the file is damaged.
        """
        try:
            return records.read(self._output, _path(key), Answered, _ADVICE).answers
        except FileNotFoundError:
            return {}

    def keep(self, key: Mapping[str, str], answers: Mapping[str, float]) -> None:
        """As of `Kept`."""
        records.write(self._output, _path(key), Answered(about=dict(key), answers=dict(answers)))


def _path(key: Mapping[str, str]) -> str:
    digits = hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=16).hexdigest()
    return f"{FOLDER}/{digits[:2]}/{digits[2:]}.json"
