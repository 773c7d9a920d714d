"""Seeds of images: a pure function of run, prompt and index, independent of time and machine."""

from __future__ import annotations

import hashlib


def image_seed(run_seed: int, prompt_id: str, index: int) -> int:
    """The seed of one image, 0 <= seed < 2**63.

    It does not depend on the arm, so that arms with and without interventions start from the same noise.

    run_seed: the seed of the run.
    prompt_id: id of the prompt.
    index: number of the image among those of the prompt, from 0.
    """
    text = f"{run_seed}\0{prompt_id}\0{index}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1
