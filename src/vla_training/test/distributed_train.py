"""One process of a whole distributed run: `vla train` without its command line."""

import json
from pathlib import Path
import sys

from vla_core.config import from_dict
from vla_training.train.config import TrainConfig
from vla_training.train.pipeline import train

if __name__ == '__main__':
    config = from_dict(TrainConfig, json.loads(Path(sys.argv[1]).read_text()), sys.argv[1])
    assert train(config, print).finished
