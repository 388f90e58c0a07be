"""What runs, their pictures and their files are called."""

from __future__ import annotations

import re

from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont

from vizwidgets.core.net import Net
from vizwidgets.core.regularizers import L2, TotalVariation
from vizwidgets.core.targets import Channel, Each, Target, terms

from .stills import INK


def caption(target: Target, net: Net) -> str:
    """What a target is called, short: without its regularisers; several channels of a layer together."""
    kept = [(w, t) for w, t in terms(target) if not isinstance(t, (TotalVariation, L2))]
    if len(kept) != 1 or kept[0][0] != 1:
        return target.describe(net)
    main = kept[0][1]
    if not isinstance(main, Each):
        return main.describe(net)
    one = common_layer(main)
    return f"{len(main.targets)} channels of {one}" if one else f"{len(main.targets)} targets"


def common_layer(target: Each) -> str:
    """The layer of which all its targets are channels, if that is so."""
    layers = {t.layer if isinstance(t, Channel) else "" for t in target.targets}
    return layers.pop() if len(layers) == 1 else ""


def slug(text: str) -> str:
    """A name for a file."""
    return re.sub(r"[^\w.]+", "-", text).strip("-.").lower()[:60] or "picture"


def captioned(picture: PILImage.Image, text: str) -> PILImage.Image:
    """A picture enlarged to some 320 pixels, a line of text below."""
    width = max(320, picture.width)
    picture = picture.resize((width, round(width * picture.height / picture.width)), PILImage.Resampling.BICUBIC)
    sheet = PILImage.new("RGB", (width, picture.height + 24), "white")
    sheet.paste(picture, (0, 0))
    ImageDraw.Draw(sheet).text((4, picture.height + 4), text, INK, ImageFont.load_default(13))
    return sheet
