"""A server of W&B on loopback, which W&B's clients in this process and its children use."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb

from tests.support.wandb_server import WandbServer

FAST = {  # W&B's own waits; it takes whole seconds only
    "WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "1",
    "WANDB_X_FILE_STREAM_RETRY_WAIT_MIN_SECONDS": "1",
    "WANDB_X_GRAPHQL_RETRY_WAIT_MIN_SECONDS": "1",
    "WANDB_ERROR_REPORTING": "false",
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[WandbServer]:
    with WandbServer() as server:
        for name, value in (FAST | server.environment).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("HOME", str(tmp_path))  # no netrc but its own
        wandb.teardown()  # this process's W&B would remember the server of the test before
        yield server
        wandb.teardown()
