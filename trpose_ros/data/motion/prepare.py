"""Builds a motion pack from public motion capture: ``trpose data prepare motion``.

Input: a folder with ASF/AMC pairs (the CMU Motion Capture Database as its site gives it) or BVH
files (any; the common naming schemes of the same skeleton are known). Output: one npz as
motion.py describes it, 17 joints in Human3.6M order, world frame z up, metres.

Per file: forward kinematics, resampling to 30 Hz, y up to z up, the floor such that the second
percentile of the ankles lies at 0.08 m (an ankle's height), the first frame of a clip at x = y = 0.
A clip is cut where a joint is faster than 16 m/s (glitches of Euler angles, the T-pose that some
files begin with), and pieces shorter than a second are dropped. Subjects, not clips, are split.

Definitions: Hip = middle of the hip joints, feet = ankles, Spine = mid back, Thorax = base of the
neck. ASF: Neck/Nose = base of the skull, Head = end of the head bone. BVH has no such points:
4 cm above and in front of, and 19 cm above, the origin of the head, for a person of 1.75 m.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from trpose_ros.configuration import check_fields, setting
from trpose_ros.data.motion.files import AcclaimSkeleton, Motion, read_amc, read_asf, read_bvh
from trpose_ros.data.motion.packs import resample
from trpose_ros.data.samples import DataError, MissingDataError, check_metres
from trpose_ros.writing import whole_stream

JOINT_NAMES = (
    *('Hip', 'RHip', 'RKnee', 'RFoot', 'LHip', 'LKnee', 'LFoot', 'Spine', 'Thorax', 'Neck/Nose'),
    *('Head', 'LShoulder', 'LElbow', 'LWrist', 'RShoulder', 'RElbow', 'RWrist'),
)
ANKLE_HEIGHT_M = 0.08
FASTEST_M_S = 16.0
# The split of the project's own packs; everybody else is trained on.
TEST_SUBJECTS = ('cmu014', 'accad_female1')
VAL_SUBJECTS = ('cmu006', 'cmu016', 'cmu043')
# Joints 1.. of Human3.6M but the three of the head, as Acclaim's bones end there.
_ACCLAIM = {
    **{1: 'rhipjoint', 2: 'rfemur', 3: 'rtibia', 4: 'lhipjoint', 5: 'lfemur', 6: 'ltibia'},
    **{7: 'lowerback', 8: 'thorax', 9: 'upperneck', 10: 'head'},
    **{11: 'lclavicle', 12: 'lhumerus', 13: 'lradius'},
    **{14: 'rclavicle', 15: 'rhumerus', 16: 'rradius'},
}
# Names of the joints of a BVH's right or left side ('*' is the side), the first found is taken.
_LIMBS = {
    'hip': ('*thigh', '*upleg', '*upperleg', '*hip'),
    'knee': ('*shin', '*leg', '*lowerleg', '*lowleg', '*knee'),
    'ankle': ('*foot', '*ankle'),
    'shoulder': ('*shldr', '*arm', '*upperarm', '*uparm', '*shoulder'),
    'elbow': ('*forearm', '*lowerarm', '*lowarm', '*elbow'),
    'wrist': ('*hand', '*wrist'),
}
_SIDES = {1: ('right', 'r'), 4: ('left', 'l')}
_SPINES = (
    ('abdomen', 'chest'),
    ('spine', 'spine1'),
    ('lowerback', 'spine'),
    ('spine',),
    ('chest',),
)
# Lengths of a BVH's unit in metres: centimetres, metres, inches, inches / 0.45, millimetres.
_UNITS_M = (0.01, 1.0, 0.0254, 0.0254 / 0.45, 0.001)
_LEG_M = (0.62, 1.1)  # hip to ankle, of people from 1.3 to 2.1 m
_STATURE_PER_LEG = 2.13  # 1.75 m over the leg of the figure that the head's offsets were set for


@dataclass(frozen=True)
class MotionConfig:
    """How a pack is built."""

    rate_hz: float = setting(30.0, range=(1.0, 240.0))
    amc_rate_hz: float = setting(120.0, 'of AMC files, which do not say it', range=(1.0, 1000.0))
    shortest_s: float = setting(1.0, range=(0.0, 1000.0))
    test_subjects: tuple[str, ...] = TEST_SUBJECTS
    val_subjects: tuple[str, ...] = VAL_SUBJECTS

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)


@dataclass(frozen=True)
class Clip:
    """One piece of one file."""

    name: str
    subject: str
    source: str
    joints_m: np.ndarray  # (T, 17, 3), world, z up


def prepare(
    folder: Path,
    target: Path,
    config: MotionConfig | None = None,
    report: Callable[[str], None] = print,
    progress: Callable[[int, int], object] | None = None,
) -> list[Clip]:
    """Write a pack of all motion below ``folder`` to ``target``; return its clips.

    A file that cannot be used is named through ``report`` and left out; ``progress`` is called
    with the files so far and in all. Raises MissingDataError when there is no motion file and
    DataError when none of them can be used.
    """
    config = config or MotionConfig()
    paths = sorted([*folder.rglob('*.amc'), *folder.rglob('*.bvh')])
    if not paths:
        raise MissingDataError(
            f'no motion below {folder}.\nObtain: the CMU Motion Capture Database from '
            'mocap.cs.cmu.edu (per subject one .asf and its .amc files), or BVH files.\n'
            f'Put the files here:\n  {folder}/14/14.asf, {folder}/14/14_27.amc, ...\n'
            f'  {folder}/*.bvh'
        )
    skeletons: dict[Path, AcclaimSkeleton] = {}
    clips: list[Clip] = []
    for done, path in enumerate(paths):
        if progress is not None:
            progress(done, len(paths))
        try:
            joints_m, rate_hz, source = _read(path, config, skeletons)
            pieces = cut(joints_m, rate_hz, config)
        except (DataError, MissingDataError) as error:
            report(f'left out: {error}')
            continue
        if not pieces:
            report(f'left out: {path}: nothing longer than {config.shortest_s:g} s')
        for number, piece in enumerate(pieces):
            name = f'{_clip_name(path)}_p{number}' if len(pieces) > 1 else _clip_name(path)
            clips.append(Clip(name, subject_of(path, folder), source, piece))
    if not clips:
        raise DataError(f'none of the {len(paths)} motion files below {folder} can be used')
    write_pack(target, clips, config)
    return clips


def _read(
    path: Path, config: MotionConfig, skeletons: dict[Path, AcclaimSkeleton]
) -> tuple[np.ndarray, float, str]:
    if path.suffix == '.bvh':
        motion = read_bvh(path)
        return joints_of_bvh(motion, str(path)), motion.rate_hz, 'BVH'
    asf = skeleton_of(path)
    if asf not in skeletons:
        skeletons[asf] = read_asf(asf)
    motion = read_amc(path, skeletons[asf], config.amc_rate_hz)
    return joints_of_acclaim(motion, str(path)), motion.rate_hz, 'ASF/AMC'


def skeleton_of(path: Path) -> Path:
    """Return the ASF file of an AMC file: same name, its subject's, or the only one beside it."""
    for stem in (path.stem, path.stem.partition('_')[0], path.stem.rstrip('0123456789')):
        if path.with_name(f'{stem}.asf').is_file():
            return path.with_name(f'{stem}.asf')
    beside = sorted(path.parent.glob('*.asf'))
    if len(beside) == 1:
        return beside[0]
    raise MissingDataError(
        f'{path} needs its skeleton: put {path.stem.partition("_")[0]}.asf beside it '
        f'({len(beside)} .asf files are there)'
    )


def _clip_name(path: Path) -> str:
    return f'cmu_{path.stem}' if re.fullmatch(r'\d+_\d+', path.stem) else path.stem


def subject_of(path: Path, folder: Path) -> str:
    """Return 'cmu014' for CMU's '14_27', else the name of the folder or of the file."""
    number = re.fullmatch(r'(\d+)_\d+', path.stem)
    if number:
        return f'cmu{int(number[1]):03d}'
    return path.stem if path.parent == folder else path.parent.name


def z_up(points: np.ndarray) -> np.ndarray:
    """Turn y up into z up: (x, y, z) -> (x, -z, y)."""
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], axis=-1)


def joints_of_acclaim(motion: Motion, where: str) -> np.ndarray:
    """Return (T, 17, 3) world joints, z up, metres; raises DataError naming missing bones."""
    missing = sorted(set(_ACCLAIM.values()) - set(motion.points))
    if missing:
        raise DataError(f'{where}: the skeleton lacks the bones {missing}')
    joints = np.zeros((len(motion), 17, 3))
    for joint, bone in _ACCLAIM.items():
        joints[:, joint] = motion.points[bone]
    joints[:, 0] = (joints[:, 1] + joints[:, 4]) / 2
    joints = z_up(joints)
    check_metres(joints, 'h36m_17', where)
    return joints


def joints_of_bvh(motion: Motion, where: str) -> np.ndarray:
    """Return (T, 17, 3) world joints, z up, metres; raises DataError naming missing joints."""
    names = {_plain(name): name for name in reversed(list(motion.points))}
    joints = np.zeros((len(motion), 17, 3))
    for first, sides in _SIDES.items():
        limbs = [_limb(names, limb, sides, where) for limb in _LIMBS]
        arm = 14 if first == 1 else 11
        for place, name in zip(
            (first, first + 1, first + 2, arm, arm + 1, arm + 2), limbs, strict=True
        ):
            joints[:, place] = motion.points[name]
    joints[:, 0] = (joints[:, 1] + joints[:, 4]) / 2
    for needed in ('head', 'neck'):
        if needed not in names:
            raise DataError(f'{where}: no joint is called {needed!r}; it has {sorted(names)}')
    back = next((s for s in _SPINES if all(name in names for name in s)), None)
    if back is None:
        raise DataError(f'{where}: no joint of the spine is known; it has {sorted(names)}')
    joints[:, 7] = np.mean([motion.points[names[name]] for name in back], axis=0)
    joints[:, 8] = motion.points[names['neck']]
    unit, leg_m = _unit(joints, where)
    joints *= unit
    head, turn = motion.points[names['head']] * unit, motion.rotations[names['head']]
    size = leg_m * _STATURE_PER_LEG / 1.75
    joints[:, 9] = head + turn @ (np.array([0, 0.04, 0.04]) * size)
    joints[:, 10] = head + turn @ (np.array([0, 0.19, 0]) * size)
    joints = z_up(joints)
    check_metres(joints, 'h36m_17', where)
    return joints


def _plain(name: str) -> str:
    """Return a name without its prefix ('mixamorig:'), separators and case."""
    return re.sub(r'[\s_\-]', '', name.rpartition(':')[2]).lower()


def _limb(names: dict[str, str], limb: str, sides: Sequence[str], where: str) -> str:
    for pattern in _LIMBS[limb]:
        for side in sides:
            if pattern.replace('*', side) in names:
                return names[pattern.replace('*', side)]
    raise DataError(
        f'{where}: no joint is the {sides[0]} {limb}; tried '
        f'{[p.replace("*", s) for p in _LIMBS[limb] for s in sides]}, it has {sorted(names)}'
    )


def _unit(joints: np.ndarray, where: str) -> tuple[float, float]:
    """Return the unit's length in metres, by the legs, and the length of a leg in metres."""
    bones = np.linalg.norm(np.diff(joints[:, [1, 2, 3]], axis=1), axis=-1)
    leg = float(np.median(bones.sum(axis=1)))
    for unit in _UNITS_M:
        if _LEG_M[0] <= leg * unit <= _LEG_M[1]:
            return unit, leg * unit
    raise DataError(f'{where}: a leg is {leg:.4g} long, which fits a person in no unit')


def cut(joints_m: np.ndarray, rate_hz: float, config: MotionConfig) -> list[np.ndarray]:
    """Return the usable pieces of a clip (T, 17, 3) at the pack's rate, each on its own floor."""
    if not np.isfinite(joints_m).all():
        raise DataError('positions are not finite')
    speed = np.linalg.norm(np.diff(joints_m, axis=0), axis=-1).max(axis=1, initial=0) * rate_hz
    edges = [0, *(np.flatnonzero(speed > FASTEST_M_S) + 1), len(joints_m)]
    pieces = []
    for begin, end in pairwise(edges):
        if end - begin < 2:
            continue
        piece = resample(joints_m[begin:end], rate_hz, config.rate_hz)
        if len(piece) < max(2, round(config.shortest_s * config.rate_hz)):
            continue
        floor = np.percentile(piece[:, [3, 6], 2], 2) - ANKLE_HEIGHT_M
        pieces.append(piece - np.array([piece[0, 0, 0], piece[0, 0, 1], floor]))
    return pieces


def split_of(subject: str, config: MotionConfig) -> str:
    """Return the split of a subject."""
    if subject in config.test_subjects:
        return 'test'
    return 'val' if subject in config.val_subjects else 'train'


def write_pack(target: Path, clips: Sequence[Clip], config: MotionConfig) -> None:
    """Write clips as a pack, at once or not at all."""
    lengths = np.array([len(clip.joints_m) for clip in clips], np.int32)
    joints = np.concatenate([clip.joints_m for clip in clips])
    with whole_stream(target) as stream:
        np.savez_compressed(
            stream,
            root=joints[:, 0].astype(np.float32),
            rel=(joints - joints[:, :1]).astype(np.float16),
            start=(np.cumsum(lengths) - lengths).astype(np.int32),
            length=lengths,
            name=np.array([clip.name for clip in clips]),
            subject=np.array([clip.subject for clip in clips]),
            skeleton=np.array([clip.subject for clip in clips]),
            action=np.array([''] * len(clips)),
            source=np.array([clip.source for clip in clips]),
            split=np.array([split_of(clip.subject, config) for clip in clips]),
            fps=np.array(config.rate_hz),
            joint_names=np.array(JOINT_NAMES),
        )
