"""Whose is a name in assert tests, the tests' or the program's? Parsed tests enter, the answer for each name leaves.

It matters, because what is the program's sees its arguments: were `math` or `Counter` taken from the program, its own
`isclose` would compare the values. So what the tests bind anywhere is theirs, and Python's builtins, the standard
library's modules and some of its functions are Python's wherever a test names something that only the program can have.
A test that names nothing of the kind asks for one of Python's names (`sum`, `gcd`, `Counter`): a library's rather than
a builtin, the one inside the other's arguments, and of several the one that the program defines.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import symtable
import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

from stages.rewards.programs import pytest_standin
from stages.rewards.programs.collecting import RUN
from stages.rewards.programs.wire import builtin_name

MODULES = ("solution", "program", "main")
"""Names under which tests may import the program."""
_LIBRARY = {
    "math": "isclose isnan isinf sqrt pi inf nan floor ceil fabs gcd lcm factorial comb prod log log2 log10 exp",
    "collections": "Counter OrderedDict defaultdict deque namedtuple",
    "itertools": "chain combinations permutations product zip_longest",
    "functools": "cmp_to_key partial reduce",
    "copy": "deepcopy",
    "fractions": "Fraction",
    "decimal": "Decimal",
    "datetime": "date datetime time timedelta timezone",
}
"""What tests use without importing it, because the solution they were written with did."""
_ABSENT = {"np": "numpy", "pd": "pandas"} | {name: name for name in ("numpy", "pandas", "scipy", "torch", "sympy")}
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)


class _Statement(NamedTuple):
    """A statement at the tests' top level: the global names it reads and binds, and whether it imports the program."""

    node: ast.stmt
    reads: frozenset[str]
    binds: frozenset[str]
    imports: bool


class Owners:
    """Says of each name that the tests leave free whose it is, and which of the tests test the program at all."""

    def __init__(self, trees: list[ast.Module]) -> None:
        self._tests = [[_statement(node) for node in tree.body] for tree in trees]
        self._all = [statement for statements in self._tests for statement in statements]
        self._bare = set().union(*map(_bare, trees))
        self.bound = frozenset().union(*(statement.binds for statement in self._all))
        """What the tests bind themselves, wherever: never the program's, before it is bound either."""
        self.programs: frozenset[str] = frozenset()
        """Python's names that are the program's here; see `settle`."""
        self.places: list[int] = []
        """The tests that test the program; the rest prepare, or test nothing of it."""
        self._asked: list[frozenset[str]] = []
        for place, tree in enumerate(trees):
            if not tests_something(tree):
                continue
            used = list(self._used_by(place))
            reads = frozenset().union(*(statement.reads for statement in used)) - self.bound
            sure = any(each.imports for each in used) or any(self.python_s(name) is None for name in reads)
            asked = frozenset() if sure else self._askable(reads, used)
            if sure or asked:
                self.places.append(place)
            if asked:
                self._asked.append(asked)

    def missing(self) -> str:
        """Return an outside library that the tests use without importing it, or ""."""
        reads = set().union(*(statement.reads for statement in self._all)) - self.bound
        return next((_ABSENT[name] for name in sorted(reads) if name in _ABSENT), "")

    def settle(self, defines: Callable[[str], bool]) -> str:
        """Decide which of Python's names are the program's; `defines` says whether it has one. Returns why it cannot
        be decided, or ""."""
        found = {name for names in self._asked if len(names) == 1 for name in names}
        open_ones = [names for names in self._asked if not names & found]
        common = frozenset.intersection(*open_ones) if open_ones else frozenset()
        for names in open_ones:
            known = sorted(name for name in common or names if defines(name))
            if len(known) > 1:
                return f"the program may not define {' and '.join(known)}: one is asked for"
            found |= set(known) or names
        self.programs = frozenset(found)
        return ""

    def python_s(self, name: str) -> tuple[Any] | None:
        """Return what Python itself means by a name (builtin, module, common function) as a tuple of one, else None: a
        module's where the tests only take attributes of it; `pytest` is the stand-in (`pytest_standin.py`)."""
        if name == RUN:
            return (pytest_standin.run_test,)
        if name in self.programs:
            return None
        if hasattr(builtins, name):
            return (getattr(builtins, name),)
        if name not in self._bare and (name in sys.stdlib_module_names or name == "pytest"):
            return (importlib.import_module(name),)
        return (_library()[name],) if name in _library() else None

    def _used_by(self, place: int) -> Iterator[_Statement]:
        """The statements of a test, and those of all tests that bind what it reads, or do something with it."""
        found, names, waiting = set[int](), set[str](), list(self._tests[place])
        while waiting:
            statement = waiting.pop()
            if id(statement) in found:
                continue
            found.add(id(statement))
            yield statement
            new = (statement.reads & self.bound) - names
            names |= new
            waiting += [
                each
                for each in self._all
                if each.binds & new
                or (isinstance(each.node, ast.Expr) and each.reads & new and not _calls_a_test(each.node))
            ]

    def _askable(self, reads: frozenset[str], used: list[_Statement]) -> frozenset[str]:
        """Of Python's names that a test reads those it may be asking for: functions, a library's before builtins, and
        not those that take another one's result."""
        usable = [name for name in reads if _may_be_asked(self.python_s(name))]
        library = frozenset(name for name in usable if not hasattr(builtins, name))
        pool = library or frozenset(usable)
        calls = [node for each in used for node in ast.walk(each.node) if isinstance(node, ast.Call)]
        outer = {call.func.id for call in calls if isinstance(call.func, ast.Name) and _names_in(call) & pool}
        return (pool - outer) or pool


def tests_something(tree: ast.Module) -> bool:
    """Say whether a source tests: outside of definitions it asserts, raises, opens a `with`, or calls `check…` or
    `test…`. The rest are lines that prepare."""
    rest = [statement for statement in tree.body if not isinstance(statement, _DEFINITIONS)]
    if any(isinstance(node, ast.Assert | ast.Raise | ast.With) for each in rest for node in ast.walk(each)):
        return True
    return any(_calls_a_test(node) for each in rest for node in ast.walk(each))


def load_all() -> None:
    """Import what tests may use, before there are any."""
    _library()


@cache
def _library() -> dict[str, Any]:
    modules = {importlib.import_module(module): names.split() for module, names in _LIBRARY.items()}
    return {name: getattr(module, name) for module, names in modules.items() for name in names}


def _may_be_asked(meant: tuple[Any] | None) -> bool:
    """Whether one may be asked to write what Python means by a name: a function or class, no type of data."""
    return meant is not None and callable(meant[0]) and not builtin_name(meant[0])


def _statement(node: ast.stmt) -> _Statement:
    reads, binds = set[str](), set[str]()
    tables = [symtable.symtable(ast.unparse(node), "test", "exec")]
    for table in tables:  # grows as it goes
        for symbol in table.get_symbols():
            if table.get_type() != "module" and not symbol.is_global():
                continue
            if symbol.is_referenced():
                reads.add(symbol.get_name())
            if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace():
                binds.add(symbol.get_name())
        tables += table.get_children()
    return _Statement(node, frozenset(reads), frozenset(binds), any(map(_imports, ast.walk(node))))


def _imports(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module in MODULES and [each.name for each in node.names] != ["*"]
    return isinstance(node, ast.Import) and any(each.name in MODULES for each in node.names)


def _bare(tree: ast.Module) -> set[str]:
    """The names that are read other than for an attribute."""
    owners = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in owners}


def _names_in(call: ast.Call) -> set[str]:
    given = [*call.args, *(each.value for each in call.keywords)]
    return {node.id for each in given for node in ast.walk(each) if isinstance(node, ast.Name)}


def _called(node: ast.AST) -> str:
    """The name that a call, or a line that is a call, calls; "" for anything else."""
    node = node.value if isinstance(node, ast.Expr) else node
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""


def _calls_a_test(node: ast.AST) -> bool:
    return _called(node).startswith(("check", "test", RUN))
