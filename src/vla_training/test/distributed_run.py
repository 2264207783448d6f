"""One process of the distributed test: trains the made-up data and saves the weights."""

from pathlib import Path
import sys

from safetensors.torch import save_file
from training import make_config, make_model, make_trainer


def main(folder, save_to):
    model = make_model(head='flow')
    trainer = make_trainer(make_config(folder, accumulation=4, steps=6), model)
    trainer.train()
    if trainer._first:
        weights = {f'model/{name}': value for name, value in model.state_dict().items()}
        average = {f'average/{name}': value for name, value in trainer.average.values.items()}
        save_file(weights | average, save_to)


if __name__ == '__main__':
    main(Path(sys.argv[1]), Path(sys.argv[2]))
