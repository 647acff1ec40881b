"""Write environment.yml and workflow/envs/*.yaml with the versions of requirements.txt; tests fail where they drift.

Reads pyproject.toml and requirements.txt. `python workflow/envs/generate.py`; `--without-cuda` instead prints the lock
without torch and its CUDA packages, for installs that take another build of torch.

The packages come from PyPI inside the conda environments too: the same versions however evenclip is installed.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHON = "3.11"
# what each environment's stages import; `torch` is apart because it is gigabytes
ENVIRONMENTS = {
    "tables": ["numpy", "pandas", "pyarrow", "scipy", "scikit-learn", "fairlearn", "pillow", "pydantic", "pyyaml",
               "typer", "rich", "matplotlib", "plotly", "jinja2", "urllib3", "filelock"],
    "torch": ["numpy", "pyarrow", "pillow", "pydantic", "pyyaml", "typer", "rich", "torch", "torchvision",
              "open_clip_torch", "torch-geometric", "faiss-cpu", "safetensors"],
    "mlflow": ["numpy", "pandas", "pyarrow", "pydantic", "pyyaml", "typer", "rich", "mlflow"],
}  # fmt: skip
CUDA = re.compile(r"(nvidia-|cuda-|triton$|torch$|torchvision$)")
HEADER = "# Written by workflow/envs/generate.py from pyproject.toml and requirements.txt (make lock); do not edit.\n"


def normalise(name: str) -> str:
    """The canonical form of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked_versions(text: str) -> dict[str, str]:
    """Version of each distribution in the lock; where it differs by Python version, the one for `PYTHON`."""
    found: dict[str, str] = {}
    for name, version, marker in re.findall(r"^([\w.-]+)==([^\s;\\]+)(?: ; ([^\\\n]*))?", text, re.MULTILINE):
        if "python_full_version >= '3.12'" not in marker:
            found.setdefault(normalise(name), version)
    return found


def environment(name: str, packages: list[str], versions: dict[str, str]) -> str:
    """A conda environment file with pinned packages."""
    pins = "".join(f"      - {package}=={versions[normalise(package)]}\n" for package in packages)
    return (
        f"{HEADER}name: {name}\nchannels:\n  - conda-forge\n  - nodefaults\n"
        f"dependencies:\n  - python={PYTHON}\n  - pip\n  - pip:\n{pins}"
    )


def files() -> dict[Path, str]:
    """Every generated file with its text."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = locked_versions((ROOT / "requirements.txt").read_text())
    direct = [re.match(r"[\w.-]+", requirement).group() for requirement in project["dependencies"]]
    everything = environment("evenclip", direct, versions) + "      - --editable .\n"
    return {ROOT / "environment.yml": everything} | {
        ROOT / f"workflow/envs/{name}.yaml": environment(f"evenclip-{name}", packages, versions)
        for name, packages in ENVIRONMENTS.items()
    }


def without_cuda() -> str:
    """The lock without torch, torchvision and the CUDA packages that only torch's default build needs."""
    entries = re.split(r"\n(?=[\w.-]+==)", (ROOT / "requirements.txt").read_text())
    return "\n".join(entry for entry in entries if not CUDA.match(entry.split("==")[0])) + "\n"


if __name__ == "__main__":
    if "--without-cuda" in sys.argv[1:]:
        print(without_cuda())
    else:
        for path, text in files().items():
            path.write_text(text)
