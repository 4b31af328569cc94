"""The mechanical part of the rules for docstrings and names."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_architecture import ROOT, files

ALL = [*files(), *sorted((ROOT / "hydra_plugins").rglob("*.py"))]
VAGUE = ("Of", "That", "Those", "What", "Whether", "The same", "How", "Who", "Where", "Why")
EVERYDAY = {"found", "own", "kept", "held", "told", "made", "given", "known", "drawn", "says", "say", "who", "anew"}
ERRORS = {"UserError", "ValueError"}
Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.Module | ast.ClassDef | Function


def place(path: Path) -> str:
    """The room or the verb that a file belongs to."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == "src" else parts[0]


CASES = [pytest.param(path, id=str(path.relative_to(ROOT))) for path in ALL]


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def documented(tree: ast.Module) -> Iterator[tuple[str, Documented, str]]:
    """Everything at the top of a module and in its classes that can have a docstring: name, node, docstring."""
    if tree.body:
        yield "the module", tree, ast.get_docstring(tree) or ""
    for node in tree.body:
        if isinstance(node, ast.ClassDef | Function):
            yield node.name, node, ast.get_docstring(node) or ""
        if isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, Function):
                    yield f"{node.name}.{method.name}", method, ast.get_docstring(method) or ""


def public(name: str) -> bool:
    return not any(part.startswith("_") for part in name.split("."))


def parameters(node: Function) -> list[str]:
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return [argument.arg for argument in every if argument.arg not in ("self", "cls")]


def raises(node: ast.AST) -> bool:
    """Whether the code of a function, that of functions inside apart, raises an error that a person or a caller causes."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Raise) and isinstance(child.exc, ast.Call):
            name = child.exc.func
            if isinstance(name, ast.Name) and name.id in ERRORS:
                return True
        if not isinstance(child, ast.ClassDef | Function | ast.Lambda) and raises(child):
            return True
    return False


def complaints(tree: ast.Module) -> Iterator[str]:
    texts = {name: text for name, _, text in documented(tree)}
    for name, node, text in documented(tree):
        first = text.partition("\n\n")[0]
        if not text and (public(name) or name == "the module"):
            yield f"{name} has no docstring"
        if re.match(rf"({'|'.join(VAGUE)})\b", first):
            yield f"{name}: {first!r} is no full statement"
        if text and not first.endswith((".", ":")):
            yield f"{name}: {first!r} ends without a full stop"
        if "NEEDS A DOCSTRING" in text:
            yield f"{name} has a placeholder"
        if isinstance(node, Function):
            owner = name.rpartition(".")[0]
            of_class = name.endswith(("__init__", "__post_init__"))
            whole = f"{text}\n{texts.get(owner, '')}" if of_class else text
            names = parameters(node)
            unnamed = [each for each in names if not re.search(rf"\b{each}\b", whole)]
            if (public(name) or of_class) and len(names) >= 3 and unnamed:
                yield f"{name} does not name {', '.join(unnamed)}"
            if (public(name) or of_class) and raises(node) and "Raises:" not in whole:
                yield f"{name} has no Raises:"


@pytest.mark.parametrize("path", CASES)
def test_docstrings(path: Path) -> None:
    assert list(complaints(tree_of(path))) == []


def identifiers(tree: ast.Module) -> Iterator[str]:
    """The names that a module gives: to functions, classes, parameters, attributes and variables."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | Function):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.alias) and node.asname:
            yield node.asname


@pytest.mark.parametrize("path", CASES)
def test_names_are_the_fields(path: Path) -> None:
    assert path.stem not in EVERYDAY
    assert {name for name in identifiers(tree_of(path)) if name.strip("_").lower() in EVERYDAY} == set()


BAD = '''"""That which is bad"""
class A:
    def __init__(self, a, b, c): ...
    def kept(self):
        """Of all."""
        raise ValueError("no")
def f(one, two, three):
    """Add `one` and two things."""
    found = one
'''


def test_the_rules_see_what_breaks_them() -> None:
    tree = ast.parse(BAD)
    assert list(complaints(tree)) == [
        "the module: 'That which is bad' is no full statement",
        "the module: 'That which is bad' ends without a full stop",
        "A has no docstring",
        "A.__init__ does not name a, b, c",
        "A.kept: 'Of all.' is no full statement",
        "A.kept has no Raises:",
        "f does not name three",
    ]
    assert {name for name in identifiers(tree) if name in EVERYDAY} == {"kept", "found"}
