"""The options of a command as its source declares them, read without importing it: help must not wait for torch."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from docstring_parser import parse

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Option:
    """One parameter, or one field of a parameter that is a dataclass."""

    name: str
    kind: str
    """The annotation, as it is written."""
    default: str | None
    """As it is written; None if the option is required."""
    help: str


def options(function: str) -> list[Option]:
    """Of the function ``module:name``; fields of plain dataclasses come as ``parameter.field``."""
    module, _, name = function.partition(":")
    tree = _tree(module)
    (node,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    texts = {param.arg_name: _line(param.description) for param in parse(ast.get_docstring(node) or "").params}
    arguments = [*node.args.args, *node.args.kwonlyargs]
    missing: list[ast.expr | None] = [None] * (len(node.args.args) - len(node.args.defaults))
    found: list[Option] = []
    for argument, default in zip(arguments, [*missing, *node.args.defaults, *node.args.kw_defaults], strict=True):
        assert argument.annotation is not None
        kind = ast.unparse(argument.annotation)
        fields = list(_fields(module, kind))
        own = Option(argument.arg, kind, None if default is None else ast.unparse(default), texts.get(argument.arg, ""))
        inside = [Option(f"{own.name}.{f.name}", f.kind, f.default, f.help) for f in fields]
        found += [own, *inside] if " | " in kind else inside or [own]
    return found


def summary(function: str) -> str:
    """The first paragraph of its docstring."""
    module, _, name = function.partition(":")
    (node,) = (node for node in _tree(module).body if isinstance(node, ast.FunctionDef) and node.name == name)
    return _line((ast.get_docstring(node) or "").split("\n\n")[0])


def _fields(module: str, name: str) -> Iterator[Option]:
    """The fields of the class of this name, or of those of a union, if it is a dataclass that is no choice of classes."""
    if " | " in name:
        for part in name.split(" | "):
            yield from _fields(module, part)
        return
    module, node = _class(module, name)
    if node is None or not any("dataclass" in ast.unparse(mark) for mark in node.decorator_list):
        return
    bases = [list(_fields(module, ast.unparse(base))) for base in node.bases]
    if not all(bases):
        return
    for statement, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign):
            text = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
            default = None if statement.value is None else ast.unparse(statement.value)
            yield Option(ast.unparse(statement.target), ast.unparse(statement.annotation), default, _line(str(text)))
    for inherited in bases:
        yield from inherited


def _class(module: str, name: str) -> tuple[str, ast.ClassDef | None]:
    """Where the module, or the module it imports the name from, defines it; that module, too."""
    for node in _tree(module).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return module, node
        imported = [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom) and name in imported and str(node.module).startswith("prism_pl"):
            return _class(str(node.module), name)
    return module, None


def _tree(module: str) -> ast.Module:
    path = _ROOT.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def _line(text: str | None) -> str:
    return " ".join((text or "").replace("``", "").split())
