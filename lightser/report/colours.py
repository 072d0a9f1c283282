"""One colour per emotion, the same on the command line, in figures and on pages.

Chosen to stand on white and on near-black, to go with what the word calls up (a hot anger, a blue
sadness, a grey neutral), and to differ in lightness as well as hue, so that those who see no red,
green or blue can tell the common ones apart: 11 apart at least in CIELAB, simulated.
"""

from collections.abc import Sequence

EMOTION_COLOURS = {
    "anger": "#e5392a",
    "happiness": "#f2b90f",
    "surprise": "#f385d6",
    "fear": "#7c3f8f",
    "sadness": "#2a7fe6",
    "calm": "#35cdb9",
    "disgust": "#93c562",
    "contempt": "#6e6a1f",
    "boredom": "#8f4a2c",
    "frustration": "#b3134f",
    "excitement": "#ff8a4c",
    "neutral": "#868c94",
}

# As corpora and papers abbreviate or vary them.
_SAME = {
    "ang": "anger",
    "angry": "anger",
    "hap": "happiness",
    "happy": "happiness",
    "joy": "happiness",
    "sur": "surprise",
    "surprised": "surprise",
    "fea": "fear",
    "fearful": "fear",
    "anxiety": "fear",
    "sad": "sadness",
    "dis": "disgust",
    "bored": "boredom",
    "fru": "frustration",
    "exc": "excitement",
    "excited": "excitement",
    "neu": "neutral",
}


def colours_of(labels: Sequence[str]) -> dict[str, str]:
    """Return a colour ``#rrggbb`` for each label; emotions that are not known get the spare ones.

    >>> colours_of(["sad", "anger", "awe"])
    {'sad': '#2a7fe6', 'anger': '#e5392a', 'awe': '#f385d6'}
    """
    known = {
        label: EMOTION_COLOURS.get(_SAME.get(label.lower(), label.lower())) for label in labels
    }
    spare = [
        colour
        for name, colour in EMOTION_COLOURS.items()
        if colour not in known.values() and name not in ("anger", "happiness", "fear", "sadness")
    ] or list(EMOTION_COLOURS.values())
    strangers = [label for label, colour in known.items() if colour is None]
    given = {label: spare[i % len(spare)] for i, label in enumerate(strangers)}
    return {label: colour or given[label] for label, colour in known.items()}
