"""Identity metrics for several people, through py-motmetrics (protocol v1, section 4).

IDF1 after Ristani et al. 2016: identities are paired once for the whole sequence so that most
frames agree. The others are CLEAR MOT (Bernardin and Stiefelhagen 2008): a true person keeps the
track of the frame before as long as the distance allows it; a switch is another track than the last
one, a fragmentation is a gap in a person's output. A false person is an output near nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_MEASURES = {
    'idf1': 'idf1',
    'num_switches': 'switches',
    'num_fragmentations': 'fragmentations',
    'num_false_positives': 'false_people',
    'num_misses': 'misses',
}


@dataclass(frozen=True)
class Identity:
    """How well ids last; all but ``idf1`` are counts over all frames."""

    idf1: float  # 0..1, NaN where there is nobody at all
    switches: int
    fragmentations: int
    false_people: int
    misses: int


def identity_metrics(
    true_ids: Sequence[np.ndarray],
    result_ids: Sequence[np.ndarray],
    distances: Sequence[np.ndarray],
) -> Identity:
    """Return the metrics over T frames.

    ``true_ids`` (N,) and ``result_ids`` (M,) hold the ids of each frame, ``distances`` (N, M) how
    far true people and results are apart, NaN where they are no pair. Of results with one id in a
    frame the first counts; a negative id is nobody's, and never the same person twice.

    Raises ModuleNotFoundError without motmetrics (the extra 'evaluate').
    """
    if not sum(map(len, true_ids)) and not sum(map(len, result_ids)):
        return Identity(float('nan'), 0, 0, 0, 0)
    import motmetrics  # takes a second, which live nodes do not have

    accumulator = motmetrics.MOTAccumulator()
    unknown = -1
    for frame, (true_row, found, table) in enumerate(
        zip(true_ids, result_ids, distances, strict=True)
    ):
        found = np.array(found, np.int64)
        nobody = np.flatnonzero(found < 0)
        found[nobody] = unknown - np.arange(len(nobody))
        unknown -= len(nobody)
        kept = np.sort(np.unique(found, return_index=True)[1])
        table = np.asarray(table, np.float64).reshape(len(true_row), len(found))
        accumulator.update(true_row, found[kept], table[:, kept], frameid=frame)
    host = motmetrics.metrics.create()
    values = host.compute(accumulator, metrics=list(_MEASURES), return_dataframe=False)
    counts = {name: int(values[key]) for key, name in _MEASURES.items() if name != 'idf1'}
    return Identity(idf1=float(values['idf1']), **counts)
