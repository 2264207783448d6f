"""The benchmark's arithmetic and its command line; no times are judged."""

import json

import pytest

from vla_policy.backbones import qwen2_5_vl_build as build
from vla_policy.bench_vlm import main
from vla_policy.geometry import image_grid, ImageRules
from vla_policy.work import language_work, vision_work


def test_work_of_the_large_model_is_that_of_the_reference():
    """7.86 + 8.93 TFLOP for five views of 640x360 and 1545 tokens."""
    config = build.build_config(build.QWEN_3B, build.build_tokenizer())
    grid = image_grid((360, 640), ImageRules(14, 2, *build.QWEN_3B_PIXELS))
    assert (grid.height, grid.width, grid.tokens) == (364, 644, 299)
    assert vision_work(config.vision_config, [grid] * 5) / 1e12 == pytest.approx(7.86, abs=0.02)
    assert language_work(config.text_config, 1545) / 1e12 == pytest.approx(8.93, abs=0.01)


def test_benchmark_compares_both_ways_and_writes_all_figures(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr('vla_policy.bench_vlm.matrix_rate', lambda device, dtype: 1e11)
    path = tmp_path / 'deep' / 'vlm.json'
    code = main(
        [
            '--layers',
            '1',
            '--views',
            '2',
            '--width',
            '120',
            '--height',
            '80',
            '--runs',
            '2',
            '--device',
            'cpu',
            '--dtype',
            'float32',
            '--json',
            str(path),
        ]
    )
    assert code == 0
    report = json.loads(path.read_text())
    assert report['command'].startswith('vla bench vlm --layers 1')
    assert report['cosine']['least'] > 0.999
    assert list(report['fast_ms']) == ['preprocess', 'vision', 'language', 'pool', 'total']
    assert list(report['plain_ms']) == ['processor', 'forward', 'total']
    assert report['limit_ms'] == pytest.approx(report['work_tflop']['total'] / 0.1 * 1e3)
    assert report['ratio_to_limit'] == pytest.approx(
        report['fast_ms']['total']['p50'] / report['limit_ms']
    )
    assert report['machine']['torch'] and report['settings']['weights'] == 'random'
    assert 'ratio to the limit' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        (['--devicee', 'cpu'], 'did you mean --device?'),
        (['--preset', 'huge'], 'huge'),
        (['--runs', '0'], 'runs'),
        (['--dtype', 'int4', '--device', 'cpu'], 'int4'),
        (['--cuda-graph', '--device', 'cpu'], '--cuda-graph needs'),
        (['--device', 'tpu'], 'tpu'),
        (['--model', '/nowhere/at/all', '--device', 'cpu'], '/nowhere/at/all'),
    ],
)
def test_wrong_options_are_one_line_and_exit_code_one(argv, message, capsys):
    assert main(argv) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count('\n') == 1
