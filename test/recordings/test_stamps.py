"""Stamps that say nothing, or do not fit: which image they cost, and what is said."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import START_NS, STEP_NS, write_recording

from trpose_ros.evaluation.sequences import clip_of_bag
from trpose_ros.recordings.sources import open_source
from trpose_ros.recordings.stamps import StampWatch, say_nothing, stamp_notes

GOOD = [1_700_000_000 * 10**9 + k * STEP_NS for k in range(6)]


def problems(stamps):
    watch = StampWatch()
    return [watch.check(stamp) for stamp in stamps]


def stamps_of(bag):
    source = open_source(bag)
    try:
        return [entry.frame.stamp_ns for entry in source.frames()], source.problems
    finally:
        source.close()


@pytest.mark.parametrize('odd', [0, 5 * 10**9, GOOD[2] - 20 * STEP_NS // 10, GOOD[5] + 10**18])
def test_one_stamp_that_does_not_fit_costs_its_own_message(odd):
    assert problems([*GOOD[:3], odd, *GOOD[3:]]) == [''] * 3 + ['odd_stamps'] + [''] * 3


@pytest.mark.parametrize('shift', [-(10**18), 10**18])
def test_a_clock_that_was_set_costs_one_message(shift):
    moved = [stamp + shift for stamp in GOOD]
    assert problems(GOOD + moved) == [''] * 6 + ['odd_stamps', 'time_jumps'] + [''] * 4


def test_a_recording_that_starts_again_costs_none():
    assert problems(GOOD + GOOD) == [''] * 6 + ['time_jumps'] + [''] * 5


def test_nothing_but_zeros_and_zeros_in_the_end():
    assert problems([0, 0, 0]) == ['zero_stamps'] * 3
    assert problems([GOOD[0], 0, 0, 0]) == ['', 'odd_stamps', 'zero_stamps', 'zero_stamps']
    assert problems([0, *GOOD[:2]]) == ['zero_stamps', '', '']
    assert problems([GOOD[0]] * 3) == ['', 'repeated_stamps', 'repeated_stamps']


@given(st.lists(st.integers(0, 4 * 10**18), max_size=12))
def test_after_two_good_stamps_every_stream_is_fine_again(before):
    following = [10**17 + k * STEP_NS for k in range(3)]
    assert problems(before + following)[-1] == ''


def test_which_stamps_say_nothing():
    assert not say_nothing([])
    assert not say_nothing([0])
    assert say_nothing([0, 0])
    assert say_nothing([7, 7, 7])
    assert say_nothing([7, 7, 8, 8])
    assert not say_nothing([7, 8, 8])


def test_notes_count_and_name_the_topic():
    notes = stamp_notes('/image', Counter({'': 5, 'odd_stamps': 2, 'time_jumps': 0}))
    assert [note[:24] for note in notes] == ['/image: 2 of its message']
    assert 'left out' in notes[0]


@pytest.mark.parametrize('stamp', [0, START_NS])
def test_recording_without_stamps_goes_by_the_times_of_recording(tmp_path, stamp):
    bag = write_recording(tmp_path / 'in.mcap', 5, stamps_ns=[stamp] * 5)
    stamps, said = stamps_of(bag)
    assert stamps == [START_NS + k * STEP_NS for k in range(5)]
    assert len(said) == 1
    assert 'times of recording are taken' in said[0]


def test_evaluation_without_stamps_measures_every_frame(tmp_path):
    bag = write_recording(tmp_path / 'in.mcap', 5, stamps_ns=[0] * 5)
    clip = clip_of_bag(bag)
    assert sorted(clip.truth) == [START_NS + k * STEP_NS for k in range(5)]
    assert any('times of recording' in problem for problem in clip.problems)


def test_truth_without_stamps_is_no_truth(tmp_path):
    stamps = [START_NS + k * STEP_NS for k in range(5)]
    bag = write_recording(tmp_path / 'in.mcap', 5, stamps_ns=stamps, truth_stamps_ns=[0] * 5)
    clip = clip_of_bag(bag)
    assert clip.truth == {}
    assert any('is left out' in problem for problem in clip.problems)


def test_data_set_of_a_recording_without_stamps_has_all_frames_and_images(tmp_path):
    from trpose_ros.data.datasets.recordings import load

    write_recording(tmp_path / 'in.mcap', 5, stamps_ns=[0] * 5)
    (sample,) = load(tmp_path)
    assert len(sample) == len(sample.images) == 5
    assert sample.fps == pytest.approx(30.0, rel=1e-3)
    assert (sample.images[4] != sample.images[0]).any()


def test_one_odd_stamp_leaves_no_mark_on_the_result(tmp_path):
    from offline.test_replay import stand_ins

    from trpose_ros.offline.replay import replay
    from trpose_ros.recordings.bags import BagReader

    stamps = [*GOOD[:3], 0, *GOOD[4:], 5, GOOD[5] + STEP_NS]
    bag = write_recording(tmp_path / 'in.mcap', 8, stamps_ns=stamps, truth=False)
    result = replay(open_source(bag), tmp_path / 'out', pipeline=stand_ins())
    assert (result.frames, result.skeletons) == (6, 6)
    with BagReader(tmp_path / 'out' / 'result.mcap') as out:
        logs = [message.log_ns for message in out.messages()]
        people = [m.message for m in out.messages(['/lifter_node/people'])]
    assert (min(logs), max(logs)) == (GOOD[0], GOOD[5] + STEP_NS)
    assert len({person.track_id for m in people for person in m.persons}) == 1
    said = json.loads((tmp_path / 'out' / 'metrics.json').read_text())['problems']
    assert any('2 of its messages' in problem for problem in said)
