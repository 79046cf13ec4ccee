"""Published figures of the original study, printed beside ours: another data set, other weights.

Human3.6M, MPJPE in mm (P-MPJPE in brackets where known); 'truncated' is the plain mean of the five
conditions. Our conditions follow protocol v1, whose parameters are this project's own, so none of
these numbers can be reproduced cell by cell; they show the size of the effect.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One method: (MPJPE, P-MPJPE), mm, by condition and 2D source."""

    method: str
    truncated_baseline: tuple[float, float]
    clean_baseline: tuple[float, float]
    truncated_metrabs: tuple[float, float] | None = None
    clean_metrabs: tuple[float, float] | None = None


PUBLISHED = (
    Published('VideoPose3D', (168.2, 118.9), (57.7, 44.0), (75.3, 57.6), (54.3, 41.8)),
    Published('MHFormer', (126.4, 98.2), (69.2, 51.4), (151.6, 95.7), (53.2, 41.4)),
    Published('MixSTE', (128.6, 102.9), (66.6, 51.2), (71.8, 56.8), (44.0, 36.3)),
    Published('P-STMO', (198.0, 142.5), (64.9, 50.3), (113.5, 75.3), (54.8, 42.7)),
    Published('MeTRAbs alone', (140.8, 98.6), (48.6, 36.8)),
)

# Method and 2D source: MPJPE for random, lower, middle, upper, moving.
PER_CONDITION = {
    ('MeTRAbs alone', '-'): (154.60, 99.61, 143.28, 197.25, 109.06),
    ('VideoPose3D', 'baseline'): (90.2, 107.9, 220.9, 311.0, 111.1),
    ('VideoPose3D', 'MeTRAbs'): (70.5, 72.4, 78.4, 90.0, 65.3),
    ('MHFormer', 'baseline'): (123.90, 103.66, 138.61, 166.72, 99.28),
    ('MHFormer', 'MeTRAbs'): (165.95, 97.65, 200.24, 168.69, 125.60),
    ('MixSTE', 'baseline'): (128.5, 99.8, 141.8, 172.7, 100.3),
    ('MixSTE', 'MeTRAbs'): (66.1, 64.8, 76.8, 87.5, 63.7),
    ('P-STMO', 'baseline'): (174.20, 147.88, 162.23, 371.81, 133.95),
    ('P-STMO', 'MeTRAbs'): (125.78, 93.34, 100.67, 157.94, 89.71),
}


CONDITIONS = ('random_box', 'fixed_lower', 'fixed_middle', 'fixed_upper', 'moving_box')


def per_condition() -> list[tuple[str, str, dict[str, float]]]:
    """Return (2D source, method, MPJPE in mm by condition, with 'clean' and 'average')."""
    out = []
    for (method, source), values in PER_CONDITION.items():
        known = next(row for row in PUBLISHED if row.method == method)
        ours = source == 'MeTRAbs'
        clean = known.clean_metrabs if ours else known.clean_baseline
        average = known.truncated_metrabs if ours else known.truncated_baseline
        assert clean is not None
        assert average is not None
        cells = {'clean': clean[0], **dict(zip(CONDITIONS, values, strict=True))}
        out.append((source, method, cells | {'average': average[0]}))
    return out


def markdown() -> str:
    """Return the published figures as a Markdown table that says what they are."""

    def pair(value: tuple[float, float] | None) -> str:
        return '-' if value is None else f'{value[0]:.1f} / {value[1]:.1f}'

    lines = [
        '**Published, Human3.6M, MPJPE / P-MPJPE in mm: another data set, for orientation**',
        '',
        '| method | truncated, baseline 2D | truncated, MeTRAbs 2D | clean, baseline 2D '
        '| clean, MeTRAbs 2D |',
        '|---|---:|---:|---:|---:|',
    ]
    for row in PUBLISHED:
        cells = (
            row.truncated_baseline,
            row.truncated_metrabs,
            row.clean_baseline,
            row.clean_metrabs,
        )
        lines.append(f'| {row.method} | ' + ' | '.join(pair(cell) for cell in cells) + ' |')
    return '\n'.join([*lines, '', *_conditions_markdown()])


def _conditions_markdown() -> list[str]:
    columns = ('clean', *CONDITIONS, 'average')
    lines = [
        '**Published, Human3.6M, MPJPE in mm by condition: another data set, for orientation**',
        '',
        f'| 2D | method | {" | ".join(columns)} |',
        '|---|---|' + '---:|' * len(columns),
    ]
    for source, method, values in per_condition():
        cells = ' | '.join(f'{values[column]:.1f}' for column in columns)
        lines.append(f'| {source} | {method} | {cells} |')
    return lines
