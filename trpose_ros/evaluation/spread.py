"""Spreading cases over processes and machines with Ray.

The cases of a clip go to one worker together, because they share the clip's frames and its clean
run; results come back case by case and are written by the driver, so workers need no common
folder. A worker that dies takes only its case with it: the case is tried once more in another
worker, then listed as failed, and the clip's other cases go on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from trpose_ros.evaluation.cases import Case
from trpose_ros.evaluation.cases import CaseRunner
from trpose_ros.evaluation.cases import EvaluationConfig
from trpose_ros.evaluation.cases import Outcome

_DEATHS = 2  # of workers, that one case may cause


def spread(
    config: EvaluationConfig, groups: list[list[Case]], workers: int, address: str
) -> Iterator[tuple[Case, Outcome]]:
    """Run groups of cases; yield each case with what it gave, in the order of completion.

    ``workers`` processes on this machine, or, with ``address``, as many as given on a running Ray
    cluster (0: one for each of its CPUs). Raises ImportError, naming the remedy, without Ray.
    """
    ray = load_ray()
    if address:
        ray.init(address=address, log_to_driver=False)
    else:
        ray.init(
            address='local',
            num_cpus=workers,
            include_dashboard=False,
            log_to_driver=False,
        )
    try:
        most = workers or int(ray.cluster_resources().get('CPU', 1))
        yield from _run(ray, config, groups, most)
    finally:
        ray.shutdown()


def load_ray() -> Any:
    """Return the module; raises ImportError, naming the remedy, where it is missing."""
    try:
        import ray
    except ImportError as error:
        raise ImportError(
            "spreading work needs Ray: pip install 'trpose_ros[evaluate]', or use --workers 0"
        ) from error
    return ray


def _run(
    ray: Any, config: EvaluationConfig, groups: list[list[Case]], most: int
) -> Iterator[tuple[Case, Outcome]]:
    task = ray.remote(num_cpus=1, max_retries=0)(_work)
    shared = ray.put(config)
    waiting = [list(group) for group in groups]
    deaths: dict[str, int] = {}
    running: dict[Any, list[Case]] = {}  # stream -> its cases that have not answered yet
    while waiting or running:
        while waiting and len(running) < most:
            group = waiting.pop(0)
            running[task.options(num_returns='streaming').remote(shared, group)] = group
        ready, _ = ray.wait(list(running), num_returns=1)
        stream = ready[0]
        rest = running[stream]
        try:
            outcome = ray.get(next(stream))
        except StopIteration:
            del running[stream]
            continue
        except ray.exceptions.RayError as error:
            del running[stream]
            case = rest[0]
            deaths[case.key] = deaths.get(case.key, 0) + 1
            if deaths[case.key] >= _DEATHS:
                rest = rest[1:]
                yield case, Outcome([], 0.0, error=f'the worker died: {_last_line(error)}')
            if rest:
                waiting.append(rest)
            continue
        yield rest.pop(0), outcome


def _work(config: EvaluationConfig, cases: list[Case]) -> Iterator[Outcome]:
    """Run in a worker: one outcome per case, in order."""
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    runner = CaseRunner(config)
    try:
        for case in cases:
            yield runner.attempt(case)
    finally:
        runner.close()


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or ['']
    return f'{type(error).__name__}: {lines[-1]}'  # the end of a trace says what happened
