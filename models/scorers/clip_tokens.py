"""How much of a text open_clip's tokenizers cut off, which they do in silence."""

from __future__ import annotations

from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

_MARKS = 2
"""Tokens that `SimpleTokenizer` puts before and after a text."""

_MARKS_OF_CLIPS = 3
"""The same of `HFTokenizer` in its mode "clips", with the class token."""


def tokens_cut(tokenizer: SimpleTokenizer | HFTokenizer, text: str) -> int:
    """How many of a text's last tokens a model is not given.

    tokenizer: as `open_clip.get_tokenizer` gives it.
    text: the whole text.
    """
    if isinstance(tokenizer, SimpleTokenizer):
        count = len(tokenizer.encode(text)) + _MARKS
    else:
        bare = tokenizer.tokenizer_mode == "clips"
        ids = tokenizer.tokenizer(tokenizer.clean_fn(text), add_special_tokens=not bare, verbose=False).input_ids
        count = len(ids) + (_MARKS_OF_CLIPS if bare else 0)
    return max(0, count - int(tokenizer.context_length or 0))
