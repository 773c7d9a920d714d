"""Rules about images, as expressions over the columns of their scores: `clip_margin > 0.02 and vqa_clip_score > 0.6`.

An expression is Python's, of what `_BINARY`, `_COMPARE` and `FUNCTIONS` name alone; `ast` reads it, and nothing runs it
as Python. A value that is missing makes what is computed from it missing, and a comparison with it unknown: `and` is
false where one side is false, `or` true where one side is true, whatever the other is (Kleene's logic, as in SQL).
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from models.errors import did_you_mean

Values = Sequence[Any]
"""For each image of a group: a number or a truth value, None where it is missing or unknown."""

_LONGEST = 4000
_NEEDS: dict[str, str] = {"number": "a number, such as clip_score", "condition": "a comparison, such as clip_score > 0"}


def _division(left: float, right: float) -> float | None:
    return left / right if right else None


_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.Not: operator.not_,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_BINARY: dict[type[ast.operator], Callable[[float, float], float | None]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: _division,
}
_COMPARE: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
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
    order = sorted((at for at, value in enumerate(values) if value is not None), key=lambda at: -values[at])
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


@dataclass(frozen=True, kw_only=True)
class Expression:
    """An expression, checked."""

    text: str
    """As it was written, but for its spaces."""
    kind: Literal["number", "condition"]
    """What it gives for an image."""
    columns: frozenset[str]
    """The columns that it reads."""
    tree: ast.expr
    """Of allowed nodes only."""

    def values(self, columns: Mapping[str, Values], count: int) -> Values:
        """What it gives for the images of a group.

        columns: those that it reads, and perhaps others: a value per image.
        count: images in the group.
        """
        return _values(self.tree, columns, count)

    def parts(self) -> list[Expression]:
        """The conditions that a condition joins by `and`, each alone: where none is false, it is not."""
        joined = isinstance(self.tree, ast.BoolOp) and isinstance(self.tree.op, ast.And)
        trees = self.tree.values if joined and isinstance(self.tree, ast.BoolOp) else [self.tree]
        return [expression(ast.unparse(tree)) for tree in trees]


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


@cache
def expression(text: str) -> Expression:
    """The expression in a text.

    text: may be over several lines.

    Raises:
        ValueError: when it is none, or has a part that is not allowed.
    """
    text = " ".join(text.split())
    if len(text) > _LONGEST:
        raise ValueError(f"it has {len(text):,} letters: needs at most {_LONGEST:,}")
    try:
        tree = ast.parse(text, mode="eval").body
        kind, columns = _kind(tree), frozenset(_columns(tree))
    except SyntaxError as error:
        raise ValueError(f"it is no expression ({error.msg}, at letter {error.offset or 1})") from None
    except (RecursionError, MemoryError):
        raise ValueError("it is nested too deeply") from None
    return Expression(text=text, kind=kind, columns=columns, tree=tree)


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


def check_columns(found: Expression, known: Sequence[str]) -> None:
    """Check that an expression reads columns that there are.

    found: the expression.
    known: names of the columns.

    Raises:
        ValueError: when one is unknown.
    """
    for name in sorted(found.columns):
        if name not in known:
            hint = did_you_mean(name, known) or f"; there are: {', '.join(known)}"
            raise ValueError(f"{found.text!r} reads the column {name!r}, which no scorer of the run gives{hint}")


def _kind(node: ast.expr) -> Literal["number", "condition"]:
    """What a node gives.

    Raises:
        ValueError: when it, or a part of it, is not allowed.
    """
    match node:
        case ast.BoolOp(values=parts):
            return _all(parts, "condition", gives="condition")
        case ast.UnaryOp(op=ast.Not(), operand=part):
            return _all([part], "condition", gives="condition")
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=part):
            return _all([part], "number", gives="number")
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _all([left, right], "number", gives="number")
        case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in _COMPARE for op in ops):
            return _all([left, *others], "number", gives="condition")
        case ast.Call(func=ast.Name(id=name), args=[part], keywords=[]) if name in FUNCTIONS:
            return _all([part], "number", gives="condition" if name == "known" else "number")
        case ast.Call(func=ast.Name(id=name)):
            hint = did_you_mean(name, FUNCTIONS) or f"; there are: {', '.join(FUNCTIONS)}"
            raise ValueError(f"{ast.unparse(node)!r}: needs a function of one value{hint}")
        case ast.Name():
            return "number"
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool) and abs(value) < 1e300:
            return "number"
    raise ValueError(
        f"{ast.unparse(node)!r} is not allowed: needs columns, numbers, + - * /, comparisons, and, or, not, and "
        f"{', '.join(FUNCTIONS)}"
    )


def _all(
    parts: Sequence[ast.expr], kind: str, *, gives: Literal["number", "condition"]
) -> Literal["number", "condition"]:
    for part in parts:
        if _kind(part) != kind:
            raise ValueError(f"{ast.unparse(part)!r}: needs {_NEEDS[kind]}")
    return gives


def _columns(tree: ast.expr) -> set[str]:
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return names - {
        node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }


def _values(node: ast.expr, columns: Mapping[str, Values], count: int) -> Values:
    def of(part: ast.expr) -> Values:
        return _values(part, columns, count)

    match node:
        case ast.Constant(value=value):
            return [value] * count
        case ast.Name(id=name):
            return columns[name]
        case ast.Call(func=ast.Name(id=name), args=[part]):
            return FUNCTIONS[name](of(part))
        case ast.UnaryOp(op=op, operand=part):
            change = _UNARY[type(op)]
            return [None if value is None else change(value) for value in of(part)]
        case ast.BinOp(left=left, op=op, right=right):
            return _paired(_BINARY[type(op)], of(left), of(right))
        case ast.Compare(left=left, ops=ops, comparators=others):
            sides = [of(part) for part in (left, *others)]
            links = zip(ops, sides, sides[1:], strict=False)
            return [
                _joined(one, decides=False)
                for one in zip(*(_paired(_COMPARE[type(op)], a, b) for op, a, b in links), strict=True)
            ]
        case ast.BoolOp(op=op, values=parts):
            decides = isinstance(op, ast.Or)
            return [_joined(one, decides=decides) for one in zip(*map(of, parts), strict=True)]
    raise AssertionError(ast.dump(node))  # `_kind` lets nothing else through


def _paired(act: Callable[[Any, Any], Any], left: Values, right: Values) -> Values:
    return [None if a is None or b is None else act(a, b) for a, b in zip(left, right, strict=True)]


def _joined(values: Sequence[bool | None], *, decides: bool) -> bool | None:
    """`or` of truth values, of which a true one decides, or `and`, where a false one does."""
    if decides in values:
        return decides
    return None if None in values else not decides
