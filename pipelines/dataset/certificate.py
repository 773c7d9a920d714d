"""certificate.parquet: a row for each quota of a run, with what was asked and what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.dataset import parquet
from pipelines.dataset.progress_json import Quotas
from pipelines.dataset.storage import Storage

FILE = "certificate.parquet"

MET, GIVEN_UP = "met", "given up"
"""Values of the column `state`."""

EXAMPLES = 6
"""Most accepted images of a quota that it names."""

_DOUBLE, _LONG = pa.float64(), pa.int64()
_INTERVAL = pa.struct([pa.field(name, _DOUBLE) for name in ("value", "low", "high")])
_MEANINGS: dict[str, tuple[pa.DataType, str]] = {
    "quota": (pa.string(), "the concept, or the prompt's id"),
    "asked": (_LONG, "accepted images that were asked for"),
    "accepted": (_LONG, "images in `data/`: the judge let them pass, and they are distinct"),
    "state": (pa.string(), f"`{MET}` or `{GIVEN_UP}`"),
    "reason": (pa.string(), "why it was given up; null where it was met"),
    "groups": (_LONG, "groups that were planned"),
    "groups_failed": (_LONG, "those of them in `failed/`"),
    "made": (_LONG, "images that were made"),
    "passed": (_LONG, "those of them that the judge let pass"),
    "repeats": (_LONG, "those of these that repeat an accepted one"),
    "over_quota": (_LONG, "those of these for which there was no room"),
    "acceptance": (
        _INTERVAL,
        "share of new accepted images among all made, with a 90 % interval; the group is the unit",
    ),
    "modes_unseen": (
        _INTERVAL,
        "different valid images not seen yet (Chao 1987): `low` is a lower bound at 95 % confidence; `value`, "
        "and `high` as an upper one, hold where all are about equally likely; there are more where some are far rarer",
    ),
    "next_is_new": (_INTERVAL, "chance that the next valid image is new, with a 90 % interval (Good-Turing)"),
    "images_for_one_more": (_INTERVAL, "images to make for one more accepted one, with an interval of at least 90 %"),
    "best_arm": (pa.string(), "the arm with the most accepted images for its groups; null where there is none"),
    "arms": (
        pa.list_(
            pa.struct(
                [pa.field("arm", pa.string()), *(pa.field(n, _LONG) for n in ("groups", "made", "passed", "accepted"))]
            )
        ),
        "what each arm brought",
    ),
    "examples": (
        pa.list_(pa.struct([pa.field("shard", _LONG), pa.field("image_id", pa.string())])),
        "the first accepted images, and the shards that they lie in",
    ),
}
SCHEMA = pa.schema(
    [pa.field(name, kind, metadata={b"meaning": meaning.encode()}) for name, (kind, meaning) in _MEANINGS.items()]
)
"""Schema of certificate.parquet; the metadata of each field has its meaning."""


class GivenUp(NamedTuple):
    """A quota that was given up; the fields are columns of `SCHEMA`."""

    quota: str
    asked: int
    accepted: int
    made: int
    reason: str


def rows(output: Storage, columns: list[str]) -> Iterator[pa.Table]:
    """Some columns of the certificate, a few thousand rows at a time; nothing where the run has none.

    output: the output folder.
    columns: names of `SCHEMA`.
    """
    if output.exists(FILE):
        with parquet.opened(output, FILE) as file:
            for number in range(len(file.rows_of_groups)):
                yield file.group(number, columns)


def given_up(output: Storage, most: int) -> list[GivenUp]:
    """The first quotas that were given up, in the order of the file; none where the run has no quotas.

    output: the output folder.
    most: how many at most.
    """
    columns = ["quota", "asked", "accepted", "made", "state", "reason"]
    found = (
        GivenUp(*(row[name] for name in GivenUp._fields))
        for part in rows(output, columns)
        for row in part.to_pylist()
        if row["state"] == GIVEN_UP
    )
    return [*islice(found, most)]


def totals(output: Storage) -> Quotas | None:
    """The sums over all quotas; None where the run has none.

    output: the output folder.
    """
    found = None
    for part in rows(output, ["asked", "accepted", "made", "state"]):
        asked, accepted, made = (int(pc.sum(part[name]).as_py() or 0) for name in ("asked", "accepted", "made"))
        met = part["state"].to_pylist().count(MET)
        new = Quotas(quotas=part.num_rows, met=met, asked=asked, accepted=accepted, made=made)
        before = vars(found or Quotas(quotas=0, met=0, asked=0, accepted=0, made=0))
        found = Quotas(**{name: value + before[name] for name, value in vars(new).items()})
    return found
