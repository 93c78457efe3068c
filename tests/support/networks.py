"""Networks for runs that were written without training any."""

import torch

from brainseg.config.hyperparameters import Encoder, TrialConfig
from brainseg.config.schema import build
from brainseg.models.network import build_network
from brainseg.records.queries import is_list
from brainseg.records.run import Run
from brainseg.records.trial_state import TrialState
from brainseg.training.keeping.checkpoint import save_network
from tests.support.written import write_json


def keep_networks(run: Run) -> None:
    """Each trial that ended well keeps a random network, another one each, where it should."""
    listed = is_list(run.settings())
    for number, record in enumerate(run.trials()):
        config = build(TrialConfig(), record.params)
        assert not isinstance(config.model, Encoder), "a test needs no network of this size"
        folder = run.trial(record.trial)
        write_json(folder.config, record.params)
        if record.state in (TrialState.DONE, TrialState.STOPPED):
            with torch.random.fork_rng():
                torch.manual_seed(number)
                weights = build_network(config.model, config.channels, config.image_size)
            path = folder.last_network if listed else folder.best_network
            save_network(path, weights.state_dict(), record.best_epoch)
