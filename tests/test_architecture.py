"""The shape of the project, held as data: who may import whom, who may load torch, what lies where."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import seq2seq

ROOT = Path(__file__).resolve().parent.parent

# A part of the library imports from itself and from what stands above it here, never from what stands below.
LAYERS = (
    "errors",
    "settings",
    "files",
    "memory",
    "telling",
    "languages",
    "config",
    "devices",
    "data",
    "model",
    "weights",
    "checkpoint",
    "averaging",
    "decoding",
    "evaluation",
    "training",
    "export",
    "doctor",
    "reporting",
    "fetch",
    "stages",
    "run_folder",
    "going_on",
    "synthesis",
    "recipe_text",
    "recipe_means",
    "recipe_scores",
    "recipe_settings",
    "recipe_training",
    "pipeline",
    "recipe",
)
# Importing these, and all modules of the command line, loads nothing slow, so `--help` answers at once.
QUICK = (
    "seq2seq",
    "seq2seq.errors",
    "seq2seq.settings",
    "seq2seq.files",
    "seq2seq.config",
    "seq2seq.data",
    "seq2seq.data.corpus",
    "seq2seq.data.cleaning",
    "seq2seq.data.tokenizer",
    "seq2seq.evaluation",
)
SLOW = {"torch", "safetensors", "datasets", "transformers", "tensorboard", "ctranslate2", "onnx", "onnxruntime"}
UNSAFE = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
TOP_LEVEL = {"README.md", "LICENSE", "pyproject.toml", "seq2seq", "recipes", "cli", "tests"}
PACKAGES = {"seq2seq": "seq2seq", "seq2seq_cli": "cli", "seq2seq_recipes": "recipes"}
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "common", "constants", "base", "manager", "misc"}


class Import(NamedTuple):
    """`target` is dotted and includes the imported name: `from a.b import c` is `a.b.c`."""

    target: str
    line: int
    at_once: bool  # executed when the module is imported: not in a function, not for type checkers alone


def source_files(*packages: str) -> dict[str, Path]:
    """The project's Python files by the dotted name under which they are installed."""
    found = {}
    for package in packages:
        folder = ROOT / PACKAGES[package]
        for path in sorted(folder.rglob("*.py")):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


LIBRARY = source_files("seq2seq")
COMMANDS = source_files("seq2seq_cli")
RECIPES = source_files("seq2seq_recipes")
MODULES = {**LIBRARY, **COMMANDS, **RECIPES}


@cache
def imports(module: str) -> tuple[Import, ...]:
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return tuple(find_imports(ast.parse(path.read_bytes()), package, at_once=True))


def find_imports(node: ast.AST, package: str, at_once: bool) -> Iterator[Import]:
    match node:
        case ast.Import(names=names):
            yield from (Import(alias.name, node.lineno, at_once) for alias in names)
        case ast.ImportFrom(module=module, names=names, level=level):
            if level:
                parents = package.split(".")
                module = ".".join([*parents[: len(parents) - level + 1], *([module] if module else [])])
            yield from (Import(f"{module}.{alias.name}", node.lineno, at_once) for alias in names)
        case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"), body=body, orelse=orelse):
            for child in body:
                yield from find_imports(child, package, at_once=False)
            for child in orelse:
                yield from find_imports(child, package, at_once)
        case _:
            at_once = at_once and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                yield from find_imports(child, package, at_once)


def our_module(target: str) -> str | None:
    """The module of ours that an import of `target` ends in, or None for others' packages."""
    package, _, name = target.partition(".")
    if package == "seq2seq" and name in seq2seq._HOMES:
        return seq2seq._HOMES[name]
    parts = target.split(".")
    prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in MODULES), None)


@cache
def loaded_packages(module: str) -> frozenset[str]:
    """Others' top-level packages that are loaded when a module of ours is imported, directly or not."""
    found, seen, waiting = set(), set(), [module]
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        parent = current.rpartition(".")[0]
        waiting += [parent] if parent else []
        for target, _, at_once in imports(current) if current in MODULES else ():
            if at_once:
                ours = our_module(target)
                waiting += [ours] if ours else []
                found.add(target.partition(".")[0])
    return frozenset(found)


def where(module: str, line: int) -> str:
    return f"{MODULES[module].relative_to(ROOT)}:{line}"


def test_every_part_of_the_library_has_its_layer() -> None:
    parts = {name.split(".")[1] for name in LIBRARY if "." in name}
    assert parts <= set(LAYERS), "give the new part a place in LAYERS"


@pytest.mark.parametrize("module", [name for name in LIBRARY if name != "seq2seq"])
def test_imports_point_down(module: str) -> None:
    own = LAYERS.index(module.split(".")[1])
    for target, line, _ in imports(module):
        package, *rest = target.split(".")
        assert package not in ("seq2seq_cli", "seq2seq_recipes", "cli", "recipes"), f"{where(module, line)}: {target}"
        if package == "seq2seq":
            assert rest, f"{where(module, line)}: import from the module that defines a name"
            assert rest[0] in LAYERS, f"{where(module, line)}: {target}: import from the module that defines it"
            assert LAYERS.index(rest[0]) <= own, f"{where(module, line)}: {module} imports {target}, which is above it"


def test_no_two_modules_import_each_other() -> None:
    """Within a part too: what is imported at once has no circles."""
    needs = {
        name: {ours for target, _, at_once in imports(name) if at_once and (ours := our_module(target))} - {name}
        for name in MODULES
    }
    while leaves := [name for name, needed in needs.items() if not needed & needs.keys()]:
        for name in leaves:
            del needs[name]
    assert not needs


@pytest.mark.parametrize("module", [*COMMANDS, *QUICK])
def test_what_must_start_quickly_loads_no_torch(module: str) -> None:
    assert module in MODULES
    assert not loaded_packages(module) & SLOW


def test_importing_the_quick_modules_really_loads_no_torch() -> None:
    present = [name for name in QUICK if name in MODULES]
    code = f"import sys, importlib\nfor name in {present}: importlib.import_module(name)\n"
    code += f"print(*({SLOW} & sys.modules.keys()))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


@pytest.mark.parametrize("name", list(seq2seq._HOMES))
def test_public_names_are_defined_where_they_are_looked_up(name: str) -> None:
    assert name in seq2seq.__all__
    tree = ast.parse(MODULES[seq2seq._HOMES[name]].read_bytes())
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert name in defined


@pytest.mark.parametrize("module", list(COMMANDS))
def test_the_command_line_imports_itself_relatively(module: str) -> None:
    for node in ast.walk(ast.parse(COMMANDS[module].read_bytes())):
        if isinstance(node, ast.Import | ast.ImportFrom) and not getattr(node, "level", 0):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [str(node.module)]
            # By its installed name it would load a second copy when it runs under another one.
            wrong = {"cli", "recipes", "seq2seq_cli", "seq2seq_recipes"} & {name.split(".")[0] for name in names}
            assert not wrong, where(module, node.lineno)


@pytest.mark.parametrize("path", sorted(ROOT.glob("[!.]*/**/*.py")), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_is_unpickled(path: Path) -> None:
    tree = ast.parse(path.read_bytes())
    for found in find_imports(tree, "", at_once=True):
        assert found.target.split(".")[0] not in UNSAFE, f"line {found.line}: {found.target}"
        assert found.target != "torch.load", f"line {found.line}: call it as torch.load, so that it can be checked"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if ast.unparse(node.func) == "torch.load":
                assert keywords.get("weights_only") == "True", f"line {node.lineno}: torch.load needs weights_only=True"
            assert keywords.get("allow_pickle", "False") == "False", f"line {node.lineno}: allow_pickle"


def test_pyproject_lists_the_folders_that_are_there() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = set()
    for package, place in PACKAGES.items():
        files = [path for suffix in ("py", "toml") for path in (ROOT / place).rglob(f"*.{suffix}")]
        folders |= {".".join([package, *path.parent.relative_to(ROOT / place).parts]) for path in files}
    assert sorted(settings["packages"]) == sorted(folders)
    assert settings["package-dir"] == {name: place for name, place in PACKAGES.items() if name != place}


def test_every_library_folder_is_a_package() -> None:
    for path in LIBRARY.values():
        assert (path.parent / "__init__.py").exists(), path.parent


def test_the_top_level_is_what_was_ordered() -> None:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    top = {line.split("/")[0] for line in listed.splitlines() if (ROOT / line).exists()}
    assert {name for name in top if not name.startswith(".")} == TOP_LEVEL


def test_names_of_modules_say_what_is_in_them() -> None:
    for path in (*MODULES.values(), *(path.parent for path in MODULES.values())):
        assert path.stem not in NAMES_THAT_SAY_NOTHING, path


def test_unit_tests_mirror_the_code() -> None:
    """`tests/unit/data/test_corpus.py` tests `seq2seq/data/corpus.py`; `tests/unit/cli` tests the command line."""
    unit = ROOT / "tests" / "unit"
    for path in unit.rglob("test_*.py"):
        module = path.relative_to(unit).with_name(path.name.removeprefix("test_"))
        place = ROOT if module.parts[0] == "cli" else ROOT / "seq2seq"
        assert (place / module).exists() or (place / module.with_suffix("")).is_dir(), path
