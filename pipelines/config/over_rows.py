"""What expressions give for rows of a dataset."""

from __future__ import annotations

import pyarrow as pa

from pipelines.config.acceptance import Expression, Values, check_columns


def values_of(rule: Expression, rows: pa.Table, known: list[str]) -> Values:
    """What an expression gives for each row; what it says of a group is of the whole group.

    rule: the expression.
    rows: whole groups, one behind the other, with the column group_id.
    known: columns that it may read.

    Raises:
        ValueError: when it reads another one.
    """
    check_columns(rule, known)
    ids = rows["group_id"].to_pylist()
    ends = [at for at in range(1, len(ids) + 1) if at == len(ids) or ids[at] != ids[at - 1]]
    columns = {name: rows[name].to_pylist() for name in rule.columns}
    found: list[object] = []
    for start, end in zip([0, *ends], ends, strict=False):
        found += rule.values({name: values[start:end] for name, values in columns.items()}, end - start)
    return found
