"""What quotas may cost, before anything is known of them."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pipelines.config.quota import Quota
from pipelines.dataset import certificate
from pipelines.dataset.storage import Storage

_RATES = (0.5, 0.2, 0.05)


def expected(quota: Quota, quotas: int, group_size: int, output: Storage) -> Iterator[tuple[float, int, str]]:
    """How many images would be made at some rates of acceptance, with words for each: (rate, images, words).

    quota: the table [quota].
    quotas: how many there are.
    group_size: images of a group.
    output: the output folder; the rate of the run in it comes first, where that has a certificate.
    """
    rates = [(rate, "") for rate in _RATES]
    if (before := certificate.totals(output)) and before.made:
        rates.insert(0, (before.accepted / before.made, ", as in the run so far"))
    for rate, words in rates:
        groups = min(math.ceil(quota.accepted / max(group_size * rate, 1e-9)), quota.most_groups)
        given_up = ", given up before they are met" if groups * group_size * rate < quota.accepted else ""
        yield rate, groups * group_size * quotas, words + given_up
