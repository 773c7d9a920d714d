"""What a run knows of its quotas: sums over its committed shards, in the order of the plan.

They follow from the files of the run alone. Array names: K quotas, P prompts, A arms of the config, D groups
that a prompt had before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.config.quota import Quota
from pipelines.dataset.certificate import EXAMPLES
from pipelines.dataset.progress_json import Quotas
from pipelines.dataset.run_json import Segment
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.quota import shard as shards
from pipelines.quota.census import Census
from pipelines.quota.distinct import ACCEPTED, Distinct
from pipelines.quota.distinct import OVER_QUOTA as NO_ROOM
from pipelines.quota.shard import KEY, OVER_QUOTA, REPEAT, Made, Verdicts

_FORGETTING = 0.5
"""What a round before counts for: new images become rarer the more there are, so that old yields say too much."""

DRAWS = 8
"""Groups of a prompt that are told apart by how many it had before."""

Counts = NDArray[np.int32]
Floats = NDArray[np.float64]


class State:
    """Sums over the shards that were folded.

    census: the quotas and prompts of the run.
    quota: the table [quota].
    arms: names of all arms of the config.
    """

    def __init__(self, census: Census, quota: Quota, arms: Sequence[str]) -> None:
        self.census, self.quota = census, quota
        self._arms = {name: number for number, name in enumerate(arms)}
        quotas, prompts = len(census.names), len(census.quota_P)
        self.groups_KA: Counts = np.zeros((quotas, len(arms)), np.int32)
        """Groups that were planned."""
        self.images_KA: Counts = np.zeros_like(self.groups_KA)
        """Images that were made."""
        self.passed_KA: Counts = np.zeros_like(self.groups_KA)
        """Those of them that passed the judge."""
        self.accepted_KA: Counts = np.zeros_like(self.groups_KA)
        """Those of them that were accepted."""
        self.spent_KA: Floats = np.zeros((quotas, len(arms)))
        """The work of the groups that were planned, as `Census.work_PA` measures it."""
        self.failed_K: Counts = np.zeros(quotas, np.int32)
        """Groups that failed."""
        self.repeats_K: Counts = np.zeros(quotas, np.int32)
        """Images that passed the judge and repeat an accepted one."""
        self.squares_K: Floats = np.zeros(quotas)
        """Sum of the squares of the groups' numbers of accepted images."""
        self.groups_P: Counts = np.zeros(prompts, np.int32)
        """Groups that were planned of a prompt, which number the next one's seeds."""
        self.gain_KA: Floats = np.zeros((quotas, len(arms)))
        """Images that were new when they were made; what is a round older counts for half."""
        self.work_KA: Floats = np.zeros((quotas, len(arms)))
        """`spent_KA`, likewise."""
        self.gain_P: Floats = np.zeros(prompts)
        """As `gain_KA`, of a prompt."""
        self.work_P: Floats = np.zeros(prompts)
        """As `work_KA`, of a prompt."""
        self.gain_D: Floats = np.zeros(DRAWS)
        """As `gain_KA`, over all prompts by how many groups these had before; the last number stands for more, too."""
        self.work_D: Floats = np.zeros(DRAWS)
        """As `work_KA`, likewise."""
        self.example_shards_KE: Counts = np.full((quotas, EXAMPLES), -1, np.int32)
        """The shards of the first accepted images; -1 where there is none."""
        self.distinct = Distinct(quotas, quota.accepted, quota.distinct_similarity)
        """The accepted images."""

    @property
    def open_K(self) -> NDArray[np.bool_]:
        """Whether a quota is neither met nor given up."""
        below = self.groups_KA.sum(1) < self.quota.most_groups
        is_open: NDArray[np.bool_] = (self.distinct.count_K < self.quota.accepted) & below
        return is_open

    def totals(self) -> Quotas:
        """The sums over all quotas."""
        asked, accepted_K = self.quota.accepted, self.distinct.count_K
        return Quotas(
            quotas=len(accepted_K),
            met=int((accepted_K == asked).sum()),
            asked=len(accepted_K) * asked,
            accepted=int(accepted_K.sum()),
            made=int(self.images_KA.sum()),
        )

    def fold(self, output: Storage, segment: Segment) -> Iterator[Verdicts]:
        """Add the finished shards of a round; yields the verdicts of those whose files are to be changed for them.

        output: the output folder.
        segment: of the plan.

        Raises:
            UserError: when the plan has prompts that the prompt files of now do not have.
        """
        self.begin_round()
        for number in range(segment.first, segment.first + segment.shards):
            made = shards.read(output, number)
            reasons, repeated = self.add(made, number)
            if not made.settled or reasons != made.images["drop_reason"].to_pylist():
                rows = made.images.select(KEY)
                rows = rows.append_column("drop_reason", pa.array(reasons, pa.string()))
                rows = rows.append_column("duplicate_of", pa.array(repeated, pa.string()))
                yield Verdicts(shard=number, rows=rows.filter(pa.array(made.passed_N)))

    def begin_round(self) -> None:
        """Let what the rounds before brought count for less."""
        for array in (self.gain_KA, self.work_KA, self.gain_P, self.work_P, self.gain_D, self.work_D):
            array *= _FORGETTING

    def add(self, made: Made, shard: int) -> tuple[list[str | None], list[str | None]]:
        """Add a shard; the `drop_reason` and `duplicate_of` of its images that follow.

        made: its groups and images.
        shard: its number.

        Raises:
            UserError: when it has a prompt that the prompt files do not have.
        """
        prompts = self.census.prompts_of(made.groups["prompt_id"].to_pylist())
        if (prompts < 0).any():
            lost = made.groups["prompt_id"][int(np.flatnonzero(prompts < 0)[0])].as_py()
            raise UserError(
                f"plan/ has groups of the prompt {lost!r}, which the prompt files do not have, or which cannot be used "
                "any more, as a picture of it is gone. A run can be extended by further prompts, but what it has "
                "planned stays. Choose another run.output, or give the earlier prompts and pictures as well."
            )
        reasons: list[str | None] = made.images["drop_reason"].to_pylist()
        repeated: list[str | None] = made.images["duplicate_of"].to_pylist()
        ids = made.images["image_id"].to_pylist()
        starts = np.searchsorted(made.place_N, np.arange(made.groups.num_rows + 1))
        for place, arm_name in enumerate(made.groups["arm"].to_pylist()):
            prompt, arm = int(prompts[place]), self._arms[str(arm_name)]
            quota = int(self.census.quota_P[prompt])
            images = slice(int(starts[place]), int(starts[place + 1]))
            passed = np.flatnonzero(made.passed_N[images]) + images.start
            found = self.distinct.add(quota, made.vectors_ND[passed], [str(ids[at]) for at in passed])
            for at, what in zip(passed.tolist(), found, strict=True):
                reasons[at] = None if what == ACCEPTED else OVER_QUOTA if what == NO_ROOM else REPEAT
                repeated[at] = self.distinct.id_of(quota, what) if what >= 0 else None
            self._count(quota, prompt, arm, images.stop - images.start, found, shard)
        return reasons, repeated

    def _count(self, quota: int, prompt: int, arm: int, images: int, found: Sequence[int], shard: int) -> None:
        accepted = sum(what == ACCEPTED for what in found)
        new = accepted + sum(what == NO_ROOM for what in found)
        before = min(int(self.groups_P[prompt]), DRAWS - 1)
        self.groups_KA[quota, arm] += 1
        self.groups_P[prompt] += 1
        self.images_KA[quota, arm] += images
        self.passed_KA[quota, arm] += len(found)
        self.accepted_KA[quota, arm] += accepted
        self.failed_K[quota] += images == 0
        self.repeats_K[quota] += sum(what >= 0 for what in found)
        self.squares_K[quota] += accepted**2
        work = self.census.work_PA[prompt, arm]
        self.spent_KA[quota, arm] += work
        self.gain_KA[quota, arm] += new
        self.work_KA[quota, arm] += work
        self.gain_P[prompt] += new
        self.work_P[prompt] += work
        self.gain_D[before] += new
        self.work_D[before] += work
        begun = int(self.distinct.count_K[quota]) - accepted
        self.example_shards_KE[quota, begun : begun + accepted] = shard
