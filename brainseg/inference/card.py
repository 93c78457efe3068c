"""The model card: what a model is, what is known of it, and what it is not for."""

from brainseg.inference.description import Description


def card(description: Description) -> str:
    """README.md of a bundle, in Markdown."""
    return f"# {description.name}\n\n**Not a medical device.**\n"
