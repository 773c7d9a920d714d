"""Errors of Ray itself, as one sentence: a node that is lost, a full disk. Errors of the workers' code keep theirs."""

from __future__ import annotations

_LONGEST = 600
_ADVICE = {
    "Version mismatch": "This machine and all nodes need the same Python, and the packages of constraints.txt",
    "No node info": "This machine is no node of that cluster: make it one (`ray start --address=HOST:PORT`), or send "
    "the job there (`ray job submit`, infra/README.md)",
    "working_dir": "The working directory is sent to the nodes; start the job in a folder with the project alone",
    "actor never ran": "RAY_AUTH_MODE has to be the same in this process and where `ray start` ran on the nodes",
    "ObjectStoreFullError": "Raise ray.object_store_mb, or lower output.groups_per_shard",
    "OutOfDiskError": "Free space where Ray spills to (/tmp/ray, or RAY_TMPDIR), or lower output.groups_per_shard",
    "OutOfMemoryError": "Lower ray.generators or group.groups_per_batch, or take nodes with more memory",
}
"""Class of Ray's error, or words of its text -> what to do."""


def said(error: BaseException) -> str:
    """Class and text of an error without line breaks, shortened, and what to do where that is known."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(".")
    advice = next((f". {advice}" for words, advice in _ADVICE.items() if words in text), "")
    return (text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ...") + advice


def sentence(error: BaseException) -> str | None:
    """What a person is told of an error of Ray; None where it is no error of Ray, but of code that Ray ran."""
    if not any(kind.__module__ == "ray.exceptions" for kind in type(error).__mro__):
        return None
    from ray.exceptions import ActorDiedError, RayTaskError, UserCodeException

    of_code = isinstance(error, RayTaskError | UserCodeException)
    if of_code or (isinstance(error, ActorDiedError) and error.actor_init_failed):
        return None
    return f"Ray: {said(error)}. The same command goes on from the finished shards."
