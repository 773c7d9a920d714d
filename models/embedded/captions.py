"""Writes captions of scenes, as noisy as web alt text, and parses a caption into the attributes that it names.

Grammar (with `an` for `a` before a vowel): `a [size] [texture] [colour] shape [at the position] [on background]`, or
`a [texture] [colour] shape <relation> a [texture] [colour] shape [on background]`; `thing` stands for an unnamed shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.embedded import world
from models.embedded.attributes import HEADS, NAMES, Labels
from models.embedded.world import Scene, Thing

RELATIONS: dict[str, tuple[str, bool]] = {
    "left of": ("horizontal", True),
    "right of": ("horizontal", False),
    "above": ("vertical", True),
    "below": ("vertical", False),
}
"""Relation -> (arrangement, whether the thing named first is the left or upper one)."""

UNNAMED_SHAPE = "thing"


@dataclass(frozen=True, kw_only=True)
class CaptionStyle:
    """How captions are written, as probabilities."""

    keep_shape: float = 0.93
    """That a thing's shape is named; otherwise it is a "thing"."""
    keep_colour: float = 0.65
    """That a thing's colour is named."""
    keep_texture: float = 0.50
    """That a thing's texture is named."""
    keep_size: float = 0.35
    """That the size of a single thing is named."""
    keep_position: float = 0.35
    """That the position of a single thing is named."""
    keep_background: float = 0.45
    """That the background is named."""
    noise: float = 0.0
    """That a named colour or texture is replaced by one drawn uniformly, as alt text gets things wrong."""


def caption(scene: Scene, rng: np.random.Generator, style: CaptionStyle) -> str:
    """A caption of a scene that names each attribute at random.

    scene: what the picture shows.
    rng: the source of randomness.
    style: the probabilities.
    """

    def keep(probability: float) -> bool:
        return bool(rng.random() < probability)

    def noisy(word: str, words: tuple[str, ...]) -> str:
        return words[int(rng.integers(len(words)))] if keep(style.noise) else word

    def phrase(thing: Thing, size: str | None) -> str:
        words: list[str] = []
        if size is not None and keep(style.keep_size):
            words.append(size)
        if keep(style.keep_texture):
            words.append(noisy(thing.texture, world.TEXTURES))
        if keep(style.keep_colour):
            words.append(noisy(thing.colour, world.COLOURS))
        words.append(thing.shape if keep(style.keep_shape) else UNNAMED_SHAPE)
        return with_article(" ".join(words))

    if scene.arrangement == "single":
        text = phrase(scene.things[0], scene.size)
        if keep(style.keep_position):
            text += f" at the {scene.position}"
    else:
        options = [relation for relation, (arrangement, _) in RELATIONS.items() if arrangement == scene.arrangement]
        relation = options[int(rng.integers(len(options)))]
        first, second = scene.things if RELATIONS[relation][1] else scene.things[::-1]
        text = f"{phrase(first, None)} {relation} {phrase(second, None)}"
    return f"{text} on {scene.background}" if keep(style.keep_background) else text


def with_article(phrase: str) -> str:
    """The phrase with `a` or `an` before it."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def named_attributes(prompt: str) -> dict[str, str]:
    """The attributes that a caption in the grammar above names: attribute (a key of `HEADS`) -> word.

    Raises:
        ValueError: when the prompt is not in the grammar.
    """
    named: dict[str, str] = {}
    body, background = _split_last(prompt, " on ", world.BACKGROUNDS)
    if background:
        named["background"] = background
    for relation, (arrangement, first_is_low) in RELATIONS.items():
        first, separator, second = body.partition(f" {relation} ")
        if separator:
            named["arrangement"] = arrangement
            low, high = (first, second) if first_is_low else (second, first)
            return named | _read_thing(low, 0, prompt) | _read_thing(high, 1, prompt)
    body, position = _split_last(body, " at the ", world.POSITIONS)
    if position:
        named["position"] = position
    return {"arrangement": "single"} | named | _read_thing(body, 0, prompt)


def _split_last(text: str, separator: str, words: tuple[str, ...]) -> tuple[str, str]:
    head, found, tail = text.rpartition(separator)
    return (head, tail) if found and tail in words else (text, "")


def _read_thing(phrase: str, slot: int, prompt: str) -> dict[str, str]:
    article, *words = phrase.split(" ")
    named: dict[str, str] = {}
    for word in words:
        if word == UNNAMED_SHAPE:
            continue
        for name in (f"shape_{slot}", f"colour_{slot}", f"texture_{slot}", "size"):
            if word in HEADS[name]:
                named[name] = word
                break
        else:
            raise ValueError(f"prompt {prompt!r} is not in the embedded world's grammar: unknown word {word!r}")
    if article not in ("a", "an") or not words or words[-1] not in (*world.SHAPES, UNNAMED_SHAPE):
        raise ValueError(f"prompt {prompt!r} is not in the embedded world's grammar: {phrase!r} names no thing")
    return named


def agreement(named: dict[str, str], seen: Labels) -> dict[str, bool]:
    """Whether a picture shows each named attribute: attribute -> bool.

    named: attribute -> word, as `named_attributes` gives it.
    seen: int8 [10], the class indices of the picture.
    """
    return {name: HEADS[name][int(seen[NAMES.index(name)])] == word for name, word in named.items()}
