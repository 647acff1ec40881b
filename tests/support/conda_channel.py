"""A conda channel of two packages, python (the interpreter that runs the tests) and pip.

The environments take these two from conda and all else from PyPI, so with this channel a real conda can make them
where PyPI alone can be reached.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

BASE = Path(sys.base_prefix)
VERSION = platform.python_version()
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
SUBDIR = "linux-64"


def write_channel(channel: Path) -> None:
    """Write the channel: packages, and the index by which conda finds them."""
    python, pip = channel / "python", channel / "pip"
    fill_python(python)
    fill_pip(pip)
    packages = {}
    for folder, version, depends in ((python, VERSION, []), (pip, "1.0", [f"python {VERSION}.*"])):
        archive, index = pack(folder, version, depends, channel / SUBDIR)
        content = archive.read_bytes()
        packages[archive.name] = index | {
            "md5": hashlib.md5(content).hexdigest(),
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
        }
        shutil.rmtree(folder)
    for subdir, listed in ((SUBDIR, packages), ("noarch", {})):
        (channel / subdir).mkdir(exist_ok=True)
        repodata = {"info": {"subdir": subdir}, "packages": listed, "packages.conda": {}, "repodata_version": 1}
        (channel / subdir / "repodata.json").write_text(json.dumps(repodata))


def fill_python(folder: Path) -> None:
    """Copy the interpreter and its standard library; the copy finds its shared library wherever it is put."""
    (folder / "bin").mkdir(parents=True)
    shutil.copy2(BASE / "bin" / PYTHON, folder / "bin" / PYTHON)
    for alias in ("python", "python3"):
        (folder / "bin" / alias).symlink_to(PYTHON)
    ignored = shutil.ignore_patterns("site-packages", "__pycache__", "test", "*.a")
    shutil.copytree(BASE / "lib" / PYTHON, folder / "lib" / PYTHON, ignore=ignored)
    libraries = list(BASE.glob("lib/libpython*.so*"))
    for library in libraries:
        shutil.copy2(library, folder / "lib" / library.name, follow_symlinks=False)
    if libraries:
        subprocess.run(["patchelf", "--set-rpath", "$ORIGIN/../lib", folder / "bin" / PYTHON], check=True)


def fill_pip(folder: Path) -> None:
    """Install pip by the environment's uv, as `make` does, into a folder."""
    packages = folder / "lib" / PYTHON / "site-packages"
    uv = Path(sys.executable).parent / "uv"
    subprocess.run([uv, "pip", "install", "--quiet", "--target", packages, "pip", "setuptools", "wheel"], check=True)
    shutil.rmtree(packages / "bin", ignore_errors=True)


def pack(folder: Path, version: str, depends: list[str], target: Path) -> tuple[Path, dict]:
    """Pack a folder as the package of the folder's name; return the archive and its entry in the index."""
    files = sorted(path for path in folder.rglob("*") if path.is_symlink() or path.is_file())
    index = {"name": folder.name, "version": version, "build": "0", "build_number": 0, "depends": depends,
             "arch": "x86_64", "platform": "linux", "subdir": SUBDIR, "license": "", "timestamp": 1}  # fmt: skip
    information = {
        "index.json": json.dumps(index),
        "paths.json": json.dumps({"paths": [path_entry(path, folder) for path in files], "paths_version": 1}),
        "files": "".join(f"{path.relative_to(folder)}\n" for path in files),
        "about.json": "{}",
    }
    (folder / "info").mkdir()
    for name, text in information.items():
        (folder / "info" / name).write_text(text)
    target.mkdir(parents=True, exist_ok=True)
    archive = target / f"{folder.name}-{version}-0.tar.bz2"
    with tarfile.open(archive, "w:bz2", compresslevel=1) as packed:
        for name in ["info", *sorted(set(os.listdir(folder)) - {"info"})]:
            packed.add(folder / name, name)
    return archive, index


def path_entry(path: Path, folder: Path) -> dict:
    """What conda is told of a file; in a text that names the interpreter's home, conda writes the environment's."""
    entry = {"_path": str(path.relative_to(folder)), "path_type": "softlink" if path.is_symlink() else "hardlink"}
    content = b"" if path.is_symlink() else path.read_bytes()
    entry |= {"sha256": hashlib.sha256(content).hexdigest(), "size_in_bytes": len(content)}
    if os.fsencode(BASE) in content and b"\0" not in content:
        entry |= {"prefix_placeholder": str(BASE), "file_mode": "text"}
    return entry
