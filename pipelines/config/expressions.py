"""Expressions over the columns of scores: `clip_margin > 0.02 and vqa_clip_score > 0.6`.

They are Python's, of what `BINARY`, `COMPARE` and `FUNCTIONS` name alone; `ast` reads them, and nothing runs them as
Python.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from models.errors import meant
from pipelines.config.expression_values import BINARY, COMPARE, FUNCTIONS, Values, values

Kind = Literal["number", "condition"]

_LONGEST = 4000
_NEEDS: dict[str, str] = {"number": "a number, such as clip_score", "condition": "a comparison, such as clip_score > 0"}


@dataclass(frozen=True, kw_only=True)
class Expression:
    """An expression, checked."""

    text: str
    """As it was written, but for its spaces."""
    kind: Kind
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
        return values(self.tree, columns, count)

    def parts(self) -> list[Expression]:
        """The conditions that a condition joins by `and`, each alone: where none is false, it is not."""
        joined = isinstance(self.tree, ast.BoolOp) and isinstance(self.tree.op, ast.And)
        trees = self.tree.values if joined and isinstance(self.tree, ast.BoolOp) else [self.tree]
        return [expression(ast.unparse(tree)) for tree in trees]


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


def check_columns(found: Expression, known: Sequence[str]) -> None:
    """Check that an expression reads columns that there are.

    found: the expression.
    known: names of the columns.

    Raises:
        ValueError: when one is unknown.
    """
    for name in sorted(found.columns):
        if name not in known:
            hint = meant(name, known)
            raise ValueError(f"{found.text!r} reads the column {name!r}, which no scorer of the run gives{hint}")


def _kind(node: ast.expr) -> Kind:
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
        case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
            return _all([left, right], "number", gives="number")
        case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in COMPARE for op in ops):
            return _all([left, *others], "number", gives="condition")
        case ast.Call(func=ast.Name(id=name), args=[part], keywords=[]) if name in FUNCTIONS:
            return _all([part], "number", gives="condition" if name == "known" else "number")
        case ast.Call(func=ast.Name(id=name)):
            raise ValueError(f"{ast.unparse(node)!r}: needs a function of one value{meant(name, FUNCTIONS)}")
        case ast.Name():
            return "number"
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool) and abs(value) < 1e300:
            return "number"
    raise ValueError(
        f"{ast.unparse(node)!r} is not allowed: needs columns, numbers, + - * /, comparisons, and, or, not, and "
        f"{', '.join(FUNCTIONS)}"
    )


def _all(parts: Sequence[ast.expr], kind: str, *, gives: Kind) -> Kind:
    for part in parts:
        if _kind(part) != kind:
            raise ValueError(f"{ast.unparse(part)!r}: needs {_NEEDS[kind]}")
    return gives


def _columns(tree: ast.expr) -> set[str]:
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return names - {
        node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
