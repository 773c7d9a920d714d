"""Rules that images have to meet, of a run's selection or over rows that there are."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from pipelines.config.expression_values import Values
from pipelines.config.expressions import Expression, check_columns


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A condition that images have to meet."""

    reason: str
    """Value of the column `drop_reason` for those that do not."""
    condition: Expression
    """It drops an image only where it is false: where it is unknown, the image stays."""

    def broken(self, columns: Mapping[str, Values], count: int) -> list[bool]:
        """For each image of a group, whether the condition is false. Arguments as of `Expression.values`."""
        return [value is False for value in self.condition.values(columns, count)]


def within(column: str, low: float, high: float) -> Expression:
    """The condition that a value is neither below nor above two numbers; one that is no number (NaN) is not within.

    column: any name.
    low, high: the numbers.
    """
    sides = [ast.Constant(low), ast.Name(column), ast.Constant(high)]
    return _built(ast.Compare(sides[0], [ast.LtE(), ast.LtE()], sides[1:]), column)


def not_below(column: str, low: float) -> Expression:
    """The condition that a value is not below a number; one that is no number (NaN) is not below it.

    column: any name.
    low: the number.
    """
    return _built(ast.UnaryOp(ast.Not(), ast.Compare(ast.Name(column), [ast.Lt()], [ast.Constant(low)])), column)


def _built(tree: ast.expr, column: str) -> Expression:
    return Expression(text=ast.unparse(tree), kind="condition", columns=frozenset({column}), tree=tree)


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
