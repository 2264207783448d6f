"""Pretraining: the objective, the loop, and the checkpoint that comes of it."""

import json
import math
import queue
import shutil

import numpy as np
import pytest
import torch

from vla_core.errors import VlaError
from vla_policy.checkpoint import load_expert, load_trainable, read_manifest
from vla_training.pretrain import pipeline, rendering, scenes
from vla_training.pretrain import run as pretrain_run
from vla_training.pretrain.batches import relight, SceneBatches
from vla_training.pretrain.keypoints import centres, image_loss, look_loss, token_loss
from vla_training.pretrain.labels import KEYPOINTS, TOOL_VIEW
from vla_training.pretrain.objective import SeeingModel
from vla_training.pretrain.pipeline import pretrain
from vla_training.pretrain.rendering import RenderOptions
from vla_training.pretrain.run import Pretraining, PretrainOptions
from vla_training.pretrain.sensing import SensingOptions
from vla_training.pretrain.stage import rate
from vla_training.pretrain.trunk import train_trunk, TrunkOptions

TASK = 'insert the needle'
STAGES = TrunkOptions(steps=2, batch=2), SensingOptions(steps=2, batch=2)
torch.set_num_threads(1)


def grid_of(checkpoint):
    return rendering.grid_for(read_manifest(checkpoint), load_trainable(checkpoint))


@pytest.fixture(scope='module')
def rendered(nano, tmp_path_factory):
    """Two shards of made-up scenes of the model's size: a bright square on the target."""
    folder = tmp_path_factory.mktemp('scenes')
    grid = grid_of(nano)
    rng = np.random.default_rng(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scenes, 'SHARD', 8)
        rendering.claim(folder, rendering.render_size(grid))
    for index in range(2):
        images = rng.integers(0, 60, (8, 5, grid.height, grid.width, 3), dtype=np.uint8)
        points = rng.uniform(-0.8, 0.8, (8, 5, KEYPOINTS, 2)).astype(np.float32)
        labels = {
            'state': rng.standard_normal((8, 12)).astype(np.float32),
            'pose': rng.normal(0, 0.01, (8, 6)).astype(np.float32),
            'keypoints': points,
        }
        np.savez(folder / f'labels_{index:05d}.npz', **labels)
        np.save(scenes.image_path(folder, index), images)
    return folder


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(scenes, 'SHARD', 8)


def test_image_loss_ignores_what_is_outside_the_picture_or_behind_the_camera():
    guess = torch.zeros(1, 1, 3, 2)
    wanted = torch.tensor([[[[0.0, 0.0], [3.0, 0.0], [math.nan, math.nan]]]])
    assert image_loss(guess, wanted) == 0.0
    wanted[0, 0, 0] = torch.tensor([0.3, 0.0])
    assert image_loss(guess, wanted) > 1.0


def test_a_query_that_looks_at_its_keypoint_costs_little_and_elsewhere_much():
    wanted = torch.tensor([[[[-1.7, -0.9], [1.7, 0.9], [0.05, 0.05], [9.0, 0.0]]]])
    logits = torch.zeros(1, 1, 4, 32)
    for query, token in enumerate((0, 31, 2 * 8 + 4)):
        logits[0, 0, query, token] = 20.0
    assert look_loss(logits, wanted, (4, 8)) < 1e-3
    assert look_loss(logits.roll(1, -1), wanted, (4, 8)) > 10
    assert look_loss(logits, torch.full((1, 1, 4, 2), math.nan), (4, 8)) == 0


def test_a_token_that_tells_its_keypoint_and_where_in_it_costs_little():
    grid = (4, 8)
    wanted = torch.tensor([[[[0.05, 0.05], [math.nan, 0.0]]]])
    token = 2 * 8 + 4
    found = torch.zeros(1, 1, 32, 6)
    found[..., token, 0] = 20.0
    half = torch.tensor([16 / 9 / 8, 1 / 4])
    found[..., token, 2:4] = (wanted[0, 0, 0] - centres(grid)[token]) / half
    assert token_loss(found, wanted, grid) < 1e-3
    off = found.clone()
    off[..., token, 2] += 1.0
    assert token_loss(off, wanted, grid) > 1.0
    assert token_loss(found.roll(1, 2), wanted, grid) > 10.0


def test_centres_are_those_of_the_tokens_that_positions_fall_into():
    from vla_training.pretrain.keypoints import token_of

    assert token_of(centres((4, 8)), (4, 8)).tolist() == list(range(32))


@pytest.mark.parametrize('alone', [False, True])
def test_the_vision_tower_by_itself_leaves_the_rest_as_it_is(nano, rendered, alone):
    model = SeeingModel(load_trainable(nano), load_expert(nano).requires_grad_(True))
    batches, rng = SceneBatches(rendered, 1), np.random.default_rng(0)
    if alone:
        losses = model.vision_losses(*batches.draw_pictures(2, rng), task=TASK)
    else:
        losses = model.losses(*batches.draw(2, rng), task=TASK)
    losses.total.backward()
    language = model.encoder.model.language_model.layers[0].mlp.down_proj.weight
    assert (language.grad is None) is alone
    assert model.token_head.weight.grad.any() and bool(losses.position.isnan()) is alone


def test_narrow_products_change_what_the_encoder_computes_and_no_weight_s_format(nano, rendered):
    batch = SceneBatches(rendered, 1).draw(2, np.random.default_rng(0))
    totals = []
    for dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(0)
        model = SeeingModel(load_trainable(nano), load_expert(nano).requires_grad_(True), dtype)
        losses = model.losses(*batch, task=TASK)
        losses.total.backward()
        totals.append(float(losses.total.detach()))
        learned = [weight for weight in model.parameters() if weight.grad is not None]
        assert {weight.grad.dtype for weight in learned} == {torch.float32} == {
            weight.dtype for weight in learned
        }
        assert losses.position.dtype == torch.float32
    assert totals[0] != totals[1] and totals[1] == pytest.approx(totals[0], rel=0.02)


def test_every_other_picture_is_the_tool_cameras_and_has_its_own_labels(rendered):
    batches = SceneBatches(rendered, 1)
    _, keypoints, views = batches.draw_pictures(20, np.random.default_rng(0))
    assert (views[:, 1] == TOOL_VIEW).all() and set(views[:, 0].tolist()) == {0, 1, 2, 3}
    known = scenes.read_labels(rendered, 1)['keypoints']
    for pair, view in zip(keypoints.numpy(), views):
        assert any((pair == known[row][view]).all() for row in range(len(known)))


def test_what_counts_more_weighs_more_in_the_mean():
    wanted = torch.zeros(1, 1, 2, 2)
    guess = torch.tensor([[[[0.3, 0.0], [0.0, 0.0]]]])
    even = image_loss(guess, wanted)
    assert image_loss(guess, wanted, torch.tensor([[3.0, 1.0]])) == pytest.approx(1.5 * even)
    assert image_loss(guess, wanted, torch.tensor([[0.0, 1.0]])) == 0.0
    logits = torch.tensor([[[[9.0, 0.0], [0.0, 9.0]]]])
    assert look_loss(logits, wanted, (1, 2), torch.tensor([[0.0, 1.0]])) < 1e-3


def test_relighting_keeps_shape_and_type_and_changes_each_picture_differently():
    images = torch.full((2, 5, 4, 4, 3), 128, dtype=torch.uint8)
    relit = relight(images, np.random.default_rng(0))
    assert relit.shape == images.shape and relit.dtype == torch.uint8
    assert len(relit.flatten(0, 1).flatten(1)[:, :3].unique(dim=0)) == 10


@pytest.mark.slow
def test_a_model_learns_the_few_scenes_it_is_shown(nano, rendered):
    torch.manual_seed(0)  # the heads of training are drawn, whatever ran before
    model = SeeingModel(load_trainable(nano), load_expert(nano).requires_grad_(True))
    batches = SceneBatches(rendered, held_back=1)
    batch = batches.draw(4, np.random.default_rng(0))

    def loss():
        with torch.no_grad():
            return float(model.losses(*batch, task=TASK).total)

    before, lines = loss(), []
    batches.draw = lambda count, rng: batch
    options = PretrainOptions(steps=20, batch=4, warm_up=3, held_back_shards=1)
    Pretraining(model, batches, options, TASK, lines.append).train(lambda: None)
    assert loss() < 0.8 * before
    assert any(line.startswith('validation') for line in lines)


def test_a_loss_that_is_not_finite_ends_the_run_with_advice(nano, rendered):
    model = SeeingModel(load_trainable(nano), load_expert(nano).requires_grad_(True))
    with torch.no_grad():
        model.pose_teller.query.fill_(math.nan)
    options = PretrainOptions(steps=1, vision_share=0.0)
    training = Pretraining(model, SceneBatches(rendered, 1), options, TASK, print)
    with pytest.raises(VlaError, match='learning-rate'):
        training.train(lambda: None)


def test_a_stage_whose_loss_is_not_finite_ends_with_advice_too(nano, rendered):
    model = SeeingModel(load_trainable(nano), load_expert(nano).requires_grad_(True))
    with torch.no_grad():
        model.pose_teller.query.fill_(math.nan)
    with pytest.raises(VlaError, match='0 steps'):
        train_trunk(model, SceneBatches(rendered, 1), STAGES[0], TASK, print)


def test_a_tool_that_moved_on_is_where_its_motion_says():
    from vla_core.arms import meca500 as kin
    from vla_core.model_input import build_state
    from vla_core.rotation import euler_to_quat, relative_rotvec
    from vla_sim.scene import draw_scene
    from vla_training.pretrain.moved import move_on
    from vla_training.pretrain.poses import draw_joints

    rng, moved = np.random.default_rng(0), 0
    for seed in range(20):
        scene = draw_scene(seed)
        joints = draw_joints(scene, rng)
        tip, rotation = kin.forward(joints)
        quat = euler_to_quat(kin.euler_rad(rotation))
        pose = np.concatenate([scene.opening_m - tip, scene.axis - rotation[:, 2]])
        after = move_on(build_state(joints, tip, quat), pose.astype(np.float32), rng)
        tip_now, rotation_now = kin.forward(after.state[:6].astype(np.float64))
        np.testing.assert_allclose(after.state[6:9], tip_now, atol=1e-5)
        np.testing.assert_allclose(tip_now - tip, after.motion[:3], atol=1e-5)
        turn = relative_rotvec(quat, euler_to_quat(kin.euler_rad(rotation_now)))
        np.testing.assert_allclose(turn, after.motion[3:], atol=1e-4)
        np.testing.assert_allclose(after.pose[:3], scene.opening_m - tip_now, atol=1e-5)
        np.testing.assert_allclose(after.pose[3:], scene.axis - rotation_now[:, 2], atol=1e-4)
        moved += bool(after.motion.any())
    assert 8 <= moved < 20


def test_the_rate_stays_while_vision_learns_by_itself_and_falls_to_the_end():
    options = PretrainOptions(steps=1000, warm_up=100, vision_share=0.4)
    rates = [rate(step, options) for step in range(1000)]
    assert rates[0] == 0.01 and rates[100:400] == [1.0] * 300
    assert all(before > after for before, after in zip(rates[400:], rates[401:]))
    assert 0.01 <= rates[-1] < 0.011


class EndedError(Exception):
    """Stands for whatever ends a run."""


def test_a_run_that_was_ended_goes_on_to_the_same_weights(nano, rendered, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain_run, 'SAVE_EVERY', 2)
    options = PretrainOptions(steps=4, batch=2, warm_up=2, held_back_shards=1)
    given = nano, rendered
    here = torch.cpu._is_avx512_bf16_supported()

    def run(name, lines, stages=STAGES, **more):
        target = tmp_path / name
        pretrain(*given, target, RenderOptions(0, 0), options, *stages, TASK, lines.append, **more)
        return load_trainable(target).state_dict() | load_expert(target).state_dict()

    whole = run('whole', [])
    steps = Pretraining._one_step

    def dies(self):
        if self.step == 3:
            raise EndedError
        return steps(self)

    with monkeypatch.context() as patch:
        patch.setattr(Pretraining, '_one_step', dies)
        with pytest.raises(EndedError):
            run('ended', [])
    with pytest.raises(VlaError, match='--resume'):
        run('ended', [])
    with monkeypatch.context() as patch:  # the folder came to a machine that multiplies otherwise
        patch.setattr(torch.cpu, '_is_avx512_bf16_supported', lambda: not here)
        with pytest.raises(VlaError, match=r'cannot be resumed.*dtype was'):
            run('ended', [], resume=True)
    longer = TrunkOptions(steps=3, batch=2), STAGES[1]
    with pytest.raises(VlaError, match=r'cannot be resumed.*trunk.steps was 2, is 3'):
        run('ended', [], longer, resume=True)
    lines = []
    again = run('ended', lines, resume=True)
    assert any('goes on at step 2' in line for line in lines)
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert not (tmp_path / 'ended.state').exists()
    with pytest.raises(VlaError, match='no run to resume'):
        run('other', [], resume=True)
    with pytest.raises(VlaError, match='whole: already exists; choose another --out or remove it'):
        run('whole', [])


def test_a_full_disk_is_told_and_the_run_goes_on_from_its_state(
    nano, rendered, tmp_path, monkeypatch
):
    options = PretrainOptions(steps=1, batch=1, warm_up=1, held_back_shards=1)
    given = nano, rendered, tmp_path / 'out', RenderOptions(0, 0), options
    none = TrunkOptions(steps=0), SensingOptions(steps=0)

    def full(*given, **named):
        raise shutil.Error([('a', 'b', "[Errno 28] No space left on device: 'b'")])

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, 'derive_checkpoint', full)
        with pytest.raises(VlaError, match=r'out: cannot be written.*make room, .* --resume'):
            pretrain(*given, *none, TASK, print)
    pretrain(*given, *none, TASK, print, resume=True)
    read_manifest(tmp_path / 'out', verify=True)


def test_the_trunk_learns_by_itself_from_what_a_backbone_sees_that_stays(nano, rendered):
    model = SeeingModel(load_trainable(nano), load_expert(nano).requires_grad_(True))
    batches, lines = SceneBatches(rendered, held_back=1), []
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    options = TrunkOptions(sets=8, steps=60, batch=8, warm_up=5)
    train_trunk(model, batches, options, TASK, lines.append)
    after = model.state_dict()
    changed = {name for name, weight in after.items() if not torch.equal(weight, before[name])}
    assert changed and all(name.startswith(('expert.trunk', 'pose_')) for name in changed)
    seen = [line for line in lines if 'validation' in line]
    assert 'before' in seen[0] and 'after' in seen[1]

    features, _ = model.encoder(next(batches.in_order(8, 0))[0], TASK)
    _, state, pose = next(batches.in_order(8, 0))
    with torch.no_grad():
        learned = model.pose_losses(features, state, pose).position.mean()
        model.load_state_dict(before)
        assert learned < 0.9 * model.pose_losses(features, state, pose).position.mean()


def test_pretraining_writes_a_checkpoint_with_another_backbone_and_the_states_statistics(
    nano, rendered, tmp_path
):
    options = PretrainOptions(steps=2, batch=2, held_back_shards=1)
    target = tmp_path / 'seeing'
    render = RenderOptions(0, 0)
    digest = pretrain(nano, rendered, target, render, options, *STAGES, TASK, lambda _: None)
    info = read_manifest(target, verify=True)
    assert info.checkpoint_hash == digest and not info.policy.trained
    before, after = (load_trainable(folder).state_dict() for folder in (nano, target))
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert len(changed) > 0.8 * len(before)
    states = SceneBatches(rendered, 1).states()
    np.testing.assert_allclose(
        load_expert(target).normalize_state.offset.numpy(), states.mean(0), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize('key, value', [('width', 64), ('lab', 'of last year')])
def test_scenes_of_another_size_or_lab_are_refused_by_name(nano, rendered, tmp_path, key, value):
    for path in rendered.iterdir():
        (tmp_path / path.name).symlink_to(path)
    note = json.loads((rendered / 'scenes.json').read_text()) | {key: value}
    (tmp_path / 'scenes.json').unlink()
    (tmp_path / 'scenes.json').write_text(json.dumps(note))
    options = PretrainOptions(steps=1)
    with pytest.raises(VlaError, match='another kind'):
        render = RenderOptions(0, 0)
        pretrain(nano, tmp_path, tmp_path / 'out', render, options, *STAGES, TASK, print)


def spoil_images(folder):
    path = scenes.image_path(folder, 1)
    path.write_bytes(path.read_bytes()[:5000])


def spoil_labels(folder):
    np.savez(folder / 'labels_00001.npz', state=np.zeros((8, 12), np.float32))


@pytest.mark.parametrize(
    'spoil', [spoil_images, spoil_labels, lambda folder: (folder / 'labels_00001.npz').unlink()]
)
def test_a_damaged_shard_is_named_before_anything_is_learned(nano, rendered, tmp_path, spoil):
    shutil.copytree(rendered, tmp_path / 'scenes')
    spoil(tmp_path / 'scenes')
    with pytest.raises(VlaError, match=r'images_00001\.npy: is damaged.*renders it again'):
        SceneBatches(tmp_path / 'scenes', 1).states()


def test_a_folder_of_scenes_that_cannot_be_read_or_be_is_named(nano, tmp_path):
    size = rendering.render_size(grid_of(nano))
    (tmp_path / 'scenes.json').write_text('{"width": 2')
    with pytest.raises(VlaError, match=r'scenes\.json: cannot be read.*another --scenes'):
        rendering.claim(tmp_path, size)
    (tmp_path / 'file').write_text('')
    with pytest.raises(VlaError, match='file/scenes.json: cannot be written'):
        rendering.claim(tmp_path / 'file', size)


def test_what_ends_rendering_is_told(tmp_path, monkeypatch):
    def refused(size):
        raise VlaError('no graphics')

    monkeypatch.setattr(scenes, 'SceneSource', refused)
    problems = queue.SimpleQueue()
    rendering._render(tmp_path, None, [0], problems)
    assert str(problems.get_nowait()) == 'no graphics'


def test_without_scenes_and_without_rendering_the_run_ends_with_a_reason(nano, tmp_path):
    with pytest.raises(VlaError, match='too few scenes'):
        pretrain(
            nano, tmp_path / 'none', tmp_path / 'out', RenderOptions(0, 0),
            PretrainOptions(steps=1), *STAGES, TASK, print,
        )  # fmt: skip
