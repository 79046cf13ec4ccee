"""A model of the errors of one 2D pose estimator, fitted to what it makes of rendered people.

``trpose train noise`` measures an estimator and writes the numbers; this file applies them to exact
joints. They are kept for each kind of joint (trunk, wrist ...) and for what became of it: visible,
hidden (something lies in front), or outside the image. The error of a joint has these parts:

- a pull towards the middle of the joints that are visible, a share of the way there;
- an offset that stays for a window, one that wanders, and jitter from frame to frame, all normal;
  a share of the first two is common to all joints: the whole pose is then off;
- jumps to somewhere else for some frames.

All but jumps vary in level from window to window, and their changes come in bursts: an estimator
is mostly calm, then all joints move within some frames. Left and right limbs are swapped for a
while. In frames without any output the last output stands, as in the protocol. Lengths are shares
of the person's apparent size (``apparent_size``).
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from trpose_ros.skeletons import get_skeleton
from trpose_ros.writing import write_text

GROUPS: dict[str, tuple[int, ...]] = {
    'trunk': (0, 1, 4, 7, 8, 11, 14),
    'head': (9, 10),
    'elbow': (12, 15),
    'wrist': (13, 16),
    'knee': (2, 5),
    'ankle': (3, 6),
}
STATES = ('visible', 'hidden', 'outside')
LIMBS: dict[str, tuple[int, ...]] = {'arms': (11, 12, 13, 14, 15, 16), 'legs': (1, 2, 3, 4, 5, 6)}
_FOLDER = Path(__file__).parent / 'noise'
_MIRROR = get_skeleton('h36m_17').mirror
_FORMAT = 1


@dataclass(frozen=True)
class JointErrors:
    """Errors of one kind of joint in one state; lengths as shares of the apparent size."""

    pull: float  # towards the middle of the visible joints, share of the way
    fixed: float  # std of what stays for a window, per axis
    slow: float  # std of what wanders, per axis
    slow_s: float  # its correlation time
    jitter: float  # std of what changes from frame to frame, per axis
    jump_share: float  # of the frames
    jump_s: float  # mean length
    jump: float  # std of its offset, per axis


@dataclass(frozen=True)
class Spells:
    """Something that happens in a share of the frames, for so long on average."""

    share: float
    mean_s: float


@dataclass(frozen=True)
class DetectorErrors:
    """The errors of one estimator."""

    estimator: str  # and its weights
    rows: dict[str, dict[str, JointErrors]]  # by state, then by group
    level: dict[str, float]  # by state: std of the logarithm of a window's level
    unrest: dict[str, float]  # by state: std of the logarithm of a frame's changes
    common: float  # share of the variance of fixed and slow that all joints have in common
    swaps: dict[str, Spells]  # of each entry of LIMBS
    missing: dict[str, Spells]  # of the whole person: 'whole', or 'cut' when joints are not visible
    fitted_on: str  # what was measured, in words

    def __post_init__(self) -> None:
        """Validate; raises ValueError naming the number."""
        for state in STATES:
            for group in GROUPS:
                row = self.rows.get(state, {}).get(group)
                if row is None:
                    raise ValueError(f'{self.estimator}: no errors of group {group!r}, {state}')
                for name, value in dataclasses.asdict(row).items():
                    least = -1.0 if name == 'pull' else 0.0
                    if not least <= value <= 10.0:
                        raise ValueError(f'{self.estimator}: {state} {group} {name} is {value}')
        if set(self.swaps) != set(LIMBS) or set(self.missing) != {'whole', 'cut'}:
            raise ValueError(f'{self.estimator}: swaps of {sorted(LIMBS)}, missing of whole, cut')
        shares = [s.share for s in (*self.swaps.values(), *self.missing.values())]
        shares.append(self.common)
        if min(shares) < 0 or max(shares) > 1:
            raise ValueError(f'{self.estimator}: shares must lie in 0..1, got {shares}')
        for spread in (self.level, self.unrest):
            if set(spread) != set(STATES) or not all(0 <= v <= 3 for v in spread.values()):
                raise ValueError(f'{self.estimator}: level and unrest lie in 0..3, got {spread}')

    def table(self, name: str) -> np.ndarray:
        """Return (3, 17): one number of every joint in each of STATES."""
        out = np.zeros((len(STATES), 17), np.float32)
        for s, state in enumerate(STATES):
            for group, joints in GROUPS.items():
                out[s, list(joints)] = getattr(self.rows[state][group], name)
        return out

    def save(self, path: Path) -> None:
        """Write JSON: complete or not at all."""
        content = {'format': _FORMAT, **dataclasses.asdict(self)}
        write_text(path, json.dumps(content, indent=1) + '\n')

    @classmethod
    def load(cls, path: Path) -> DetectorErrors:
        """Read what ``save`` wrote; raises FileNotFoundError, or ValueError for another content."""
        try:
            content = json.loads(path.read_text(encoding='utf-8'))
            if content.pop('format') != _FORMAT:
                raise ValueError('another format')
            return cls(**_parsed(content))
        except (
            *(ValueError, TypeError, KeyError, AttributeError),
            *(RecursionError, OverflowError),
        ) as error:
            raise ValueError(
                f'{path} does not hold the errors of an estimator ({error!s:.300}); fit them '
                'again: trpose train noise'
            ) from error


def _parsed(content: dict[str, Any]) -> dict[str, Any]:
    rows = {
        state: {group: JointErrors(**row) for group, row in groups.items()}
        for state, groups in content['rows'].items()
    }
    spells = {
        name: {key: Spells(**value) for key, value in content[name].items()}
        for name in ('swaps', 'missing')
    }
    return {**content, 'rows': rows, **spells}


@cache
def load_fitted(name: str) -> DetectorErrors:
    """Return the shipped errors of an estimator, or those in a file of that path.

    Raises ValueError for a name that is neither, naming the known ones, or for a damaged file.
    """
    for path in (_FOLDER / f'{name}.json', Path(name)):
        if path.is_file():
            return DetectorErrors.load(path)
    raise ValueError(
        f'no errors of an estimator {name!r} are known; known are {fitted_names()}; '
        'measure another one with: trpose train noise'
    )


def fitted_names() -> list[str]:
    """Return the estimators whose errors are shipped."""
    return sorted(path.stem for path in _FOLDER.glob('*.json'))


def extremes(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and the highest coordinates (B, T, 2) of joints (B, T, J, 2)."""
    # Reducing a short axis in the middle is slow, the first one is fast.
    first = np.ascontiguousarray(joints.transpose(2, 0, 1, 3))
    return first.min(axis=0), first.max(axis=0)


def apparent_size(joints: np.ndarray) -> np.ndarray:
    """Return (B,): the diagonal of the box around joints (B, T, 17, 2), mean over time."""
    low, high = extremes(joints)
    extent = high - low
    return np.asarray(np.linalg.norm(extent, axis=-1).mean(axis=1))


def states_of(joints: np.ndarray, hidden: np.ndarray | None, half_height: np.ndarray) -> np.ndarray:
    """Return (B, T, 17) indices into STATES of exact joints (B, T, 17, 2) on the screen."""
    limit = np.stack([np.ones_like(half_height), half_height], axis=-1)[:, None, None]
    outside = (np.abs(joints) > limit).any(axis=-1)
    state = np.zeros(outside.shape, np.int64)
    if hidden is not None:
        state[hidden] = 1
    state[outside] = 2
    return state


def visible_middle(joints: np.ndarray, state: np.ndarray) -> np.ndarray:
    """Return (B, T, 1, 2): the middle of the visible joints; of all of them where none is."""
    weight = (state == 0).astype(joints.dtype)
    weight[~(state == 0).any(axis=2)] = 1.0
    total = (joints * weight[..., None]).sum(axis=2, keepdims=True)
    return total / weight.sum(axis=2)[..., None, None]


def with_errors(
    joints: np.ndarray,
    state: np.ndarray,
    errors: DetectorErrors,
    rate_hz: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return joints (B, T, 17, 2) as the estimator would give them; ``state`` as of states_of."""
    joint = np.arange(joints.shape[2])

    def of(name: str) -> np.ndarray:
        return errors.table(name)[state, joint][..., None]

    batch, _, count = state.shape
    size = apparent_size(joints).astype(np.float32)[:, None, None, None]
    level, unrest = (
        np.array([values[name] for name in STATES], np.float32)[state][..., None]
        for values in (errors.level, errors.unrest)
    )
    level = np.exp(level * rng.standard_normal((batch, 1, 1, 1), dtype=np.float32))
    # Of mean square one: bursts change when joints move, not how far in the end.
    burst = rng.standard_normal((batch, state.shape[1], 1, 1), dtype=np.float32)
    burst = np.exp(unrest * burst - unrest**2)
    keep = np.exp(-1.0 / np.maximum(of('slow_s') * rate_hz, 1e-3))
    wander = of('fixed') * _shared(rng, (batch, 1, count, 2), errors.common)
    wander = wander + of('slow') * _slow(rng, keep, burst, errors.common)
    jitter = of('jitter') * burst * rng.standard_normal(joints.shape, dtype=np.float32)
    away = of('jump') * _jumps(rng, of('jump_share')[..., 0], of('jump_s')[..., 0], rate_hz)
    seen = _swapped(joints, errors, rate_hz, rng) + size * (level * (wander + jitter) + away)
    seen = seen + of('pull') * (visible_middle(joints, state) - joints)
    whole = (state == 0).all(axis=2)
    chance = np.where(whole, errors.missing['whole'].share, errors.missing['cut'].share)
    length = np.where(whole, errors.missing['whole'].mean_s, errors.missing['cut'].mean_s)
    lost = spells(rng, chance[..., None], length[..., None], rate_hz)[..., 0]
    return _held(seen, lost).astype(np.float32)


def spells(
    rng: np.random.Generator, share: np.ndarray, mean_s: np.ndarray, rate_hz: float
) -> np.ndarray:
    """Return (B, T, J) bool: runs that fill ``share`` of the time and last ``mean_s`` each."""
    chance = rng.random(share.shape, dtype=np.float32)
    share = np.minimum(share, 0.95)
    leave = 1.0 / np.maximum(mean_s * rate_hz, 1.0)
    enter = np.minimum(leave * share / (1.0 - share), 1.0)
    state = np.zeros(share.shape, bool)
    state[:, 0] = chance[:, 0] < share[:, 0]
    for t in range(1, share.shape[1]):
        state[:, t] = np.where(
            state[:, t - 1], chance[:, t] >= leave[:, t], chance[:, t] < enter[:, t]
        )
    return state


def _shared(rng: np.random.Generator, shape: tuple[int, ...], common: float) -> np.ndarray:
    """Return normal noise (B, T, J, 2), a share of whose variance all joints have in common."""
    every = rng.standard_normal((*shape[:2], 1, shape[3]), dtype=np.float32)
    own = rng.standard_normal(shape, dtype=np.float32)
    return np.float32(np.sqrt(common)) * every + np.float32(np.sqrt(1 - common)) * own


def _slow(
    rng: np.random.Generator, keep: np.ndarray, burst: np.ndarray, common: float
) -> np.ndarray:
    """Return noise of variance one that keeps the share ``keep`` (B, T, J, 1) frame by frame.

    What is new in a frame is multiplied with ``burst``, of mean square one.
    """
    batch, frames, count = keep.shape[:3]
    noise = _shared(rng, (batch, frames, count, 2), common)
    fresh = np.sqrt(1 - keep**2) * burst
    for t in range(1, frames):
        noise[:, t] = keep[:, t] * noise[:, t - 1] + fresh[:, t] * noise[:, t]
    return noise


def _jumps(
    rng: np.random.Generator, share: np.ndarray, mean_s: np.ndarray, rate_hz: float
) -> np.ndarray:
    """Return (B, T, J, 2): a normal offset that stays for a jump; zero between jumps."""
    away = spells(rng, share, mean_s, rate_hz)
    offset = rng.standard_normal((*away.shape, 2), dtype=np.float32)
    for t in range(1, away.shape[1]):
        goes_on = away[:, t] & away[:, t - 1]
        offset[:, t] = np.where(goes_on[..., None], offset[:, t - 1], offset[:, t])
    return offset * away[..., None]


def _swapped(
    joints: np.ndarray, errors: DetectorErrors, rate_hz: float, rng: np.random.Generator
) -> np.ndarray:
    mirrored = joints[:, :, _MIRROR]
    which = np.zeros(joints.shape[:3], bool)
    for limb, indices in LIMBS.items():
        shape = (*joints.shape[:2], 1)
        swap = errors.swaps[limb]
        spell = spells(rng, np.full(shape, swap.share), np.full(shape, swap.mean_s), rate_hz)
        which[:, :, list(indices)] |= spell
    return np.where(which[..., None], mirrored, joints)


def _held(seen: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """Return ``seen`` (B, T, J, 2) with the last frame before in place of lost ones (B, T)."""
    frames = np.arange(lost.shape[1])
    last = np.maximum.accumulate(np.where(lost, -1, frames), axis=1)
    return seen[np.arange(len(seen))[:, None], np.maximum(last, 0)]
