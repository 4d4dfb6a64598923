"""Captions in the format of HumanML3D's text files.

A line is `caption#tokens#start#end`; start and end of 0.0 mean the whole clip. Tokens are `word/TAG` pairs
that the evaluation networks of that family read. The tags come from a part-of-speech tagger (spaCy), which is
not a dependency here, so every word gets the tag OTHER, to which readers map every unknown tag.
Models that read only the captions (CLIP, T5) lose nothing; the evaluation metrics need real tags.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mocap_ray.dataset.views import ClipView
from mocap_ray.motion.clip import Caption

PLACEHOLDER = "a person moves"
"""Caption of a clip without texts and action: trainers sample one caption per clip and fail if there is none."""


def captions(clip: ClipView) -> tuple[str, list[str]]:
    """The source of a clip's captions (`texts`, `action` or `placeholder`), and the captions.

    `#` and line breaks, which would end the caption or the line, become spaces.
    """
    for source, found in (("texts", clip.texts), ("action", (clip.action or "",))):
        cleaned = [text for text in (" ".join(t.replace("#", " ").split()) for t in found) if text]
        if cleaned:
            return source, cleaned
    return "placeholder", [PLACEHOLDER]


def tokens(caption: str) -> str:
    """`word/OTHER` pairs of the words in lower case, without digits, punctuation and slashes.

    >>> tokens("A person's arm, up/down 2 times.")
    'a/OTHER person/OTHER s/OTHER arm/OTHER up/OTHER down/OTHER times/OTHER'
    """
    words = re.findall(r"[^\W\d_]+", caption.lower())
    return " ".join(f"{word}/OTHER" for word in words or ["unk"])


def text_lines(texts: Sequence[str]) -> bytes:
    """The content of a text file, UTF-8."""
    return caption_lines([Caption(text) for text in texts])


def caption_lines(captions: Sequence[Caption]) -> bytes:
    """The content of a text file with the tokens and times of the captions, UTF-8; words without tags get OTHER."""
    lines = [f"{c.text}#{c.tokens or tokens(c.text)}#{c.start}#{c.end}\n" for c in captions]
    return "".join(lines).encode()
