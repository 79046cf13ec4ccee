"""Identity metrics for several people: IDF1 and ID switches (protocol v1, section 4).

A frame's matches pair true people with results (by least total distance under a gate, see
join.py). IDF1 after Ristani et al. 2016: identities are paired once for the whole sequence so
that most matches agree. A switch is counted when a true person's match has another id than the
last one it had (Bernardin and Stiefelhagen 2008).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment


@dataclass(frozen=True)
class Identity:
    """How well ids last."""

    idf1: float  # 0..1
    switches: int
    matches: int


def identity_metrics(
    true_ids: Sequence[np.ndarray],
    result_ids: Sequence[np.ndarray],
    matches: Sequence[Sequence[tuple[int, int]]],
) -> Identity:
    """Return IDF1 and switches over T frames.

    ``true_ids`` and ``result_ids`` hold the ids of each frame; ``matches`` the pairs (index into
    the true people, index into the results) of each frame.
    """
    truth = {int(i): n for n, i in enumerate(sorted({int(i) for row in true_ids for i in row}))}
    found = {int(i): n for n, i in enumerate(sorted({int(i) for row in result_ids for i in row}))}
    together = np.zeros((len(truth), len(found)), int)
    last: dict[int, int] = {}
    switches = count = 0
    for true_row, result_row, pairs in zip(true_ids, result_ids, matches, strict=True):
        for t, r in pairs:
            person, track = int(true_row[t]), int(result_row[r])
            together[truth[person], found[track]] += 1
            switches += person in last and last[person] != track
            last[person] = track
            count += 1
    rows, columns = linear_sum_assignment(together, maximize=True)
    right = int(together[rows, columns].sum())
    total = sum(len(row) for row in true_ids) + sum(len(row) for row in result_ids)
    return Identity(2 * right / total if total else float('nan'), switches, count)
