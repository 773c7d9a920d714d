"""Makes one text of all those that look the same: spellings in Unicode, invisible characters, white space."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple


class Normal(NamedTuple):
    """A text in its normal form."""

    text: str
    """In Unicode NFC, without invisible characters that do nothing, and with single plain spaces between words only."""
    changes: tuple[str, ...]
    """What was done to it: some of `CHANGES`, in their order."""


SURROGATE = re.compile(r"[\ud800-\udfff]")
"""Stands for bytes that are no text in the encoding of their file, and for halves of pairs in JSON."""

CHANGES = {
    "composed": "letters with marks of their own became single ones (Unicode NFC)",
    "invisible": "invisible characters that do nothing were taken out",
    "spaces": "white space at the ends was taken out, and between words became one plain space",
}
"""Code -> what was done to a text."""


def is_plain(text: str) -> bool:
    """Whether a text is words of ASCII with single spaces between them, as most are: it is in its normal form."""
    return text.isascii() and _is_single_spaced(text)


def _is_single_spaced(text: str) -> bool:
    """Whether plain, single spaces are all of its white space; of others Python says that they do not print."""
    return "  " not in text and text.isprintable() and text[:1] != " " and text[-1:] != " "


def normal(text: str) -> Normal:
    """The normal form of a text; the normal form of that is the same, without changes.

    text: may be anything but lone surrogates.
    """
    changes: list[str] = []
    if not text.isascii():
        composed = unicodedata.normalize("NFC", text)
        if composed != text:
            changes.append("composed")
        text = composed
        while IGNORABLE.search(text) and (seen := unicodedata.normalize("NFC", _RUNS.sub(_kept, text))) != text:
            text = seen
            if "invisible" not in changes:
                changes.append("invisible")
    if not _is_single_spaced(text) and (single := " ".join(text.split())) != text:
        text = single
        changes.append("spaces")
    return Normal(text, tuple(changes))


_NOTHING = "\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\U000e0001"
"""Soft hyphens, spaces without width, marks and overrides of direction, operators that are not seen, marks of byte
order."""
_JOINERS, _GRAPHEME_JOINER = "\u200c\u200d", "\u034f"
_ZWJ = "\u200d"
_MONGOLIAN = "\u180b-\u180f"
_VARIATIONS = "\ufe00-\ufe0f\U000e0100-\U000e01ef"
_TAGS = "\U000e0020-\U000e007f"
IGNORABLE = re.compile(f"[{_NOTHING}{_JOINERS}{_GRAPHEME_JOINER}{_MONGOLIAN}{_VARIATIONS}{_TAGS}]")
"""Characters that are not seen by themselves, some of which act on their neighbours."""
_RUNS = re.compile(f"{IGNORABLE.pattern}+")
_ALWAYS, _MONGOL, _VARIES, _TAG = (re.compile(f"[{of}]") for of in (_NOTHING, _MONGOLIAN, _VARIATIONS, _TAGS))
_FIRST_SHAPED = "\u0590"
"""Scripts whose letters join, or stack, begin here with Hebrew; those before have letters that stand alone."""
_FIRST_MATHEMATICAL = "\u2000"
_BLACK_FLAG = "\U0001f3f4"


def _kept(run: re.Match[str]) -> str:
    """Those of a run of ignorable characters that change how their neighbours look."""
    before = run.string[run.start() - 1] if run.start() else " "
    after = run.string[run.end()] if run.end() < len(run.string) else " "
    kept = ""
    for character in run[0]:
        if _acts(character, before, after):
            kept += character
            before = character
    return kept


def _acts(character: str, before: str, after: str) -> bool:
    """Whether an ignorable character may change what is seen: where that is not sure, it may."""
    if _ALWAYS.match(character):
        return False
    if _VARIES.match(character):
        return _has_variants(before)
    if _TAG.match(character):
        return before == _BLACK_FLAG or _TAG.match(before) is not None
    if _MONGOL.match(character):
        return _shaped(before)
    if character == _ZWJ:
        return _shaped(before) or _shaped(after) or (_pictured(before) and _pictured(after))
    return _shaped(before) and _shaped(after)


def _has_variants(base: str) -> bool:
    """A variation selector chooses a form of signs, ideographs and keycaps, of which the others have one form each."""
    if base in "0123456789#*":
        return True
    if base.isascii() or base.isspace() or IGNORABLE.match(base):
        return False
    return base >= _FIRST_MATHEMATICAL or not base.isalnum() or _shaped(base)


def _shaped(neighbour: str) -> bool:
    """A letter or a mark of a script whose letters join or stack, such as Arabic and those of India. Ideographs do
    not."""
    of_a_script = neighbour >= _FIRST_SHAPED and unicodedata.category(neighbour) in ("Lo", "Lm", "Mn", "Mc")
    return of_a_script and unicodedata.east_asian_width(neighbour) != "W" and not IGNORABLE.match(neighbour)


def _pictured(neighbour: str) -> bool:
    """An emoji, or what may end one before the next: a tone of skin, a variation selector, a tag."""
    if _VARIES.match(neighbour) or _TAG.match(neighbour):
        return True
    return unicodedata.category(neighbour) in ("So", "Sk", "Sm", "Me")
