"""Which W&B server and key this machine uses."""

from contextlib import redirect_stderr
from io import StringIO
from typing import Literal

import wandb

Mode = Literal["online", "offline", "off"]


def default_mode() -> Mode:
    """Online where W&B finds a key (environment or netrc), else offline.

    Raises:
        ValueError: the key has a form that no key of W&B has.
    """
    try:
        with redirect_stderr(StringIO()):  # it only says where the key was found
            return "online" if wandb.login(prompt=False, verify=False) else "offline"
    except wandb.errors.AuthenticationError as error:
        raise ValueError(
            f"W&B's key cannot be used ({error}); set WANDB_API_KEY to the whole key, or choose "
            "--wandb offline"
        ) from None


def server() -> str:
    """The address of W&B's server: $WANDB_BASE_URL, else from its settings, else the default."""
    return str(wandb.setup().settings.base_url)
