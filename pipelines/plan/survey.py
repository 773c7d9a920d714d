"""What planning finds in the rows of prompt files: sums over the prompts, and the columns that there are."""

from __future__ import annotations

from models.spec import Sampling
from pipelines.config.run import RunConfig
from pipelines.plan.buckets import Bucket, bucket_of
from pipelines.plan.shard_size import raw_image_bytes
from pipelines.plan.variants import Variants, image_count
from pipelines.prompts.hash_set import HashSet
from pipelines.prompts.rows import FailedPrompt, PromptRow
from pipelines.prompts.settings import PLAIN
from pipelines.prompts.wanted import Wanted

_REASONS_SHOWN = 3


def work(sampling: Sampling) -> int:
    """A number to which the time that an image takes is about proportional: its pixels, times how often the transformer
    sees them."""
    pixels = sampling.width * sampling.height * sampling.frames
    return pixels * sampling.steps * (2 if sampling.guidance_scale > 1 else 1)


class Survey:
    """Sums over the good prompts of a plan, and why the first bad rows are bad. It needs 20 bytes for every bucket.

    config: the run.
    """

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self.variants = Variants(config)
        """Of the run."""
        self.wanted = Wanted(config.prompts.columns, carried=[one.path[0] for one in config.carried])
        """The columns."""
        self.groups = 0
        """Of all arms."""
        self.images = 0
        """Of all arms."""
        self.raw_bytes = 0
        """Of the pixels of all images."""
        self.work = 0
        """Of all images; see `work`."""
        self.largest = config.sampling
        """The sampling with the most pixels."""
        self.buckets = 0
        """Into how many kinds settings of rows divide the prompts: other kinds share no denoising batch."""
        self.reasons: list[str] = []
        """Why rows cannot be used, for the first of them: file, line and reason."""
        self._seen = HashSet()
        self._plain = self._most = 0

    def add(self, prompt: PromptRow) -> None:
        """Count a prompt."""
        if prompt.settings is PLAIN:
            self._plain += 1
        else:
            self._add(bucket_of(prompt), 1)

    def add_bad(self, row: FailedPrompt) -> None:
        """Remember why a row cannot be used."""
        if len(self.reasons) < _REASONS_SHOWN:
            self.reasons.append(f"{row.source}: {row.failure.error}")

    def close(self) -> None:
        """Count what was put off: call it after the last prompt."""
        if self._plain:
            self._add((PLAIN.own, PLAIN.images), self._plain)
            self._plain = 0

    def _add(self, bucket: Bucket, prompts: int) -> None:
        made = self.variants.of(*bucket)
        arms = len(made.arms)
        of_an_arm = prompts * image_count(self._config, bucket[1])
        images = of_an_arm * arms
        self.groups += prompts * arms * made.group.groups_per_prompt
        self.images += images
        self.raw_bytes += images * raw_image_bytes(made)
        self.work += of_an_arm * sum(work(arm.sampling.of(made.sampling)) for arm in made.arms)
        if raw_image_bytes(made) > self._most:
            self.largest, self._most = made.sampling, raw_image_bytes(made)
        if (name := hash(bucket) % (1 << 64)) not in self._seen:
            self._seen.add(name)
            self.buckets += 1
