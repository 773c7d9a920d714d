"""How the files of a dataset are read, as its card says."""

from __future__ import annotations

import pyarrow as pa

from pipelines.dataset.features import holds_mp4
from pipelines.dataset.schema import of_videos

DUCKDB = """-- DuckDB; a folder above that is named like seed=7 must not become a column
SELECT arm, rarity, count(*) AS images, avg(clip_score) AS score, avg(group_vendi) AS diversity
FROM read_parquet('data/*.parquet', hive_partitioning = false) GROUP BY ALL ORDER BY ALL;"""
"""A query that every folder of Parquet files answers."""

_AS_PICTURES = """from datasets import load_dataset

rows = load_dataset("parquet", data_files="data/*.parquet", split="train")
rows[0]["image"]  # a PIL image"""
_AS_MP4 = """from datasets import Video, load_dataset

rows = load_dataset("parquet", data_files="data/*.parquet", split="train")
rows.cast_column("image", Video(decode=False))[0]["image"]["bytes"]  # an MP4; the package torchcodec decodes it"""
_BY_ARROW = """

```python
import pyarrow.dataset as ds

table = ds.dataset("data", format="parquet").to_table(columns=["prompt", "arm", "clip_score"])
```

"""
_BY_TORCH = """
```python
import torch
from datasets import load_dataset

rows = load_dataset("parquet", data_files="data/*.parquet", split="train").select_columns(["image", "prompt", "seed"])
loader = torch.utils.data.DataLoader(rows.with_format("torch"), batch_size=32)  # image: uint8 [N, C, H, W]
```
"""


def readers(columns: pa.Schema) -> str:
    """How Hugging Face datasets and DuckDB read a folder of Parquet files, in a card's section on loading.

    columns: of the files.
    """
    by_datasets = _AS_MP4 if holds_mp4(columns) else _AS_PICTURES
    return f"Run these in this folder.\n\n```python\n{by_datasets}\n```\n\n```sql\n{DUCKDB}\n```\n"


def readers_of_run(columns: pa.Schema) -> str:
    """The same of a run's folder, which Arrow and PyTorch read as well; videos are nothing for the latter.

    columns: of the files.
    """
    return readers(columns) + _BY_ARROW + ("" if of_videos(columns) else _BY_TORCH)
