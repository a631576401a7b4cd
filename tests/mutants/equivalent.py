"""Mutants that no test can find, each with the reason: what they do is the same.

Keyed by `Mutant.key`. They are not counted as survivors.
"""

from __future__ import annotations

from collections.abc import Mapping

REASONS: Mapping[str, str] = {}
