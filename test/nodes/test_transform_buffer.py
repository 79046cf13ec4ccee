"""Our own tf buffer: chains, times, what it refuses and the names it says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trpose_ros.nodes.base.transform_buffer import TransformBuffer, TransformError
from trpose_ros.transforms import IDENTITY, Transform

SECOND_NS = 1_000_000_000
START_NS = 1_700_000_000 * SECOND_NS


def along(x, y=0.0, z=0.0):
    return Transform(IDENTITY.quaternion, np.array([x, y, z], float))


def random_transform(rng):
    quaternion = rng.normal(size=4)
    return Transform(quaternion / np.linalg.norm(quaternion), rng.normal(size=3))


def failure(buffer, target, source, stamp_ns):
    with pytest.raises(TransformError) as caught:
        buffer.lookup(target, source, stamp_ns)
    return caught.value


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 100), min_size=1, max_size=8))
def test_a_path_leads_through_the_common_ancestor_of_any_tree(seed, choices):
    """Every pair of a random tree agrees with the product of the way to its top."""
    rng = np.random.default_rng(seed)
    buffer, to_top = TransformBuffer(), {'f0': IDENTITY}
    for i, choice in enumerate(choices, 1):
        parent, step = f'f{choice % i}', random_transform(rng)
        buffer.add(parent, f'f{i}', START_NS, step, static=bool(choice % 2))
        to_top[f'f{i}'] = to_top[parent] @ step
    for target in to_top:
        for source in to_top:
            got = buffer.lookup(target, source, START_NS)
            expected = to_top[target].inverse() @ to_top[source]
            np.testing.assert_allclose(got.rotation, expected.rotation, atol=1e-9)
            np.testing.assert_allclose(got.translation_m, expected.translation_m, atol=1e-9)


def test_only_the_way_between_two_frames_needs_the_time():
    buffer = TransformBuffer()
    buffer.add('map', 'odom', START_NS, along(5))  # old, and above both
    buffer.add('odom', 'base', START_NS + SECOND_NS, along(1))
    buffer.add('base', 'camera', 0, along(0, 2), static=True)
    got = buffer.lookup('odom', 'camera', START_NS + SECOND_NS)
    np.testing.assert_allclose(got.translation_m, [1, 2, 0])
    assert buffer.lookup('base', 'camera', 77).translation_m[1] == 2  # static: at any time
    assert failure(buffer, 'map', 'camera', START_NS + SECOND_NS).reason == 'future'


@given(st.floats(0, 1))
def test_between_two_stamps_it_is_interpolated(share):
    buffer = TransformBuffer()
    for second in (2, 0, 1):  # in any order
        buffer.add('map', 'base', START_NS + second * SECOND_NS, along(second**2))
    stamp_ns = START_NS + SECOND_NS + round(share * SECOND_NS)
    got = buffer.lookup('map', 'base', stamp_ns).translation_m[0]
    assert got == pytest.approx(1 + 3 * share, abs=1e-8)


def test_nothing_is_guessed_before_the_first_and_after_the_last_stamp():
    buffer = TransformBuffer()
    buffer.add('map', 'base', START_NS, along(1))
    buffer.add('map', 'base', START_NS + SECOND_NS, along(2))
    assert buffer.lookup('map', 'base', START_NS).translation_m[0] == 1
    late = failure(buffer, 'map', 'base', START_NS + SECOND_NS + 250_000_000)
    assert (late.reason, late.may_come) == ('future', True)
    assert "'base' in 'map'" in str(late)
    assert '0.250 s' in str(late)
    assert 'tf_timeout_s' in str(late)
    early = failure(buffer, 'map', 'base', START_NS - 1_500_000_000)
    assert (early.reason, early.may_come) == ('past', False)
    assert '1.500 s' in str(early)


def test_missing_and_unconnected_frames_are_named():
    buffer = TransformBuffer()
    nothing = failure(buffer, 'map', 'camera', START_NS)
    assert nothing.reason == 'missing_frame'
    assert 'nothing has come on /tf' in str(nothing)
    buffer.add('map', 'base', START_NS, along(1))
    missing = failure(buffer, 'map', 'camera', START_NS)
    assert (missing.reason, missing.may_come) == ('missing_frame', True)
    assert "'camera'; there are base, map" in str(missing)
    buffer.add('rig', 'camera', START_NS, along(1), static=True)
    apart = failure(buffer, 'base', 'camera', START_NS)
    assert (apart.reason, apart.may_come) == ('disconnected', True)
    assert "ends at 'rig'" in str(apart)
    assert "other at 'map'" in str(apart)
    for i in range(40):
        buffer.add('map', f'link{i}', 0, along(1), static=True)
    assert 'and 36 others' in str(failure(buffer, 'map', 'lidar', START_NS))


def test_a_slash_in_front_of_a_name_means_nothing():
    buffer = TransformBuffer()
    buffer.add('/map', '/base', START_NS, along(1))
    assert buffer.lookup('map', '/base', START_NS).translation_m[0] == 1


@pytest.mark.parametrize(
    ('parent', 'child', 'transform', 'words'),
    [
        ('map', 'map', IDENTITY, 'two frames'),
        ('', 'base', IDENTITY, 'two frames'),
        ('map', '/', IDENTITY, 'two frames'),
        ('map', 'base', Transform(np.zeros(4), np.zeros(3)), r'\[0.0, 0.0, 0.0, 0.0\]'),
        ('map', 'base', Transform(np.array([0, 0, 0, 1.5]), np.zeros(3)), '1.5'),
        ('map', 'base', along(np.nan), 'nan'),
        ('map', 'base', along(1e300), '1e\\+300'),
        ('map', 'base', Transform(np.array([np.inf, 0, 0, 1]), np.zeros(3)), 'inf'),
    ],
)
def test_what_can_be_no_transform_is_refused_and_the_last_good_one_stays(
    parent, child, transform, words
):
    buffer = TransformBuffer()
    buffer.add('map', 'base', START_NS, along(3))
    with pytest.raises(TransformError, match=words) as caught:
        buffer.add(parent, child, START_NS + 1, transform)
    assert caught.value.reason == 'refused'
    assert buffer.lookup('map', 'base', START_NS).translation_m[0] == 3


def test_a_quaternion_of_nearly_length_1_is_made_so():
    buffer = TransformBuffer()
    buffer.add('map', 'base', START_NS, Transform(np.array([0, 0, 0, 1.005]), np.zeros(3)))
    np.testing.assert_array_equal(buffer.lookup('map', 'base', START_NS).rotation, np.eye(3))


def test_parents_in_a_circle_are_named_and_end():
    buffer = TransformBuffer()
    for parent, child in (('a', 'b'), ('b', 'c'), ('c', 'a')):
        buffer.add(parent, child, START_NS, along(1))
    circle = failure(buffer, 'a', 'c', START_NS)
    assert (circle.reason, circle.may_come) == ('circle', False)


def test_the_last_ten_seconds_are_kept_and_no_more_than_that():
    buffer = TransformBuffer()
    for i in range(3000):
        buffer.add('map', 'base', START_NS + i * SECOND_NS // 100, along(i))
    last_ns = START_NS + 2999 * SECOND_NS // 100
    assert buffer.lookup('map', 'base', last_ns - 10 * SECOND_NS).translation_m[0] == 1999
    assert failure(buffer, 'map', 'base', last_ns - 11 * SECOND_NS).reason == 'past'
    assert len(buffer._frames['base'].stamps_ns) < 1100


def test_time_that_begins_again_and_another_parent_forget_what_was():
    buffer = TransformBuffer()
    buffer.add('map', 'base', START_NS + 60 * SECOND_NS, along(1))
    buffer.add('map', 'base', START_NS, along(2))
    assert buffer.lookup('map', 'base', START_NS).translation_m[0] == 2
    assert failure(buffer, 'map', 'base', START_NS + SECOND_NS).reason == 'future'
    buffer.add('odom', 'base', START_NS, along(3))
    assert buffer.lookup('odom', 'base', START_NS).translation_m[0] == 3
    assert failure(buffer, 'map', 'base', START_NS).reason == 'missing_frame'


def test_a_flood_of_names_has_an_end():
    buffer = TransformBuffer()
    for i in range(5000):
        buffer.add('map', f'f{i}', 0, IDENTITY, static=True)
    with pytest.raises(TransformError, match='more than 5000'):
        buffer.add('map', 'one_more', 0, IDENTITY, static=True)
    buffer.add('map', 'f7', 0, along(1), static=True)  # those that are known go on
