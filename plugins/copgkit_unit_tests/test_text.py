"""What the text of tests says before anything runs: whether it parses, and which names it wants from the candidate.

Test text is data of somebody else's making, so it is parsed and never run here. Limits: scopes are not told apart, a
name that is bound anywhere in a text counts as bound everywhere in it.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator

MAX_CHARACTERS = 1_000_000

COUNTER = "__copgkit_counter__"
"""The name under which counted asserts find who counts them."""


class TestFault(Exception):
    """The test text cannot be used, and why: becomes a DataError that names the row."""

    __test__ = False  # not a test case for pytest


def parsed(text: str, what: str) -> ast.Module:
    """The text as a tree. Raises TestFault for text that is no Python."""
    if len(text) > MAX_CHARACTERS:
        raise TestFault(f"{what} has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read")
    try:
        return ast.parse(text)
    except SyntaxError as fault:
        raise TestFault(f"{what} does not parse: {fault.msg} (line {fault.lineno})") from fault
    except (ValueError, RecursionError, MemoryError) as fault:
        raise TestFault(f"{what} does not parse: {fault or type(fault).__name__}") from fault


def bound_names(tree: ast.AST) -> set[str]:
    """Every name that the text binds anywhere: assignments, definitions, imports, arguments, handlers."""
    return {name for node in ast.walk(tree) for name in _bound_by(node)}


def wanted_names(trees: Iterable[ast.AST]) -> list[str]:
    """The names that the texts read and that nothing binds and Python does not know, in order of first use."""
    trees = list(trees)
    known = set(dir(builtins)).union(*map(bound_names, trees))
    reads = [
        (node.lineno, node.col_offset, place, node.id)
        for place, tree in enumerate(trees)
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id not in known
    ]
    return list(dict.fromkeys(name for _, _, _, name in sorted(reads, key=lambda read: (read[2], read[0], read[1]))))


def used_as_class(trees: Iterable[ast.AST], names: Iterable[str]) -> str | None:
    """A name that the texts use in a way that no stand-in can serve, or None.

    That is: as a class in `isinstance`, `except` or as a base, or as the maker of an object that is compared with.
    """
    names = set(names)
    for tree in trees:
        for node in ast.walk(tree):
            for used in _class_uses(node):
                if used in names:
                    return used
    return None


def functions(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    """The functions at the top of a text, by name."""
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def reads(tree: ast.AST, name: str) -> bool:
    """Whether the text reads a name anywhere."""
    return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(tree))


def with_counted_asserts(text: str) -> tuple[str, int]:
    """The text with every assert counted by itself instead of ending the text, and how many there are.

    `assert x == 1` becomes `try: assert x == 1`, and the counter is told its number and how it went. What raises
    outside an assert still ends the text.
    """
    counter = _Counter()
    changed = ast.fix_missing_locations(counter.visit(ast.parse(text)))
    return ast.unparse(changed), counter.found


class _Counter(ast.NodeTransformer):
    def __init__(self) -> None:
        self.found = 0

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        number, self.found = self.found, self.found + 1
        told = [ast.parse(f"{COUNTER}({number}, {passed})").body for passed in (True, False)]
        handler = ast.ExceptHandler(type=ast.Name("Exception", ast.Load()), name=None, body=told[1])
        return ast.Try(body=[node], handlers=[handler], orelse=told[0], finalbody=[])


def _bound_by(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.alias):
        yield (node.asname or node.name).partition(".")[0]
    elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
        yield node.name


def _class_uses(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("isinstance", "issubclass"):
        yield from _names(node.args[1:])
    elif isinstance(node, ast.ExceptHandler) and node.type is not None:
        yield from _names([node.type])
    elif isinstance(node, ast.ClassDef):
        yield from _names(node.bases)
    elif isinstance(node, ast.Compare):
        makers = [one.func for one in (node.left, *node.comparators) if isinstance(one, ast.Call)]
        yield from (maker.id for maker in makers if isinstance(maker, ast.Name) and maker.id[:1].isupper())


def _names(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        yield from (part.id for part in ast.walk(node) if isinstance(part, ast.Name))
