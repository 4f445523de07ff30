"""The chart of the audit report: the attacker's budget against the mIoU that each attack reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from mmseg_keyprotect.audit.findings import Finding

COLOURS = {True: '#d55e00', False: '#3b8fd0'}
"""The colours of attacks to which the protection falls, and of all others (Okabe and Ito)."""

REFERENCE = '#8c8c8c'
"""The colour of the reference accuracies."""

SHORTEST = 0.01
"""Attacks that took less than these seconds are drawn here, since the axis is logarithmic."""

GAP = 0.075
"""The least distance of two labels, as a share of the height of the axes."""


LABELS = 1.15
"""Where the labels begin, in widths of the axes."""


def draw_budget(
    axes: Axes,
    findings: Sequence[Finding],
    fallen: Sequence[Finding],
    reference: Mapping[str, float],
    own_model: float | None = None,
) -> str:
    """Draw every attack whose mIoU was measured, by its time; return a text alternative.

    Args:
        axes: The axes to draw in.
        findings: The findings.
        fallen: Those of the attacks to which the protection falls.
        reference: See :class:`~mmseg_keyprotect.audit.report.AuditReport`.
        own_model: The mIoU of a model that the attacker trains without stealing, whose point gets a line; or None.
    """
    measured = [finding for finding in findings if finding.mIoU is not None]
    top = 1.08 * max([1.0, *reference.values(), *(finding.mIoU or 0.0 for finding in measured)])
    axes.set_xscale('log')
    axes.xaxis.set_major_formatter('{x:g}')
    axes.set_ylim(0, top)
    axes.set_xlabel('time of the attacker, seconds')
    axes.set_ylabel('mIoU, %')
    marks: list[tuple[str, float, float | None, str]] = []
    for who, value in reference.items():
        axes.axhline(value, color=REFERENCE, linestyle=':', linewidth=1)
        marks.append((who, value, None, REFERENCE))
    if own_model is not None:
        axes.axhline(own_model, color=COLOURS[False], linestyle=':', linewidth=1)
    for finding in measured:
        seconds, miou, colour = max(finding.seconds, SHORTEST), finding.mIoU or 0.0, COLOURS[finding in fallen]
        axes.scatter([seconds], [miou], s=35, color=colour, zorder=3)
        marks.append((label_of(finding), miou, seconds, colour))
    marks.sort(key=lambda mark: mark[1])
    places = spread_out([value / top for _, value, _, _ in marks])
    for (text, value, at, colour), place in zip(marks, places, strict=True):
        axes.annotate(
            text,
            (1.0 if at is None else at, value),
            (LABELS, place),
            xycoords=('axes fraction', 'data') if at is None else 'data',
            textcoords='axes fraction',
            va='center',
            fontsize=9,
            annotation_clip=False,
            arrowprops=dict(arrowstyle='-', color=colour, linewidth=0.7, relpos=(0, 0.5), shrinkA=1, shrinkB=0),
        )
    texts = [f'{label_of(finding)}: {finding.mIoU:.1f} in {finding.seconds:.1f} s' for finding in measured]
    references = ', '.join(f'{who} {value:.1f}' for who, value in reference.items())
    return f'mIoU on held-out images that each attack reaches in its time. {"; ".join(texts)}. Reference: {references}.'


def height_of(findings: Sequence[Finding]) -> float:
    """Return the height in inches that the labels of the chart need."""
    labels = sum(finding.mIoU is not None for finding in findings) + 3
    return max(3.0, 0.24 * labels + 0.8)


def label_of(finding: Finding) -> str:
    """Return the name of an attack, with a mark if the budget ended it."""
    return f'{finding.attack}*' if finding.stopped else finding.attack


def spread_out(places: Sequence[float], gap: float = GAP) -> list[float]:
    """Move labels apart.

    Args:
        places: The wanted places in ascending order, 0 to 1.
        gap: The least distance of neighbours; it is smaller where there are too many labels.

    Example:
        >>> [round(place, 2) for place in spread_out([0.1, 0.1, 0.9], gap=0.1)]
        [0.1, 0.2, 0.9]
    """
    gap = min(gap, 1 / max(len(places) - 1, 1))
    found: list[float] = []
    for place in places:
        found.append(max(place, found[-1] + gap) if found else max(place, 0.0))
    highest = 1.0
    for index in reversed(range(len(found))):
        found[index] = min(found[index], highest)
        highest = found[index] - gap
    return found
