"""Refinement: a causal network in the place of the fusion's constants."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from doubles import FakeLifter
from made_people import moving_person

from trpose_ros import weights
from trpose_ros.cameras import camera_from_fov, project
from trpose_ros.evaluation.lifter_spec import LifterSpec
from trpose_ros.people import JointState, People, RootSource, TrackState
from trpose_ros.pipeline.fusion import Fusion
from trpose_ros.pipeline.lift_stage import LiftStage, LiftStageConfig
from trpose_ros.pipeline.pipeline import PipelineConfig, build_fusion
from trpose_ros.pipeline.refinement import Refinement
from trpose_ros.refinement.model import RefinementModel, load_model
from trpose_ros.refinement.moments import Memory, observe, step
from trpose_ros.refinement.network import Moments, RefinementNetwork
from trpose_ros.refinement.settings import RefinementConfig
from trpose_ros.skeletons import get_skeleton
from trpose_ros.weights import WeightsError

CAMERA = camera_from_fov(640, 480)
SECOND = 1_000_000_000
TRUE_M = moving_person(60, 'h36m_17', root_m=(0.3, 0.1, 3.0)).astype(float)
MIRROR = get_skeleton('h36m_17').mirror
PARENTS = get_skeleton('h36m_17').parents


def evened(joints_m):
    """Return skeletons (T, 17, 3) whose left and right bones are of one length."""
    out = joints_m.copy()
    for j in range(1, 17):
        bones = joints_m - joints_m[:, PARENTS]
        lengths = np.linalg.norm(bones, axis=2)
        factor = (lengths[:, j] + lengths[:, MIRROR[j]]) / 2 / lengths[:, j]
        out[:, j] = out[:, PARENTS[j]] + bones[:, j] * factor[:, None]
    return out


SAME_M = evened(TRUE_M)


def made_network(seed=0, size=0.1):
    """Return a small network in double precision whose last layer is random."""
    torch.manual_seed(seed)
    network = RefinementNetwork(RefinementConfig(hidden=16)).double().eval()
    torch.nn.init.normal_(network.leave.weight, std=size)
    torch.nn.init.normal_(network.leave.bias, std=size)
    return network.requires_grad_(False)


def made_model(network=None):
    network = network or made_network()
    tensors = {name: value.numpy() for name, value in network.state_dict().items()}
    return RefinementModel(network.config, tensors, 'made')


def untrained():
    return made_model(RefinementNetwork(RefinementConfig(hidden=16)).double())


def people(stamp_ns, joints_m, ids=(4,), **changes):
    joints_m = np.asarray(joints_m, float).reshape(len(ids), 17, 3)
    made = People.build(
        stamp_ns=stamp_ns,
        frame_id='camera',
        skeleton='h36m_17',
        width=640,
        height=480,
        joints_px=project(joints_m, CAMERA),
        joints_m=joints_m,
        joint_scores=np.full((len(ids), 17), 0.8),
        joint_states=np.full((len(ids), 17), JointState.VISIBLE),
        covariances_m2=np.broadcast_to(0.01 * np.eye(3), (len(ids), 17, 3, 3)),
        track_ids=np.array(ids),
        track_states=np.full(len(ids), TrackState.TRACKED),
        root_sources=np.full(len(ids), RootSource.ESTIMATOR),
    )
    return made.replace(**changes)


def lifted(joints_m):
    joints_m = np.asarray(joints_m, float)
    return joints_m - joints_m[..., :1, :]


def noisy(count, seed=1, size=0.05):
    """Return estimated and lifted skeletons (T, 17, 3) of the same person."""
    rng = np.random.default_rng(seed)
    true = TRUE_M[:count]
    estimated, other = (true + rng.normal(0, size, true.shape) for _ in range(2))
    return estimated, lifted(other)


def run(refinement, estimated, other, period_ns=SECOND // 30, track_id=4):
    return [
        refinement.fuse(people(t * period_ns, e, (track_id,)), o[None], CAMERA)
        for t, (e, o) in enumerate(zip(estimated, other, strict=True))
    ]


def is_sound(result):
    assert np.isfinite(result.joints_m).all()
    assert np.isfinite(result.covariances_m2).all()
    assert (np.linalg.eigvalsh(result.covariances_m2.astype(float)) > 0).all()


def test_one_frame_of_an_untrained_network_is_the_mean_of_the_skeletons():
    other = lifted(SAME_M[:1])
    estimated = 1.2 * other + SAME_M[:1, :1]
    result = run(Refinement(untrained()), estimated, other)[0]
    np.testing.assert_allclose(lifted(result.joints_m[0]), 1.1 * other[0], atol=1e-5)
    assert result.root_sources[0] == RootSource.ESTIMATOR
    is_sound(result)


def test_hidden_joints_count_less_in_the_mean():
    other = lifted(SAME_M[:1])
    estimated = 1.2 * other + SAME_M[:1, :1]
    states = np.full((1, 17), JointState.OCCLUDED)
    given = people(0, estimated[0], joint_states=states)
    result = Refinement(untrained()).fuse(given, other[:1], CAMERA).joints_m[0]
    np.testing.assert_allclose(lifted(result), 1.05 * other[0], atol=1e-5)


def test_live_is_what_training_computes():
    estimated, other = noisy(40)
    network = made_network()
    results = run(Refinement(made_model(network)), estimated, other)
    memory, moments = Memory.empty(1), []
    for t in range(40):
        given = people(t * (SECOND // 30), estimated[t])
        elapsed = np.array([(SECOND // 30) * 1e-9 if t else 0.0])
        moment, memory = step(observe(given, other[t : t + 1], CAMERA, elapsed), memory)
        moments.append(moment)
    clip = Moments(
        *(
            torch.from_numpy(np.stack([getattr(m, name) for m in moments], axis=1))
            for name in Moments._fields
        )
    )
    out, _ = network(clip, network.start(1))
    found = np.stack([result.joints_m[0] for result in results])
    np.testing.assert_allclose(lifted(found), out.joints_m[0].numpy(), atol=1e-6)
    assert np.abs(np.diff(found, axis=0)).max() > 1e-3  # and it is no constant


def test_people_of_a_frame_do_not_disturb_each_other():
    estimated, other = noisy(12)
    alone = run(Refinement(made_model()), estimated, other)
    both = Refinement(made_model())
    for t in range(12):
        second = estimated[t] + [0.5, 0, 1]
        given = people(t * (SECOND // 30), np.stack([second, estimated[t]]), (9, 4))
        result = both.fuse(given, np.stack([other[t], other[t]]), CAMERA)
        np.testing.assert_allclose(result.joints_m[1], alone[t].joints_m[0], atol=1e-6)


@pytest.mark.parametrize('rate_hz', [1, 7, 30, 120])
def test_a_still_person_stays_still_at_any_rate(rate_hz):
    estimated = np.repeat(SAME_M[:1], 20, axis=0)
    results = run(Refinement(untrained()), estimated, lifted(estimated), SECOND // rate_hz)
    for result in results:
        np.testing.assert_allclose(result.joints_m[0], SAME_M[0], atol=1e-5)
        is_sound(result)


@pytest.mark.parametrize('rate_hz', [1, 30, 120])
def test_values_stay_finite_at_any_rate(rate_hz):
    for result in run(Refinement(made_model()), *noisy(30), SECOND // rate_hz):
        is_sound(result)


def test_bones_keep_their_lengths_where_skeletons_flicker():
    estimated, other = noisy(60)
    results = np.stack([r.joints_m[0] for r in run(Refinement(made_model()), estimated, other)])
    children = [j for j in range(17) if PARENTS[j] >= 0]
    bones = results[:, children] - results[:, [PARENTS[j] for j in children]]
    lengths = np.linalg.norm(bones, axis=2)[20:]
    assert (lengths.std(axis=0) / lengths.mean(axis=0)).max() < 0.05
    raw = np.linalg.norm(
        (estimated[:, children] - estimated[:, [PARENTS[j] for j in children]]), axis=2
    )
    assert (raw.std(axis=0) / raw.mean(axis=0)).mean() > 0.2


def test_nobody_seen_for_two_seconds_is_a_skeleton_still():
    estimated, other = noisy(10)
    refinement = Refinement(made_model())
    run(refinement, estimated, other)
    unobserved = np.full((1, 17), JointState.UNOBSERVED)
    for t in range(10, 70):
        given = people(
            t * (SECOND // 30),
            estimated[9],
            joint_states=unobserved,
            joint_scores=np.full((1, 17), np.nan, np.float32),
            covariances_m2=np.full((1, 17, 3, 3), np.nan, np.float32),
            track_states=np.array([TrackState.SEARCHING]),
        )
        is_sound(refinement.fuse(given, np.full((1, 17, 3), np.nan), CAMERA))
    is_sound(refinement.fuse(people(70 * (SECOND // 30), estimated[9]), other[9:], CAMERA))


@pytest.mark.parametrize('missing', ['estimated', 'lifted', 'joint', 'root', 'pixels'])
def test_what_is_missing_stays_out_of_the_result(missing):
    refinement = Refinement(made_model())
    estimated, other = noisy(4)
    for t in range(4):
        given, also = people(t * SECOND // 30, estimated[t]), other[t : t + 1].copy()
        joints_m, joints_px = given.joints_m.copy(), given.joints_px.copy()
        if missing == 'estimated':
            joints_m[:] = np.nan
        elif missing == 'lifted':
            also[:] = np.nan
        elif missing == 'joint':
            joints_m[:, 5] = also[:, 5] = np.nan
        elif missing == 'root':
            joints_m[:, 0] = np.nan
        else:
            joints_px[:] = np.nan
        given = given.replace(joints_m=joints_m, joints_px=joints_px)
        result = refinement.fuse(given, also, CAMERA)
        is_sound(result)
        unplaced = missing in ('estimated', 'root')
        assert (result.root_sources[0] == RootSource.NONE) == unplaced


@pytest.mark.parametrize('matrix', [np.full((3, 3), np.nan), -np.eye(3), np.zeros((3, 3))])
def test_covariances_that_are_none_are_unknown(matrix):
    estimated, other = noisy(1)
    given = people(0, estimated[0])
    unknown = given.replace(covariances_m2=np.full((1, 17, 3, 3), np.nan, np.float32))
    wrong = given.replace(covariances_m2=np.broadcast_to(matrix, (1, 17, 3, 3)).astype(np.float32))
    first, second = (Refinement(made_model()).fuse(p, other[:1], CAMERA) for p in (unknown, wrong))
    np.testing.assert_array_equal(first.joints_m, second.joints_m)
    is_sound(second)


def test_people_outside_tracks_and_other_skeletons_stay_as_they_are():
    estimated, other = noisy(1)
    refinement = Refinement(made_model())
    given = people(0, estimated[0], (-1,))
    assert np.array_equal(refinement.fuse(given, other[:1], CAMERA).joints_m, given.joints_m)
    nobody = people(0, np.zeros((0, 17, 3)), ())
    assert len(refinement.fuse(nobody, np.zeros((0, 17, 3)), CAMERA)) == 0
    nothing = people(0, np.full((17, 3), np.nan))
    result = refinement.fuse(nothing, np.full((1, 17, 3), np.nan), CAMERA)
    assert np.isnan(result.joints_m).all()
    with pytest.raises(ValueError, match='lifted_m must have shape'):
        refinement.fuse(given, np.zeros((1, 16, 3)), CAMERA)


def begins_anew(refinement, estimated, other, stamp_ns):
    fresh = Refinement(refinement.model).fuse(people(stamp_ns, estimated), other[None], CAMERA)
    result = refinement.fuse(people(stamp_ns, estimated), other[None], CAMERA)
    return np.allclose(result.joints_m, fresh.joints_m, atol=1e-6)


def test_a_track_begins_anew_after_a_reset_a_loss_and_time_that_does_not_go_on():
    estimated, other = noisy(20)
    refinement = Refinement(made_model())

    def again():
        refinement.reset()
        run(refinement, estimated, other)

    last = 19 * (SECOND // 30)
    again()
    assert not begins_anew(refinement, estimated[5], other[5], last + SECOND // 30)
    again()
    refinement.reset(4)
    assert begins_anew(refinement, estimated[5], other[5], last + SECOND // 30)
    again()
    assert begins_anew(refinement, estimated[5], other[5], last)  # the same stamp again
    again()
    assert begins_anew(refinement, estimated[5], other[5], 0)
    again()
    lost = people(last + SECOND // 30, estimated[5], track_states=np.array([TrackState.LOST]))
    result = refinement.fuse(lost, other[5:6], CAMERA)
    np.testing.assert_array_equal(result.joints_m, lost.joints_m)
    assert begins_anew(refinement, estimated[5], other[5], last + 2 * (SECOND // 30))
    again()
    refinement.reset(77)
    assert not begins_anew(refinement, estimated[5], other[5], last + SECOND // 30)


def test_exchanged_people_end_where_they_are():
    refinement = Refinement(untrained())
    apart = np.array([1.0, 0.0, 0.5])
    for t in range(40):
        one, two = SAME_M[0], SAME_M[0] + apart
        if t >= 20:
            one, two = two, one
        both = np.stack([one, two])
        result = refinement.fuse(people(t * (SECOND // 30), both, (1, 2)), lifted(both), CAMERA)
        is_sound(result)
    np.testing.assert_allclose(lifted(result.joints_m), lifted(both), atol=0.01)
    np.testing.assert_allclose(result.joints_m[:, 0], both[:, 0], atol=0.1)


def test_the_place_in_the_image_does_not_show():
    """The same person about a turned camera gives the same skeleton, turned."""
    c, s = np.cos(0.3), np.sin(0.3)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    straight = TRUE_M[:10] - TRUE_M[:10, :1] + [0.0, 0.0, 3.0]
    rng = np.random.default_rng(3)
    other = lifted(straight + rng.normal(0, 0.05, straight.shape))
    first = run(Refinement(made_model()), straight, other)
    second = run(Refinement(made_model()), straight @ turn.T, other @ turn.T)
    for one, two in zip(first, second, strict=True):
        np.testing.assert_allclose(one.joints_m[0] @ turn.T, two.joints_m[0], atol=2e-3)


def saved(path, **changes):
    """Write the weights of a small random network."""
    network = RefinementNetwork(RefinementConfig(hidden=16))
    torch.nn.init.normal_(network.leave.weight, std=0.1)
    tensors = {name: value.numpy() for name, value in network.state_dict().items()}
    tensors |= changes.pop('tensors', {})
    meta = {
        'architecture': 'refinement',
        'config': json.dumps(dataclasses.asdict(network.config)),
        'skeleton': 'h36m_17',
        'licence': 'Apache-2.0',
        'training_data': 'none',
        'measured_error': 'none',
    }
    weights.save(path, tensors, meta | changes)
    return str(path)


def test_a_lift_stage_refines_and_says_so(tmp_path):
    name = saved(tmp_path / 'mine.safetensors')
    config = LiftStageConfig(fusion='refinement', refinement_model=name)
    fusion = build_fusion(PipelineConfig(lift=config))
    stage = LiftStage(lifter=FakeLifter(2), fusion=fusion)
    out = [p for t in range(6) for p in stage.push(people(t * (SECOND // 30), TRUE_M[t]), CAMERA)]
    out += stage.flush()
    assert len(out) == 6
    for t, result in enumerate(out):
        assert result.provenance.weights_id.split('+')[-1].startswith('mine@')
        assert result.root_sources[0] == (RootSource.FUSED if t else RootSource.ESTIMATOR)
        assert not np.allclose(result.joints_m[0], TRUE_M[t], atol=1e-3)
        is_sound(result)
    stage.reset()
    again = [p for t in range(6) for p in stage.push(people(t * (SECOND // 30), TRUE_M[t]), CAMERA)]
    np.testing.assert_array_equal(again[0].joints_m, out[0].joints_m)


def test_it_works_without_a_lifter_and_constants_do_not(tmp_path):
    name = saved(tmp_path / 'mine.safetensors')
    stage = LifterSpec.parse(f'none+refinement:{name}').stage()
    given = people(0, TRUE_M[0])
    (result,) = stage.push(given, CAMERA)
    assert result.provenance.weights_id.startswith('mine@')
    assert not np.allclose(result.joints_m, given.joints_m, atol=1e-3)
    assert LiftStage(lifter=None).push(given, CAMERA) == [given]


def test_constants_are_a_choice():
    config = LiftStageConfig(fusion='constants')
    assert type(build_fusion(PipelineConfig(lift=config))) is Fusion
    with pytest.raises(ValueError, match='fusion'):
        LiftStageConfig(fusion='magic')


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'architecture': 'mixste'}, 'architecture'),
        ({'config': '{"values": 3}'}, 'trpose train refinement'),
        ({'config': '{"deep": 3}'}, 'deep'),
        ({'tensors': {'extra': np.zeros(2, np.float32)}}, 'extra'),
        ({'tensors': {'leave.bias': np.zeros(2, np.float32)}}, 'leave.bias'),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, changes, message):
    name = saved(tmp_path / 'mine.safetensors', **changes)
    with pytest.raises(WeightsError, match=message):
        load_model(name)


def test_weights_of_other_moments_are_refused():
    with pytest.raises(ValueError, match='trpose train refinement'):
        RefinementConfig(values=3)
    assert dataclasses.asdict(RefinementConfig())['values'] > 17
