"""Shape of the sources, room by room: counts that moving lines between files cannot lower.

`python -m tests.shape` prints the counts, `--over METRIC` names each place over that limit,
`--lower` writes lower counts to the ratchet file.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
RATCHET = Path(__file__).parent / "data" / "shape.json"
LIMITS = {
    "constructor parameters": 7,
    "function parameters": 6,
    "callable parameters": 2,
    "complexity": 10,
    "methods of a class": 25,
    "function lines": 40,
    "docstring words": 40,
    "late-bound attributes": 0,
    "attributes written across files": 0,
    "computed attribute names": 0,
    "docstrings opened by a pronoun": 0,
}
"""Highest value that is not counted, by metric."""
BOUNDS = {"function lines": 60, "complexity": 30, "methods of a class": 60}
"""Highest value of any place at all: no further place over the limit above makes up for a worse one."""
PRONOUN = re.compile(
    r"\W*(what|who|whose|whom|where|whether|whoever|whatever|how|which|that|those|one|it)\b", re.IGNORECASE
)

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Place:
    """One measured value."""

    metric: str
    value: int
    line: int
    name: str


def counts() -> dict[str, dict[str, int]]:
    """Return how many places of each room stand over each limit; zeros are left out."""
    found: dict[str, Counter[str]] = {}
    for path in sources():
        over = (place.metric for place in measured(path) if place.value > LIMITS[place.metric])
        found.setdefault(room(path), Counter()).update(over)
    return {name: dict(sorted(counter.items())) for name, counter in sorted(found.items())}


def sources() -> list[Path]:
    return sorted(path for top in ("sdp", "gateway") for path in (ROOT / top).rglob("*.py"))


def room(path: Path) -> str:
    """Return the top folder of `path`, for `gateway` with the folder below it."""
    parts = path.relative_to(ROOT).parts
    return "/".join(parts[:2]) if len(parts) > 2 else parts[0]


def measured(path: Path) -> Iterator[Place]:
    """Yield every value of one file."""
    module = ast.parse(path.read_text())
    own = {name for node in ast.walk(module) if isinstance(node, ast.ClassDef) for name in _attributes(node)}
    yield from _of_body(module, "", own)


def _of_body(owner: ast.Module | ast.ClassDef | Function, name: str, own: set[str]) -> Iterator[Place]:
    yield from _docstrings(owner, name)
    for node in _outer(owner):
        inner = f"{name}.{node.name}" if name else node.name
        if isinstance(node, ast.ClassDef):
            yield from _class(node, inner)
        else:
            yield from _function(node, inner, owner)
        yield from _of_body(node, inner, own)
    if isinstance(owner, ast.Module):
        for each in ast.walk(owner):
            yield from _written_across(each, own)


def _outer(owner: ast.AST) -> Iterator[ast.ClassDef | Function]:
    """Yield functions and classes of `owner`, not those inside them."""
    for child in ast.iter_child_nodes(owner):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
        else:
            yield from _outer(child)


def _class(node: ast.ClassDef, name: str) -> Iterator[Place]:
    methods = [each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    if _is_protocol(node):
        return
    yield Place("methods of a class", len(methods), node.lineno, name)
    decorator = next((each for each in node.decorator_list if "dataclass" in _names(each)), None)
    if decorator is not None and "frozen=True" not in ast.unparse(decorator) and len(methods) >= 3:
        fields = [
            each for each in node.body if isinstance(each, ast.AnnAssign) and "init=False" not in ast.unparse(each)
        ]
        yield Place("constructor parameters", len(fields), node.lineno, name)
        yield Place("callable parameters", _callables(each.annotation for each in fields), node.lineno, name)


def _function(node: Function, name: str, owner: ast.AST) -> Iterator[Place]:
    is_method = isinstance(owner, ast.ClassDef)
    if isinstance(owner, ast.ClassDef) and _is_protocol(owner):
        return
    parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    parameters = [each for each in parameters if each.arg not in ("self", "cls")]
    is_constructor = is_method and node.name == "__init__"
    metric = "constructor parameters" if is_constructor else "function parameters"
    yield Place(metric, len(parameters), node.lineno, name)
    yield Place("callable parameters", _callables(each.annotation for each in parameters), node.lineno, name)
    yield Place("complexity", _complexity(node), node.lineno, name)
    yield Place("function lines", (node.end_lineno or node.lineno) - node.lineno + 1, node.lineno, name)
    for each in ast.walk(node):
        if is_constructor and isinstance(each, ast.AnnAssign) and _is_late(each):
            yield Place("late-bound attributes", 1, each.lineno, ast.unparse(each.target))
        if is_method and isinstance(each, ast.Call) and _is_computed(each):
            yield Place("computed attribute names", 1, each.lineno, ast.unparse(each))


def _docstrings(owner: ast.Module | ast.ClassDef | Function, name: str) -> Iterator[Place]:
    text = ast.get_docstring(owner)
    if text and not isinstance(owner, ast.Module):
        yield Place("docstring words", len(text.split()), owner.lineno, name)
    texts = [(getattr(owner, "lineno", 1), text)] if text else []
    for before, after in zip(owner.body, owner.body[1:], strict=False):
        if isinstance(before, ast.Assign | ast.AnnAssign) and isinstance(after, ast.Expr):
            value = getattr(after.value, "value", None)
            texts += [(after.lineno, value)] if isinstance(value, str) else []
    for line, each in texts:
        if PRONOUN.match(each):
            yield Place("docstrings opened by a pronoun", 1, line, name or "module")


def _written_across(node: ast.AST, own: set[str]) -> Iterator[Place]:
    """Yield assignments to attributes that no class of the file has."""
    if not isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        return
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    for target in (inner for each in targets for inner in (each.elts if isinstance(each, ast.Tuple) else [each])):
        if not isinstance(target, ast.Attribute) or target.attr in own or target.attr.startswith("__"):
            continue
        if getattr(target.value, "id", "") not in ("self", "cls"):
            yield Place("attributes written across files", 1, node.lineno, ast.unparse(target))


def _complexity(function: Function) -> int:
    """Return McCabe's figure of the function's own body."""
    figure, todo = 1, list(ast.iter_child_nodes(function))
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if isinstance(node, ast.BoolOp):
            figure += len(node.values) - 1
        elif isinstance(node, ast.comprehension):
            figure += 1 + len(node.ifs)
        elif isinstance(node, ast.match_case):
            figure += ast.unparse(node.pattern) != "_" or node.guard is not None
        else:
            branches = ast.If | ast.IfExp | ast.For | ast.AsyncFor | ast.While | ast.ExceptHandler | ast.Assert
            figure += isinstance(node, branches)
        todo += ast.iter_child_nodes(node)
    return figure


def _attributes(node: ast.ClassDef) -> Iterator[str]:
    """Yield public names that a class declares or sets on `self`."""
    for each in ast.walk(node):
        if isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store):
            if getattr(each.value, "id", "") == "self":
                yield each.attr
        elif isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
            yield each.id
        elif isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            yield each.name


def _is_late(node: ast.AnnAssign) -> bool:
    """Tell an attribute of `self` declared without a value, or public, None or a hook until another file sets it."""
    if not isinstance(node.target, ast.Attribute):
        return False
    if node.value is None:
        return True
    is_hook = "Callable" in _names(node.annotation)
    is_unset = "None" in ast.unparse(node.annotation) and getattr(node.value, "value", 0) is None
    return not node.target.attr.startswith("_") and (is_hook or is_unset)


def _is_computed(call: ast.Call) -> bool:
    is_getter = getattr(call.func, "id", "") in ("getattr", "setattr")
    return is_getter and len(call.args) > 1 and not isinstance(call.args[1], ast.Constant)


def _is_protocol(node: ast.ClassDef) -> bool:
    return any("Protocol" in _names(base) for base in node.bases)


def _callables(annotations: Iterator[ast.expr | None]) -> int:
    return sum("Callable" in _names(each) for each in annotations if each is not None)


def _names(node: ast.AST) -> set[str]:
    named = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    return named | {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)}


def lower() -> None:
    """Write today's counts to the ratchet file where they are lower; raise ValueError for a count that is higher."""
    today, before = counts(), json.loads(RATCHET.read_text()) if RATCHET.exists() else {}
    for name, metrics in today.items():
        for metric, count in metrics.items():
            if name in before and count > before[name].get(metric, 0):
                raise ValueError(f"{name}: {metric} rose from {before[name].get(metric, 0)} to {count}")
    RATCHET.write_text(json.dumps(today, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--over", choices=LIMITS, metavar="METRIC", help=f"one of: {', '.join(LIMITS)}")
    parser.add_argument("--lower", action="store_true", help="write lower counts to the ratchet file")
    arguments = parser.parse_args()
    if arguments.lower:
        lower()
    elif arguments.over:
        for path in sources():
            for place in measured(path):
                if place.metric == arguments.over and place.value > LIMITS[place.metric]:
                    sys.stdout.write(f"{path.relative_to(ROOT)}:{place.line} {place.name}: {place.value}\n")
    else:
        totals: Counter[str] = Counter()
        for metrics in counts().values():
            totals.update(metrics)
        for metric, limit in LIMITS.items():
            sys.stdout.write(f"{totals[metric]:6} {metric} over {limit}\n")


if __name__ == "__main__":
    main()
