"""A Debian for arm64 in a folder, run by qemu's user-mode emulation: a board without a board."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import platformdirs
from sshd_server import Sshd

# As it was before the tests' own cache took its place
CACHE = Path(os.environ.get("NASDEPTH_CACHE") or platformdirs.user_cache_dir("nasdepth"))
SUITE, PYTHON = "bookworm", "3.11"
WHEELS = {name: importlib.metadata.version(name) for name in ("ai-edge-litert", "numpy")}
# The runtime that ai-edge-litert succeeded, as many boards still have it; it was built against numpy 1
OLD_WHEELS = {"tflite-runtime": "2.14.0", "numpy": "1.26.4"}
OLD_PYTHON = "/opt/tflite/python"
_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_MIRROR = "http://deb.debian.org/debian"
_PACKAGES = "python3-minimal,libpython3-stdlib,openssh-server"
_PLATFORMS = (
    "manylinux2014_aarch64",
    "manylinux_2_27_aarch64",
    "manylinux_2_28_aarch64",
    "manylinux_2_34_aarch64",
)


class NotHere(Exception):
    """This machine cannot have such a root; says why."""


def _done(*command: str | Path, **options) -> str:
    done = subprocess.run(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )
    if done.returncode:
        raise NotHere(f"{command[0]} failed: {done.stdout.strip()[-300:]}")
    return done.stdout


def emulation() -> None:
    """Let the kernel hand arm64 programs to qemu.

    Raises:
        NotHere: not root, a tool is missing, or binfmt_misc cannot be mounted.
    """
    if os.geteuid() != 0:
        raise NotHere("a Debian root is made and entered by root only")
    for tool, package in (
        ("debootstrap", "debootstrap"),
        ("qemu-aarch64-static", "qemu-user-static"),
        ("update-binfmts", "binfmt-support"),
        ("ssh-keygen", "openssh-client"),
    ):
        if shutil.which(tool) is None:
            raise NotHere(f"no {tool} here: apt-get install {package}")
    if not (_BINFMT / "status").exists():
        _done("mount", "-t", "binfmt_misc", "binfmt_misc", _BINFMT)
    if not (_BINFMT / "qemu-aarch64").exists():
        _done("update-binfmts", "--enable", "qemu-aarch64")


def debian_root() -> Path:
    """The root's folder, made when it is not in the cache yet (a minute, 400 MB).

    Packages are unpacked and not configured: nothing that we run needs it, and under emulation it would take
    several minutes.

    Raises:
        NotHere: it cannot be made here; says why.
    """
    emulation()
    name = "-".join(["arm64", SUITE, *(f"{package}{version}" for package, version in WHEELS.items())])
    root = CACHE / name
    if root.exists():
        return root
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="arm64-", ignore_cleanup_errors=True) as scratch:
        begun = Path(scratch) / "root"
        options = ("--arch=arm64", "--variant=minbase", "--foreign", f"--include={_PACKAGES}")
        _done("debootstrap", *options, SUITE, begun, _MIRROR)
        archives = begun / "var/cache/apt/archives"
        for package in sorted(archives.glob("*.deb")):
            _done("dpkg-deb", "-x", package, begun)
            package.unlink()
        for database in ("passwd", "group"):
            shutil.copy(begun / f"usr/share/base-passwd/{database}.master", begun / "etc" / database)
        with (begun / "etc/passwd").open("a") as users:
            users.write("sshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n")
        (begun / "run/sshd").mkdir(parents=True, exist_ok=True)
        _install_wheels(WHEELS, begun / "usr/lib/python3/dist-packages")
        old = begun / OLD_PYTHON[1:]
        _install_wheels(OLD_WHEELS, old.parent)
        old.write_text(f'#!/bin/sh\nPYTHONPATH={Path(OLD_PYTHON).parent} exec python3 -S "$@"\n')
        old.chmod(0o755)
        begun.chmod(0o755)
        begun.rename(root)
    return root


def _install_wheels(wheels: dict[str, str], place: Path) -> None:
    platforms = [word for name in _PLATFORMS for word in ("--platform", name)]
    wanted = [f"{name}=={version}" for name, version in wheels.items()]
    with tempfile.TemporaryDirectory(prefix="nasdepth-") as scratch:
        _done(
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"),
            *("--python-version", PYTHON, "--implementation", "cp", *platforms),
            *("--dest", scratch, *wanted),
        )
        for wheel in Path(scratch).glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(place)


class Arm64Sshd(Sshd):
    """The OpenSSH server of a Debian root, on this machine's 127.0.0.1; mounts end with its process."""

    def __init__(self, folder: Path, root: Path) -> None:
        super().__init__(folder)
        self._root = root
        # A session's environment is sshd's to make
        with (folder / "sshd_config").open("a") as file:
            file.write("SetEnv QEMU_CPU=cortex-a72\n")

    def _command(self) -> list[str]:
        script = """
            set -e
            mount --make-rprivate /
            mount -t proc proc "$1/proc"
            mount --rbind /sys "$1/sys"
            mount --rbind /dev "$1/dev"
            mount -t tmpfs tmpfs "$1/run" && mkdir "$1/run/sshd"
            mount -t tmpfs -o mode=1777 tmpfs "$1/tmp"
            mkdir -p "$1$2" && mount --bind "$2" "$1$2"
            exec chroot "$1" /usr/sbin/sshd -D -e -f "$2/sshd_config"
        """
        return ["unshare", "--mount", "sh", "-c", script, "sh", str(self._root), str(self.folder)]

    def uri(self, python: str = "python3", **options: object) -> str:
        return super().uri(python=python, **options)
