"""One process of a distributed run of which the second is killed after a few steps."""

import os
import signal
import sys

from training import MadeUpData, make_config, make_trainer

from vla_core.errors import VlaError
from vla_training.train.launch import beside_others


class DyingData(MadeUpData):
    def batch(self, indices, rng):
        if os.environ['RANK'] == '1' and len(self.asked) > 6:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().batch(indices, rng)


if __name__ == '__main__':
    config = make_config(sys.argv[1], accumulation=4, steps=1000, log_every=1000)
    try:
        with beside_others():
            make_trainer(config, data=DyingData(96)).train()
    except VlaError as error:
        sys.exit(str(error))
