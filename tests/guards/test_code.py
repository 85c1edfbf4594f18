"""The code keeps to its own style: small, nothing pretended, nothing swallowed, nothing left for later."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from typing import Any

from tests.guards.sources import ROOT, Function, Module, modules

LINES_MOST = 500
FUNCTION_LINES_MOST = 60

SLEEPS = {
    "storage/locking.py": "waiting for another process's lock with a deadline, which flock does not know",
    "storage/postgres/database.py": "a server that is coming back is asked again after a pause",
    "testing/concurrency.py": "a law makes one writer slow on purpose",
    "testing/transactions.py": "a law lets work outlast its deadline on purpose",
}
PRETENDS = {
    "interfaces/mcp/wire.py: aclose": "the descriptors belong to `claimed`, which gives them back",
    "storage/postgres/engine.py: tidy": "the server looks after itself",
    "testing/faulty_queries.py: change": "a fault overrides it; unchanged is the right store",
}
MARKERS = re.compile(
    r"\b(?:TODO|FIXME|XXX|HACK)\b|(?i:\b(?:for now|placeholder|not implemented|simplified|in a real|temporary hack)\b)"
)
PROTOCOLS = frozenset({"Protocol", "ABC"})
ABSTRACT = frozenset({"abstractmethod", "overload"})


def test_a_module_fits_on_few_screens() -> None:
    """400 lines are the aim; above 500 a module has two subjects."""
    assert not {m.name: len(m.lines) for m in modules() if len(m.lines) > LINES_MOST}


def test_a_function_fits_on_one_screen() -> None:
    """Whoever changes a function has to see all of it. Signatures and docstrings are not counted."""
    lengths = {f"{m.name}: {function.name}": _body_lines(function) for m in modules() for function in m.functions()}
    assert not {place: length for place, length in lengths.items() if length > FUNCTION_LINES_MOST}


def test_only_the_command_line_prints() -> None:
    """On stdout stands the protocol, or what a program reads."""
    quiet = [m for m in modules() if not m.name.startswith("interfaces/cli/")]
    assert not _calling({"print", "sys.stdout.write"}, quiet)


def test_nothing_sleeps_without_a_reason() -> None:
    """A sleep in a thread is a guess about when something is done."""
    assert not _calling({"time.sleep", "sleep"}, [m for m in modules() if m.name not in SLEEPS])


def test_nothing_is_left_for_later() -> None:
    """What is missing is said in an issue, where somebody looks."""
    assert not [
        f"{m.name}:{number}" for m in modules() for number, line in enumerate(m.lines, 1) if MARKERS.search(line)
    ]


def test_no_failure_is_swallowed() -> None:
    """Whoever catches everything raises it again, hands it on, or logs it with its traceback."""
    caught = [(m, node) for m in modules() for node in ast.walk(m.tree) if isinstance(node, ast.ExceptHandler)]
    assert not [f"{m.name}:{node.lineno}" for m, node in caught if _is_broad(node) and not _is_answered(node)]


def test_no_function_only_pretends() -> None:
    """A function that does nothing says so by not being there."""
    found = {f"{m.name}: {name}": why for m in modules() for name, why in _pretended(m.tree)}
    assert not {place: why for place, why in found.items() if place not in PRETENDS}


def test_a_module_says_what_it_is() -> None:
    """In one sentence, before anything else; more may follow."""
    for module in modules():
        paragraph = (ast.get_docstring(module.tree) or "").split("\n\n")[0].rstrip()
        assert paragraph[-1:] in {".", ":"}, module.name
        assert paragraph[0].isupper() or paragraph[0] == "`", module.name
        assert 10 <= len(re.split(r"(?<=[.!?:])\s+(?=[A-Z`])", paragraph)[0]) <= 300, module.name


def test_every_exception_to_a_guard_is_still_needed() -> None:
    """A list of exceptions that nobody needs any more hides the next fault."""
    sleeping = {m.name for m in modules() if any(called == "time.sleep" for called, _ in m.calls())}
    assert set(SLEEPS) == sleeping
    pretending = {f"{m.name}: {name}" for m in modules() for name, _ in _pretended(m.tree)}
    assert set(PRETENDS) == pretending


def test_these_guards_find_what_they_look_for() -> None:
    """A guard that finds nothing anywhere guards nothing."""
    pretending = "def a(x): pass\ndef b(x): return x\ndef c(): raise NotImplementedError\nclass D:\n  def e(self): ..."
    assert {name for name, _ in _pretended(ast.parse(pretending))} == {"a", "b", "c", "e"}
    honest = "class P(Protocol[T]):\n  def a(self): ...\n@overload\ndef b(): ...\ndef c(x): return [x]"
    assert not list(_pretended(ast.parse(honest)))
    caught = "try: f()\nexcept {}: {}"
    answers = {"pass": False, "return": False, "log.error(1)": False, "raise": True, "log.exception(1)": True}
    for answer, is_answered in answers.items():
        for kind in ("Exception", "BaseException", "(KeyError, Exception)"):
            (handler,) = (
                n for n in ast.walk(ast.parse(caught.format(kind, answer))) if isinstance(n, ast.ExceptHandler)
            )
            assert _is_broad(handler)
            assert _is_answered(handler) is is_answered
    assert MARKERS.search("#" + " TODO later")
    assert MARKERS.search("simplified, for now")
    assert not MARKERS.search("todo|to do")


def test_nothing_is_left_for_later_in_tests_and_benchmarks() -> None:
    """The same holds for what checks and what measures."""
    files = [file for folder in ("tests", "benchmarks") for file in sorted((ROOT / folder).rglob("*.py"))]
    marks = re.compile(r"#\s*(?:TODO|FIXME|XXX|HACK)\b")
    assert not [str(file.relative_to(ROOT)) for file in files if marks.search(file.read_text("utf-8"))]


def test_every_ignored_check_of_a_line_says_why_or_which() -> None:
    """A bare `noqa` or `type: ignore` silences checks that nobody thought of."""
    bare = re.compile(r"#\s*(?:noqa(?!:)|type:\s*ignore(?!\[)|pragma:\s*no cover)")
    assert not [m.name for m in modules() if bare.search(m.text)]


def _calling(names: set[str], among: Iterable[Module]) -> list[str]:
    return [f"{m.name}:{line}" for m in among for called, line in m.calls() if called in names]


def _statements(function: Function) -> list[ast.stmt]:
    body = function.body
    first = body[0]
    is_said = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    return body[1:] if is_said else body


def _body_lines(function: Function) -> int:
    body = _statements(function)
    return (function.end_lineno or function.lineno) - body[0].lineno + 1 if body else 0


def _is_broad(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or ast.unparse(kind) in {"Exception", "BaseException"} for kind in kinds)


def _is_answered(handler: ast.ExceptHandler) -> bool:
    inside = [node for statement in handler.body for node in ast.walk(statement)]
    is_raised = any(isinstance(node, ast.Raise) for node in inside)
    is_used = any(isinstance(node, ast.Name) and node.id == handler.name for node in inside)
    calls = [node.func for node in inside if isinstance(node, ast.Call)]
    is_logged = any(isinstance(called, ast.Attribute) and called.attr == "exception" for called in calls)
    return is_raised or (handler.name is not None and is_used) or is_logged


def _pretended(tree: ast.AST, *, is_abstract: bool = False) -> Iterator[tuple[str, str]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            bases = {ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in node.bases}
            yield from _pretended(node, is_abstract=bool(bases & PROTOCOLS))
            continue
        if isinstance(node, Function) and not is_abstract and not _decorators(node) & ABSTRACT:
            why = _why_it_pretends(node)
            if why is not None:
                yield node.name, why
        yield from _pretended(node, is_abstract=is_abstract)


def _decorators(function: Function) -> set[str]:
    called = [node.func if isinstance(node, ast.Call) else node for node in function.decorator_list]
    return {ast.unparse(node).rpartition(".")[2] for node in called}


def _why_it_pretends(function: Function) -> str | None:
    body = _statements(function)
    if not body:
        return "nothing in it"
    if len(body) > 1:
        return None
    only: Any = body[0]
    given = {argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)} - {"self", "cls"}
    if isinstance(only, ast.Pass) or (isinstance(only, ast.Expr) and isinstance(only.value, ast.Constant)):
        return "nothing in it"
    if isinstance(only, ast.Raise) and "NotImplemented" in ast.unparse(only):
        return "not there"
    if isinstance(only, ast.Return) and isinstance(only.value, ast.Name) and only.value.id in given:
        return "returns what it was given"
    return None
