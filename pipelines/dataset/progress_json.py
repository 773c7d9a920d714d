"""progress.json: the progress of a run and its timings over all sessions. Scripts may poll it at any time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pipelines.dataset import records
from pipelines.dataset.storage import Storage
from pipelines.dataset.uris import is_s3
from pipelines.errors import UserError

FILE = "progress.json"
_EVERY_SECONDS, _EVERY_SECONDS_S3 = 2.0, 20.0


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The progress of a session, from the reports of its workers so far."""

    stages: dict[str, float] = field(default_factory=dict)
    """Stage -> images that passed it or failed before it; a half-denoised image counts as half."""
    made: int = 0
    """Images written to files."""
    failures: dict[str, int] = field(default_factory=dict)
    """Type of the error -> number of failed groups."""
    busy_seconds: dict[str, float] = field(default_factory=dict)
    """Part of a stage, such as `generate.denoise` -> seconds of work, over all workers."""


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Timings over all sessions of a run."""

    sessions: int
    """Number of sessions."""
    wall_seconds: float
    """Their duration."""
    images: int
    """Images made in them."""
    workers: dict[str, int]
    """Stage -> number of workers, in the last session."""
    busy_seconds: dict[str, float]
    """As in `Snapshot`."""


@dataclass(frozen=True, kw_only=True)
class Quotas:
    """Sums over the quotas of a run."""

    quotas: int
    """How many quotas there are."""
    met: int
    """How many of them are met; the others were given up."""
    asked: int
    """Images that were asked for."""
    accepted: int
    """Images that were accepted."""
    made: int
    """Images that were made for them."""


@dataclass(frozen=True, kw_only=True)
class ProgressRecord:
    """The content of progress.json."""

    state: str
    """"running", "finished", "stopped" or "failed"."""
    updated: str
    """Time of this state, UTC in ISO 8601."""
    images: int
    """Images of the whole run."""
    images_done: int
    """Images that are made or failed, over all sessions."""
    images_per_second: float
    """Rate of this session."""
    eta_seconds: int | None
    """Seconds to the end at this rate; None as long as nothing was made."""
    stages: dict[str, float]
    """Stage -> images that passed it, over all sessions."""
    failed_groups_this_session: dict[str, int]
    """As `Snapshot.failures`."""
    timings: Timings
    """Over all sessions."""
    quotas: Quotas | None = None
    """As they were after the last round; None where the run has none."""


class ProgressFile:
    """Writes progress.json while a job runs. It adds to the timings of earlier sessions; a kill loses a few seconds.

    output: the output folder.
    images: images of the whole run.
    done: images that earlier sessions made or gave up.
    workers: stage -> number of workers.
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
        self._quotas: Quotas | None = None

    @property
    def images(self) -> int:
        """Images of the whole run, as far as it is planned."""
        return self._images

    @property
    def done(self) -> int:
        """Images that earlier sessions made or gave up."""
        return self._done

    def expect(self, images: int, quotas: Quotas | None) -> None:
        """Take over what is known of the whole run, where more is planned while it goes on.

        images: of the whole run.
        quotas: the sums over its quotas; None where it has none.
        """
        self._images, self._quotas = images, quotas

    def update(self, snapshot: Snapshot) -> None:
        """Take over the counts of the workers, and write the file unless it was written a moment ago."""
        self._now = snapshot
        every = _EVERY_SECONDS_S3 if is_s3(self._output.uri) else _EVERY_SECONDS
        if time.monotonic() - self._written >= every:
            self._write("running")

    @contextmanager
    def session(self) -> Iterator[None]:
        """Run the body as a session, and record how it ends."""
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
        with suppress(UserError):  # a run must not stop for its progress file: the stages report storage that fails
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
            quotas=self._quotas,
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
    """The timings of a run so far; None where progress.json is missing or damaged."""
    try:
        data = output.read_bytes(FILE)
    except FileNotFoundError:
        return None
    with suppress(UserError):  # a run continues without its old timings
        return records.parse(data, ProgressRecord, file=output.path(FILE), advice="").timings
    return None
