"""One process of the distributed test: trains the made-up data and saves the weights."""

import contextlib
from pathlib import Path
import sys
import time

from safetensors.torch import save_file
from torch.distributed.tensor import DTensor
from training import make_config, make_model, make_trainer

from vla_training.train.launch import beside_others
from vla_training.train.sharing import gathered


@beside_others()
def main(folder, save_to, distributed='ddp', resume=False):
    model = make_model(head='flow')
    config = make_config(folder, accumulation=4, steps=6, distributed=distributed)
    kept = {}

    def save(name):
        kept[name] = {f'{name}/{key}': value.clone() for key, value in model.state_dict().items()}

    trainer = make_trainer(config, model, save=save)
    if distributed == 'fsdp':
        assert all(isinstance(weight, DTensor) for weight in model.parameters())
    if resume:
        trainer.resume()
    trainer.train()
    average = {
        f'average/{key}': gathered(value).clone() for key, value in trainer.average.values.items()
    }
    with trainer._sharing.whole():
        weights = {f'model/{name}': value for name, value in model.state_dict().items()}
        if trainer._first:
            assert set(kept) == {'best', 'last'}
            save_file(weights | average | kept['best'] | kept['last'], save_to)


def threads_of_the_group():
    names = []
    for path in Path('/proc/self/task').glob('*/comm'):
        with contextlib.suppress(OSError):  # it has just ended
            names.append(path.read_text().strip())
    return [name for name in names if 'gloo' in name]


if __name__ == '__main__':
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4] == 'resume')
    end_s = time.monotonic() + 10.0
    while threads_of_the_group() and time.monotonic() < end_s:
        time.sleep(0.05)
    assert not threads_of_the_group()
