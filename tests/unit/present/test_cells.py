"""Cells are counted as Rich counts them, and without Rich for plain ASCII."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st
from rich import cells as rich_cells

from tui.present import cells


@given(st.text(), st.integers(0, 40))
def test_as_rich_counts(text: str, total: int) -> None:
    assert cells.cell_len(text) == rich_cells.cell_len(text)
    assert cells.set_cell_size(text, total) == rich_cells.set_cell_size(text, total)


@given(st.text(st.characters(max_codepoint=0x7F)), st.integers(0, 40))
def test_ascii_as_rich_counts(text: str, total: int) -> None:
    assert cells.cell_len(text) == rich_cells.cell_len(text)
    assert cells.set_cell_size(text, total) == rich_cells.set_cell_size(text, total)


def test_rich_is_loaded_for_other_characters_only() -> None:
    code = (
        "import sys; from tui.present.cells import cell_len, set_cell_size\n"
        "print(cell_len('web'), set_cell_size('web', 2), 'rich' in sys.modules)\n"
        "print(cell_len('漢'), 'rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8")
    assert done.stdout.splitlines() == ["3 we False", "2 True"]


def test_the_width_of_whole_lines_is_not_remembered() -> None:
    """Lines change each second, and were kept by the thousand."""
    before = rich_cells.cached_cell_len.cache_info().currsize
    for number in range(50):
        cells.cell_len(f"│ {number:060d}")
    assert rich_cells.cached_cell_len.cache_info().currsize == before
