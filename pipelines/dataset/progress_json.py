"""progress.json: how far the run is and where its time went, over all sessions; a script may poll it at any time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pipelines.dataset import records
from pipelines.dataset.storage import Storage, is_s3
from pipelines.errors import UserError

FILE = "progress.json"
_EVERY_SECONDS, _EVERY_SECONDS_S3 = 2.0, 20.0


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """How far the session is: what its workers have reported so far."""

    stages: dict[str, float] = field(default_factory=dict)
    """Images past each stage, or given up before it; one that is half denoised counts as half."""
    made: int = 0
    """Images in files."""
    failures: dict[str, int] = field(default_factory=dict)
    """Type of the error -> groups given up."""
    busy_seconds: dict[str, float] = field(default_factory=dict)
    """Part of a stage, such as `generate.denoise` -> seconds over all workers."""


@dataclass(frozen=True, kw_only=True)
class Timings:
    """What all sessions of a run took together."""

    sessions: int
    wall_seconds: float
    images: int
    """Made in these sessions."""
    workers: dict[str, int]
    """Stage -> how many, in the last session."""
    busy_seconds: dict[str, float]
    """As in `Snapshot`."""


@dataclass(frozen=True, kw_only=True)
class ProgressRecord:
    """The content of progress.json."""

    state: str
    """running, finished, stopped or failed."""
    updated: str
    """UTC, as in ISO 8601."""
    images: int
    """Of the whole run."""
    images_done: int
    images_per_second: float
    """Of this session."""
    eta_seconds: int | None
    """None as long as nothing was made."""
    stages: dict[str, float]
    """Images past each stage, of the whole run."""
    failed_groups_this_session: dict[str, int]
    timings: Timings


class ProgressFile:
    """The file while a job runs. It begins with what earlier sessions left, so a kill loses some seconds at most.

    images: of the whole run; done: those that earlier sessions made or gave up; workers: stage -> how many.
    """

    def __init__(self, output: Storage, *, images: int, done: int, workers: dict[str, int]) -> None:
        self._output = output
        self._images = images
        self._done = done
        self._workers = workers
        self._before = timings(output)
        self._began = time.monotonic()
        self._written = -_EVERY_SECONDS_S3
        self._now = Snapshot()

    def update(self, snapshot: Snapshot) -> None:
        """Writes the file if the last time is long enough ago."""
        self._now = snapshot
        every = _EVERY_SECONDS_S3 if is_s3(self._output.uri) else _EVERY_SECONDS
        if time.monotonic() - self._written >= every:
            self._write("running")

    @contextmanager
    def session(self) -> Iterator[None]:
        """Note how the session ends."""
        self._write("running")
        state = "failed"
        try:
            yield
            state = "finished"
        except (KeyboardInterrupt, SystemExit):
            state = "stopped"
            raise
        finally:
            self._write(state)

    def _write(self, state: str) -> None:
        self._written = time.monotonic()
        with suppress(UserError):  # a run must not end for its progress file: the stages find out what is wrong
            records.write(self._output, FILE, self._progress(state))

    def _progress(self, state: str) -> ProgressRecord:
        seconds = time.monotonic() - self._began
        passed = self._now.stages.get("write", 0)
        rate = passed / seconds if seconds > 0 else 0.0
        left = self._images - self._done - passed
        return ProgressRecord(
            state=state,
            updated=datetime.now(UTC).isoformat(timespec="seconds"),
            images=self._images,
            images_done=self._images if state == "finished" else round(self._done + passed),
            images_per_second=round(rate, 4),
            eta_seconds=0 if state == "finished" else round(left / rate) if rate > 0 else None,
            stages={stage: round(self._done + images, 1) for stage, images in self._now.stages.items()},
            failed_groups_this_session=self._now.failures,
            timings=self._timings(seconds),
        )

    def _timings(self, seconds: float) -> Timings:
        before = self._before or Timings(sessions=0, wall_seconds=0.0, images=0, workers={}, busy_seconds={})
        parts = sorted({*before.busy_seconds, *self._now.busy_seconds})
        busy = {part: before.busy_seconds.get(part, 0.0) + self._now.busy_seconds.get(part, 0.0) for part in parts}
        return Timings(
            sessions=before.sessions + 1,
            wall_seconds=round(before.wall_seconds + seconds, 1),
            images=before.images + self._now.made,
            workers=self._workers,
            busy_seconds={part: round(value, 1) for part, value in busy.items()},
        )


def timings(output: Storage) -> Timings | None:
    """What the sessions of a run took so far; None where no session has noted it in a file that can be read."""
    try:
        data = output.read_bytes(FILE)
    except FileNotFoundError:
        return None
    with suppress(UserError):  # times are a courtesy: they are counted anew, and the run goes on
        return records.parse(data, ProgressRecord, file=output.path(FILE), advice="").timings
    return None
