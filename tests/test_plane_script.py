"""`scripts/plane`: red where our own sources are at fault, one sentence where the machine cannot build them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bench.generator import BUILT, CRATE
from tests import peers

pytestmark = pytest.mark.wall

SCRIPT = Path(__file__).parents[1] / "scripts" / "plane"
MANIFEST = '[package]\nname = "gateway-plane"\nversion = "0.1.0"\nedition = "2021"\n\n[dependencies]\n'
LOCK = 'version = 3\n\n[[package]]\nname = "gateway-plane"\nversion = "0.1.0"\n'
NEEDED = '[[package]]\nname = "never-fetched"\nversion = "1.0.0"\nsource = "{0}"\nchecksum = "{1}"\n'
WORKS, BROKEN = "fn main() {}\n", "fn main() { nothing }\n"
SENTENCE = "packets are forwarded by the Python plane, which does everything but is slower.\n"


class Tree:
    """A plane's sources that are few, and the script beside them."""

    def __init__(self, root: Path) -> None:
        self.plane, self.script = root / "plane", root / "scripts" / "plane"
        (self.plane / "audio" / "src").mkdir(parents=True)
        (self.plane / "src").mkdir()
        self.script.parent.mkdir()
        shutil.copy(SCRIPT, self.script)
        self.write(WORKS)

    def write(self, source: str, manifest: str = MANIFEST, lock: str = LOCK) -> None:
        (self.plane / "src" / "main.rs").write_text(source)
        (self.plane / "Cargo.toml").write_text(manifest)
        (self.plane / "audio" / "Cargo.toml").write_text("")
        (self.plane / "Cargo.lock").write_text(lock)

    def build(self, **environment: str) -> subprocess.CompletedProcess[str]:
        """By the script, without a network."""
        return self.run("build", **environment)

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the script without a network."""
        inherited = {name: value for name, value in os.environ.items() if name not in ("CI", "CARGO_TARGET_DIR")}
        environ = inherited | {"CARGO_NET_OFFLINE": "true"} | environment
        return subprocess.run(
            [self.script, *words], env=environ, capture_output=True, text=True, check=False, timeout=60
        )

    @property
    def is_built(self) -> bool:
        return (self.plane / "target" / "release" / "gateway-plane").exists()


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


@pytest.fixture
def cargo() -> None:
    if shutil.which("cargo") is None:
        peers.missing("cargo", "Rust")


@pytest.mark.usefixtures("cargo")
def test_what_compiles_is_built(tree: Tree) -> None:
    """And is not built again."""
    assert (tree.build().returncode, tree.is_built) == (0, True)
    assert tree.build().stdout == ""


@pytest.mark.usefixtures("cargo")
@pytest.mark.parametrize(
    ("source", "manifest", "said"),
    [
        (BROKEN, MANIFEST, "cannot find value `nothing`"),
        (WORKS, MANIFEST.replace("0.1.0", "0.2.0"), "--locked"),
    ],
)
def test_a_fault_of_our_own_is_red(tree: Tree, source: str, manifest: str, said: str) -> None:
    """Sources, and a manifest that its lock file does not go with: nobody is told that this is how it is here."""
    tree.write(source, manifest)
    built = tree.build()
    assert (built.returncode, tree.is_built) == (1, False)
    assert said in built.stderr
    assert SENTENCE not in built.stdout


@pytest.mark.usefixtures("cargo")
def test_without_a_registry_there_is_one_sentence(tree: Tree) -> None:
    """Status 0, since everything works without; in CI 1."""
    index = "registry+https://github.com/rust-lang/crates.io-index"
    lock = LOCK + 'dependencies = [\n "never-fetched",\n]\n\n' + NEEDED.format(index, 64 * "0")
    tree.write(WORKS, MANIFEST + 'never-fetched = "1.0.0"\n', lock)
    built = tree.build()
    assert (built.returncode, tree.is_built) == (0, False)
    assert built.stdout.endswith("The packet plane could not be built: " + SENTENCE)
    assert tree.build(CI="true").returncode == 1


@pytest.mark.usefixtures("cargo")
def test_without_memory_for_the_compiler_there_is_one_sentence(tree: Tree, tmp_path: Path) -> None:
    """A compiler that is killed while it has our own sources says nothing of them."""
    killed = tmp_path / "rustc"
    killed.write_text('#!/bin/sh\ncase "$*" in *"--crate-name gateway_plane"*) kill -9 $$ ;; esac\nexec "$@"\n')
    killed.chmod(0o755)
    built = tree.build(RUSTC_WRAPPER=str(killed))
    assert "could not compile" in built.stderr
    assert (built.returncode, tree.is_built) == (0, False)
    assert built.stdout.endswith("The packet plane could not be built: " + SENTENCE)


def test_without_cargo_there_is_one_sentence(tree: Tree, tmp_path: Path) -> None:
    """Status 0, too."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "dirname"):
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(found)
    built = tree.build(PATH=str(programs))
    assert (built.returncode, built.stdout) == (0, "There is no cargo here to build the packet plane: " + SENTENCE)


def test_crates_are_compiled_in_two_profiles(tree: Tree, tmp_path: Path) -> None:
    """Programs in release, all else checked: with the same selection of packages, so with the same features."""
    programs, asked = tmp_path / "bin", tmp_path / "asked"
    programs.mkdir()
    recorder = programs / "cargo"
    recorder.write_text(
        f'#!/bin/sh\necho "$CARGO_TARGET_DIR" "$@" >>{asked}\n[ "$1" != fuzz ] || exit 1\n'
        "mkdir -p target/release\ninstall -m 755 /dev/null target/release/gateway-plane\necho test result\n"
    )
    recorder.chmod(0o755)
    for words in (["build"], ["test"], ["check"], ["fuzz", "1"]):
        done = tree.run(*words, PATH=f"{programs}:{os.environ['PATH']}")
        assert done.returncode == 0, done.stderr
    commands = [line.split() for line in asked.read_text().splitlines()]
    compiling = [words for words in commands if words[0] in ("build", "test", "clippy")]
    checked = [words for words in compiling if words[1:5] == ["--workspace", "--locked", "--profile", "checked"]]
    released = [words for words in compiling if words[1:3] == ["--release", "--locked"]]
    assert [words[0] for words in released] == ["build", "build"]
    assert [words[0] for words in checked] == ["test", "clippy", "test", "test"]
    assert len(compiling) == len(checked) + len(released)


@pytest.mark.usefixtures("cargo")
def test_every_crate_is_of_one_workspace() -> None:
    """Plane, codecs, fuzz targets and load generator share one lock file and one target folder."""
    command = ["cargo", "metadata", "--no-deps", "--offline", "--locked", "--format-version", "1"]
    environ = {name: value for name, value in os.environ.items() if name != "CARGO_TARGET_DIR"}
    done = subprocess.run(command, cwd=CRATE, env=environ, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    names = {package["name"] for package in found["packages"]}
    assert names == {"gateway-plane", "gateway-audio", "gateway-plane-fuzz", "media-load"}
    assert Path(found["target_directory"]) == BUILT.parent
