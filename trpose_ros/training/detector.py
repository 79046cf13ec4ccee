"""Train the person detector on composed scenes of rendered people.

Focal loss on centres (Gaussian around each box's centre, "Objects as points"), generalised
intersection over union on the sides. Scenes are made anew in every step (data/scenes.py), in
three image formats. ``trpose train detector`` or ``python -m trpose_ros.training.detector``.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from dataclasses import field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trpose_ros import weights
from trpose_ros.configuration import check_fields
from trpose_ros.data.backgrounds import Backgrounds
from trpose_ros.data.bodies import BodyLibrary
from trpose_ros.data.clips import Clip
from trpose_ros.data.clips import ClipConfig
from trpose_ros.data.scenes import SceneComposer
from trpose_ros.data.scenes import SceneConfig
from trpose_ros.data.sprites import SHARD
from trpose_ros.data.sprites import load_motion
from trpose_ros.estimators.detector import STRIDE
from trpose_ros.estimators.detector import DetectorConfig
from trpose_ros.estimators.detector import DetectorNetwork
from trpose_ros.estimators.detector import PersonDetector
from trpose_ros.estimators.detector import cell_centres
from trpose_ros.estimators.detector import corners
from trpose_ros.estimators.detector import load_network
from trpose_ros.estimators.detector import overlaps
from trpose_ros.training import register_trainer
from trpose_ros.training.cli import read_options
from trpose_ros.training.distributed import Share
from trpose_ros.training.distributed import is_first
from trpose_ros.training.images import CREDIT
from trpose_ros.training.images import ImageTask
from trpose_ros.training.images import half_precision
from trpose_ros.training.images import open_sprites
from trpose_ros.training.loop import LoopConfig
from trpose_ros.training.loop import TrainingLoop
from trpose_ros.training.pictures import box_sheet

_CARD = """
Finds people, also close and cut-off ones; a box surrounds what is visible.

`measured_error`: percent at intersection over union 0.5 and threshold 0.3, on bodies, motion
subjects and photographs that were not trained on. `recall` and `precision`: 600 composed scenes of
640 x 480 px, hard on purpose (fragments, dark clothes in the dark, covers); `recall_cut`: people of
whom less than 70 % is seen; who shows less than 12 % of the body counts neither way. `truncated_`:
600 scenes with one person whom a region of the truncation protocol hides. `clip_recall`: frames of
rendered video, half of it from near cameras; `clip_recall_cut`: of cut-off people. Measured by

    trpose train detector --measure person-detector

Rendered scenes are easier than real ones: nothing here says how it does on photographs.
"""
_FOUND = 0.3  # score from which a box counts in measurements: the same for all weights
_TRUNCATED = 0.3  # share of scenes in which a region of the protocol hides somebody
FORMATS = ((256, 192), (256, 160), (192, 256))  # px, width and height


@dataclass(frozen=True)
class DetectorTraining:
    """One training run."""

    out: str = field(default='person-detector.safetensors', metadata={'help': 'weights file'})
    folder: str = field(default='runs/detector', metadata={'help': 'checkpoint and log'})
    sprites: str = field(default='runs/metrabs/sprites', metadata={'help': 'rendered people'})
    shards: int = field(default=24, metadata={'help': f'{SHARD} people each', 'range': (1, 1000)})
    batch: int = field(default=32, metadata={'range': (1, 4096)})
    workers: int = field(default=1, metadata={'help': 'processes', 'range': (0, 64)})
    measure: str = field(default='', metadata={'help': 'measure these weights, train nothing'})
    record: bool = field(
        default=False, metadata={'help': 'write what is measured into the file and its card'}
    )

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)


@dataclass(frozen=True)
class Batch:
    """B scenes and the targets of their cells."""

    images: Tensor  # (B, 3, H, W) uint8
    heat: Tensor  # (B, h, w) 0..1, exactly 1 at centres
    boxes: Tensor  # (B, h, w, 4) x0, y0, x1, y1 px of the person whose centre is near
    share: Tensor  # (B, h, w) weight of the cell in the loss of the sides
    ignored: Tensor  # (B, h, w) bool: a person who does not count


def targets(
    boxes: np.ndarray, faint: np.ndarray, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return heat, boxes, share and ignored of one scene of height x width px (see Batch)."""
    rows, columns = height // STRIDE, width // STRIDE
    at = cell_centres(rows, columns).numpy()
    heat = np.zeros((rows, columns), np.float32)
    chosen = np.zeros((rows, columns, 4), np.float32)
    for x, y, w, h in boxes:
        middle = np.array([x + w / 2, y + h / 2])
        spread = np.maximum(np.array([w, h]) * 0.09, 0.55 * STRIDE)
        near = np.exp(-0.5 * (((at - middle) / spread) ** 2).sum(axis=-1)).astype(np.float32)
        centre = np.clip((middle / STRIDE).astype(int), 0, [columns - 1, rows - 1])
        near[centre[1], centre[0]] = 1.0
        mine = near > heat
        chosen[mine] = (x, y, x + w, y + h)
        heat = np.maximum(heat, near)
    ignored = np.zeros((rows, columns), bool)
    for x, y, w, h in faint:
        inside = (at >= [x - STRIDE, y - STRIDE]) & (at <= [x + w + STRIDE, y + h + STRIDE])
        ignored |= inside.all(axis=-1)
    ignored &= heat < 0.3
    share = np.where(heat > 0.3, heat, 0).astype(np.float32)
    return tuple(torch.from_numpy(v) for v in (heat, chosen, share, ignored))  # type: ignore


class SceneBatches(torch.utils.data.Dataset):
    """Batch ``k``: a function of the seed and ``k``."""

    def __init__(self, composer: SceneComposer, batch: int, seed: int) -> None:
        self.composer, self.batch, self.seed = composer, batch, seed
        self.share = Share()

    def __getitem__(self, step: int) -> Batch:
        """Compose this process's share of the batch of a step."""
        rng = np.random.default_rng([self.seed, step])
        size = FORMATS[int(rng.integers(len(FORMATS)))]
        rngs = [
            np.random.default_rng([self.seed, step, item]) for item in self.share.items(self.batch)
        ]
        scenes = [self.composer.scene(rng, size) for rng in rngs]
        rows = [targets(s.boxes_px, s.faint_px, size[1], size[0]) for s in scenes]
        images = np.stack([scene.image for scene in scenes]).transpose(0, 3, 1, 2)
        columns = [torch.stack(column) for column in zip(*rows, strict=True)]
        return Batch(torch.from_numpy(np.ascontiguousarray(images)), *columns)


class DetectorTask(ImageTask):
    """The network, its batches and its loss."""

    def loss(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Return the losses of a batch."""
        images = self.prepared(batch.images)
        with self.autocast(images):
            logits, sides = self.model(images)
        people = (batch.heat == 1).sum().clamp(min=1)
        centre = focal_loss(logits, batch.heat, batch.ignored) / people
        overlap = 1 - generalised_overlap(corners(sides), batch.boxes)
        box = (overlap * batch.share).sum() / batch.share.sum().clamp(min=1)
        return {'total': centre + 2 * box, 'centre': centre, 'box': box}


def focal_loss(logits: Tensor, heat: Tensor, ignored: Tensor) -> Tensor:
    """Return the penalty-reduced focal loss, summed over the cells (B, h, w)."""
    chance = logits.sigmoid()
    positive = -((1 - chance) ** 2) * F.logsigmoid(logits)
    negative = -((1 - heat) ** 4) * chance**2 * F.logsigmoid(-logits)
    cells = torch.where(heat == 1, positive, negative)
    return torch.where(ignored, 0.0, cells).sum()


def generalised_overlap(first: Tensor, second: Tensor) -> Tensor:
    """Return the generalised intersection over union (...) of boxes (..., 4) x0, y0, x1, y1."""
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    common = (high - low).clamp(min=0).prod(dim=-1)
    areas = [(b[..., 2:] - b[..., :2]).clamp(min=0).prod(dim=-1) for b in (first, second)]
    union = areas[0] + areas[1] - common
    hull = torch.maximum(first[..., 2:], second[..., 2:]) - torch.minimum(
        first[..., :2], second[..., :2]
    )
    whole = hull.prod(dim=-1).clamp(min=1e-6)
    return common / union.clamp(min=1e-6) - (whole - union) / whole


def evaluate(
    model: DetectorNetwork, composer: SceneComposer, scenes: int = 600, threshold: float = _FOUND
) -> dict[str, float]:
    """Measure on scenes of held-out people, bodies and rooms, 640 x 480 px.

    Returns:
        Recall and precision in percent at an intersection over union of 0.5: over all people,
        over those cut off or hidden by at least 30 %, and over the smallest quarter.

    """
    detector = PersonDetector(network=model, threshold=threshold)
    found, cut, small, wrong, total = [], [], [], 0, 0
    for number in range(scenes):
        rng = np.random.default_rng([91, number])
        scene = composer.scene(rng, (640, 480))
        boxes = detector.find(scene.image)
        table = overlaps(boxes[:, :4], scene.boxes_px)
        hit = matched(table)
        found += hit.tolist()
        cut += (scene.seen < 0.7).tolist()
        small += (scene.boxes_px[:, 3] < 90).tolist()
        excused = overlaps(boxes[:, :4], scene.faint_px).max(axis=1, initial=0) > 0.3
        wrong += int((~excused).sum()) - int(hit.sum())
        total += int((~excused).sum())
    hits, cuts, smalls = (np.array(v, bool) for v in (found, cut, small))

    def percent(mask: np.ndarray) -> float:
        return round(100 * float(hits[mask].mean()), 1) if mask.any() else float('nan')

    return {
        'recall': percent(np.ones(len(hits), bool)),
        'recall_cut': percent(cuts),
        'recall_small': percent(smalls),
        'precision': round(100 * (1 - wrong / max(total, 1)), 1),
        'people': len(hits),
    }


def evaluate_clips(
    model: DetectorNetwork, clips: int = 40, threshold: float = _FOUND
) -> dict[str, float]:
    """Measure on rendered video: held-out motions in rooms, half of them before a near camera.

    Five frames of each clip, one or two people; everybody of whom at least a fifth of the joints
    lies in the image counts, with the part of the body's box that lies in the image.

    Returns:
        Recall in percent at an intersection over union of 0.5, of all and of cut-off people.

    """
    detector = PersonDetector(network=model, threshold=threshold)
    names, library = load_motion('test').names, BodyLibrary()
    found, cut = [], []
    for number in range(clips):
        motions = tuple(names[(7 * number + 3 * k) % len(names)] for k in range(1 + number % 2))
        framing = 'near' if number % 4 >= 2 else 'whole'
        config = ClipConfig(motions=motions, seconds=2.0, framing=framing, seed=number)
        clip = Clip(config, library)
        for index in np.linspace(0, len(clip) - 1, 5).astype(int):
            frame, people = clip.draw(int(index))
            low = np.maximum(people.boxes_px[:, :2], -0.5)
            high = np.minimum(
                people.boxes_px[:, :2] + people.boxes_px[:, 2:],
                np.array([frame.camera.width, frame.camera.height]) - 0.5,
            )
            table = overlaps(detector.boxes(frame)[:, :4], np.concatenate([low, high - low], 1))
            shown = people.visible_fractions >= 0.2
            found += matched(table)[shown].tolist()
            cut += (people.visible_fractions < 1)[shown].tolist()
    hits, cuts = np.array(found, bool), np.array(cut, bool)
    return {
        'clip_recall': round(100 * float(hits.mean()), 1),
        'clip_recall_cut': round(100 * float(hits[cuts].mean()), 1),
        'clip_people': len(hits),
        'clip_people_cut': int(cuts.sum()),
    }


def matched(table: np.ndarray, least: float = 0.5) -> np.ndarray:
    """Return (M,) bool: who of M people gets one of N detections, best first, table (N, M)."""
    free = np.ones(table.shape[1], bool)
    for row in table:
        candidates = np.where(free, row, -1.0)
        if len(candidates) and candidates.max() >= least:
            free[int(candidates.argmax())] = False
    return ~free


def sheet(model: DetectorNetwork, composer: SceneComposer, scenes: int = 12) -> np.ndarray:
    """Return a picture of held-out scenes with true and found boxes."""
    detector = PersonDetector(network=model, threshold=_FOUND)
    made = [composer.scene(np.random.default_rng([91, n]), (320, 240)) for n in range(scenes)]
    found = [detector.find(scene.image) for scene in made]
    return box_sheet([s.image for s in made], [s.boxes_px for s in made], found)


def export(
    model: DetectorNetwork, config: DetectorTraining, loop: LoopConfig, results: dict, facts: dict
) -> weights.WeightsFile:
    """Write the network in half precision, with what was measured, and its card."""
    file = weights.save(
        config.out,
        half_precision(model),
        {
            'architecture': 'detector',
            'config': json.dumps(dataclasses.asdict(model.config)),
            'skeleton': 'h36m_17',
            'licence': 'Apache-2.0',
            'training_data': CREDIT,
            'training': json.dumps({**loop.facts(), 'batch': config.batch, **facts}),
            'measured_error': json.dumps(results),
        },
    )
    weights.write_card(file, _CARD)
    return file


def prepare(config: DetectorTraining, split: str, shards: int) -> SceneComposer:
    """Render what is missing of a split and return its composer."""
    store = open_sprites(config.sprites, split, shards)
    scenes = SceneConfig(truncated=_TRUNCATED if split == 'train' else 0.0)
    return SceneComposer(store, Backgrounds(split), scenes)


def evaluate_truncated(model: DetectorNetwork, composer: SceneComposer) -> dict[str, float]:
    """Return recall and precision where somebody alone is hidden by a region of the protocol."""
    alone = SceneConfig(most_people=1, empty=0.0, objects=0.0, truncated=1.0, largest=0.9)
    scenes = SceneComposer(composer.store, composer.backgrounds, alone)
    found = evaluate(model, scenes)
    return {f'truncated_{name}': found[name] for name in ('recall', 'precision')}


def train(config: DetectorTraining, loop_config: LoopConfig) -> dict[str, float]:
    """Train, measure and write ``config.out``; return what was measured."""
    torch.manual_seed(loop_config.seed)
    testing = prepare(config, 'test', 1)
    if config.measure:
        network = load_network(config.measure)
        found = evaluate(network, testing) | evaluate_truncated(network, testing)
        found |= evaluate_clips(network)
        if config.record:
            weights.rewrite(config.measure, measured_error=json.dumps(found))
        return found
    data = SceneBatches(prepare(config, 'train', config.shards), config.batch, loop_config.seed)
    task = DetectorTask(
        DetectorNetwork(DetectorConfig()), data, config.workers, loop_config.precision
    )
    facts = {'task': dataclasses.asdict(config)}
    loop = TrainingLoop(task, loop_config, config.folder, facts)

    def measure(loop: TrainingLoop, scenes: int) -> dict[str, float]:
        results = evaluate(loop.average, testing, scenes)  # type: ignore[arg-type]
        if scenes >= 600:
            results |= evaluate_truncated(loop.average, testing)  # type: ignore[arg-type]
            results |= evaluate_clips(loop.average)  # type: ignore[arg-type]
        export(loop.average, config, loop_config, results, loop.done())  # type: ignore[arg-type]
        loop.log.picture('held_out', sheet(loop.average, testing), loop.step)  # type: ignore
        loop.log.say(f'step {loop.step}: {json.dumps(results)}')
        return results

    loop.run(lambda loop: measure(loop, 100))
    return measure(loop, 600) if loop.is_first else {}


@register_trainer('detector')
def main(arguments: list[str] | None = None) -> None:
    """Train from the command line."""
    description = (__doc__ or '').splitlines()[0]
    (config, loop), threads = read_options(description, (DetectorTraining, LoopConfig), arguments)
    torch.set_num_threads(threads)
    results = train(config, loop)
    if is_first():
        print(f'{config.measure or config.out}: {json.dumps(results)}')


if __name__ == '__main__':
    main(None)
