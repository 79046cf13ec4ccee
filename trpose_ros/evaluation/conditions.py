"""The conditions of the truncation protocol v1 as an evaluation runs them.

A condition is a profile with severity, realisation and k of the seed. Conditions without
randomness (the fixed regions) look the same for every k and run once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from trpose_ros.occlusion.keypoints import SEVERITIES
from trpose_ros.occlusion.occluder import FIVE, PROFILES, Occluder, OcclusionConfig, make_occluder

SEEDS = (0, 1, 2)
CLEAN = 'clean'
DRAWN = ('random_box', 'moving_box', 'entry_exit', 'blackout')  # the seed shows in these
GROUPS = {
    'five': FIVE,
    'extra': ('near_crop', 'entry_exit', 'blackout'),
    'all': tuple(name for name in PROFILES if name != 'none'),
    # on keypoints; its sk_box is what the masks above do to keypoints
    'skeleton': tuple(name for name in SEVERITIES if name != 'sk_box'),
}


@dataclass(frozen=True)
class Condition:
    """One way to hide parts of a clip."""

    profile: str  # a name in PROFILES; 'none' is clean
    severity: int = -1  # index; -1 the main one
    draw: int = 0
    realisation: str = 'main'
    fill: str = 'black'
    anchor: str = 'person'

    @property
    def name(self) -> str:
        """Return the profile's name, 'clean' for none; crops where fill is usual say so."""
        if self.profile == 'none':
            return CLEAN
        odd = [
            word
            for word, usual in (
                (self.realisation, 'main'),
                (self.fill, 'black'),
                (self.anchor, 'person'),
            )
            if word != usual
        ]
        return ':'.join([self.profile, *odd])

    @property
    def severity_index(self) -> int:
        """Return the severity with the default resolved."""
        return PROFILES[self.profile].main if self.severity < 0 else self.severity

    @property
    def is_main(self) -> bool:
        """Return whether this is the severity of the headline table."""
        return self.severity_index == PROFILES[self.profile].main

    @property
    def label(self) -> str:
        """Return the severity as the protocol writes it."""
        return PROFILES[self.profile].labels[self.severity_index]

    @property
    def value(self) -> float:
        """Return the severity as a number."""
        return PROFILES[self.profile].values[self.severity_index]

    @property
    def config(self) -> OcclusionConfig:
        """Return the occlusion's configuration; raises ValueError where it is impossible."""
        return OcclusionConfig(
            profile=self.profile,
            severity=self.severity,
            realisation=self.realisation,
            fill=self.fill,
            anchor=self.anchor,
            draw=self.draw,
        )

    def occluder(self, identity: str, start_ns: int, static_box_px: object = None) -> Occluder:
        """Return the occluder of this condition for one clip."""
        return make_occluder(self.config, identity, static_box_px, start_ns)  # type: ignore[arg-type]


@dataclass(frozen=True)
class SkeletonCondition:
    """A condition on keypoints alone (occlusion/keypoints.py); needs 2D from the truth."""

    profile: str  # a name in SEVERITIES
    severity: int = 0
    draw: int = 0

    @property
    def name(self) -> str:
        """Return the profile's name."""
        return self.profile

    @property
    def is_main(self) -> bool:
        """Return False: these are outside the headline table."""
        return False

    @property
    def label(self) -> str:
        """Return the severity as the protocol writes it."""
        return SEVERITIES[self.profile][self.severity]

    @property
    def value(self) -> float:
        """Return the severity as a number; body parts are numbered."""
        return float(self.severity) if self.profile == 'sk_part' else float(self.label)


AnyCondition = Condition | SkeletonCondition


def plan(
    names: Iterable[str],
    severities: str = 'main',
    seeds: Iterable[int] = SEEDS,
    realisation: str = 'main',
) -> list[AnyCondition]:
    """Return the conditions to run, clean first.

    ``names`` are profiles or the groups 'five', 'extra', 'all', 'skeleton'; ``severities`` is
    'main' or 'all' (those on keypoints have no main one: all are run). Crops apply to the
    profiles that can be cropped; the others keep their realisation.
    Raises ValueError for unknown names.
    """
    if severities not in ('main', 'all'):
        raise ValueError(f"severities must be 'main' or 'all', got {severities!r}")
    seeds = tuple(seeds)
    if not seeds:
        raise ValueError('at least one seed is needed')
    profiles: list[str] = []
    for name in names:
        if name == CLEAN:
            continue
        known = [CLEAN, *GROUPS, *(n for n in PROFILES if n != 'none'), *GROUPS['skeleton']]
        if name not in known:
            raise ValueError(f'unknown condition {name!r}; known are {", ".join(known)}')
        profiles += GROUPS.get(name, (name,))
    conditions: list[AnyCondition] = [Condition('none')]
    for profile in dict.fromkeys(profiles):
        if profile in GROUPS['skeleton']:
            for severity in range(len(SEVERITIES[profile])):
                conditions += [SkeletonCondition(profile, severity, draw) for draw in seeds]
            continue
        info = PROFILES[profile]
        kind = realisation if info.keep is not None else 'main'
        if kind == info.realisation:
            kind = 'main'
        for severity in range(len(info.labels)) if severities == 'all' else (info.main,):
            for draw in seeds if profile in DRAWN else seeds[:1]:
                conditions.append(Condition(profile, severity, draw, kind))
    return conditions
