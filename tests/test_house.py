"""The law of the house (HOUSE 2, 3, 8), checked on the syntax trees of every source file."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.roster import VENUES

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("core", "bookshm", "feeds", "executor", "strategies", "risk", "ops")
MAY_IMPORT = {
    "core": set(),
    "bookshm": {"core"},
    "risk": {"core", "bookshm"},
    "feeds": {"core", "bookshm"},
    "strategies": {"core", "bookshm"},
    "executor": {"core", "bookshm", "risk"},
    "ops": {"core", "bookshm", "ops.sandbox"},  # never the other way round
    "ops.sandbox": {"core"},
}
CORE_LIBRARIES = {"msgspec"}
FILE_LINES_MAX = 420
FUNCTION_LINES_MAX = 70
BANNED_CALLS = {
    ("time", "time"), ("time", "time_ns"), ("time", "monotonic"), ("time", "monotonic_ns"), ("time", "perf_counter"),
    ("time", "perf_counter_ns"), ("datetime", "now"), ("datetime", "utcnow"), ("date", "today"),
    ("random", "random"), ("random", "uniform"), ("random", "randint"), ("random", "choice"),
}  # fmt: skip
BANNED_NAMES = {"utils", "helpers", "common", "manager", "misc"}


def sources() -> list[Path]:
    return sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def room_of(path: Path) -> str:
    relative = path.relative_to(ROOT)
    return "ops.sandbox" if relative.parts[:2] == ("ops", "sandbox") else relative.parts[0]


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the direction"
            yield node.module or "", node.lineno
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            argument = node.args[0]
            text = argument.values[0] if isinstance(argument, ast.JoinedStr) else argument
            assert isinstance(text, ast.Constant), ast.unparse(node)
            yield str(text.value).rstrip("."), node.lineno


def parsed() -> list[tuple[Path, ast.Module]]:
    return [(path, ast.parse(path.read_text(), str(path))) for path in sources()]


TREES = parsed()


def test_rooms_import_one_way_only() -> None:
    wrong = []
    for path, tree in TREES:
        room = room_of(path)
        for module, line in imports(tree):
            top = "ops.sandbox" if module.startswith("ops.sandbox") else module.split(".")[0]
            if top not in MAY_IMPORT or top == room:
                continue
            if top not in MAY_IMPORT[room]:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {module}")
    assert not wrong, wrong


def test_core_needs_only_the_standard_library_and_msgspec() -> None:
    import sys

    wrong = []
    for path, tree in TREES:
        if room_of(path) != "core":
            continue
        for module, line in imports(tree):
            top = module.split(".")[0]
            if top not in sys.stdlib_module_names and top not in CORE_LIBRARIES | {"core"}:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {module}")
    assert not wrong, wrong


def test_imports_stand_at_the_top() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path, tree in TREES
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert not wrong, wrong


def test_time_and_chance_only_through_the_clock_and_a_passed_random() -> None:
    wrong = []
    for path, tree in TREES:
        if path == ROOT / "core" / "clock.py":
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = ast.unparse(node.func.value).split(".")[-1]
                if (owner, node.func.attr) in BANNED_CALLS:
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} calls {owner}.{node.func.attr}")
    assert not wrong, wrong


def test_environment_only_in_the_keyring() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path, tree in TREES
        if path != ROOT / "executor" / "keyring.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.environ", "os.getenv", "os.environb")
    ]
    assert not wrong, wrong


def test_one_broad_except_in_the_whole_project() -> None:
    """One place may swallow what it does not know: lifecycle. A handler that ends in a bare raise only cleans up."""
    broad = []
    for path, tree in TREES:
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler):
                caught = ast.unparse(node.type) if node.type else ""
                last = node.body[-1]
                passes_on = isinstance(last, ast.Raise) and last.exc is None
                if caught in ("", "Exception", "BaseException") and not passes_on:
                    broad.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert [entry.split(":")[0] for entry in broad] == ["core/lifecycle.py"], broad


def test_no_assert_in_sources() -> None:
    """Python's assert dies under -O; money paths use core.errors.invariant."""
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path, tree in TREES
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
    ]
    assert not wrong, wrong


def test_files_and_functions_stay_readable() -> None:
    wrong = []
    for path, tree in TREES:
        lines = len(path.read_text().splitlines())
        if lines > FILE_LINES_MAX:
            wrong.append(f"{path.relative_to(ROOT)}: {lines} lines")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES_MAX:
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {length} lines")
    assert not wrong, wrong


def test_no_vague_rooms_and_one_sentence_packages() -> None:
    for path in sources():
        assert path.stem not in BANNED_NAMES, path
        if path.name == "__init__.py":
            tree = ast.parse(path.read_text())
            assert len(tree.body) == 1, path
            assert ast.get_docstring(tree), path


def test_every_module_says_what_it_is() -> None:
    silent = [str(path.relative_to(ROOT)) for path, tree in TREES if not ast.get_docstring(tree)]
    assert not silent, silent


def test_venue_names_stand_only_in_their_places() -> None:
    """A venue's name as a whole string: the rooms' venue files and nothing else, not even the roster."""
    names = {spec.name for spec in VENUES}
    wrong = []
    for path, tree in TREES:
        relative = path.relative_to(ROOT)
        if {"venues", "signing", "specs"} & set(relative.parts):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in names:
                wrong.append(f"{relative}:{node.lineno} {node.value!r}")
    assert not wrong, wrong


@pytest.mark.parametrize("spec", VENUES, ids=lambda spec: spec.name)
def test_every_venue_of_the_roster_stands_in_every_room(spec: object) -> None:
    name = spec.name  # type: ignore[attr-defined]
    for room, symbol in (
        ("feeds/venues", "Decoder"),
        ("executor/venues", "Gateway"),
        ("executor/signing", "Signer"),
        ("ops/sandbox/venues", "SandboxVenue"),
        ("core/specs", ""),
    ):
        path = ROOT / room / f"{name}.py"
        assert path.exists(), f"{room} has no {name}.py"
        defined = {n.name for n in ast.parse(path.read_text()).body if isinstance(n, ast.ClassDef)}
        assert not symbol or symbol in defined, f"{path}: no class {symbol}"
    assert (ROOT / "docs" / "venues" / f"{name}.md").exists()
    assert (ROOT / "tests" / "fixtures" / name).is_dir()


def test_unfinished_work_does_not_stand_in_sources() -> None:
    marks = ("TO" + "DO", "FIX" + "ME", "NotImplemented" + "Error")
    wrong = [f"{path.relative_to(ROOT)}: {mark}" for path in sources() for mark in marks if mark in path.read_text()]
    assert not wrong, wrong
