"""Captions in the form of HumanML3D's text files.

A line is `caption#tokens#start#end`; start and end of 0.0 mean the whole clip. Tokens are `word/TAG` pairs
that the evaluation networks of that family read. The tags come from a part-of-speech tagger (spaCy), which is
not a dependency here, so every word gets the tag OTHER: readers know it, and map every unknown tag to it.
Trainers that read captions alone (CLIP, T5) lose nothing; the evaluators' numbers need real tags.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mocap_ray.dataset.views import ClipView

PLACEHOLDER = "a person moves"
"""Caption of a clip without texts and action: trainers draw one caption per clip and fail where there is none."""


def captions(clip: ClipView) -> tuple[str, list[str]]:
    """Where a clip's captions come from (`texts`, `action` or `placeholder`), and the captions.

    `#` would end the caption early and a line break the line: both become spaces.
    """
    for source, found in (("texts", clip.texts), ("action", (clip.action or "",))):
        cleaned = [text for text in (" ".join(t.replace("#", " ").split()) for t in found) if text]
        if cleaned:
            return source, cleaned
    return "placeholder", [PLACEHOLDER]


def tokens(caption: str) -> str:
    """`word/OTHER` pairs: lower case, words alone (no digits, no punctuation, never a slash of their own).

    >>> tokens("A person's arm, up/down 2 times.")
    'a/OTHER person/OTHER s/OTHER arm/OTHER up/OTHER down/OTHER times/OTHER'
    """
    words = re.findall(r"[^\W\d_]+", caption.lower())
    return " ".join(f"{word}/OTHER" for word in words or ["unk"])


def text_lines(texts: Sequence[str]) -> bytes:
    """The content of a text file, UTF-8."""
    return "".join(f"{text}#{tokens(text)}#0.0#0.0\n" for text in texts).encode()
