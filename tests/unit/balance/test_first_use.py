"""README's first use works as it is printed, on a CSV file."""

import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pandas as pd


def first_use_commands(readme: str) -> list[list[str]]:
    """The commands of README's first use, without the installation."""
    block = re.search(r"\*\*Balance your own labels\.\*\*.*?```\n(.*?)```", readme, re.DOTALL)[1]
    commands = [shlex.split(line, comments=True) for line in block.replace("\\\n", " ").splitlines()]
    assert commands[0] == ["pip", "install", "."]
    return commands[1:]


def test_first_use_of_the_readme(request, tmp_path):
    rng = np.random.default_rng(0)
    woman = rng.random(1000) < 0.35
    photos = pd.DataFrame(
        {
            "photo": [f"{i:04d}.jpg" for i in range(1000)],
            "gender": np.where(rng.random(1000) < 0.1, "", np.where(woman, "woman", "man")),
            "nurse": (rng.random(1000) < np.where(woman, 0.3, 0.1)).astype(int),
            "pilot": np.where(rng.random(1000) < np.where(woman, 0.1, 0.3), "yes", "no"),
        }
    )
    photos.to_csv(tmp_path / "photos.csv", index=False)
    commands = first_use_commands((request.config.rootpath / "README.md").read_text(encoding="utf-8"))
    environment = {**os.environ, "PYTHONPATH": str(request.config.rootpath / "src")}
    outputs = []
    for program, *arguments in commands:
        assert program == "evenclip"
        run = subprocess.run(
            [sys.executable, "-m", "evenclip", *arguments], cwd=tmp_path, env=environment, text=True,
            capture_output=True,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        outputs.append(run.stdout)
    assert outputs[0].startswith("m4: 1000 rows") and "RB (largest deviation of a share)" in outputs[1]
