"""The WHY line below the list: who hurts the selected container, or whom it hurts, and what the next key is. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from collectors.attribution.evidence import Attribution, Evidence
from runtime.model import Ref
from tui.core import culprits
from tui.present import format as fmt
from tui.present.glyphs import Glyphs
from tui.present.matrix import RESOURCE_NAMES
from tui.present.messages import Message, say

MAX_NAMED_COUNT = 3  # victims of one culprit that are named
NameOf = Callable[[Ref], str]


def why_parts(attribution: Attribution, ref: Ref, sentence: Callable[[Evidence], str], name_of: NameOf) -> list[str]:
    """What the evidence says of a container, in parts of which the first is the most important; empty for nothing.

    `sentence` puts one piece of evidence into words, its parts separated by "; ".
    """
    strongest, hurt = attribution.strongest(ref), culprits.hurt_by(attribution, ref)
    own = sentence(strongest).split("; ") if strongest is not None else []
    others = [hurts_text(ref, hurt, name_of)] if hurt else []
    return [*others, *own] if culprits.is_culprit_first(attribution, ref) else [*own, *others]


def hurts_text(ref: Ref, hurt: Sequence[Evidence], name_of: NameOf) -> str:
    """Whom a culprit hurts: "hog hurts api (waits 79% for cpu), web (waits 30% for cpu) and 2 more"."""
    named = [
        say(
            Message.VICTIM_WAITS,
            name=fmt.clean(name_of(each.victim)),
            share=fmt.share(each.wait),
            resource=RESOURCE_NAMES[each.resource],
        )
        for each in hurt[:MAX_NAMED_COUNT]
    ]
    text = say(Message.HURTS, name=fmt.clean(name_of(ref)), victims=", ".join(named))
    more = len(hurt) - MAX_NAMED_COUNT
    return text if more <= 0 else say(Message.AND_MORE, text=text, count=more)


def why_lines(parts: Sequence[str], width: int, most: int, glyphs: Glyphs) -> list[str]:
    """The parts below one another in at most `most` lines, the first with the mark; what has no room is left out whole.

    A first part that is wider than a line is cut.
    """
    mark = say(Message.WHY)
    dot, indent = f" {glyphs.dot} ", " " * len(mark)
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(dot) + len(part) <= width:
            lines[-1] += dot + part
        elif len(lines) < most and (not lines or len(indent) + len(part) <= width):
            lines.append((indent if lines else mark) + part)
    return [fmt.fit(line, width, more=glyphs.more).rstrip() for line in lines]
