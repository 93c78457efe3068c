"""To where trials are sent, and how long W&B may take."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Sending:
    """To which project trials are sent, and how long W&B may take."""

    project: str = "brainseg"
    answer_seconds: float = 30.0  # for W&B to answer one request
    upload_seconds: float = 60.0  # for W&B to take the rest of a run at its end
    stall_seconds: float = 300.0  # for W&B to store something of what it took

    @property
    def patience(self) -> float:
        """Seconds after which an order that is not answered never will be."""
        return 10.0 + 4 * self.answer_seconds + self.upload_seconds
