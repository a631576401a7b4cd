"""Sentences are made in tui.present: the table of messages is whole, and screens and demo make none of their own."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from string import Formatter

import pytest

from runtime.errors import PytopError
from tests.unit import import_graph
from tests.unit.import_graph import Source
from tui.present.messages import Message, error_text, say

SOURCES = import_graph.modules()
SCREENS = sorted(name for name in SOURCES if name.startswith(("tui.app", "tui.demo")) and "programs" not in name)
SENTENCE = re.compile(r"[A-Za-z'{}:,.()]+(?: [A-Za-z0-9'{}:,.()/-]+){2,}")
SILENT = {
    "Binding",
    "PytopError",
    "UnsupportedError",
    "InvalidError",
    "required",
}  # titles that are not shown; errors have words
USED = {
    node.attr
    for source in SOURCES.values()
    for node in ast.walk(source.tree)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Message"
}
STYLES = ("DEFAULT_CSS", "CSS")


def sentences(source: Source) -> Iterator[str]:
    """Texts of three words or more that are no docstring, no style sheet, no error and no title of a key."""
    quiet: set[int] = set()
    for node in ast.walk(source.tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            quiet |= {id(each.value) for each in node.body if isinstance(each, ast.Expr)}
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in SILENT or called.endswith("_parser"):
                quiet |= {id(inner) for inner in ast.walk(node)}
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in STYLES:
            quiet |= {id(inner) for inner in ast.walk(node.value)}
    for node in ast.walk(source.tree):
        if id(node) in quiet:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SENTENCE.search(node.value):
            yield node.value


@pytest.mark.parametrize("name", SCREENS)
def test_screens_and_demo_make_no_sentences(name: str) -> None:
    assert list(sentences(SOURCES[name])) == []


def test_a_sentence_is_recognised() -> None:
    tree = ast.parse(
        '"""No sentence but a docstring."""\nBinding("x", "y", "The page before this")\n'
        'say("Nothing was changed here.")\nshow(f"about {count} lines are dropped")\nid = "limit-foot"\n'
    )
    assert list(sentences(Source("x", tree, False))) == ["Nothing was changed here.", " lines are dropped"]


@pytest.mark.parametrize("message", Message)
def test_each_message_is_said_somewhere_with_named_arguments(message: Message) -> None:
    fields = [field for _, field, _, _ in Formatter().parse(message.value) if field is not None]
    assert all(field.isidentifier() for field in fields)
    assert message.name in USED


def test_arguments_from_outside_are_no_format() -> None:
    assert say(Message.IT_IS_GONE, name="{0.__class__} %s") == "{0.__class__} %s: it is gone"


def test_an_error_says_what_was_answered_and_what_to_do() -> None:
    error = PytopError("stop web", detail="cgroup.kill: denied", hint="Run it as root")
    assert error_text(error) == "cgroup.kill: denied\nRun it as root"
    assert error_text(PytopError("stop web")) == "It did not work."
