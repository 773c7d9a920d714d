"""What an expression over columns gives for the images of a group.

A value that is missing makes what is computed from it missing, and a comparison with it unknown: `and` is false where
one side is false, `or` true where one side is true, whatever the other is (Kleene's logic, as in SQL).
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Values = Sequence[Any]
"""For each image of a group: a number or a truth value, None where it is missing or unknown."""


def _division(left: float, right: float) -> float | None:
    return left / right if right else None


UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.Not: operator.not_,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
BINARY: dict[type[ast.operator], Callable[[float, float], float | None]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: _division,
}
COMPARE: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def _known(values: Values) -> Values:
    return [value is not None for value in values]


def _of_group(number_of: Callable[[list[float]], float]) -> Callable[[Values], Values]:
    def same_for_all(values: Values) -> Values:
        there = [value for value in values if value is not None]
        return [number_of(there) if there else None] * len(values)

    return same_for_all


def _rank(values: Values) -> Values:
    there = [at for at, value in enumerate(values) if value is not None]
    order = sorted(there, key=lambda at: (math.isnan(values[at]), -values[at]))
    places = {at: place for place, at in enumerate(order, 1)}
    return [places.get(at) for at in range(len(values))]


FUNCTIONS: dict[str, Callable[[Values], Values]] = {
    "known": _known,
    "rank": _rank,
    "group_mean": _of_group(lambda there: sum(there) / len(there)),
    "group_max": _of_group(max),
    "group_min": _of_group(min),
}
"""Name -> what it gives for the values of a group: `known` whether there is one, `rank` 1 for the highest, and the
mean, the highest and the lowest of those that there are."""


def values(node: ast.expr, columns: Mapping[str, Values], count: int) -> Values:
    """What an expression gives for the images of a group.

    node: its tree, of nodes that `pipelines.config.expressions` allows.
    columns: those that it reads, and perhaps others: a value per image.
    count: images in the group.
    """

    def of(part: ast.expr) -> Values:
        return values(part, columns, count)

    match node:
        case ast.Constant(value=value):
            return [value] * count
        case ast.Name(id=name):
            return columns[name]
        case ast.Call(func=ast.Name(id=name), args=[part]):
            return FUNCTIONS[name](of(part))
        case ast.UnaryOp(op=op, operand=part):
            change = UNARY[type(op)]
            return [None if value is None else change(value) for value in of(part)]
        case ast.BinOp(left=left, op=op, right=right):
            return _paired(BINARY[type(op)], of(left), of(right))
        case ast.Compare(left=left, ops=ops, comparators=others):
            sides = [of(part) for part in (left, *others)]
            links = zip(ops, sides, sides[1:], strict=False)
            return [
                _joined(one, decides=False)
                for one in zip(*(_paired(COMPARE[type(op)], a, b) for op, a, b in links), strict=True)
            ]
        case ast.BoolOp(op=op, values=parts):
            decides = isinstance(op, ast.Or)
            return [_joined(one, decides=decides) for one in zip(*map(of, parts), strict=True)]
    raise AssertionError(ast.dump(node))  # the reader lets nothing else through


def _paired(act: Callable[[Any, Any], Any], left: Values, right: Values) -> Values:
    return [None if a is None or b is None else act(a, b) for a, b in zip(left, right, strict=True)]


def _joined(values: Sequence[bool | None], *, decides: bool) -> bool | None:
    """`or` of truth values, of which a true one decides, or `and`, where a false one does."""
    if decides in values:
        return decides
    return None if None in values else not decides
