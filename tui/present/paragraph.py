"""The unit of a page of text."""

from __future__ import annotations

from typing import TypeAlias

Paragraph: TypeAlias = tuple[str, str]
"""A style ("text", "head", "weak", "good", "warn") and one line of clean text."""
