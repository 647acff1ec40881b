"""Write environment.yml and workflow/envs/*.yaml with the versions of requirements.txt; tests fail where they drift.

Reads pyproject.toml, requirements.txt, requirements-photos.txt, the rules, and the imports of the code that the rules
run. `python workflow/envs/generate.py`; `--without-cuda` instead prints the lock without torch and its CUDA packages,
for installs that take another build of torch.

The packages come from PyPI inside the conda environments too: the same versions however evenclip is installed.
"""

import ast
import re
import sys
import tomllib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))
from evenclip.code_fingerprint import module_path, package_imports  # noqa: E402
from evenclip.extras import distribution_of, normalise  # noqa: E402

PYTHON = "3.11"
CUDA = re.compile(r"(nvidia-|cuda-|triton$|torch$|torchvision$)")
LOOKUPS = {"resources.files", "importlib.util.find_spec"}
"""Calls by which code needs a library without importing it: for its files, or for another library to import."""
HEADER = "# Written by workflow/envs/generate.py from pyproject.toml and requirements.txt (make lock); do not edit.\n"
BLOCKS = {"STUDY.config.data": ("evenclip.data.importing", "evenclip.data.world.synthesize")}
"""Modules of the rule whose code depends on the study: how a data set is made."""


def stages_by_environment() -> dict[str, set[str]]:
    """Environment -> the modules that its rules run, read from the rules' `code` and `conda`."""
    stages: dict[str, set[str]] = {}
    for path in sorted((ROOT / "workflow/rules").glob("*.smk")):
        for rule in re.split(r"(?m)^ *rule \w+:", path.read_text(encoding="utf-8"))[1:]:
            code, environment = re.search(r"code_fingerprint\((.+)\)", rule)[1], re.search(r"envs/(\w+)\.yaml", rule)[1]
            block = next((modules for name, modules in BLOCKS.items() if code.startswith(name)), None)
            stages.setdefault(environment, set()).update(block or [code.strip('"')])
    return stages


def distributions_of(stage: str, stages: set[str]) -> set[str]:
    """Distributions that a stage imports, from the syntax trees of its modules.

    An import inside a function is followed unless it leads into the sub-package of another of the ``stages``, whose
    command does without it.
    """
    others = {".".join(name.split(".")[:2]) for name in stages} - {".".join(stage.split(".")[:2])}
    pending, seen, outside = [stage, "evenclip.cli.arguments"], set(), set()
    while pending:
        name = pending.pop()
        if name in seen or (path := module_path(name)) is None:
            continue
        seen.add(name)
        early, late, distributions = imports_of(name, path)
        pending += [*early, *(module for module in late if ".".join(module.split(".")[:2]) not in others)]
        outside |= distributions
    return outside


@cache  # most stages share most of their modules
def imports_of(name: str, path: Path) -> tuple[set[str], set[str], set[str]]:
    """What a module imports: of this package when it is imported, and in functions; and the distributions of others."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    inside = {node for function in functions for node in ast.walk(function)}
    distributions = {distribution_of(module) for module in imported(tree) if module.split(".")[0] != "evenclip"}
    early = package_imports(name, path, set(ast.walk(tree)) - inside)
    return early, package_imports(name, path, inside), distributions


def imported(tree: ast.Module) -> set[str]:
    """Modules outside the standard library that a module imports, looks for, or takes files of, anywhere."""
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in LOOKUPS:
            modules |= {word.value for word in node.args[:1] if isinstance(word, ast.Constant)}
    return {module for module in modules if module.split(".")[0] not in sys.stdlib_module_names}


def locked_versions(text: str) -> dict[str, str]:
    """Version of each distribution in the lock; where it differs by Python version, the one for `PYTHON`."""
    packages: dict[str, str] = {}
    for name, version, marker in re.findall(r"^([\w.-]+)==([^\s;\\]+)(?: ; ([^\\\n]*))?", text, re.MULTILINE):
        if "python_full_version >= '3.12'" not in marker:
            packages.setdefault(normalise(name), version)
    return packages


def requirements(project: dict, *extras: str) -> list[str]:
    """Names of the distributions that the project asks for, with its extras, which may name each other."""
    names = []
    wanted = [*project["dependencies"], *(text for extra in extras for text in project["optional-dependencies"][extra])]
    for text in wanted:
        name, inner = re.match(r"([\w.-]+)(?:\[([\w,-]+)\])?", text).groups()
        names += requirements(project, *inner.split(",")) if normalise(name) == "evenclip" else [name]
    return list(dict.fromkeys(names))


def environment(name: str, packages: list[str], versions: dict[str, str]) -> str:
    """A conda environment file with pinned packages."""
    pins = "".join(f"      - {package}=={versions[normalise(package)]}\n" for package in packages)
    return (
        f"{HEADER}name: {name}\nchannels:\n  - conda-forge\n"
        f"dependencies:\n  - python={PYTHON}\n  - pip\n  - pip:\n{pins}"
    )


def files() -> dict[Path, str]:
    """Every generated file with its text."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locks = [(ROOT / name).read_text() for name in ("requirements.txt", "requirements-photos.txt")]
    versions = locked_versions("\n".join(locks))
    direct = requirements(project, "all", "photos")
    stages = stages_by_environment()
    everywhere = set().union(*stages.values())
    needed = {
        name: set().union(*(distributions_of(stage, everywhere) for stage in stages[name])) for name in sorted(stages)
    }
    everything = environment("evenclip", requirements(project, "all"), versions) + "      - --editable .\n"
    return {ROOT / "environment.yml": everything} | {
        ROOT / f"workflow/envs/{name}.yaml": environment(
            f"evenclip-{name}", [package for package in direct if normalise(package) in distributions], versions
        )
        for name, distributions in needed.items()
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
