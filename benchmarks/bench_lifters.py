"""Speed and memory of the lifters: whole windows against streams, in one run on one CPU thread.

Both sides are this package's. The plain side computes the whole window for each frame, as the
published programs do; the stream takes one new frame. They alternate, so that whatever else the
machine does meets both, and medians are compared. On the CPU the time is that of the processor,
which other programs lengthen least (with one thread it is the time on the clock of an idle
machine); on the GPU it is that of the clock. Parameters are random: speed does not depend on them.
Without arguments all sections run; ``--only`` picks some.

    python benchmarks/bench_lifters.py --only window people
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from results import Numbers, add_option
from torch import Tensor

from trpose_ros.lifters.networks import attention, pstmo
from trpose_ros.lifters.networks.build import build_network
from trpose_ros.lifters.networks.precision import halve
from trpose_ros.lifters.streams.videopose3d import VideoPose3DCore
from trpose_ros.lifters.streams.windows import mhformer_core, mixste_core, pstmo_core
from trpose_ros.runtimes.processor import cpu_has_bfloat16

CORES: dict[str, Callable[..., Any]] = {
    'videopose3d': VideoPose3DCore,
    'mhformer': mhformer_core,
    'mixste': mixste_core,
    'pstmo': pstmo_core,
}


@dataclass(frozen=True)
class Case:
    """One network in one published size."""

    label: str
    name: str
    config: dict[str, Any]
    goal: float | None = None  # largest ratio of stream to whole window
    look_ahead: int | None = None
    repeats: int = 15

    @property
    def frames(self) -> int:
        """Frames of the window."""
        return self.config.get('frames', 3 ** len(self.config.get('filter_widths', ())))


def _videopose3d(layers: int) -> dict[str, Any]:
    return {'filter_widths': (3,) * layers}


CASES = (
    Case('VideoPose3D 243', 'videopose3d', _videopose3d(5), goal=0.33, repeats=60),
    Case('VideoPose3D 243, look-ahead 0', 'videopose3d', _videopose3d(5), None, 0, 60),
    Case('VideoPose3D 27', 'videopose3d', _videopose3d(3), repeats=60),
    Case('P-STMO-S 243', 'pstmo', {'frames': 243}, goal=0.75, repeats=40),
    Case('P-STMO 243', 'pstmo', {'frames': 243, 'layers': 4}, repeats=30),
    Case('MHFormer 351', 'mhformer', {'frames': 351}, goal=0.8),
    Case('MHFormer 27', 'mhformer', {'frames': 27}, repeats=30),
    Case('MixSTE 27', 'mixste', {'frames': 27}),
    Case('MixSTE 243', 'mixste', {'frames': 243}, goal=0.85, repeats=5),
)
Row = dict[str, Any]


def make(case: Case, device: str = 'cpu') -> Any:
    """Return the network with random parameters."""
    torch.manual_seed(0)
    model = build_network(case.name, case.config)
    return model.eval().requires_grad_(False).to(device)


def plain(case: Case, model: Any) -> Callable[[Tensor], Tensor]:
    """Return the cheapest whole-window form: for VideoPose3D the strided one."""
    return model.forward_windows if case.name == 'videopose3d' else model


class Stream:
    """A core with some people in it, fed with random frames."""

    def __init__(self, case: Case, model: Any, people: int = 1) -> None:
        self.core = CORES[case.name](model, case.look_ahead)
        like = next(model.parameters())
        self._frames = torch.rand(people, 17, 2).to(like.device, like.dtype)
        self._slots = torch.arange(people, device=like.device)
        self.core.reserve(people)
        self.core.start(self._slots, self._frames)

    def step(self, count: int = 1) -> Tensor | None:
        """Take one frame of everybody."""
        return self.core.step(self._slots, self._frames, count)

    def hop(self, frames: int) -> Tensor | None:
        """Take ``frames`` frames and compute their poses in one run."""
        for _ in range(frames - 1):
            self.step(0)
        return self.step(frames)


@torch.no_grad()
def alternate(
    sides: dict[str, Callable[[], Any]], repeats: int, on_gpu: bool = False
) -> dict[str, float]:
    """Return the median time of each side in ms; they run in turn, once before it counts."""
    clock = time.perf_counter if on_gpu else time.process_time
    times: dict[str, list[float]] = {name: [] for name in sides}
    for round_number in range(repeats + 1):
        for name, run in sides.items():
            started = clock()
            run()
            if on_gpu:
                torch.cuda.synchronize()
            if round_number:
                times[name].append(1000 * (clock() - started))
    return {name: statistics.median(values) for name, values in times.items()}


@contextlib.contextmanager
def unfused_attention() -> Iterator[None]:
    """Compute attention as the papers write it: product, softmax, product."""

    def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, _: float = 0.0) -> Tensor:
        q, k, v = (attention.split_heads(x, heads) for x in (q, k, v))
        weights = torch.softmax(q @ k.transpose(2, 3) * q.shape[3] ** -0.5, dim=3)
        return (weights @ v).transpose(1, 2).flatten(2)

    with (
        mock.patch.object(attention, 'attend', attend),
        mock.patch.object(pstmo, 'attend', attend),
    ):
        yield


def bench_window(scale: float, networks: tuple[str, ...] = tuple(CORES)) -> list[Row]:
    """Whole windows against streams, one person, float32."""
    rows = []
    for case in (case for case in CASES if case.name in networks):
        model = make(case)
        window, stream = torch.rand(1, case.frames, 17, 2), Stream(case, model)
        whole = plain(case, model)

        def straightforward(whole: Any = whole, window: Tensor = window) -> Tensor:
            with unfused_attention():
                return whole(window)

        sides = {'whole': lambda whole=whole, window=window: whole(window), 'stream': stream.step}
        if case.name != 'videopose3d':
            sides['unfused'] = straightforward
        else:
            sides['dilated'] = lambda model=model, window=window: model(window)
        times = alternate(sides, max(2, int(case.repeats * scale)))
        rows.append(
            {
                'network': case.label,
                'look-ahead': stream.core.look_ahead,
                'whole window ms': times['whole'],
                'other whole window ms': times.get('unfused', times.get('dilated')),
                'stream ms': times['stream'],
                'ratio': times['stream'] / times['whole'],
                'goal': case.goal,
            }
        )
    return rows


def bench_hop(scale: float) -> list[Row]:
    """MixSTE with hops: time per frame."""
    rows = []
    for frames, hops, repeats in ((27, (1, 4, 9, 27), 10), (243, (1, 9, 27, 81), 4)):
        case = Case(f'MixSTE {frames}', 'mixste', {'frames': frames}, look_ahead=0)
        stream = Stream(case, make(case))
        sides = {str(hop): functools.partial(stream.hop, hop) for hop in hops}
        times = alternate(sides, max(2, int(repeats * scale)))
        first = times[str(hops[0])] / hops[0]
        for hop in hops:
            each = times[str(hop)] / hop
            rows.append(
                {
                    'network': case.label,
                    'hop': hop,
                    'ms per run': times[str(hop)],
                    'ms per frame': each,
                    'share of hop 1': each / first,
                    '1 / hop': 1 / hop,
                }
            )
    return rows


def bench_real_time(scale: float) -> list[Row]:
    """MixSTE 27 at 30 Hz: with and without hops, in bfloat16 where the processor has it."""
    case = Case('MixSTE 27', 'mixste', {'frames': 27}, look_ahead=0)
    streams = {'float32': Stream(case, make(case))}
    if cpu_has_bfloat16():
        streams['bfloat16'] = Stream(case, halve(make(case)))
    sides = {
        (dtype, hop): functools.partial(stream.hop, hop)
        for dtype, stream in streams.items()
        for hop in (1, 4, 9)
    }
    times = alternate({str(key): run for key, run in sides.items()}, max(3, int(12 * scale)))
    return [
        {
            'network': case.label,
            'number type': dtype,
            'hop': hop,
            'ms per frame': times[str((dtype, hop))] / hop,
            'goal ms': 33.0,
        }
        for dtype, hop in sides
    ]


def bench_people(scale: float) -> list[Row]:
    """Several people in one batch, against one."""
    rows = []
    for case in CASES:
        if case.label not in ('VideoPose3D 243', 'P-STMO-S 243', 'VideoPose3D 27'):
            continue
        model = make(case)
        streams = {people: Stream(case, model, people) for people in (1, 2, 4, 8)}
        sides = {str(people): stream.step for people, stream in streams.items()}
        times = alternate(sides, max(3, int(0.7 * case.repeats * scale)))
        for people in streams:
            rows.append(
                {
                    'network': case.label,
                    'people': people,
                    'ms': times[str(people)],
                    'times one person': times[str(people)] / times['1'],
                    'goal': 3.0 if people == 8 and '243' in case.label else None,
                }
            )
    return rows


def state_bytes(core: Any, people: int) -> int:
    """Return the bytes of all tensors that a core keeps for its people."""
    total = 0
    for value in vars(core).values():
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, Tensor) and part.ndim > 0 and len(part) == people:
                total += part.numel() * part.element_size()
    return total


def bench_memory(_: float) -> list[Row]:
    """State per track."""
    rows = []
    people = 11  # a number that no other tensor of a core has as its length
    for case in CASES:
        if case.look_ahead is None:
            stream = Stream(case, make(case), people)
            kib = state_bytes(stream.core, people) / people / 1024
            rows.append({'network': case.label, 'KiB per track, without flip': kib})
    return rows


def bench_gpu(scale: float) -> list[Row]:
    """MixSTE 243 in bfloat16 on a GPU, where there is one."""
    if not torch.cuda.is_available():
        return [{'device': 'no GPU here: not measured'}]
    case = Case('MixSTE 243', 'mixste', {'frames': 243}, look_ahead=0)
    model = halve(make(case, 'cuda'))
    streams = {str(people): Stream(case, model, people) for people in (1, 4, 16)}
    times = alternate({key: s.step for key, s in streams.items()}, max(3, int(40 * scale)), True)
    device = torch.cuda.get_device_name()
    return [
        {'device': device, 'network': case.label, 'people': people, 'ms': ms}
        for people, ms in times.items()
    ]


SECTIONS: dict[str, Callable[[float], list[Row]]] = {
    'window': bench_window,
    'hop': bench_hop,
    'real_time': bench_real_time,
    'people': bench_people,
    'memory': bench_memory,
    'gpu': bench_gpu,
}


def table(rows: list[Row]) -> str:
    """Return rows as a Markdown table."""

    def cell(value: Any) -> str:
        if value is None:
            return ''
        return f'{value:.3g}' if isinstance(value, float) else str(value)

    names = list(rows[0])
    lines = [f'| {" | ".join(names)} |', '| --- ' * len(names) + '|']
    lines += [f'| {" | ".join(cell(row[name]) for name in names)} |' for row in rows]
    return '\n'.join(lines)


# Columns for the baseline by section: those that tell rows apart, ratios or sizes, times.
_COLUMNS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    'window': (('network',), ('ratio',), ('stream ms',)),
    'hop': (('network', 'hop'), ('share of hop 1',), ()),
    'real_time': (('network', 'number type', 'hop'), (), ('ms per frame',)),
    'people': (('network', 'people'), ('times one person',), ()),
    'memory': (('network',), ('KiB per track, without flip',), ()),
    'gpu': (('device', 'network', 'people'), (), ('ms',)),
}


def numbers_of(found: dict[str, list[Row]]) -> Numbers:
    """Return the numbers that are worth comparing."""
    numbers = Numbers()
    for section, rows in found.items():
        keys, ratios, times = _COLUMNS[section]
        for row in (row for row in rows if 'network' in row):
            name = f'lifters, {section}, ' + ', '.join(str(row[key]) for key in keys)
            for column in ratios:
                unit = 'KiB' if section == 'memory' else 'x'
                numbers.ratio(f'{name}: {column}', row[column], unit)
            for column in times:
                numbers.time(f'{name}: {column}', row[column])
    return numbers


def main() -> None:
    """Run the chosen sections and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--only', nargs='+', choices=sorted(SECTIONS), default=list(SECTIONS))
    parser.add_argument('--networks', nargs='+', choices=sorted(CORES), help='of section window')
    parser.add_argument('--scale', type=float, default=1.0, help='factor of the repetitions')
    parser.add_argument('--threads', type=int, default=1, help='CPU threads of torch')
    add_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f'torch {torch.__version__}, {options.threads} CPU thread(s), batch of one window\n')
    found = {}
    for name in options.only:
        run = SECTIONS[name]
        if name == 'window' and options.networks:
            run = functools.partial(bench_window, networks=tuple(options.networks))
        rows = found[name] = run(options.scale)
        print(f'## {name}: {SECTIONS[name].__doc__}\n\n{table(rows)}\n', flush=True)
    numbers_of(found).write(options.json)


if __name__ == '__main__':
    main()
