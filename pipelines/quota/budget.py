"""Shares out the groups of a round: how many each quota gets, and of which arms and prompts.

A plan is a function of committed results and of the run's seed. What counts is new accepted images per unit of work:
denoising steps times pixels, never clock time. Array names: K quotas, A candidates, G groups of a round, D groups that
a prompt had before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.quota.state import DRAWS, State

_PRIOR_WORK = 2.0
"""How many groups what is known of all quotas counts for, beside what a quota has seen itself."""

_SHARE = 0.75
"""Share of what is missing that a round is expected to bring, as the yield falls while a round goes on; what a quota
needs in few groups it gets at once."""

_FEW = 2.0

Numbers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Ask:
    """The groups of a round, in the order of the prompts."""

    prompt_G: Numbers
    """The number of the prompt."""
    arm_G: Numbers
    """The number of the arm in the config."""


def ask(state: State, candidates: Sequence[int], *, group_size: int, seed: int, round_number: int) -> Ask:
    """The groups of the next round; none where every quota is met or given up.

    state: after all rounds before.
    candidates: numbers of the arms that may be taken.
    group_size: images of a group.
    seed: of the run.
    round_number: from 0.
    """
    arms = np.array(candidates, np.int64)
    rng = np.random.default_rng([seed, round_number])
    expected_KA = _expected(state, arms, group_size)
    groups_K = _groups(state, expected_KA, arms, group_size)
    freshness_D = _freshness(state, group_size)
    by_quota, starts = state.census.by_quota()
    bandit = state.quota.budget == "bandit"
    so_far_K = state.groups_KA.sum(1)
    prompts: list[Numbers] = []
    chosen: list[Numbers] = []
    for quota in np.flatnonzero(groups_K).tolist():
        own, count, done = by_quota[starts[quota] : starts[quota + 1]], int(groups_K[quota]), int(so_far_K[quota])
        if bandit and done:
            at = _sample(rng, state.gain_KA[quota, arms], state.work_KA[quota, arms], expected_KA[quota], count)
            of = _prompts(rng, state, own, expected_KA[quota].mean(), freshness_D, count)
        else:  # in turn; quotas begin with different arms, so that all are tried where each gets few groups
            turn = np.arange(done, done + count) + (quota if bandit else 0)
            at, of = turn % len(arms), (turn // len(arms)) % len(own)
        prompts.append(own[of])
        chosen.append(arms[at])
    prompt_G = np.concatenate([np.empty(0, np.int64), *prompts])
    arm_G = np.concatenate([np.empty(0, np.int64), *chosen])
    order = np.argsort(prompt_G, kind="stable")
    return Ask(prompt_G=prompt_G[order], arm_G=arm_G[order])


def _expected(state: State, arms: Numbers, group_size: int) -> Floats:
    """New accepted images per unit of work that each arm is taken to bring a quota before it has seen anything itself,
    float64 [K, A]: that of the arm over all quotas, scaled by how much more or less the quota brings than others."""
    gain, work = state.gain_KA[:, arms].sum(0), state.work_KA[:, arms].sum(0)
    usual = (_PRIOR_WORK * group_size + gain.sum()) / (_PRIOR_WORK + work.sum())
    of_arm_A = (_PRIOR_WORK * usual + gain) / (_PRIOR_WORK + work)
    own_K = (_PRIOR_WORK * usual + state.gain_KA[:, arms].sum(1)) / (_PRIOR_WORK + state.work_KA[:, arms].sum(1))
    scaled: Floats = own_K[:, None] * of_arm_A / usual
    return scaled


def _freshness(state: State, group_size: int) -> Floats:
    """What a group of a prompt brings, by how many it had before, as a multiple of what groups bring on average: a text
    that says nearly everything brings nothing new the second time, one that leaves much open does. float64 [D]."""
    usual = (_PRIOR_WORK * group_size + state.gain_D.sum()) / (_PRIOR_WORK + state.work_D.sum())
    ratio: Floats = (_PRIOR_WORK * usual + state.gain_D) / (_PRIOR_WORK + state.work_D) / usual
    return ratio


def _groups(state: State, expected_KA: Floats, arms: Numbers, group_size: int) -> Numbers:
    """How many groups each quota gets, int64 [K]."""
    missing_K = state.quota.accepted - state.distinct.count_K
    so_far_K = state.groups_KA.sum(1)
    best_K = expected_KA.argmax(1)[:, None]
    of_best_K = np.take_along_axis(expected_KA * _work(state)[:, arms], best_K, 1)[:, 0]
    needed_K = missing_K / np.maximum(of_best_K, 1e-9)
    wanted_K = np.ceil(np.where(needed_K <= _FEW, needed_K, _SHARE * needed_K))
    first = min(len(arms), -(-state.quota.accepted // group_size))
    # At most as many as it has had: an early yield says little, and a quota that nothing can fill is given up slowly.
    wanted_K = np.where(so_far_K == 0, first, np.minimum(wanted_K, so_far_K))
    allowed_K = np.minimum(wanted_K, state.quota.most_groups - so_far_K)
    return np.where(state.open_K, np.maximum(allowed_K, 1), 0).astype(np.int64)


def _work(state: State) -> Floats:
    """Work of a group of each quota's prompts in each arm of the config, on average: float64 [K, arms]."""
    quota_P, quotas = state.census.quota_P, len(state.census.names)
    sums = [np.bincount(quota_P, work_P, quotas) for work_P in state.census.work_PA.T]
    mean: Floats = np.stack(sums, 1) / np.bincount(quota_P, minlength=quotas)[:, None]
    return mean


def _prompts(
    rng: np.random.Generator, state: State, own: Numbers, expected: np.float64, freshness_D: Floats, count: int
) -> Numbers:
    """`count` choices among a quota's prompts, as `_sample` makes them, but for what is left of each: int64 [count]."""
    drawn = _drawn(rng, state.gain_P[own], state.work_P[own], expected, count)
    had = state.groups_P[own]
    chosen = np.zeros(count, np.int64)
    for at, yields in enumerate(drawn if len(own) > 1 else ()):
        chosen[at] = (yields * freshness_D[np.minimum(had, DRAWS - 1)]).argmax()
        had[chosen[at]] += 1
    return chosen


def _sample(
    rng: np.random.Generator, gain_N: Floats, work_N: Floats, expected_N: Floats | np.float64, count: int
) -> Numbers:
    """`count` choices among N by Thompson sampling of their yields: int64 [count]."""
    best: Numbers = _drawn(rng, gain_N, work_N, expected_N, count).argmax(1)
    return best


def _drawn(
    rng: np.random.Generator, gain_N: Floats, work_N: Floats, expected_N: Floats | np.float64, count: int
) -> Floats:
    """`count` draws of N yields, which are Gamma distributed: float64 [count, N]."""
    shape = np.maximum(_PRIOR_WORK * expected_N + gain_N, 1e-3)
    drawn: Floats = rng.gamma(shape, 1.0 / (_PRIOR_WORK + work_N), (count, len(gain_N)))
    return drawn
