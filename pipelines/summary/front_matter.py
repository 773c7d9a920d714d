"""The YAML at the head of a dataset card, which the Hugging Face hub reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

OTHER = "other"
"""The hub's name of a licence that is not in its list."""

_SIZES = (
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"),
    (10**9, "100M<n<1B"),
)


def size_category(images: int) -> str:
    """The hub's size category of a dataset.

    images: number of rows.
    """
    return next((name for limit, name in _SIZES if images < limit), "n>1B")


def front_matter(
    *,
    title: str,
    images: int,
    configs: Mapping[str, Mapping[str, str]],
    license_name: str = OTHER,
    more: Sequence[str] = (),
) -> str:
    """The YAML at the head of a card.

    title: name of the dataset.
    images: number of images.
    configs: name -> split -> glob of its files, the default config first.
    license_name: as the hub names licences.
    more: the lines of YAML in `dataset_info`.
    """

    def config(name: str, splits: Mapping[str, str], default: bool) -> list[str]:
        mark = ["  default: true"] if default else []
        files = [line for split, path in splits.items() for line in (f"  - split: {split}", f"    path: {path}")]
        return [f"- config_name: {name}", *mark, "  data_files:", *files]

    lines = [
        "---",
        f"license: {license_name}",
        f"pretty_name: {_yaml_string(title)}",
        "task_categories:",
        "- text-to-image",
        "tags:",
        *(f"- {tag}" for tag in ("synthetic", "rare-concepts", "diversity", "diffusion", "raydiance")),
        "size_categories:",
        f"- {size_category(images)}",
        *(["configs:"] if configs else []),
        *(line for at, (name, splits) in enumerate(configs.items()) for line in config(name, splits, at == 0)),
        *(["dataset_info:", *more] if more else []),
        "---\n",
    ]
    return "\n".join(lines)


def _yaml_string(text: str) -> str:
    """A text as a YAML string on one line: a JSON string, with YAML's escapes for letters that are not printable."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)
