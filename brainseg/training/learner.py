"""A network in training: its optimizer, what is frozen in which epoch, and DDP around it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from brainseg.config.hyperparameters import Encoder, Nothing, TrialConfig
from brainseg.models.freezing import frozen_blocks
from brainseg.models.network import build_network, load_start
from brainseg.training.compute.compiled import compile_calls, forget
from brainseg.training.compute.machine import Machine
from brainseg.training.distributed import Ranks, distributed
from brainseg.training.optim import build_optimizer, load_optimizer


class Learner:
    """All that training changes: network and optimizer.

    Attributes:
        network: of random weights, until it loads those it starts from, or a state.
        wrapped: the same, in DDP where several workers train it.
        optimizer: over all that is trained in the last epoch; no epoch trains more.
        frozen: how many of the encoder's first blocks are frozen now.
    """

    def __init__(self, config: TrialConfig, machine: Machine, ranks: Ranks) -> None:
        self.config, self.machine, self.ranks = config, machine, ranks
        model = config.model
        bare = replace(model, weights="none") if isinstance(model, Encoder) else model
        network = build_network(bare, config.channels, config.image_size).to(machine.device)
        network.lay_out(machine.memory_format)
        if config.sync_batch_norm and ranks.world > 1:
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        if config.compile:
            compile_calls(network, threads=torch.get_num_threads())
        self.network = network
        self.reset(network.state_dict())

    def load_start(self) -> None:
        """Load the weights that the encoder starts from; a trial that resumes needs none.

        Raises:
            ValueError: they are not available, or do not fit.
        """
        load_start(self.network, self.config.model, self.config.image_size)

    def reset(self, weights: dict[str, Any]) -> None:
        """Return to the state before the first epoch, with ``weights``."""
        self.network.load_state_dict(weights)
        self._freeze(self.frozen_in(self.config.epochs - 1))
        model = self.config.model
        decay = model.layer_decay if isinstance(model, Encoder) else 1.0
        scales = self.network.rate_scales(decay)
        self.optimizer = build_optimizer(
            self.network, self.config.optimizer, scales, self.machine.compute.optimizer
        )
        self.freeze_for(0)

    def frozen_in(self, epoch: int) -> int:
        """How many blocks are frozen in ``epoch``, from 0."""
        model, epochs = self.config.model, self.config.epochs
        freeze = model.freeze if isinstance(model, Encoder) else Nothing()
        return frozen_blocks(freeze, len(self.network.blocks), epoch=epoch, epochs=epochs)

    def freeze_for(self, epoch: int) -> None:
        """Freeze what is frozen in ``epoch``, from 0, and nothing else."""
        if (count := self.frozen_in(epoch)) != self.frozen:
            self._freeze(count)

    def _freeze(self, count: int) -> None:
        """Wrap in DDP again: beneath an old wrapper, workers would silently diverge."""
        self.frozen = count
        if self.config.compile:
            forget()
        self.network.freeze(count)
        self.wrapped = distributed(self.network, self.ranks)

    def state(self) -> dict[str, Any]:
        """All that training has changed so far."""
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def objection(self, state: Mapping[str, Any]) -> str:
        """Why ``state`` is of another network; "" if it is of this one."""
        shapes = {key: tensor.shape for key, tensor in self.network.state_dict().items()}
        theirs = {key: getattr(tensor, "shape", None) for key, tensor in state["network"].items()}
        return "" if theirs == shapes else "is of another network"

    def load_state(self, state: dict[str, Any], epoch: int) -> None:
        """Restore the ``state`` that was saved after ``epoch`` epochs."""
        self.network.load_state_dict(state["network"])
        load_optimizer(self.optimizer, state["optimizer"])
        self.freeze_for(epoch - 1)
