"""Reads from Python's sources which modules they import, without importing anything."""

import ast
import re
from collections.abc import Collection, Iterator, Mapping, Set
from pathlib import Path
from typing import Final

LOADERS: Final = frozenset({"import_module", "__import__"})
"Functions that import the module whose name they are given."
BUILTINS: Final = frozenset(
    {"open", "print", "input", "exec", "eval", "compile", "breakpoint", "__builtins__"}
)
"Names that reach the world, though nothing has to be imported for them."


def read_tree(root: Path, package: str) -> dict[str, Path]:
    """The files of all modules of the package in `root`, by module; of those in C, the stubs."""
    found: dict[str, Path] = {}
    for path in sorted((root / package).rglob("*.py*")):
        if path.suffix in (".py", ".pyi"):
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            found.setdefault(name.removesuffix(".__init__"), path)  # .py, not a stub beside it
    return found


def read_graph(tree: Mapping[str, Path]) -> dict[str, set[str]]:
    """What each module of a tree imports, as `imports` tells it."""
    return {
        module: imports(path.read_text(encoding="utf-8"), module, tree, path.stem == "__init__")
        for module, path in tree.items()
    }


def imports(source: str, module: str, tree: Collection[str], is_package: bool = False) -> set[str]:
    """The full names of all that `source`, the text of `module`, imports anywhere in it: at the
    top, in functions, under conditions, by `import_module`, or by the name of a module of the
    `tree` in a string. Of `from a import b` that is a.b; if a is in the tree and b is no module of
    it, a. Uses of `BUILTINS` are listed as builtins.open."""
    parsed = ast.parse(source)
    package = module if is_package else module.rpartition(".")[0]
    found = set(_builtins(parsed))
    loaders = set(LOADERS)
    for node in ast.walk(parsed):
        if isinstance(node, ast.Import):
            found |= {name for alias in node.names for name in _used(parsed, alias, tree)}
        elif isinstance(node, ast.ImportFrom):
            base = _absolute("." * node.level + (node.module or ""), package)
            for alias in node.names:
                name, local = f"{base}.{alias.name}", alias.asname or alias.name
                whole = ast.alias(name, local)
                found |= (
                    {*_used(parsed, whole, tree)} if name in tree else {_longest(name, base, tree)}
                )
            loaders |= {a.asname for a in node.names if a.name in LOADERS and a.asname}
    found |= set(_loaded(parsed, loaders, package))
    for text in _strings(parsed):
        found |= _told(text, tree)
    return found - {module}


def _absolute(name: str, package: str) -> str:
    """The full name of a module that may be given relative to a package: ".b" in "a" is "a.b"."""
    bare = name.lstrip(".")
    if not (level := len(name) - len(bare)):
        return name
    parts = package.split(".")
    return ".".join(filter(None, [*parts[: len(parts) - level + 1], bare]))


def _longest(name: str, base: str, tree: Collection[str]) -> str:
    """Of the tree's modules, the longest that `name` begins with, `base` at least; a name of no
    module of the tree is left as it is."""
    if base.partition(".")[0] not in tree:
        return name
    while name != base and name not in tree:
        name = name.rpartition(".")[0]
    return name


def _used(parsed: ast.Module, alias: ast.alias, tree: Collection[str]) -> Iterator[str]:
    """What of `import a` is used, such as a.b, or a where it is used as a whole or not at all."""
    local = alias.asname or alias.name
    if "." in local:
        yield alias.name
        return
    nodes = [*ast.walk(parsed)]
    uses = {id(node) for node in nodes if isinstance(node, ast.Name) and node.id == local}
    parts = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    chains = [ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)]
    for chain in chains if uses else ():
        if chain.startswith(f"{local}.") and chain.replace(".", "").isidentifier():
            yield _longest(alias.name + chain.removeprefix(local), alias.name, tree)
    if uses - parts or not uses:
        yield alias.name


def _loaded(parsed: ast.Module, loaders: Set[str], package: str) -> Iterator[str]:
    """The modules that calls of `loaders` name: `import_module(".b", "a")` loads a.b."""
    for node in ast.walk(parsed):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in loaders:
            texts = [a.value if isinstance(a, ast.Constant) else None for a in node.args]
            match texts:
                case [str(name), str(beside), *_]:
                    yield _absolute(name, beside)
                case [str(name), *_]:
                    yield _absolute(name, package)


def _builtins(parsed: ast.Module) -> Iterator[str]:
    for node in ast.walk(parsed):
        match node:
            case ast.Name(id=name, ctx=ast.Load()) if name in BUILTINS:
                yield f"builtins.{name}"


def _strings(parsed: ast.Module) -> Iterator[str]:
    """All strings that are values; a docstring is a statement of its own."""
    statements = {id(node.value) for node in ast.walk(parsed) if isinstance(node, ast.Expr)}
    for node in ast.walk(parsed):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in statements:
                yield text


def _told(text: str, tree: Collection[str]) -> set[str]:
    """The module of the tree that a text names, or of which it names a part; where it is but the
    beginning of a name, as "pktlb.cli." and "pktlb.cli.%s" are, all modules of that package."""
    text = re.split("[%{:]", text, maxsplit=1)[0]
    if text.endswith("."):
        return {name for name in tree if text[:-1] and name.rpartition(".")[0] == text[:-1]}
    parts = text.split(".")
    names = [".".join(parts[:count]) for count in range(len(parts), 1, -1)]
    return {next((name for name in names if name in tree), "")} - {""}


def reach(graph: Mapping[str, Set[str]], module: str) -> set[str]:
    """All modules of the graph that a module imports, and that these import; the module itself
    only if it is in a circle."""
    found: set[str] = set()
    left = [module]
    while left:
        new = {name for name in graph[left.pop()] if name in graph} - found
        found |= new
        left += new
    return found


def circles(graph: Mapping[str, Set[str]]) -> list[tuple[str, ...]]:
    """The modules of each circle of imports, sorted: each one imports, by way of others or not,
    all others and itself."""
    reached = {module: reach(graph, module) for module in graph}
    return sorted(
        {
            tuple(sorted({module} | {other for other in ends if module in reached[other]}))
            for module, ends in reached.items()
            if module in ends
        }
    )
