"""Videos and the data of the 3D player, made from the scenes of a run."""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trpose_ros.evaluation.excerpts import Scene
from trpose_ros.evaluation.metrics.join import hold
from trpose_ros.evaluation.metrics.positions import frame_errors
from trpose_ros.evaluation.study import best_pairs
from trpose_ros.report.films import Take, film, take_of_scene
from trpose_ros.report.names import Method, column_name
from trpose_ros.skeletons import get_skeleton

# OpenCV cannot be told how good a VP8 is to be, and makes it very good: some 20 kB per picture of
# this size. Small and short videos keep the page of the whole study at about 20 MB.
_FILM_S = 8.0  # length of a video, about: its conditions share it
_FILM_PX = 264  # height of an image with its margin
_NOTHING = -32768  # of int16: no value


@dataclass(frozen=True)
class Video:
    """A video as it stands in the page."""

    title: str
    caption: str
    data_uri: str


def find(scenes: Sequence[Scene], key: tuple[str, str, str], method: Method) -> Scene | None:
    """Return the scene of a clip and condition (Scene.key) that holds a method."""
    for scene in scenes:
        if scene.key == key and scene.estimator == method[0] and method[1] in scene.outputs_m:
            return scene
    return None


Progress = Callable[[int, int], object]  # so far, in all


def videos(
    scenes: Sequence[Scene], labels: dict[Method, str], progress: Progress | None = None
) -> list[Video]:
    """Return the videos: each lifter with baseline 2D against ours, or what there is.

    Without a baseline the first method is shown beside the last one, a single method alone.
    Raises VideoError when this OpenCV cannot write them.
    """
    scenes = [scene for scene in scenes if scene.images]
    methods = [m for m in labels if any(find([s], s.key, m) for s in scenes)]
    rows = [{'estimator': estimator, 'lifter': lifter} for estimator, lifter in methods]
    chosen: list[tuple[str, list[Method]]] = [
        (f'{name} vs Ours', [left, right]) for name, (left, right) in best_pairs(rows).items()
    ]
    if not chosen and methods:
        shown = list(dict.fromkeys((methods[0], methods[-1])))
        chosen = [(' vs '.join(labels[method] for method in shown), shown)]
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:  # OpenCV works without the GIL
        waiting = pool.map(lambda one: _video(one[0], one[1], scenes, labels), chosen)
        made = []
        for video in waiting:
            made.append(video)
            if progress is not None:
                progress(len(made), len(chosen))
        return [video for video in made if video is not None]


def _video(
    title: str, methods: list[Method], scenes: Sequence[Scene], labels: dict[Method, str]
) -> Video | None:
    keys = [
        key
        for key in dict.fromkeys(scene.key for scene in scenes)
        if all(find(scenes, key, method) for method in methods)
    ]
    hidden = [key for key in keys if key[1] != 'clean']
    keys = hidden or keys
    shows: list[tuple[list[Take], str]] = []
    for key in keys:
        takes = []
        for index, method in enumerate(methods):
            scene = find(scenes, key, method)
            assert scene is not None
            name = (
                labels[method] if index == 0 or 'Ours' not in title else f'Ours: {labels[method]}'
            )
            takes.append(take_of_scene(scene, method[1], name, _FILM_S / len(keys)))
        shows.append((takes, column_name(key[1])))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'film.webm'
        if not film(path, shows, overlay_px=_FILM_PX):
            return None
        data = base64.b64encode(path.read_bytes()).decode()
    conditions = ', '.join(caption for _, caption in shows)
    caption = f'{keys[0][0].split("|")[2]}: {conditions}, one after the other.'
    return Video(title, caption, f'data:video/webm;base64,{data}')


def player(scenes: Sequence[Scene], labels: dict[Method, str]) -> dict[str, Any] | None:
    """Return the content of the 3D player; None without scenes.

    Poses are int16 (T, J, 3) in mm, base64, moved so that every pelvis is the true one, in the
    camera's axes around the person's mean place; -32768 is "no value".
    """
    entries = []
    for key in dict.fromkeys(scene.key for scene in scenes):
        group = [scene for scene in scenes if scene.key == key]
        entry = _entry(group, labels)
        if entry is not None:
            entries.append(entry)
    if not entries:
        return None
    rows = [{'estimator': m[0], 'lifter': m[1]} for m in labels]
    pairs = [[labels[a], labels[b]] for a, b in best_pairs(rows).values()]
    skeleton = get_skeleton(scenes[0].skeleton)
    return {
        'bones': [list(map(int, bone)) for bone in skeleton.bones],
        'joints': list(skeleton.joint_names),
        'scenes': entries,
        'pairs': pairs or [[labels[m] for m in list(labels)[:2]]],
    }


def _entry(group: list[Scene], labels: dict[Method, str]) -> dict[str, Any] | None:
    first = group[0]
    root = get_skeleton(first.skeleton).root_index
    centre = np.nanmean(first.true_m[:, root], axis=0) if len(first.true_m) else np.full(3, np.nan)
    if not np.isfinite(centre).all():
        return None
    methods, errors = {}, {}
    for scene in group:
        for lifter, output in scene.outputs_m.items():
            label = labels.get((scene.estimator, lifter))
            if label is None or output.shape != first.true_m.shape:
                continue
            held = hold(output, root)
            placed = held - held[:, root : root + 1] + first.true_m[:, root : root + 1]
            methods[label] = _packed(placed - centre)
            frames = frame_errors(held, first.true_m, root)
            errors[label] = [round(float(e), 1) if np.isfinite(e) else None for e in frames]
    return {
        'title': f'{column_name(first.condition)}: {first.identity.split("|")[2]}',
        'fps': round(first.fps, 3),
        'frames': len(first.stamps_ns),
        'reference': first.reference,
        'truth': _packed(first.true_m - centre),
        'hidden': base64.b64encode(first.hidden.astype(np.uint8).tobytes()).decode(),
        'methods': methods,
        'errors': errors,
    }


def _packed(poses_m: np.ndarray) -> str:
    millimetres = np.round(np.asarray(poses_m, np.float64) * 1000)
    usable = np.isfinite(millimetres) & (np.abs(millimetres) < -_NOTHING)
    packed = np.where(usable, millimetres, _NOTHING).astype('<i2')
    return base64.b64encode(packed.tobytes()).decode()
