"""Actions and captions of stick figures: stick-gen's name and number for a label, and a sentence about it."""

from __future__ import annotations

import hashlib
import re
from typing import Literal, NamedTuple

from mocap_ray.archives.actions import action_of
from mocap_ray.dataset.captions import captions
from mocap_ray.dataset.views import ClipView


class Action(NamedTuple):
    """An action as stick-gen knows it: its name, and its number in the list of all actions."""

    name: str
    number: int


IDLE = Action("idle", 0)
"""What stick-gen takes where it knows no action."""

KNOWN: dict[str, Action] = {
    "walk": Action("walk", 1),
    "run": Action("run", 2),
    "jump": Action("jump", 4),
    "wave": Action("wave", 5),
    "clap": Action("clap", 11),
    "catch": Action("catching", 14),
    "throw": Action("throwing", 17),
    "kick": Action("kicking", 18),
    "punch": Action("punch", 22),
    "sit": Action("sit", 25),
    "stand": Action("stand", 26),
    "kneel": Action("kneel", 27),
    "squat": Action("kneel", 27),  # the nearest that there is
    "lie": Action("lie_down", 28),
    "climb": Action("climbing", 34),
    "crawl": Action("crawling", 35),
    "dance": Action("dance", 39),
}
"""Label of `archives.actions` -> stick-gen's action. It has none for cartwheel, pick, stretch and turn."""

_VERBS: dict[str, tuple[str, str]] = {
    "cartwheel": ("turns a cartwheel", "turning a cartwheel"),
    "jump": ("jumps", "jumping"),
    "kick": ("kicks", "kicking"),
    "punch": ("throws punches", "throwing punches"),
    "throw": ("throws something", "throwing something"),
    "catch": ("catches something", "catching something"),
    "dance": ("dances", "dancing"),
    "climb": ("climbs", "climbing"),
    "crawl": ("crawls", "crawling"),
    "sit": ("sits", "sitting"),
    "lie": ("lies down", "lying down"),
    "squat": ("squats", "squatting"),
    "kneel": ("kneels", "kneeling"),
    "wave": ("waves", "waving"),
    "clap": ("claps", "clapping"),
    "pick": ("picks something up", "picking something up"),
    "stretch": ("stretches", "stretching"),
    "run": ("runs", "running"),
    "walk": ("walks", "walking"),
    "turn": ("turns around", "turning around"),
    "stand": ("stands", "standing"),
}
"""Label -> what a person does, and what they are doing."""

_MOVES = ("moves", "moving")
_TEMPLATES = (
    "a person {does}",
    "someone {does}",
    "a figure {does}",
    "a person is {doing}",
    "someone is {doing}",
    "a stick figure is {doing}",
)

CaptionSource = Literal["texts", "template", "placeholder"]


def label_of(action: str | None) -> str | None:
    """The label of `archives.actions` that the words of an action name, also of one from a table of the user.

    >>> label_of("walk turn left"), label_of("Sitting/chair"), label_of("bow"), label_of(None)
    ('walk', 'sit', None, None)
    """
    return None if action is None else action_of(action.replace("/", " "))


def known_action(label: str | None) -> Action | None:
    """stick-gen's action for a label of `archives.actions`; None if it has none."""
    return None if label is None else KNOWN.get(label)


def describe(clip: ClipView, *, name: str, seed: int) -> tuple[str, CaptionSource]:
    """A sentence about a sample of a clip, and where it comes from: the clip's own texts, or a template.

    The choice depends on the name and the seed only, not on other samples or their order.

    Args:
        clip: with its texts, action and style.
        name: the name of the sample, unique in the data set.
        seed: another seed gives another choice.
    """
    kind, own = captions(clip)
    if kind == "texts":
        return own[draw("text", name, seed) % len(own)], "texts"
    label = label_of(clip.action)
    if label is not None:
        does, doing = _VERBS[label]
    elif clip.action:
        words = " ".join(re.findall(r"[^\W_]+", clip.action))
        does, doing = f"performs the action {words}", f"performing the action {words}"
    else:
        does, doing = _MOVES
    template = _TEMPLATES[draw("template", name, seed) % len(_TEMPLATES)]
    style = f", {clip.style} style" if clip.style else ""
    return template.format(does=does, doing=doing) + style, "template" if clip.action else "placeholder"


def draw(purpose: str, name: str, seed: int) -> int:
    """A number that depends on its arguments only, evenly distributed: for choices that no order of work changes."""
    digest = hashlib.blake2b(f"{purpose}\0{seed}\0{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")
