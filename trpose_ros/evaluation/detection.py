"""How well people are found: recall and precision of a box source, and false people.

Four kinds of pictures, all of bodies, motions and rooms that nothing was trained on:

    scenes      cut-outs composed into photographs, 640 x 480 px, hard on purpose: fragments, dark
                clothes in the dark, things in front (data/rendering/groups.py)
    truncated   the same with one person, of whom a region of the truncation protocol is hidden
    clips       frames of rendered video, half of it from near cameras
    empty       photographs without people

Somebody is found by a box with an intersection over union of 0.5 with what is seen of the body;
people of whom hardly anything is seen count neither way. Run as

    python -m trpose_ros.evaluation.detection
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trpose_ros.data.rendering.backgrounds import Backgrounds
from trpose_ros.data.rendering.bodies import BodyLibrary
from trpose_ros.data.rendering.clips import Clip, ClipConfig
from trpose_ros.data.rendering.groups import SceneComposer, SceneConfig
from trpose_ros.data.rendering.sprites import SpriteSource, SpriteStore, load_motion, write_shard
from trpose_ros.estimators.detector import PersonDetector, overlaps

Find = Callable[[np.ndarray], np.ndarray]  # (H, W, 3) uint8 -> boxes (N, 5)
ALONE = SceneConfig(most_people=1, empty=0.0, objects=0.0, truncated=1.0, largest=0.9)
_SIZE = (640, 480)
_FOUND = 0.5  # intersection over union
_EXCUSED = 0.3  # with somebody who does not count
_CUT = 0.7  # share of a body; who shows less is cut off
_SHOWN = 0.2  # share of the joints of a body in a clip that must lie in the image
_NOT_EMPTY = ('tt4_art-gallery.jpg',)  # a woman on the stairs


@dataclass(frozen=True)
class Looked:
    """One picture: who is there and what was found."""

    people: np.ndarray  # (M, 4) boxes of what is seen
    cut: np.ndarray  # (M,) bool
    faint: np.ndarray  # (K, 4) people who count neither way
    found: np.ndarray  # (N, 5), best first


def rates(looked: list[Looked], score: float) -> dict[str, float]:
    """Return recall, recall of cut-off people and precision, %, of boxes from a score on."""
    hits, cuts, right, total = [], [], 0, 0
    for one in looked:
        boxes = one.found[one.found[:, 4] >= score, :4]
        hit = matched(overlaps(boxes, one.people))
        excused = overlaps(boxes, one.faint).max(axis=1, initial=0) > _EXCUSED
        hits.append(hit)
        cuts.append(one.cut)
        right += int(hit.sum())
        total += max(int((~excused).sum()), int(hit.sum()))
    hit, cut = np.concatenate(hits), np.concatenate(cuts)
    return {
        'recall': _percent(hit),
        'recall_cut': _percent(hit[cut]),
        'precision': round(100 * right / total, 1) if total else float('nan'),
        'people': len(hit),
    }


def matched(table: np.ndarray, least: float = _FOUND) -> np.ndarray:
    """Return (M,) bool: who of M people gets one of N detections, best first, table (N, M)."""
    free = np.ones(table.shape[1], bool)
    for row in table:
        candidates = np.where(free, row, -1.0)
        if len(candidates) and candidates.max() >= least:
            free[int(candidates.argmax())] = False
    return ~free


def _percent(mask: np.ndarray) -> float:
    return round(100 * float(mask.mean()), 1) if len(mask) else float('nan')


def look_at_scenes(find: Find, composer: SceneComposer, count: int) -> list[Looked]:
    """Return what is found in composed scenes, always the same ones."""
    looked = []
    for number in range(count):
        scene = composer.scene(np.random.default_rng([91, number]), _SIZE)
        cut = scene.seen < _CUT
        looked.append(Looked(scene.boxes_px, cut, scene.faint_px, find(scene.image)))
    return looked


def look_at_clips(find: Find, clips: int) -> list[Looked]:
    """Return what is found in five frames each of rendered clips of one or two people."""
    names, library = load_motion('test').names, BodyLibrary()
    looked = []
    for number in range(clips):
        motions = tuple(names[(7 * number + 3 * k) % len(names)] for k in range(1 + number % 2))
        framing = 'near' if number % 4 >= 2 else 'whole'
        clip = Clip(ClipConfig(motions=motions, seconds=2.0, framing=framing, seed=number), library)
        for index in np.linspace(0, len(clip) - 1, 5).astype(int):
            frame, people = clip.draw(int(index))
            end = np.array([frame.camera.width, frame.camera.height]) - 0.5
            low = np.maximum(people.boxes_px[:, :2], -0.5)
            high = np.minimum(people.boxes_px[:, :2] + people.boxes_px[:, 2:], end)
            boxes = np.concatenate([low, high - low], axis=1)
            shown = people.visible_fractions >= _SHOWN
            seen = boxes[~shown & (high > low).all(axis=1)]
            cut = people.visible_fractions[shown] < 1
            looked.append(Looked(boxes[shown], cut, seen, find(frame.image)))
    return looked


def empty_pictures() -> Iterator[np.ndarray]:
    """Yield all photographs without people."""
    rooms = Backgrounds(None)
    for name, image in zip(rooms.names, rooms.images, strict=True):
        if name not in _NOT_EMPTY:
            yield image


def measure(find: Find, score: float, composer: SceneComposer, count: int = 600) -> dict:
    """Return everything that the module's text lists, for boxes from a score on."""
    alone = SceneComposer(composer.store, composer.backgrounds, ALONE)
    empty = [(find(image)[:, 4] >= score).sum() for image in empty_pictures()]
    return {
        'scenes': rates(look_at_scenes(find, composer, count), score),
        'truncated': rates(look_at_scenes(find, alone, count), score),
        'clips': rates(look_at_clips(find, max(count // 15, 1)), score),
        'false_people_per_200_empty': round(200 * float(np.mean(empty)), 1),
        'empty': len(empty),
        'score': score,
    }


def open_test_people(folder: Path) -> SceneComposer:
    """Return scenes of the test split, whose people are rendered into ``folder`` if need be."""
    if not (folder / 'test' / '00000.npz').exists():
        write_shard(folder, 'test', 0, 0, SpriteSource('test'))
    return SceneComposer(SpriteStore(folder, 'test'), Backgrounds('test'))


def main(arguments: list[str] | None = None) -> None:
    """Measure the box source 'detector'."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--model', default='movenet-multipose', help='weights')
    parser.add_argument('--tiles', type=int, default=1, help='see estimators/detector.py')
    parser.add_argument('--score', type=float, default=0.0, help="0 = the detector's sure_score")
    parser.add_argument('--count', type=int, default=600, help='scenes of each kind')
    parser.add_argument('--sprites', default='runs/metrabs/sprites', help='rendered people')
    given = parser.parse_args(arguments)
    detector = PersonDetector(model=given.model, tiles=given.tiles)
    composer = open_test_people(Path(given.sprites))
    score = given.score or detector.sure_score
    found = measure(lambda image: detector.find(image).boxes, score, composer, given.count)
    for name, value in found.items():
        print(f'{name}: {json.dumps(value)}')


if __name__ == '__main__':
    main()
