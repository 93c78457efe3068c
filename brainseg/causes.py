"""Why something failed in another process, in one line."""


def brief(error: Exception) -> str:
    """The last line of an error that came from another process: the cause."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
