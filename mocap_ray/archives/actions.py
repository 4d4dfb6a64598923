"""Action labels from the file names of AMASS: a small table of words."""

from __future__ import annotations

import re

ACTIONS: dict[str, tuple[str, ...]] = {
    # The more specific action first: "walk and sit down" is a sit, "run jump" is a jump.
    "cartwheel": ("cartwheel", "cartwheels", "flip", "backflip", "somersault"),
    "jump": ("jump", "jumps", "jumping", "leap", "leaping", "hop", "hops", "hopping", "skip", "skipping"),
    "kick": ("kick", "kicks", "kicking"),
    "punch": ("punch", "punches", "punching", "box", "boxing", "jab", "hook", "uppercut"),
    "throw": ("throw", "throws", "throwing", "toss", "tossing", "pitch"),
    "catch": ("catch", "catches", "catching"),
    "dance": ("dance", "dances", "dancing", "ballet", "salsa", "waltz", "capoeira", "hiphop", "breakdance"),
    "climb": ("climb", "climbs", "climbing", "ladder"),
    "crawl": ("crawl", "crawls", "crawling", "creep"),
    "sit": ("sit", "sits", "sitting", "chair"),
    "lie": ("lie", "lying", "laying", "sleep"),
    "squat": ("squat", "squats", "squatting", "crouch", "crouching"),
    "kneel": ("kneel", "kneels", "kneeling"),
    "wave": ("wave", "waves", "waving"),
    "clap": ("clap", "claps", "clapping"),
    "pick": ("pick", "pickup", "picking", "lift", "lifts", "lifting"),
    "stretch": ("stretch", "stretches", "stretching", "yoga"),
    "run": ("run", "runs", "running", "jog", "jogs", "jogging", "sprint", "sprinting"),
    "walk": ("walk", "walks", "walking", "march", "marching", "stroll", "gait", "treadmill"),
    "turn": ("turn", "turns", "turning", "spin", "spinning"),
    "stand": ("stand", "stands", "standing", "idle"),
}
"""Label -> the words that mean it, in order of preference."""

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def action_of(name: str) -> str | None:
    """The action label of a recording, from its file name or else its folders; None if no word is known.

    >>> action_of("BioMotionLab_NTroje/rub001/0017_jumping1_poses")
    'jump'
    >>> action_of("ACCAD/Female1Walking_c3d/B3_poses")
    'walk'
    >>> action_of("CMU/01/01_01_poses") is None
    True
    """
    parts = name.split("/")
    # The name of the sub-dataset says nothing about the action: "Transitions_mocap" is not a transition.
    for part in reversed(parts[1:] if len(parts) > 1 else parts):
        words = {word.lower() for word in _WORD.findall(part)}
        for label, synonyms in ACTIONS.items():
            if not words.isdisjoint(synonyms):
                return label
    return None
