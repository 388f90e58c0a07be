"""Photographs from installed packages: real pictures, without network and without importing the packages."""

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from vizwidgets.data import PHOTOGRAPHS, photograph, photographs


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photograph(name):
    if find_spec("sklearn" if name in ("flower", "china") else "skimage") is None:
        pytest.skip("the package that ships it is not installed")
    picture = photograph(name)
    pixels = np.asarray(picture)
    assert picture.mode == "RGB"
    assert min(picture.size) >= 300
    assert pixels.std() > 15
    assert (pixels[..., 0] == pixels[..., 2]).all() == (name in ("brick", "grass", "gravel"))


def test_same_pixels_as_the_package_gives():
    data = pytest.importorskip("skimage.data")
    assert np.array_equal(np.asarray(photograph("chelsea")), data.chelsea())


def test_unknown_name():
    with pytest.raises(LookupError, match="did you mean 'chelsea'"):
        photograph("chelsae")


def test_package_that_is_not_installed(monkeypatch):
    monkeypatch.setattr("vizwidgets.data.photographs.find_spec", lambda package: None)
    with pytest.raises(LookupError, match="sklearn, which is not installed"):
        photograph("flower")


def test_no_package_is_imported():
    code = f"""if True:
        import runpy, sys
        module = runpy.run_path({photographs.__file__!r})
        for name in module["PHOTOGRAPHS"]:
            try:
                module["photograph"](name)
            except LookupError:
                pass
        sys.exit(any(name in sys.modules for name in ("sklearn", "skimage", "pooch")))
    """
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
