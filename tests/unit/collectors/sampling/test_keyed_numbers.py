"""Numbers by key, wherever their lines are, also when the lines change places between two texts."""

from __future__ import annotations

import random

import pytest

from collectors.sampling.keyed_numbers import KeyedNumbers

TEXT = b"".join(b"key%d %d\n" % (n, n * n) for n in range(40))


def test_the_lines_of_another_text_may_be_elsewhere() -> None:
    numbers = KeyedNumbers(b"key7", b"key30", b"key9")
    assert numbers.find(TEXT) == [49, 900, 81]
    lines = TEXT.splitlines(keepends=True)
    for seed in range(20):
        random.Random(seed).shuffle(lines)
        text = b"".join(lines)
        assert numbers.find(text) == numbers.find(text) == [49, 900, 81]
    assert numbers.find(b"key9 1\nkey30 2\nkey7 3\n") == [3, 2, 1], "a shorter one"
    assert numbers.find(TEXT) == [49, 900, 81]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"key7 1\nkey9 2\n",
        b"key7 1\nkey9 2\nkey30",
        b"key7 1\nkey9 2\nkey30 x\n",
        b"key7 1\nkey9 2\nkey30 -3\n",
        b"1 key7\n1 key9\n1 key30\n",
    ],
)
def test_what_lacks_one_of_them_is_told(text: bytes) -> None:
    numbers = KeyedNumbers(b"key7", b"key30", b"key9")
    assert numbers.find(text) is None
    assert numbers.find(TEXT) == [49, 900, 81]


def test_a_key_that_is_a_part_of_another_one_is_not_taken_for_it() -> None:
    assert KeyedNumbers(b"file", b"anon").find(b"inactive_file 1\nfile_dirty 2\nfile 3\nanon_thp 4\nanon 5\n") == [3, 5]
