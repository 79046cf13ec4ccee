"""The frame period: a slow stream is known at once, and no pause makes a fast one slow."""

from __future__ import annotations

import pytest

from trpose_ros.frame_period import FramePeriod

MS = 1_000_000


def pushed(*stamps_ms):
    period = FramePeriod()
    for stamp in stamps_ms:
        period.push(stamp * MS)
    return period


@pytest.mark.parametrize(
    ('stamps_ms', 'seconds', 'count'),
    [
        ((), 0.0, 0),
        ((5000,), 0.0, 0),
        ((0, 1000), 1.0, 1),
        ((0, 40, 5040), 0.04, 2),  # of two the smaller: the other may be a pause
        ((0, 40, 80, 80, 80, 120), 0.04, 3),  # repeated stamps are one frame
        ((0, 40, 80, 120, 1120, 2120, 3120), 1.0, 5),  # the camera became slow
        ((0, 40, 80, 10, 340), 0.33, 1),  # started again
        ((0, 60_000), 60.0, 1),
    ],
)
def test_period(stamps_ms, seconds, count):
    period = pushed(*stamps_ms)
    assert period.seconds == pytest.approx(seconds)
    assert len(period) == count


def test_a_frame_that_comes_counts_and_is_not_kept():
    period = pushed(0)
    assert period.with_frame_at(500 * MS) == pytest.approx(0.5)
    assert period.with_frame_at(9000 * MS) == 2.0  # single pictures, no stream
    assert period.with_frame_at(0) == 0.0
    assert period.seconds == 0.0
    fast = pushed(*range(0, 400, 40))
    assert fast.with_frame_at(5000 * MS) == pytest.approx(0.04)


def test_reset():
    period = pushed(0, 40)
    period.reset()
    assert (len(period), period.with_frame_at(7)) == (0, 0.0)
