"""Which W&B server and key this machine uses. W&B takes 0.6 CPU-seconds to import."""

from contextlib import redirect_stderr
from io import StringIO
from typing import Literal

Mode = Literal["online", "offline", "off"]


def default_mode() -> Mode:
    """Online where W&B finds a key (environment or netrc), else offline.

    Raises:
        ValueError: the key has a form that no key of W&B has.
    """
    import wandb

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
    import wandb

    return str(wandb.setup().settings.base_url)
