"""Spreading cases over processes and machines with Ray.

The cases of a clip go to one worker together, because they share the clip's frames and its clean
run; results come back case by case and are written by the driver, so workers need no common
folder. A worker says which case it works on before it does, so when it dies it is known whose fault
that was: the case is tried once more by itself, then listed as failed, and the clip's other cases
go on. One that dies while it lifts several cases at once accuses none: each is then run by itself.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from trpose_ros.evaluation.cases import TOGETHER, Case, CaseRunner, EvaluationConfig, Outcome

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


@dataclass
class _Task:
    """A group of cases in work."""

    cases: list[Case]  # that have not answered yet
    at: str  # key of the case in work, or TOGETHER


def _run(
    ray: Any, config: EvaluationConfig, groups: list[list[Case]], most: int
) -> Iterator[tuple[Case, Outcome]]:
    # A worker goes on only when what it said has arrived: its last word is where it died.
    options = {'num_returns': 'streaming', '_generator_backpressure_num_objects': 1}
    task = ray.remote(num_cpus=1, max_retries=0)(_work).options(**options)
    shared, run = ray.put(config), uuid.uuid4().hex
    waiting = [list(group) for group in groups]
    deaths: dict[str, int] = {}
    running: dict[Any, _Task] = {}  # by stream
    while waiting or running:
        while waiting and len(running) < most:
            group = waiting.pop(0)
            running[task.remote(run, shared, group)] = _Task(group, group[0].key)
        ready, _ = ray.wait(list(running), num_returns=1)
        stream = ready[0]
        now = running[stream]
        try:
            given = ray.get(next(stream))
        except StopIteration:
            del running[stream]
        except ray.exceptions.RayError as error:
            del running[stream]
            blamed, again = _after_death(now)
            if blamed is not None:
                deaths[blamed.key] = deaths.get(blamed.key, 0) + 1
                if deaths[blamed.key] < _DEATHS:
                    again.append([blamed])
                else:
                    yield blamed, Outcome([], 0.0, error=f'the worker died: {_last_line(error)}')
            waiting += again
        else:
            if isinstance(given, str):
                now.at = given
            else:
                yield now.cases.pop(0), given


def _after_death(task: _Task) -> tuple[Case | None, list[list[Case]]]:
    """Return the case to blame, and what else has to be run again, in groups."""
    cases = task.cases
    if task.at == TOGETHER or not cases:
        return None, [[case] for case in cases]
    blamed = next((case for case in cases if case.key == task.at), cases[0])
    others = [case for case in cases if case is not blamed]
    return blamed, [others] if others else []


# The runner of a worker process and the run that it is for: what it has loaded serves all groups
# that come to this process.
_KEPT: dict[str, CaseRunner] = {}


def _work(run: str, config: EvaluationConfig, cases: list[Case]) -> Iterator[str | Outcome]:
    """Run in a worker: one outcome per case, in order; before them what is worked on."""
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    if run not in _KEPT:
        for runner in _KEPT.values():
            runner.close()
        _KEPT.clear()
        _KEPT[run] = CaseRunner(config)
    yield from _KEPT[run].attempt_all(cases)


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or ['']
    return f'{type(error).__name__}: {lines[-1]}'  # the end of a trace says what happened
