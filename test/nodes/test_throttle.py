"""What a node says about trouble from outside: short, and each kind rarely."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trpose_ros.nodes.base.throttle import Throttle, kind_of, shortened


@given(st.text(max_size=3000))
def test_no_text_is_long(text):
    short = shortened(text)
    assert len(short) <= 604
    assert shortened('x' + text[:100]) == 'x' + text[:100]
    assert len(kind_of(text)) <= 100


@pytest.mark.parametrize('quote', ["'", '"', ''])
def test_words_from_outside_are_cut_and_ours_stay(quote):
    text = f'skeleton {quote}{"s" * 20_000}{quote} is not known; let it be one of ours'
    short = shortened(text)
    assert 's' * 200 in short
    assert 's' * 201 not in short
    if quote:
        assert len(shortened(f'a {quote}{"b c " * 5000}{quote}')) < 300
    assert len(shortened('1.0, ' * 1_000_000)) < 700


def test_our_words_after_a_long_one_are_kept():
    text = f'encoding {"e" * 5000!r} is not supported; set the driver to rgb8'
    assert shortened(text).endswith('set the driver to rgb8')


def test_a_kind_is_said_once_in_ten_seconds_with_how_many_there_were():
    now_s = [0.0]
    throttle = Throttle(lambda: now_s[0])
    said = []
    for number in range(1000):
        now_s[0] = number * 0.02
        said.append(throttle.words(f"image of {number}x{-number / 7} px, 'name{number}', nan: no"))
    said = [words for words in said if words]
    assert len(said) == 2
    assert said[1].endswith("'name500', nan: no (and 499 more of this kind)")


def test_many_kinds_are_bounded_too():
    """4564 lines came in two minutes."""
    now_s = [0.0]
    throttle = Throttle(lambda: now_s[0])
    said = []
    for number in range(120_000):
        now_s[0] = number * 1e-3
        letters = ''.join(chr(97 + number // 26**k % 26) for k in range(4))
        said.append(throttle.words(f'trouble of kind {letters}'))
    said = [words for words in said if words]
    assert 16 <= len(said) <= 16 * 13
    assert any('of other kinds' in words for words in said)
    now_s[0] += 100
    assert throttle.words('a new kind').startswith('a new kind')
