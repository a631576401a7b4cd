"""The words of an annotation on the time axis of the graphs."""

from __future__ import annotations

from typing import Final

from collectors.history.annotation import AnnotatedLimit, Annotation, AnnotationKind
from tui.present.limit_text import format_limit

_TEXTS: Final = {
    AnnotationKind.STARTED: "started",
    AnnotationKind.ENDED: "ended",
    AnnotationKind.PAUSED: "paused",
    AnnotationKind.RESUMED: "resumed",
    AnnotationKind.OOM_KILL: "OOM kill",
    AnnotationKind.OUTPUT_LIMITED: "output held back",
    AnnotationKind.LIMITS_CHANGED: "limits changed",
    AnnotationKind.LIMITS_SET: "limits changed",
    AnnotationKind.LIMIT_DRIFTED: "limits changed by somebody else",
    AnnotationKind.LEASE_TAKEN: "changed for a time",
    AnnotationKind.LEASE_CONFIRMED: "confirmed",
    AnnotationKind.LEASE_REVERTED: "lease taken back",
    AnnotationKind.LEASE_CONFLICT: "lease not taken back, changed by somebody else",
}
_LEASES: Final = {
    AnnotationKind.LEASE_TAKEN: "{limits} for a time",
    AnnotationKind.LEASE_CONFIRMED: "{limits} confirmed",
    AnnotationKind.LEASE_REVERTED: "{limits} again, lease taken back",
}
"""About a lease that has changed limits."""


def annotation_text(annotation: Annotation) -> str:
    """In a few words: "OOM kill", "cpus 0.5, pids 20", "cpus 0.4 for a time", "memory 2g by somebody else (was 1g)"."""
    limits = ", ".join(_limit(each) for each in annotation.limits)
    return _LEASES.get(annotation.kind, "{limits}").format(limits=limits) if limits else _TEXTS[annotation.kind]


def _limit(limit: AnnotatedLimit) -> str:
    text = f"{limit.name.value.replace('_', ' ')} {format_limit(limit.name, limit.kernel)}"
    if limit.expected is None:
        return text
    return f"{text} by somebody else (was {format_limit(limit.name, limit.expected)})"
