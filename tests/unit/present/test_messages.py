"""Sentences are made in tui.present: every message is used, and no other package of tui contains sentences."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from string import Formatter

import pytest

from runtime.errors import PytopError
from tests.unit import import_graph
from tests.unit.import_graph import Source
from tui.present.guard_messages import GuardMessage
from tui.present.messages import Message, error_text, say

SOURCES = import_graph.modules()
PACKAGES = ("tui.app", "tui.cli", "tui.core", "tui.demo")
CHECKED = sorted(name for name in SOURCES if name.startswith(PACKAGES) and "programs" not in name)
SENTENCE = re.compile(r"[A-Za-z'{}:,.()]+(?: [A-Za-z0-9'{}:,.()/-]+){2,}")
SILENT = {"Action", "Binding", "Question", "_change", "required", "from_os"}
"""Calls whose texts are no sentences of the screen, beside errors, the log, and argparse's help."""
ARGPARSE = {"add", "add_argument", "add_argument_group", "VerbParser"}
TEXTS = {
    "CSS",
    "DEFAULT_CSS",
    "MOVES",
    "PAGES",
    "LOG",
    "CONTAINER",
    "VERBS",
    "HELP",
    "_ABOUT",
    "_OUTPUT",
    "_STATE_DETAILS",
}
"""Tables by id, a heading of actions, the help of the command line, details of errors, and style sheets."""
ARGUMENTS = {"title", "detail", "doing"}
"""Names that hold a part of an error until it is raised."""
USED = {
    (node.value.id, node.attr)
    for source in SOURCES.values()
    for node in ast.walk(source.tree)
    if isinstance(node, ast.Attribute)
    and isinstance(node.value, ast.Name)
    and node.value.id in ("Message", "GuardMessage")
}


def is_silent(call: ast.Call) -> bool:
    """It makes an error, a line of the log, a part of argparse's help, or an entry of a registry."""
    function = call.func
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id == "log":
        return True
    called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return called in SILENT | ARGPARSE or called.endswith(("Error", "_parser"))


def is_text(node: ast.AST) -> bool:
    """It assigns a table of texts, a part of an error, or the description of a verb."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    names = {each.attr if isinstance(each, ast.Attribute) else getattr(each, "id", "") for each in targets}
    return not names.isdisjoint(TEXTS | ARGUMENTS | {"description"})


def sentences(source: Source) -> Iterator[str]:
    """Texts of three words or more that are no docstring and none of the exceptions above."""
    quiet: set[int] = set()
    for node in ast.walk(source.tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            quiet |= {id(each.value) for each in node.body if isinstance(each, ast.Expr)}
        elif (
            (isinstance(node, ast.Call) and is_silent(node))
            or is_text(node)
            or isinstance(node, ast.Compare)  # an engine's words, which are recognised
            or (isinstance(node, ast.keyword) and node.arg in ARGUMENTS)
        ):
            quiet |= {id(inner) for inner in ast.walk(node)}
    for node in ast.walk(source.tree):
        if id(node) in quiet:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SENTENCE.search(node.value):
            yield node.value


@pytest.mark.parametrize("name", CHECKED)
def test_core_screens_commands_and_demo_make_no_sentences(name: str) -> None:
    assert list(sentences(SOURCES[name])) == []


def test_a_sentence_is_recognised() -> None:
    tree = ast.parse(
        '"""No sentence but a docstring."""\nBinding("x", "y", "The page before this")\n'
        'raise PytopError("stop all of them", detail="it is not there")\nlog.error("the engine went away")\n'
        'say("Nothing was changed here.")\nshow(f"about {count} lines are dropped")\nid = "limit-foot"\n'
    )
    assert list(sentences(Source("x", tree, False))) == ["Nothing was changed here.", " lines are dropped"]


@pytest.mark.parametrize("message", [*Message, *GuardMessage])
def test_each_message_is_said_somewhere_with_named_arguments(message: Message | GuardMessage) -> None:
    fields = [field for _, field, _, _ in Formatter().parse(message.value) if field is not None]
    assert all(field.isidentifier() for field in fields)
    assert (type(message).__name__, message.name) in USED


def test_arguments_from_outside_are_no_format() -> None:
    assert say(Message.IT_IS_GONE, name="{0.__class__} %s") == "{0.__class__} %s: it is gone"


def test_an_error_says_what_was_answered_and_what_to_do() -> None:
    error = PytopError("stop web", detail="cgroup.kill: denied", hint="Run it as root")
    assert error_text(error) == "cgroup.kill: denied\nRun it as root"
    assert error_text(PytopError("stop web")) == "It did not work."
