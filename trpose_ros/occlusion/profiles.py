"""Where each truncation condition hides the image: pure geometry, no pixels (protocol v1).

A profile maps a Scene (reference box, image size, time, random draws) either to rectangles that
are hidden (mask profiles) or to the window that stays in view (window profiles, which can also be
realised by really cutting the image). Everything depends on time and seed only, never on earlier
frames: the same stamp gives the same mask, in whatever order and however many frames arrive.

Inside this module a rectangle is (x0, y0, x1, y1) in px, pixel centres at integers, so that an
image of width w spans -0.5 .. w - 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trpose_ros.registry import Registry

NS = 1_000_000_000
_PERIOD_NS = (4 * NS, 52 * NS // 10)  # of the moving box in x and y
_SWEEP_NS = 2 * NS  # the crop edge crosses the person in this time
_BLACKOUT_CYCLE_NS = 4 * NS  # one blackout in each
_CHEST = 0.28  # of the reference box's height: cuts about 40 % of the body when zoomed
_SMALLEST_VIEW = 1 / 8  # of the image side: what a sweeping edge leaves at least
_LEAST_PX = 16  # a window keeps at least so many px of each side

Rectangle = tuple[float, float, float, float]


@dataclass(frozen=True)
class Scene:
    """What a profile may look at."""

    box: Rectangle  # the reference box F_t
    width: int
    height: int
    severity: float
    time_ns: int
    hold: str  # 'frame', 'half_second' or 'sequence'
    draw: Callable[[int], np.random.Generator]  # generator of a time key; key 0 = the sequence

    @property
    def image(self) -> Rectangle:
        """Return the rectangle of the whole image."""
        return -0.5, -0.5, self.width - 0.5, self.height - 0.5

    def frame_key(self) -> int:
        """Return the number of the present draw: 1 ms apart means another frame."""
        if self.hold == 'sequence':
            return 0
        step = NS // 2 if self.hold == 'half_second' else NS // 1000
        return (self.time_ns + (0 if self.hold == 'half_second' else step // 2)) // step


@dataclass(frozen=True)
class Profile:
    """A named truncation condition."""

    name: str
    labels: tuple[str, ...]  # of the severities, as they enter the seed
    values: tuple[float, ...]
    main: int  # index of the main severity
    description: str
    hide: Callable[[Scene], list[Rectangle]] | None = None  # mask profiles
    keep: Callable[[Scene], Rectangle] | None = None  # window profiles
    realisation: str = 'fill'  # the main one


PROFILES: Registry[Profile] = Registry('profile')

# The five conditions whose plain mean is the headline number.
FIVE = ('random_box', 'moving_box', 'fixed_upper', 'fixed_middle', 'fixed_lower')


def register_profile(
    name: str,
    severities: tuple[str, ...] = ('0',),
    main: int = 0,
    window: bool = False,
    realisation: str = 'fill',
) -> Callable[[Callable], Callable]:
    """Register a profile; severities are the labels that enter the seed, '1/3' is a number too.

    With ``window`` the function returns the rectangle kept in view, else the hidden rectangles.
    The function's docstring is the profile's description.
    """

    def decorate(function: Callable) -> Callable:
        values = tuple(
            float(a) / float(b or 1) for a, _, b in (s.partition('/') for s in severities)
        )
        profile = Profile(
            name=name,
            labels=severities,
            values=values,
            main=main,
            description=(function.__doc__ or '').strip(),
            realisation=realisation,
            **{'keep' if window else 'hide': function},
        )
        PROFILES.register(name)(profile)
        return function

    return decorate


_THIRDS = ('1/4', '1/3', '1/2')


@register_profile('none')
def _none(scene: Scene) -> list[Rectangle]:
    """Hide nothing."""
    return []


@register_profile('random_box', ('3', '6', '9', '12'), main=1)
def _random_box(scene: Scene) -> list[Rectangle]:
    """Hide n of the 24 cells (6 rows, 4 columns) of the box, drawn anew in every frame."""
    x0, y0, x1, y1 = scene.box
    cells = scene.draw(scene.frame_key()).choice(24, int(scene.severity), replace=False)
    xs, ys = np.linspace(x0, x1, 5), np.linspace(y0, y1, 7)
    return [
        (float(xs[c % 4]), float(ys[c // 4]), float(xs[c % 4 + 1]), float(ys[c // 4 + 1]))
        for c in sorted(int(cell) for cell in cells)
    ]


def _triangle(time_ns: int, period_ns: int, phase: float) -> float:
    """Return a triangle wave from 0 up to 1 and back; integers keep it exact for any stamp."""
    turn = (time_ns % period_ns) / period_ns + phase
    turn -= np.floor(turn)
    return float(1.0 - abs(2.0 * turn - 1.0))


@register_profile('moving_box', ('0.35', '0.5', '0.65'), main=1)
def _moving_box(scene: Scene) -> list[Rectangle]:
    """Hide a rectangle (a times the box's sides) whose centre moves on triangle waves."""
    x0, y0, x1, y1 = scene.box
    phases = scene.draw(0).random(2)
    width, height = scene.severity * (x1 - x0), scene.severity * (y1 - y0)
    left = x0 + (x1 - x0 - width) * _triangle(scene.time_ns, _PERIOD_NS[0], phases[0])
    top = y0 + (y1 - y0 - height) * _triangle(scene.time_ns, _PERIOD_NS[1], phases[1])
    return [(left, top, left + width, top + height)]


@register_profile('fixed_middle', _THIRDS, main=1)
def _fixed_middle(scene: Scene) -> list[Rectangle]:
    """Hide a band of the box's height around its middle, over the full image width."""
    left, _, right, _ = scene.image
    _, y0, _, y1 = scene.box
    half = scene.severity * (y1 - y0) / 2
    return [(left, (y0 + y1) / 2 - half, right, (y0 + y1) / 2 + half)]


@register_profile('fixed_upper', _THIRDS, main=1, window=True)
def _fixed_upper(scene: Scene) -> Rectangle:
    """Hide everything above a share of the box's height, up to the image border."""
    left, _, right, bottom = scene.image
    _, y0, _, y1 = scene.box
    return left, y0 + scene.severity * (y1 - y0), right, bottom


@register_profile('fixed_lower', _THIRDS, main=1, window=True)
def _fixed_lower(scene: Scene) -> Rectangle:
    """Hide everything below, from a share of the box's height down to the image border."""
    left, top, right, _ = scene.image
    _, y0, _, y1 = scene.box
    return left, top, right, y1 - scene.severity * (y1 - y0)


@register_profile('fixed_left', _THIRDS, main=1, window=True)
def _fixed_left(scene: Scene) -> Rectangle:
    """Hide everything left of a share of the box's width."""
    _, top, right, bottom = scene.image
    x0, _, x1, _ = scene.box
    return x0 + scene.severity * (x1 - x0), top, right, bottom


@register_profile('fixed_right', _THIRDS, main=1, window=True)
def _fixed_right(scene: Scene) -> Rectangle:
    """Hide everything right of a share of the box's width."""
    left, top, _, bottom = scene.image
    x0, _, x1, _ = scene.box
    return left, top, x1 - scene.severity * (x1 - x0), bottom


@register_profile('near_crop', ('1.5',), window=True, realisation='crop')
def _near_crop(scene: Scene) -> Rectangle:
    """Keep what a near camera sees: zoomed about the chest, some 40 % of the body out of view.

    The zoom counts from the framing in which the reference box fills the image's height.
    """
    x0, y0, x1, y1 = scene.box
    height = (y1 - y0) / scene.severity
    width = height * scene.width / scene.height
    x, y = (x0 + x1) / 2, y0 + _CHEST * (y1 - y0)
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


@register_profile('entry_exit', window=True, realisation='crop')
def _entry_exit(scene: Scene) -> Rectangle:
    """Sweep an image edge over the person in 2 s and back in 2 s: leaving, then entering.

    At time 0 the person is fully in view; the seed says which edge moves.
    """
    left, top, right, bottom = scene.image
    x0, _, x1, _ = scene.box
    share = _triangle(scene.time_ns, 2 * _SWEEP_NS, 0.0)
    least = _SMALLEST_VIEW * scene.width
    if scene.draw(0).random() < 0.5:
        edge = max(x1 - share * (x1 - x0), left + least)
        return left, top, (edge if share > 0 else right), bottom
    edge = min(x0 + share * (x1 - x0), right - least)
    return (edge if share > 0 else left), top, right, bottom


@register_profile('blackout', ('0.2', '0.5', '1.0', '2.0'), main=1)
def _blackout(scene: Scene) -> list[Rectangle]:
    """Hide the whole image for a number of seconds, once in every 4 s at a drawn moment."""
    cycle, within = divmod(scene.time_ns, _BLACKOUT_CYCLE_NS)
    length = round(scene.severity * NS)
    start = scene.draw(cycle).integers(0, _BLACKOUT_CYCLE_NS - length)
    return [scene.image] if start <= within < start + length else []


def snap(rectangle: Rectangle, width: int, height: int) -> Rectangle:
    """Return the rectangle of exactly those pixels whose centres lie inside, in the image."""
    x0, y0, x1, y1 = (math.ceil(value) - 0.5 for value in rectangle)
    right, bottom = width - 0.5, height - 0.5
    return (
        min(max(x0, -0.5), right),
        min(max(y0, -0.5), bottom),
        min(max(x1, -0.5), right),
        min(max(y1, -0.5), bottom),
    )


def view(rectangle: Rectangle, width: int, height: int) -> Rectangle:
    """Snap a window in view and widen it to the least size, so that an image is left."""
    x0, y0, x1, y1 = snap(rectangle, width, height)
    x0, x1 = _widen(x0, x1, width)
    y0, y1 = _widen(y0, y1, height)
    return x0, y0, x1, y1


def _widen(low: float, high: float, size: int) -> tuple[float, float]:
    least = min(_LEAST_PX, size)
    if high - low < least:
        low = min(max(low, -0.5), size - 0.5 - least)
        high = low + least
    return low, high


def complement(window: Rectangle, width: int, height: int) -> list[Rectangle]:
    """Return the disjoint rectangles around a window: above, below, left, right."""
    x0, y0, x1, y1 = window
    left, top, right, bottom = -0.5, -0.5, width - 0.5, height - 0.5
    return [
        (left, top, right, y0),
        (left, y1, right, bottom),
        (left, y0, x0, y1),
        (x1, y0, right, y1),
    ]
