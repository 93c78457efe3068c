"""What a model is, beside its weights: the content of a bundle's model.json."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

from brainseg.config.distributions import Params
from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.schema import build
from brainseg.records.fields import NUMBER, OPTIONAL_NUMBER, Fields

FORMAT = 1  # of model.json and the names of tensors; raise it when an older brainseg cannot read it
Kind = Literal["trial", "ensemble", "refit"]
KINDS: tuple[Kind, ...] = get_args(Kind)
CLASSES = ("background", "tumour")
HALF = 0.5  # the threshold of all scores of a training
FIELDS = Fields(
    ("format", "name", "kind", "config", "members", "threshold", "threshold.value", "sha256"),
    dict.fromkeys(("name", "kind", "label", "made", "sha256"), str)
    | dict.fromkeys(("threshold.chosen_on", "threshold.why"), str)
    | dict.fromkeys(("members", "channels"), list)
    | {"threshold.value": NUMBER}
    | dict.fromkeys(("threshold.dice", "threshold.dice_at_half"), OPTIONAL_NUMBER)
    | dict.fromkeys(("config", "threshold", "data", "run", "scores", "weights", "versions"), dict)
    | {"format": int, "threshold.patients": int},
)
MEMBER_FIELDS = Fields(
    ("trial", "seed", "fold", "epoch"), {"trial": str, "seed": int, "fold": int, "epoch": int}
)


@dataclass(frozen=True, kw_only=True)
class Member:
    """A network of a model, and the training that it comes from."""

    trial: str
    seed: int
    fold: int
    epoch: int  # after which its weights were kept


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """Above which probability a pixel is tumour, and what that was chosen on.

    Attributes:
        chosen_on: which patients, in words; "" where it was not chosen, and is the default.
        dice: mean Dice of these patients at ``value``, and at the default.
        why: it was not chosen, in words; "" where it was.
    """

    value: float = HALF
    chosen_on: str = ""
    patients: int = 0
    dice: float | None = None
    dice_at_half: float | None = None
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Description:
    """A model in facts.

    Attributes:
        name: of its configuration, as tables have it.
        kind: "trial" is one network of a search; "ensemble" the networks of all folds and seeds of
            a configuration, whose probabilities are averaged; "refit" one network, trained on all
            patients but the locked ones.
        config: the whole configuration of the first member; others differ in seed and fold alone.
        channels: names of the image's channels, in order; () where they are not known.
        label: what of the training masks was tumour, see data/labels.py.
        data: what it was trained on: fingerprint, layout, patients, slices, made_up.
        run: where it comes from: name, uid, question.
        scores: what is known of its quality on patients that it was not trained on.
        weights: what its encoder started from, and their licence.
        versions: of the libraries that trained it.
        made: when the description was written, in UTC.
    """

    name: str
    kind: Kind
    config: Params
    members: tuple[Member, ...]
    channels: tuple[str, ...] = ()
    label: str = ""
    threshold: Threshold = Threshold()
    data: Mapping[str, Any] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, Any] = field(default_factory=dict)
    made: str = ""

    @cached_property
    def trial_config(self) -> TrialConfig:
        return build(TrialConfig(), self.config)

    def to_json(self, sha256: str) -> dict[str, Any]:
        """The content of model.json; ``sha256`` is that of the weights' file.

        What other programs need is spelled out, though ``config`` has it.
        """
        config = self.trial_config
        return {
            "format": FORMAT,
            "sha256": sha256,
            "classes": dict(enumerate(CLASSES)),
            "image_size": config.image_size,
            "normalise": config.normalise,
            **asdict(self),
        }

    @classmethod
    def from_json(cls, held: Mapping[str, Any]) -> "Description":
        """The inverse; ``held`` has ``FIELDS``.

        Raises:
            ValueError: what is wrong with it, as `has no members`.
        """
        if held["kind"] not in KINDS:
            raise ValueError(f"has the kind {held['kind']!r}, not {', '.join(KINDS)}")
        if not held["members"]:
            raise ValueError("has no members")
        if fault := next(filter(None, map(MEMBER_FIELDS.fault, held["members"])), ""):
            raise ValueError(f"has a member that {fault}")
        members = tuple(
            Member(**{name: member[name] for name in MEMBER_FIELDS.required})
            for member in held["members"]
        )
        known = {name for name in Threshold.__dataclass_fields__ if name in held["threshold"]}
        threshold = Threshold(**{name: held["threshold"][name] for name in known})
        if not 0 < threshold.value < 1:
            raise ValueError(f"has the threshold {threshold.value}, not between 0 and 1")
        facts = ("label", "data", "run", "scores", "weights", "versions", "made")
        described = cls(
            name=held["name"],
            kind=held["kind"],
            config=held["config"],
            members=members,
            channels=tuple(map(str, held.get("channels", ()))),
            threshold=threshold,
            **{name: held[name] for name in facts if name in held},
        )
        try:
            _ = described.trial_config
        except (ValueError, TypeError) as error:
            raise ValueError(f"holds no configuration ({error})") from None
        return described
