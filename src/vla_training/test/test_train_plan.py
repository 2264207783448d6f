"""`vla train --plan`: what it counts is what a run has."""

from pathlib import Path

import pytest
import torch

from vla_core.errors import VlaError
from vla_policy.checkpoint import load_expert, read_manifest
from vla_training.train.config import load_config
from vla_training.train.memory import estimate
from vla_training.train.plan import count, plan, read_subject
from vla_training.train.stages import build_encoder


def test_the_published_backbone_has_the_parameters_of_its_paper_and_of_the_legacy_adapters():
    config = load_config(Path('stage2_3b'))
    counts = count(config, read_subject(config))
    assert counts.vision == 668_684_288 and 3.0e9 < counts.language < 3.1e9
    assert counts.adapters == 7_372_800  # 7.37 M, the legacy figure for rank 16


def test_stage_1_of_the_large_model_fits_any_card_and_stage_2_one_of_24_gb():
    totals = []
    for name in ('stage1_3b', 'stage2_3b'):
        lines = list(plan(load_config(Path(name))))
        totals.append(float(next(line for line in lines if 'in all' in line).split()[3]))
    assert totals[0] < 2.0 and 7.0 < totals[1] < 20.0


@pytest.mark.parametrize('stage', ['frozen', 'lora', 'full'])
def test_what_is_counted_is_what_a_run_trains(init, stage):
    config = load_config(None, [f'init={init}', 'out=x', f'stage={stage}', 'lora.rank=4'])
    counts = count(config, read_subject(config))
    expert, encoder = (
        load_expert(init),
        build_encoder(config, read_manifest(init), torch.device('cpu')),
    )
    trained = sum(weight.numel() for weight in expert.parameters())
    assert counts.expert == trained
    if encoder is not None:
        trained += sum(w.numel() for w in encoder.parameters() if w.requires_grad)
    assert counts.trained == trained


@pytest.mark.parametrize('stage', ['frozen', 'lora', 'full'])
def test_parts_are_planned_smaller_and_together_hold_what_one_device_does(stage):
    given = ['out=x', 'preset=qwen2.5-vl-3b', f'stage={stage}', 'precision=bfloat16']
    config = load_config(None, given)
    subject = read_subject(config)
    counts = count(config, subject)
    one, two, four = (estimate(config, subject, counts, parts) for parts in (1, 2, 4))
    assert one.gathered == 0.0 < two.gathered == four.gathered
    for name in ('gradients', 'optimizer', 'average'):
        assert getattr(two, name) == getattr(one, name) / 2
    # What is whole everywhere, and what is shared, from two sizes; the third must fit both.
    shared = 2 * (one.weights - two.weights)
    assert four.weights == pytest.approx(one.weights - 3 / 4 * shared)
    assert 4 * counts.trained <= shared <= one.weights * (1 + 1e-12)
    assert one.activations == four.activations


def test_weights_are_not_shared_out_among_one():
    with pytest.raises(VlaError, match='give --processes N'):
        list(plan(load_config(None, ['out=x', 'preset=nano', 'distributed=fsdp'])))


def test_a_plan_without_a_model_says_what_to_give():
    with pytest.raises(VlaError, match='init or preset.*did you mean nano'):
        list(plan(load_config(None, ['out=x', 'preset=nanoo'])))


@pytest.mark.parametrize(
    ('override', 'message'),
    [
        ('expert.width=7', 'expert: width 7 must be a multiple'),
        ('expert.passes=0', 'expert: passes must be at least 1'),
        ('expert.attention_heads=0', 'expert: attention_heads must be at least 1'),
        ('lora.targets=[q_prj]', "no layer 'q_prj'.*did you mean q_proj"),
    ],
)
def test_a_plan_tells_what_a_run_would_refuse(init, override, message):
    for given in ('preset=nano', f'init={init}'):
        with pytest.raises(VlaError, match=message):
            list(plan(load_config(None, ['out=x', 'stage=lora', given, override])))
