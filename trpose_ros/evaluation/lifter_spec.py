"""How a lifter is named in an evaluation, and the lift stage that its name stands for."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from trpose_ros.evaluation.shared_lifting import SharedLifter
from trpose_ros.pipeline.fusion import Fusion, FusionConfig
from trpose_ros.pipeline.lift_stage import LiftStage, LiftStageConfig
from trpose_ros.pipeline.pipeline import PipelineConfig, build_fusion
from trpose_ros.pipeline.standing import StandingConfig

KNOWN = ('floor', 'height')


@dataclass(frozen=True)
class LifterSpec:
    """What makes 2D sequences 3D.

    ``name[:weights][@[look_ahead][~smoothing][/hop]][+joined][+known]``

    'none' keeps the estimator's own 3D. Without ``+fusion`` the skeleton is the lifter's alone at
    the estimator's root; with it, both are fused by constants, and with ``+refinement[:weights]``
    by a network, which works behind 'none' too. ``known`` is 'floor' or 'height': the clip tells
    the pipeline where its floor is, or how tall its person is.
    """

    text: str
    name: str = 'none'
    model: str = ''
    look_ahead: int | None = None
    fused: bool = False
    refinement: str = ''  # weights
    hop: int = 1
    smoothing: int = 0
    known: str = ''

    @classmethod
    def parse(cls, text: str) -> LifterSpec:
        """Read a specification; raises ValueError for a malformed one."""
        known = next((name for name in KNOWN if text.endswith(f'+{name}')), '')
        rest, plus, tail = text.removesuffix(f'+{known}').partition('+')
        joined, colon, weights = tail.partition(':')
        if plus and (joined not in ('fusion', 'refinement') or (colon and not weights)):
            raise ValueError(
                f'lifter {text!r}: only +fusion or +refinement may follow, got +{tail}'
            )
        if colon and joined == 'fusion':
            raise ValueError(f'lifter {text!r}: +fusion has no weights')
        refinement = (weights or 'refinement') if joined == 'refinement' else ''
        rest, at, tail = rest.partition('@')
        tail, slash, hop = tail.partition('/')
        ahead, tilde, smoothing = tail.partition('~')
        if at and not (ahead.isdigit() or ((slash or tilde) and not ahead)):
            raise ValueError(f'lifter {text!r}: look-ahead must be a number of frames')
        if slash and not (hop.isdigit() and int(hop)):
            raise ValueError(f'lifter {text!r}: the hop behind / must be a number of frames')
        if tilde and not smoothing.isdigit():
            raise ValueError(f'lifter {text!r}: the smoothing behind ~ must be a number of frames')
        name, _, model = rest.partition(':')
        if name == 'none' and (model or at or joined == 'fusion'):
            raise ValueError(f"lifter {text!r}: 'none' takes nothing more")
        frames = int(ahead) if ahead else None
        fused = joined == 'fusion'
        numbers = (int(hop or 1), int(smoothing or 0))
        return cls(text, name, model, frames, fused, refinement, *numbers, known)

    def standing(self, scene: StandingConfig) -> StandingConfig:
        """Return what of a clip's scene the pipeline is told."""
        if self.known == 'floor':
            return dataclasses.replace(scene, person_height_m=0.0)
        if self.known == 'height':
            return StandingConfig(person_height_m=scene.person_height_m)
        return StandingConfig()

    def stage(self, like: LiftStage | None = None) -> LiftStage:
        """Load the lifter, or take that of ``like``; raises as lifters.create_lifter does."""
        if self.name == 'none':
            return LiftStage(lifter=None, fusion=self._fusion())
        if like is not None:
            return LiftStage(lifter=like.lifter, fusion=self._fusion())
        from trpose_ros.lifters import LifterConfig, create_lifter

        config = LifterConfig(
            name=self.name, look_ahead=self.look_ahead, smoothing=self.smoothing, hop=self.hop
        )
        if self.model:
            config = dataclasses.replace(config, model=self.model)
        shared: Any = SharedLifter(create_lifter(config))
        return LiftStage(lifter=shared, fusion=self._fusion())

    def _fusion(self) -> Fusion:
        if self.refinement:
            lift = LiftStageConfig(fusion='refinement', refinement_model=self.refinement)
            return build_fusion(PipelineConfig(lift=lift))
        shares = {} if self.fused else {'estimator_share': 0.0, 'hidden_share': 0.0}
        return Fusion(FusionConfig(**shares))
