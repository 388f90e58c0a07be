"""The sixteen everyday classes in which people and ImageNet's networks are compared."""

from __future__ import annotations


def _numbers(text: str) -> tuple[int, ...]:
    """Whole numbers from text with ranges: "281-286 404"."""
    ends = [[int(n) for n in part.split("-")] for part in text.split()]
    return tuple(n for end in ends for n in range(end[0], end[-1] + 1))


# Which of ImageNet's classes belong to which everyday one: Geirhos and others, 2019, after WordNet, without those on which
# people would not agree (https://github.com/rgeirhos/texture-vs-shape, code/helper/human_categories.py).
IMAGENET_16: dict[str, tuple[int, ...]] = {
    "airplane": _numbers("404"),
    "bear": _numbers("294-297"),
    "bicycle": _numbers("444 671"),
    "bird": _numbers("8 10-16 18-20 22-24 80-83 87-96 98-100 127-133 135-145"),
    "boat": _numbers("472 554 625 814 914"),
    "bottle": _numbers("440 720 737 898-899 901 907"),
    "car": _numbers("436 511 817"),
    "cat": _numbers("281-286"),
    "chair": _numbers("423 559 765 857"),
    "clock": _numbers("409 530 892"),
    "dog": _numbers("152-191 193-203 205-226 228-241 243-250 252-257 259 261-263 265-268"),
    "elephant": _numbers("385-386"),
    "keyboard": _numbers("508 878"),
    "knife": _numbers("499"),
    "oven": _numbers("766"),
    "truck": _numbers("555 569 656 675 717 734 864 867"),
}
