"""What the demonstration makes of its recorded bag: numbers, table, video and picture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table as RichTable

from trpose_ros.demo.before_after import Scene, write_film
from trpose_ros.drawing.figures import Figure, Shot, grid, save_picture
from trpose_ros.evaluation.metrics.stream_errors import evaluate
from trpose_ros.evaluation.passes import Pass
from trpose_ros.occlusion.occluder import FIVE
from trpose_ros.people import Camera, Provenance
from trpose_ros.recordings.bags import BagReader
from trpose_ros.recordings.messages import read_image, read_occlusion, read_people, stamp_ns
from trpose_ros.recordings.sources import BagSource, SourceOptions
from trpose_ros.recordings.video import VideoWriter
from trpose_ros.writing import whole_stream, write_text

_IMAGES = '/occlusion_node/image/compressed'
_INFOS = '/camera/camera_info'
_REPORTS = '/occlusion_node/report'
_POSES = '/pose_node/people'
_LIFTED = '/lifter_node/people'
_TILE_PX = 336
_COLUMNS = 2
_NEAR_NS = 250_000_000
_VIDEO_HZ = 15.0  # images per second of the video, about


@dataclass
class Run(Pass):
    """A pass, its time on the wall clock, and what else it left in the bag, by stamp (ns)."""

    in_step: bool = True  # an image came when the last one was answered; else as from a camera
    begin_ns: int = 0
    end_ns: int = 0
    camera: Camera = field(init=False)
    sent_ns: dict[int, int] = field(default_factory=dict)  # when camera_info arrived
    pictures: dict[int, Any] = field(default_factory=dict)  # JPEG messages
    posed_ns: dict[int, int] = field(default_factory=dict)  # when it arrived
    arrived_ns: dict[int, int] = field(default_factory=dict)
    profiles: set[str] = field(default_factory=set)  # that the occlusion node reported
    hidden: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Return the condition as it is shown."""
        return self.condition.name


def read_runs(bag: Path, runs: list[Run], recording: Path) -> None:
    """Sort the messages of the bag into the passes, by the time at which they were recorded.

    Raises ValueError when the occlusion node reported another condition than was asked for.
    """
    source = BagSource(recording, SourceOptions())
    try:
        first = next(source.frames(), None)
    finally:
        source.close()
    if first is None:
        raise ValueError(f'{recording} holds no image')
    for run in runs:
        run.camera, run.truth = first.frame.camera, source.truth
    with BagReader(bag) as reader:
        for entry in reader.messages([_IMAGES, _INFOS, _REPORTS, _POSES, _LIFTED]):
            for run in runs:
                if run.begin_ns <= entry.log_ns < run.end_ns:
                    _sort_in(run, entry.topic, entry.log_ns, entry.message)
    for run in runs:
        if not run.profiles <= {run.condition.profile}:
            raise ValueError(f'asked for {run.name}, but {run.profiles} was applied')


def _sort_in(run: Run, topic: str, log_ns: int, message: Any) -> None:
    stamp = stamp_ns(message)
    if topic == _INFOS:
        run.sent_ns[stamp] = log_ns
    elif topic == _IMAGES:
        run.pictures[stamp] = message
    elif topic == _REPORTS:
        profile, _, share = read_occlusion(message)
        run.profiles.add(profile)
        run.hidden.append(share)
    elif topic == _POSES:
        run.posed[stamp] = read_people(message)
        run.posed_ns[stamp] = log_ns
    else:
        run.lifted[stamp] = read_people(message)
        run.arrived_ns[stamp] = log_ns


def measure_runs(runs: list[Run]) -> list[dict[str, Any]]:
    """Return one row of numbers for each pass."""
    return [_row(run) for run in runs]


def _row(run: Run) -> dict[str, Any]:
    provenance = next(reversed(run.lifted.values())).provenance if run.lifted else Provenance()
    alone, fused = evaluate(run.posed, run.truth), evaluate(run.lifted, run.truth)
    inference = [p.provenance.inference_ms for p in run.posed.values()]
    return {
        'condition': run.name,
        'in_step': run.in_step,
        'images_sent': len(run.sent_ns),
        'skeletons': len(run.lifted),
        'dropped': len(run.sent_ns) - len(run.lifted),
        **({} if run.in_step else _timing(run, provenance.lookahead)),
        'inference_p50_ms': _percentile([v for v in inference if np.isfinite(v)], 50),
        'hidden_percent': 100.0 * float(np.mean(run.hidden)) if run.hidden else 0.0,
        'estimator': alone.as_dict(),
        'lifted': fused.as_dict(),
        'look_ahead_frames': provenance.lookahead,
        'weights': provenance.weights_id,
        'lifter': provenance.lifter,
    }


def _timing(run: Run, look_ahead: int) -> dict[str, Any]:
    """Return rate and latency of a pass at the camera's rate: in step they mean nothing."""
    # The last frames of a pass get no future: the lifter gives them out when it has waited for it.
    waited = sorted(run.arrived_ns)[: -look_ahead or None]
    latency = [(run.arrived_ns[s] - run.sent_ns[s]) * 1e-6 for s in waited if s in run.sent_ns]
    pose = [(run.posed_ns[s] - run.sent_ns[s]) * 1e-6 for s in run.posed_ns if s in run.sent_ns]
    times = sorted(run.arrived_ns[s] for s in waited)
    span_s = (times[-1] - times[0]) * 1e-9 if len(times) > 1 else 0.0
    sent = sorted(run.sent_ns)
    return {
        'camera_hz': 1e9 / float(np.median(np.diff(sent))) if len(sent) > 1 else 0.0,
        'rate_hz': (len(times) - 1) / span_s if span_s > 0 else 0.0,
        'latency_p50_ms': _percentile(latency, 50),
        'latency_p95_ms': _percentile(latency, 95),
        'latency_pose_p50_ms': _percentile(pose, 50),
        'latency_pose_p95_ms': _percentile(pose, 95),
    }


def _percentile(values: list[float], percent: float) -> float | None:
    return float(np.percentile(values, percent)) if values else None


class Table:
    """The rows as a table for the terminal, as text and as JSON."""

    def __init__(self, rows: list[dict[str, Any]], played: str) -> None:
        self.rows = rows
        self.played = played

    @property
    def average(self) -> dict[str, float | None]:
        """Return the plain means of the five truncations, None where one is missing."""
        five = [row for row in self.rows if row['in_step'] and row['condition'] in FIVE]
        result: dict[str, float | None] = {}
        for name in ('estimator', 'lifted'):
            values = [row[name]['mpjpe_held_mm'] for row in five]
            whole = len(five) == len(FIVE) and None not in values
            result[name] = float(np.mean(values)) if whole else None
        return result

    def rich(self) -> RichTable:
        """Return it for the terminal."""
        table = RichTable(
            title=f'{self.played} through ROS 2, protocol v1; errors are MPJPE',
            box=box.SIMPLE_HEAD,
            title_justify='left',
            padding=(0, 1, 0, 0),
        )
        table.add_column('condition', no_wrap=True)
        table.add_column('images', no_wrap=True)
        names = ('hidden\n%', 'rate\nHz', 'p50\nms', 'p95\nms', 'dropped')
        for name in (*names, 'MeTRAbs\nmm', 'fused\nmm'):
            table.add_column(name, justify='right', no_wrap=True)
        for row in self.rows:
            live = not row['in_step']
            table.add_row(
                row['condition'],
                f'{row["camera_hz"]:.0f} Hz' if live else 'in step',
                f'{row["hidden_percent"]:.0f}',
                f'{row["rate_hz"]:.1f}' if live else '',
                _number(row['latency_p50_ms'], 0) if live else '',
                _number(row['latency_p95_ms'], 0) if live else '',
                f'{row["dropped"]}/{row["images_sent"]}',
                _number(row['estimator']['mpjpe_held_mm']),
                _number(row['lifted']['mpjpe_held_mm']),
                end_section=live,
            )
        mean = self.average
        if mean['lifted'] is not None:
            table.add_section()
            values = (_number(mean['estimator']), _number(mean['lifted']))
            table.add_row('mean of five', 'in step', '', '', '', '', '', *values)
        return table

    def footnotes(self) -> list[str]:
        """Return what one has to know to read the table."""
        row = self.rows[-1]
        return [
            f'weights {row["weights"] or "none"}; look-ahead {row["look_ahead_frames"]} frames, '
            'which the latency contains; '
            f'inference {_number(row["inference_p50_ms"])} ms (median)',
            f'{self._camera_hz} Hz: as a camera sends them, the newest image wins; rate, latency '
            'and drops depend on the machine; p50, p95: camera_info of an image to its skeleton, '
            'both at the recorder',
            'in step: the next image comes when the last one is answered; errors of every frame, '
            'whatever the machine. MPJPE: relative to the pelvis, an image without output counts '
            'with the last one',
        ]

    @property
    def _camera_hz(self) -> str:
        return next((f'{row["camera_hz"]:.0f}' for row in self.rows if not row['in_step']), '-')

    def write(self, out: Path) -> None:
        """Write table.txt and table.json."""
        with whole_stream(out / 'table.txt', 'w', encoding='utf-8') as file:
            console = Console(file=file, width=110)
            console.print(self.rich())
            for line in self.footnotes():
                console.print(line)
        content = {
            'protocol': 'v1',
            'recording': self.played,
            'camera_rate': [row for row in self.rows if not row['in_step']],
            'conditions': [row for row in self.rows if row['in_step']],
            'mean_of_five_mpjpe_mm': self.average,
        }
        write_text(out / 'table.json', json.dumps(content, indent=2) + '\n')


def _number(value: float | None, digits: int = 1) -> str:
    return '-' if value is None else f'{value:.{digits}f}'


def draw(runs: list[Run], rows: list[dict[str, Any]], out: Path, console: Console) -> None:
    """Write demo.mp4, all conditions at once (in step), and demo.png, one moment of it.

    And before_after.mp4: one condition after the other, the estimator beside what was made of it.
    """
    rows = [row for row, run in zip(rows, runs, strict=True) if run.in_step]
    runs = [run for run in runs if run.in_step]
    stamps = sorted({stamp for run in runs for stamp in run.sent_ns})
    if not stamps:
        return
    periods = [b - a for a, b in pairwise(stamps)]
    rate_hz = 1e9 / float(np.median(periods)) if periods else 30.0
    # Each picture at a stamp that has a skeleton: what a slow machine dropped cannot be shown.
    moment = _telling_moment(runs, stamps)
    tiles = [
        next(_tiles(run, row, [_nearest(run, moment)])) for run, row in zip(runs, rows, strict=True)
    ]
    save_picture(out / 'demo.png', grid(tiles, _COLUMNS))
    if rate_hz > 2 * _VIDEO_HZ - 5:  # drawing takes longer than anything else here
        stamps, rate_hz = stamps[::2], rate_hz / 2
    pairs = list(zip(runs, rows, strict=True))
    films = [_tiles(run, row, stamps) for run, row in pairs]
    with VideoWriter(out / 'demo.mp4', min(max(rate_hz, 1.0), 120.0)) as video:
        for _ in track(stamps, 'drawing the video', console=console, transient=True):
            video.write(grid([next(film) for film in films], _COLUMNS))
    scenes = [Scene(run.name, _shots(run, stamps), _errors_mm(row)) for run, row in pairs]
    with console.status('drawing before and after'):
        write_film(out / 'before_after.mp4', scenes, min(max(rate_hz, 1.0), 120.0))


def _errors_mm(row: dict[str, Any]) -> tuple[float, float]:
    before, after = (row[name]['mpjpe_held_mm'] for name in ('estimator', 'lifted'))
    return (np.nan if before is None else before, np.nan if after is None else after)


def _tiles(run: Run, row: dict[str, Any], stamps: list[int]) -> Iterator[np.ndarray]:
    """Yield the picture of one condition for each stamp."""
    figure = Figure(run.camera, _TILE_PX)
    lines = (
        f'MPJPE {_number(row["estimator"]["mpjpe_held_mm"], 0)} mm',
        f'MPJPE {_number(row["lifted"]["mpjpe_held_mm"], 0)} mm',
    )
    for shot in _shots(run, stamps):
        yield figure.draw(shot, run.name, lines)


def _shots(run: Run, stamps: list[int]) -> Iterator[Shot]:
    """Yield a shot for each stamp; what is missing stays as it was."""
    image = np.zeros((run.camera.height, run.camera.width, 3), np.uint8)
    people = lifted = None
    truth = run.truth.get(stamps[0])
    for stamp in stamps:
        if stamp in run.pictures:
            image, truth = read_image(run.pictures[stamp]), run.truth.get(stamp)
        people, lifted = run.posed.get(stamp, people), run.lifted.get(stamp, lifted)
        yield Shot(image, run.camera, people, lifted, truth)


def _nearest(run: Run, moment: int) -> int:
    """Return the stamp nearest to a moment that has an image and people."""
    able = [s for s in run.lifted if s in run.pictures and len(run.lifted[s])]
    return min(able, key=lambda stamp: abs(stamp - moment), default=moment)


def _telling_moment(runs: list[Run], stamps: list[int]) -> int:
    """Return the stamp at which the true person is largest, but whole in the image.

    Not the moment with the smallest error: the picture shows what the video shows. Among stamps
    near which every condition has a skeleton, as far as there are any.
    """
    truth = runs[0].truth

    def height(stamp: int) -> float:
        joints = truth[stamp].joints_px[0]
        size = (runs[0].camera.width, runs[0].camera.height)
        inside = bool((joints >= 0).all() and (joints < size).all())
        return float(np.ptp(joints[:, 1])) if inside else 0.0

    candidates = [s for s in stamps if s in truth and len(truth[s])]
    near = [s for s in candidates if all(abs(_nearest(r, s) - s) < _NEAR_NS for r in runs)]
    return max(near or candidates or stamps, key=height if candidates else lambda s: 0.0)
