"""What a lesson claims: its calls of `check`, and whether each of them can be false."""

from __future__ import annotations

import ast
import builtins
from pathlib import Path


def checks(folder: Path) -> list[ast.Call]:
    """Every call of `check` in the programs of a lesson."""
    return [
        node
        for file in sorted(folder.glob("*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "check"
    ]


def can_be_false(condition: ast.expr) -> bool:
    """Whether it looks at something that has happened, which no wait has said already where it came to an end."""
    nodes = list(ast.walk(condition))
    seen = {node.id for node in nodes if isinstance(node, ast.Name)} - set(dir(builtins))
    compared = [
        {ast.unparse(one) for one in [node.left, *node.comparators]} for node in nodes if isinstance(node, ast.Compare)
    ]
    waits = [node.value for node in nodes if isinstance(node, ast.Await) and isinstance(node.value, ast.Call)]
    waited_for = {ast.unparse(given) for wait in waits for given in wait.args if isinstance(given, ast.Constant)}
    return bool(seen) and not _is_wait(condition) and all(len(each) > 1 and not each & waited_for for each in compared)


def _is_wait(condition: ast.expr) -> bool:
    """`await event.wait()` is true, or never ends."""
    return isinstance(condition, ast.Await) and ast.unparse(condition).endswith(".wait()")
