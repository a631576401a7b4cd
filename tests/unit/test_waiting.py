"""What the tests share: waiting with an end."""

from __future__ import annotations

import pytest

from tests.waiting import until, wait_until


async def test_it_polls_until_the_condition_is_true() -> None:
    answers = [False, None, 0, True]
    wait_until(lambda: answers.pop(0), every_s=0)
    assert answers == []
    answers = [False, True]
    await until(lambda: answers.pop(0), every_s=0)

    async def asked() -> bool:
        return answers.pop(0)

    answers = [False, True]
    await until(asked, every_s=0)
    assert answers == []


async def test_after_the_time_it_says_what_did_not_come() -> None:
    looks: list[str] = []
    with pytest.raises(AssertionError, match=r"^not within 0 s: the sky falls$"):
        wait_until(lambda: looks.append("sync"), 0, "the sky falls")
    with pytest.raises(AssertionError, match=r"^not within 0.01 s: .+ looks$"):
        await until(lambda: looks.append("async"), 0.01, lambda: f"{len(looks)} looks")
    assert looks[0] == "sync"
    assert "async" in looks
