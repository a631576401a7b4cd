"""Who is marked in the list while something is done for a victim, and for whom a key acts."""

from __future__ import annotations

from tests.app.containment_fakes import API, BATCH, WEB, hurt_session
from tests.evidence import attributed, evidence
from tui.core.containment_actions import roles, victim_of


async def test_that_a_suspect_waits_for_the_victim_it_was_put_behind_is_no_mark() -> None:
    session, containment = hurt_session(
        attributed(evidence(BATCH.ref, API.ref, 0.4), evidence(WEB.ref, BATCH.ref, 0.2))
    )
    await session.refresh()
    assert roles(session) == {BATCH.ref: True, API.ref: True, WEB.ref: False}
    await containment.climb(API.ref)
    assert roles(session) == {BATCH.ref: True, API.ref: False, WEB.ref: False}
    session.attribution = attributed(evidence(BATCH.ref, API.ref, 0.4))
    assert roles(session) == {API.ref: False}
    await session.close()


async def test_the_victim_stays_the_one_that_is_helped_while_its_evidence_is_gone() -> None:
    session, containment = hurt_session()
    assert victim_of(session, BATCH.ref) == API.ref
    await containment.climb(WEB.ref)
    session.attribution = attributed()
    assert victim_of(session, BATCH.ref) == WEB.ref
    assert victim_of(session, WEB.ref) == WEB.ref
    assert victim_of(session, API.ref) is None
    await session.close()
