"""npz: arrays over frames and tracks, without objects; ``numpy.load`` reads them as they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from trpose_ros.exports.files import EXPORTS, Export
from trpose_ros.exports.tracks import collect
from trpose_ros.skeletons import get_skeleton
from trpose_ros.writing import whole_stream


@EXPORTS.register('npz')
def write_npz(export: Export, base: Path) -> list[Path]:
    """Write ``base``.npz; docs/lift.md describes the arrays."""
    path = base.parent / f'{base.name}.npz'
    tracks = collect(export.frames)
    skeleton = get_skeleton(tracks.skeleton)
    with whole_stream(path) as stream:
        np.savez_compressed(
            stream,
            joints_m=tracks.joints_m,
            root_m=tracks.roots_m,
            covariances_m2=tracks.covariances_m2,
            states=tracks.states,
            scores=tracks.scores,
            stamps_ns=tracks.stamps_ns,
            track_ids=tracks.ids,
            joint_names=np.array(skeleton.joint_names),
            parents=np.array(skeleton.parents),
            facts=np.array(json.dumps(export.facts)),
        )
    return [path]
