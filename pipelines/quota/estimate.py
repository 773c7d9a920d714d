"""What a sample of valid images says of those that were not made yet: Good-Turing, and Chao's estimate of unseen modes.

A mode is an accepted image with all images that repeat it. From how many modes were seen once and twice follows how
likely the next valid image is new (Good-Turing, with the interval of Esty 1983), and how many modes there are that were
not seen (Chao 1987, with his interval). Both need repeats. As long as there are hardly any, only the birthday problem
speaks: so few repeats among so many images mean that there are at least so many modes.

Of the number of unseen modes the lower end holds whatever the modes' chances. The best guess and the upper end suppose
that all are about equally likely: any number of modes so rare that hardly any was seen would leave the same sample, so
that nothing bounds their number from above. How likely the next image is new has both ends in any case.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_Z = 1.645
"""Of a 90 % interval."""

_POISSON = ((0.0, 3.0), (0.051, 4.744), (0.355, 6.296), (0.818, 7.754))
"""90 % intervals of the mean of a Poisson number, for the numbers 0, 1, 2 and 3."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its 90 % interval."""

    value: float
    """The best guess; infinite where nothing bounds it."""
    low: float
    """The lower end."""
    high: float
    """The upper end; infinite where nothing bounds it."""


@dataclass(frozen=True, kw_only=True)
class Unseen:
    """What was not seen yet."""

    modes: Estimate
    """How many modes were not seen. `low` holds in any case, `value` and `high` where all are about equally likely;
    where some are far rarer than others there are more."""
    share: Estimate
    """How likely the next valid image shows one of them."""


def unseen(sampled: int, modes: int, once: int, twice: int) -> Unseen:
    """What a sample of valid images says of the modes that it does not show.

    sampled: how many images there are.
    modes: how many modes they show.
    once, twice: how many of these modes are shown by one image, and by two.
    """
    repeats = sampled - modes
    if sampled == 0:
        return Unseen(
            modes=Estimate(value=math.inf, low=0.0, high=math.inf), share=Estimate(value=1.0, low=0.0, high=1.0)
        )
    if repeats < len(_POISSON):
        few, many = _POISSON[repeats]
        pairs = sampled * (sampled - 1) / 2
        found = Estimate(
            value=max(0.0, pairs / repeats - modes) if repeats else math.inf,
            low=max(0.0, pairs / many - modes),
            high=max(0.0, pairs / few - modes) if few else math.inf,
        )
        return Unseen(modes=found, share=_as_share(found, modes))
    if once < 2:
        most = min(_POISSON[once][1] / sampled, 0.95)
        return Unseen(
            modes=Estimate(value=0.0, low=0.0, high=math.ceil(most / (1 - most) * modes)),
            share=Estimate(value=once / sampled, low=0.0, high=most),
        )
    middle = once / sampled
    width = _Z * math.sqrt((once * (1 - middle) + 2 * twice) / sampled**2)
    share = Estimate(value=middle, low=max(0.0, middle - width), high=min(0.999, middle + width))
    chao = _chao(modes, once, twice)
    # Each interval is too narrow on one side: Chao's where next to nothing is unseen, that of the share where much is.
    low, high = (end / (1 - end) * modes for end in (share.low, share.high))
    return Unseen(modes=Estimate(value=chao.value, low=min(chao.low, low), high=max(chao.high, high)), share=share)


def _chao(modes: int, once: int, twice: int) -> Estimate:
    value = once * (once - 1) / (2 * (twice + 1))
    if twice:
        ratio = once / twice
        variance = twice * (ratio**2 / 2 + ratio**3 + ratio**4 / 4)
    else:
        variance = once * (once - 1) / 2 + once * (2 * once - 1) ** 2 / 4 - once**4 / (4 * (modes + value))
    factor = math.exp(_Z * math.sqrt(math.log1p(max(variance, 0.0) / value**2)))
    return Estimate(value=value, low=value / factor, high=value * factor)


def _as_share(modes: Estimate, seen: int) -> Estimate:
    """The share of equally likely modes that was not seen."""

    def share(unseen_modes: float) -> float:
        return 1.0 if math.isinf(unseen_modes) else unseen_modes / (unseen_modes + seen)

    return Estimate(value=share(modes.value), low=share(modes.low), high=share(modes.high))


def wilson(successes: int, trials: float) -> Estimate:
    """A share with its interval, also where nothing or everything succeeds (Wilson 1927).

    successes: how many succeed.
    trials: of how many; fewer where they are not independent.
    """
    if trials <= 0:
        return Estimate(value=0.0, low=0.0, high=1.0)
    share = min(successes / trials, 1.0)
    middle = (share + _Z**2 / (2 * trials)) / (1 + _Z**2 / trials)
    width = _Z / (1 + _Z**2 / trials) * math.sqrt(share * (1 - share) / trials + _Z**2 / (4 * trials**2))
    return Estimate(value=share, low=max(0.0, middle - width), high=min(1.0, middle + width))
