"""Encounters: short rendered clips that are hard for identities, deterministic by seed.

Dressed bodies walk along lines that are laid before a still camera at the origin, 1.2 m high,
which looks along y of the world:

    crossing2, crossing3   people pass each other across the picture, the nearer ones hide others
    close2                 two meet, stand a hand's breadth apart (an embrace), and part again
    return0.5 .. return5   one leaves the picture and is back after so many seconds
    another2               one leaves, two seconds later somebody else comes in at the same side
    behind                 one passes behind a panel that hides all of the body
    exchange               two pass each other behind that panel
    picture                one walks past the life-size picture of a person on the wall
    empty                  a room without people

Truth and drawing are those of a clip (clips.py). Walks end where their motion capture ends: people
then walk back.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from trpose_ros.data.motion.packs import MotionPack
from trpose_ros.data.rendering.bodies import BodyLibrary
from trpose_ros.data.rendering.clips import Clip, ClipConfig, Staging
from trpose_ros.data.rendering.furniture import Panel
from trpose_ros.data.rendering.sprites import load_motion, look_at

# Walks of the splits, straight enough to be laid along a line; somebody else has another one.
WALKS = {
    'val': ('cmu_16_15', 'cmu_16_47', 'cmu_06_01', 'cmu_16_32'),
    'test': (
        'accad_Model01_Female-Walk_to_hop_to_walk',
        'accad_Model01_Female-Side_step_left',
        'accad_Model01_Female-Walk_turn_left_45',
        'accad_Model01_Female-Walk_back',
    ),
}
_CAMERA = ClipConfig()
CENTRE_M = np.array([0.0, 0.0, 1.2])
ROTATION = look_at(CENTRE_M, np.array([0.0, 1.0, 1.15]))  # world to camera
_RATE_HZ = 30.0  # of motions
_DEPTH_M = 3.6
_APART_M = 0.7  # in depth, of people who cross
_TOUCH_M = 0.2  # of either one from the middle between two who embrace
_LONGEST_M = 4.5  # of a walk: the picture is about as wide
_SPEED_M_S = (0.7, 1.4)  # faster and slower walks are paced to lie between
_TAN = np.tan(np.radians(_CAMERA.fov_deg) / 2)

Paths = tuple[list[np.ndarray], tuple[Panel, ...]]


def encounter(
    kind: str, split: str = 'val', seed: int = 0, library: BodyLibrary | None = None
) -> Clip:
    """Return an encounter; ``seed`` chooses walks, bodies, clothes and room.

    Raises ValueError for an unknown kind or split, and bodies.PackError without the data packs.
    """
    library = library or BodyLibrary()
    paths, panels = lay(kind, load_motion(split), split, seed)
    frames = max((len(path) for path in paths), default=round(2 * _RATE_HZ))
    picture = _portrait(split, seed, library) if kind == 'picture' else None
    staging = Staging(
        paths_m=tuple(paths),
        frames=frames,
        rotation=ROTATION,
        position_m=CENTRE_M,
        panels=panels,
        picture=picture,
    )
    number = 1000 * seed + list(ENCOUNTERS).index(kind)
    return Clip(ClipConfig(split=split, seed=number), library, staging)


def lay(kind: str, motion: MotionPack, split: str, seed: int) -> Paths:
    """Return who walks where, (T, 17, 3) m in the world for each person, and panels.

    Raises ValueError for an unknown kind or split.
    """
    if kind not in ENCOUNTERS:
        raise ValueError(f'unknown encounter {kind!r}; known are {", ".join(ENCOUNTERS)}')
    if split not in WALKS:
        raise ValueError(f'split must be one of {", ".join(WALKS)}, got {split!r}')
    walks = [_walk(motion, name) for name in np.roll(WALKS[split], -seed)]
    return ENCOUNTERS[kind](walks, motion.rate_hz)


def _walk(motion: MotionPack, name: str) -> np.ndarray:
    """Return (T, 17, 3) joints that walk along x from the origin on, at a walking speed."""
    path = motion.clip(motion.names.index(name)).astype(np.float64)
    way = path[-1, 0, :2] - path[0, 0, :2]
    path = _turned(path - path[0, 0] * [1, 1, 0], -np.arctan2(way[1], way[0]))
    speed = np.hypot(*way) * motion.rate_hz / len(path)
    pace = np.clip(speed, *_SPEED_M_S) / speed
    times = np.arange(0, len(path) - 1, pace)
    low = times.astype(int)
    share = (times - low)[:, None, None]
    path = (1 - share) * path[low] + share * path[low + 1]
    return path[path[:, 0, 0] <= _LONGEST_M]


def _turned(path: np.ndarray, angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return path @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]).T


def _along(walk: np.ndarray, middle_m: float, depth_m: float, leftwards: bool) -> np.ndarray:
    """Lay a walk across the picture: its middle at x, its mean depth."""
    path = _turned(walk, np.pi) if leftwards else walk
    centre = (path[0, 0] + path[-1, 0]) / 2
    return path - centre * [1, 1, 0] + [middle_m, depth_m, 0]


def _together(paths: list[np.ndarray]) -> list[np.ndarray]:
    """Cut paths around their middles to the length of the shortest."""
    frames = min(map(len, paths))
    return [path[(len(path) - frames) // 2 :][:frames] for path in paths]


def _crossing(count: int) -> Callable[[list[np.ndarray], float], Paths]:
    def lay(walks: list[np.ndarray], rate_hz: float) -> Paths:
        paths = [
            _along(walks[k], 0.4 * (k // 2), _DEPTH_M + (k - 1) * _APART_M, k % 2 == 1)
            for k in range(count)
        ]
        return _together(paths), ()

    return lay


def _close(walks: list[np.ndarray], rate_hz: float) -> Paths:
    """Walk up to each other, stand for a second, and walk backwards again."""
    paths = []
    for walk, leftwards in ((walks[0], False), (walks[1], True)):
        path = _along(walk, 0.0, _DEPTH_M, leftwards)
        path = path[: round(1.7 * rate_hz)]
        side = 1.0 if leftwards else -1.0
        path = path - [path[-1, 0, 0] - side * _TOUCH_M, path[-1, 0, 1] - _DEPTH_M, 0]
        still = np.repeat(path[-1:], round(rate_hz), axis=0)
        paths.append(np.concatenate([path, still, path[::-1]]))
    frames = min(map(len, paths))
    return [path[:frames] for path in paths], ()


def _outside(path: np.ndarray) -> np.ndarray:
    """Return (T,) bool: no joint projects into the picture, with a hand's breadth to spare."""
    return np.asarray((np.abs(path[..., 0]) - 0.1 > _TAN * path[..., 1]).all(axis=1))


def _leaving(walk: np.ndarray) -> np.ndarray:
    """Return a walk out of the picture at its right side, cut when nothing of it is seen."""
    way = walk[-1, 0, 0] - walk[0, 0, 0]
    edge = _TAN * _DEPTH_M + 0.7
    path = _along(walk, edge - way / 2, _DEPTH_M, False)
    gone = _outside(path)
    return path[: int(gone.argmax()) + 1] if gone.any() else path


def _coming(walk: np.ndarray) -> np.ndarray:
    """Return a walk into the picture from its right side, cut where something of it is seen."""
    way = walk[-1, 0, 0] - walk[0, 0, 0]
    edge = _TAN * _DEPTH_M + 0.7
    path = _along(walk, edge - way / 2, _DEPTH_M, True)
    first = int((~_outside(path)).argmax())
    return path[max(first - 1, 0) :]


def _returning(gone_s: float) -> Callable[[list[np.ndarray], float], Paths]:
    def lay(walks: list[np.ndarray], rate_hz: float) -> Paths:
        out, back = _leaving(walks[0]), _coming(walks[0])
        gone = np.repeat(out[-1:], round(gone_s * rate_hz), axis=0)
        return [np.concatenate([out, gone, back])], ()

    return lay


def _another(walks: list[np.ndarray], rate_hz: float) -> Paths:
    out, back = _leaving(walks[0]), _coming(walks[1])
    gone = round(2.0 * rate_hz)
    first = np.concatenate([out, np.repeat(out[-1:], gone + len(back), axis=0)])
    second = np.concatenate([np.repeat(back[:1], len(out) + gone, axis=0), back])
    return [first, second], ()


def _behind(leftwards: tuple[bool, ...]) -> Callable[[list[np.ndarray], float], Paths]:
    def lay(walks: list[np.ndarray], rate_hz: float) -> Paths:
        paths = [
            _along(walks[k], 0.0, _DEPTH_M + 0.5 * k, left) for k, left in enumerate(leftwards)
        ]
        low, high = np.array([-0.5, 2.2, 0.0]), np.array([0.5, 2.2, 0.0])
        up = np.array([0.0, 0.0, 2.4])
        corners = np.stack([low, high, high + up, low + up])
        rng = np.random.default_rng(len(leftwards))
        texture = rng.integers(90, 200, (24, 10, 3), dtype=np.uint8)
        return _together(paths), (Panel(corners, np.repeat(np.repeat(texture, 8, 0), 8, 1)),)

    return lay


def _nobody(walks: list[np.ndarray], rate_hz: float) -> Paths:
    return [], ()


def _alone(walks: list[np.ndarray], rate_hz: float) -> Paths:
    return [_along(walks[0], 0.0, _DEPTH_M, False)], ()


def _portrait(split: str, seed: int, library: BodyLibrary) -> np.ndarray:
    """Return the picture (H, W, 3) of somebody in a room."""
    config = ClipConfig(
        motions=(WALKS[split][-1],),
        split=split,
        seconds=0.04,
        width=240,
        height=320,
        fov_deg=45.0,
        seed=seed + 77,
    )
    return Clip(config, library).draw(0)[0].image


ENCOUNTERS: dict[str, Callable[[list[np.ndarray], float], Paths]] = {
    'crossing2': _crossing(2),
    'crossing3': _crossing(3),
    'close2': _close,
    'return0.5': _returning(0.5),
    'return1': _returning(1.0),
    'return2': _returning(2.0),
    'return5': _returning(5.0),
    'another2': _another,
    'behind': _behind((False,)),
    'exchange': _behind((False, True)),
    'picture': _alone,
    'empty': _nobody,
}
