"""The command `vizwidgets`: what is copied, what is kept, and what each error says. No server is started."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import webbrowser
from pathlib import Path

import pytest
import torch
from PIL import Image as PILImage
from torch import nn

import vizwidgets as vw
from vizwidgets_command import CommandError, lab, main, serving
from vizwidgets_command.network import explorer

NAMES = ("00_a.ipynb", "01_b.ipynb")


@pytest.fixture
def notebooks(tmp_path):
    """Two notebooks as they come with a release, and how to make the next release of them."""
    folder = tmp_path / "shipped"
    folder.mkdir()

    def release(text: str) -> list[Path]:
        for name in NAMES:
            (folder / name).write_text(f"{text} {name}")
        return [folder / name for name in NAMES]

    return release


def visible(folder: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in sorted(folder.iterdir()) if not p.name.startswith(".")}


def test_copied_once(notebooks, tmp_path):
    to = tmp_path / "made" / "course"
    assert lab.copy(notebooks("one"), to) == [f"2 notebooks copied to {to}"]
    assert visible(to) == {n: f"one {n}" for n in NAMES}
    times = {p: p.stat().st_mtime_ns for p in to.iterdir()}
    assert lab.copy(notebooks("one"), to) == [f"The notebooks are in {to}"]
    assert {p: p.stat().st_mtime_ns for p in to.iterdir()} == times, "what is the same is not written again"


def test_changes_are_kept(notebooks, tmp_path):
    to = tmp_path / "course"
    lab.copy(notebooks("one"), to)
    (to / NAMES[1]).write_text("mine")
    assert lab.copy(notebooks("one"), to)[1:] == [f"{NAMES[1]}: yours is kept."]
    assert visible(to) == {NAMES[0]: f"one {NAMES[0]}", NAMES[1]: "mine"}

    lines = lab.copy(notebooks("two"), to)
    assert lines == [f"2 notebooks copied to {to}", f"{NAMES[1]}: yours is kept; the version of this release is 01_b.new.ipynb."]
    assert visible(to) == {NAMES[0]: f"two {NAMES[0]}", NAMES[1]: "mine", "01_b.new.ipynb": f"two {NAMES[1]}"}
    assert lab.copy(notebooks("two"), to)[0] == f"The notebooks are in {to}"

    # What was put beside it is brought up to date, unless that was changed too.
    lab.copy(notebooks("three"), to)
    assert visible(to)["01_b.new.ipynb"] == f"three {NAMES[1]}"
    (to / "01_b.new.ipynb").write_text("mine as well")
    lab.copy(notebooks("four"), to)
    assert visible(to) == {NAMES[0]: f"four {NAMES[0]}", NAMES[1]: "mine", "01_b.new.ipynb": "mine as well", "01_b.new2.ipynb": f"four {NAMES[1]}"}


@pytest.mark.parametrize("manifest", [None, "", "[]", '{"copied": 3}'])
def test_without_a_manifest_nothing_is_written_over(notebooks, tmp_path, manifest):
    to = tmp_path / "course"
    lab.copy(notebooks("one"), to)
    (to / ".vizwidgets.json").unlink()
    if manifest is not None:
        (to / ".vizwidgets.json").write_text(manifest)
    lab.copy(notebooks("two"), to)
    assert visible(to)[NAMES[0]] == f"one {NAMES[0]}"
    assert visible(to)["00_a.new.ipynb"] == f"two {NAMES[0]}"


def test_a_deleted_notebook_comes_again(notebooks, tmp_path):
    lab.copy(notebooks("one"), tmp_path / "c")
    (tmp_path / "c" / NAMES[0]).unlink()
    assert lab.copy(notebooks("one"), tmp_path / "c") == [f"1 notebook copied to {tmp_path / 'c'}"]


def test_a_full_disk_leaves_what_was_there(notebooks, tmp_path, monkeypatch):
    to = tmp_path / "course"
    lab.copy(notebooks("one"), to)

    def full(self, content):
        self.open("wb").close()  # a write begins by emptying the file
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CommandError, match="No space left"):
        lab.copy(notebooks("two"), to)
    assert visible(to) == {n: f"one {n}" for n in NAMES}
    assert not list(to.glob("*.part")) and not list(to.glob(".*.part"))


def test_the_notebooks_of_the_clone():
    assert [p.name for p in lab.shipped()] == sorted(p.name for p in (Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def test_a_folder_that_cannot_be(tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("no folder")
    for folder in (file, file / "below"):
        assert main(["lab", str(folder), "--no-browser"]) == 1
        said = capsys.readouterr().err
        assert said.startswith("vizwidgets lab: the notebooks cannot be written to") and "Give another folder" in said
        assert said.count("\n") == 1
    assert file.read_text() == "no folder"


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(tmp_path, capsys):
    tmp_path.chmod(0o500)
    assert main(["lab", str(tmp_path / "course"), "--no-browser"]) == 1
    assert "Permission denied" in capsys.readouterr().err


@pytest.fixture
def taken():
    """A port that another program listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        yield s.getsockname()[1]


@pytest.mark.parametrize("command", ["lab", "app"])
def test_a_port_that_is_taken(command, taken, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([command, "--port", str(taken), "--no-browser"]) == 1
    said = capsys.readouterr().err
    assert f"port {taken} is taken by another program" in said and "is free: --port" in said
    other = int(said.split("--port ")[1])
    assert other > taken and serving.free_port(other, 1) == other
    assert list(tmp_path.iterdir()) == [], "nothing is copied for a server that does not start"


def test_the_default_port_gives_way(taken, capsys):
    assert serving.free_port(None, taken) > taken
    assert f"Port {taken} is taken by another program; using" in capsys.readouterr().out
    with pytest.raises(CommandError, match="no address of this computer"):
        serving.free_port(None, 8866, "203.0.113.1")


@pytest.mark.parametrize("module", ["jupyterlab", "voila"])
def test_without_the_extra(module, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    find = serving.find_spec
    monkeypatch.setattr(serving, "find_spec", lambda name: None if name == module else find(name))
    assert main(["lab" if module == "jupyterlab" else "app", "--no-browser"]) == 1
    assert 'is not installed. Get it with: ' in (said := capsys.readouterr().err) and 'pip install "vizwidgets[lab]"' in said
    assert list(tmp_path.iterdir()) == []


def test_without_a_browser(monkeypatch, capsys):
    def none(using=None):
        raise webbrowser.Error("could not locate runnable browser")

    monkeypatch.setattr(webbrowser, "get", none)
    assert serving.browser(False) is None and capsys.readouterr().out == ""
    assert serving.browser(True) is None and "There is no browser on this computer" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [[], ["lob"], ["lab", "--port", "x"], ["lab", "--port", "0"], ["app", "--port", "65536"], ["app", "--thema", "dark"]])
def test_wrong_use(argv, capsys):
    with pytest.raises(SystemExit) as e:
        main(argv)
    assert e.value.code == 2 and "usage: vizwidgets" in capsys.readouterr().err


def test_files_that_are_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: pytest.fail("nothing is loaded for a file that is missing"))
    for option in ("--image", "--weights", "--labels"):
        assert main(["app", option, str(tmp_path / "none.png"), "--no-browser"]) == 1
        assert capsys.readouterr().err == f"vizwidgets app: {option}: {str(tmp_path / 'none.png')!r} does not exist\n"
    assert main(["app", "--image", str(tmp_path), "--no-browser"]) == 1
    assert "is a folder" in capsys.readouterr().err


def test_help_needs_no_pytorch():
    code = "import sys, vizwidgets_command as c\ntry: c.main(['--help'])\nexcept SystemExit as e: code = e.code\n"
    code += "print(code, sorted(sys.modules.keys() & {'torch', 'vizwidgets', 'jupyterlab', 'voila'}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("usage: vizwidgets") and done.stdout.endswith("0 []\n"), done.stderr


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"vizwidgets {vw.__version__}\n"


def test_interrupted_early(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(lab, "lab", interrupted)
    assert main(["lab"]) == 130


@pytest.mark.long
def test_an_unknown_network_ends_before_a_server_starts(tmp_path):
    """All the way: another process looks, its one line is what is shown, and its failure is the command's."""
    done = subprocess.run([sys.executable, "-m", "vizwidgets_command", "app", "flouers", "--no-browser"], capture_output=True, text=True,
                          timeout=120, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])})  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("vizwidgets app: no network 'flouers'; did you mean 'flowers'") and done.stderr.count("\n") == 1


OWN = """
import torch
from torch import nn
import beside
def small():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, beside.CLASSES))
module = small()
def broken(): return helper(0)
def helper(n): return 1 / n
def nothing(): pass
def takes(one): pass
def leaves(): raise SystemExit(3)
number = 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A file with networks of one's own, and how to ask for one."""
    (tmp_path / "my_nets.py").write_text(OWN)
    (tmp_path / "faulty.py").write_text("import torch\nimport not_installed\n")
    (tmp_path / "typo.py").write_text("def net(:\n")
    (tmp_path / "beside.py").write_text("CLASSES = 4\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield lambda network, **files: explorer({"network": network, "folder": str(tmp_path), **{k: str(v) for k, v in files.items()}})
    for name in ("my_nets", "faulty", "typo", "beside"):
        sys.modules.pop(name, None)


@pytest.mark.long
@pytest.mark.parametrize("name", ["my_nets.py:small", "my_nets.py:module", "my_nets:small"])
def test_a_network_of_ones_own(own, tmp_path, name):
    shown = own(name)
    assert isinstance(shown.net.module, nn.Sequential) and shown.net.name == name.partition(":")[2]
    assert shown.classes.error == shown.grid.error == ""
    (tmp_path / "labels.txt").write_text("a\nb\n\n c \nd\n")
    (tmp_path / "labels.json").write_text('["a", "b", "c", "d"]')
    torch.save({k: torch.full_like(v, 0.5) for k, v in shown.net.module.state_dict().items()}, tmp_path / "w.pt")
    for labels in ("labels.txt", "labels.json"):
        shown = own(name, labels=tmp_path / labels, weights=tmp_path / "w.pt")
        assert shown.net.labels == ("a", "b", "c", "d")
    assert all((p == 0.5).all() for p in shown.net.module.parameters())


@pytest.mark.parametrize(("name", "said"), [
    ("my_nets.py:smal", "did you mean 'small'"),
    ("my_nets.py", "say what in my_nets.py is the network: my_nets.py:NAME"),
    ("my_net.py:small", "no file 'my_net.py'"),
    ("no_such.module:net", "there is no module 'no_such'"),
    ("my_nets.nothing:net", "my_nets"),
    ("my_nets.py:number", "is of type int; it has to be a torch.nn.Module"),
    ("my_nets.py:nothing", "is of type NoneType; it has to be"),
    ("my_nets.py:takes", "takes() missing 1 required positional argument"),
    ("my_nets.py:leaves", "SystemExit: 3"),
    ("faulty.py:net", "No module named 'not_installed'"),
    ("faulty:net", "No module named 'not_installed'"),
    ("typo.py:net", "SyntaxError"),
    ("resnet5", "did you mean 'resnet50'"),
])  # fmt: skip
def test_a_network_that_is_none(own, name, said):
    with pytest.raises(CommandError) as e:
        own(name)
    assert said in str(e.value)


def test_an_error_in_ones_own_code_shows_its_lines_alone(own):
    with pytest.raises(CommandError) as e:
        own("my_nets.py:broken")
    text = str(e.value)
    assert text.startswith("broken() raises an error:\n") and text.endswith("ZeroDivisionError: division by zero")
    assert "return helper(0)" in text and "1 / n" in text
    assert "vizwidgets_command" not in text


def test_files_that_do_not_fit(own, tmp_path):
    text, labels = tmp_path / "text.png", tmp_path / "labels.txt"
    text.write_text("no picture")
    labels.write_text("a\nb\n")
    PILImage.new("RGB", (40, 30), "red").save(tmp_path / "red.jpg")
    assert own("flowers", image=tmp_path / "red.jpg").image.pixels.shape == (1, 3, 96, 96)
    for files, said in [({"image": text}, "text.png is not an image"), ({"weights": text}, "is bundled"),
                        ({"labels": labels}, "2 labels for the 12 classes"), ({"labels": tmp_path / "red.jpg"}, "no list of class names")]:  # fmt: skip
        with pytest.raises(CommandError, match=said):
            own("flowers", **files)
    (tmp_path / "labels.json").write_text(json.dumps({"a": 1}))
    with pytest.raises(CommandError, match=r"in a \.json file a list of texts"):
        own("my_nets.py:small", labels=tmp_path / "labels.json")
    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(CommandError, match="other.pt does not belong to my_nets.py:small: Missing key"):
        own("my_nets.py:small", weights=tmp_path / "other.pt")
