"""The command line starts fast, knows its families, and ends in one line where a place cannot be written."""

import errno
import os
import resource
import shlex
import shutil
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
import yaml
from typer.testing import CliRunner

import evenclip
from evenclip.balance.strategies import STRATEGIES
from evenclip.cli import app, main
from evenclip.cli.arguments import MEASURING, OWN_DATA, STUDY, TRAINING
from evenclip.data.layouts import load_layouts
from evenclip.errors import InputError
from evenclip.evaluate.metrics import KINDS
from evenclip.graph.sources import FORMATS
from evenclip.provenance import atomic_file, atomic_folder, write_json, writing_error
from support.tiny_training import write_model, write_squares, write_weights

SLACK = 5  # a busy machine


def seconds(*arguments: str) -> float:
    """Processor time of a command, the best of three."""

    def spent() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    times = []
    for _ in range(3):
        before = spent()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        times.append(spent() - before)
    return min(times)


def test_the_package_and_its_help_start_fast():
    assert seconds("-c", "import evenclip") < 0.15 * SLACK
    assert seconds("-m", "evenclip", "--help") < 0.4 * SLACK


def test_the_end_of_a_command_collects_no_garbage():
    """A handler that is registered first runs last, just before the interpreter would collect."""
    code = "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count() > 10_000))"
    code += "; import sys; sys.argv = ['evenclip', '--version']; from evenclip.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1] == "True"


def test_help_loads_no_stage():
    heavy = "{'torch', 'numpy', 'pydantic', 'evenclip.balance', 'evenclip.study'} & set(sys.modules)"
    code = f"import sys; import evenclip.cli; assert not {heavy}, {heavy}"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("command", "names"),
    [
        (["balance"], STRATEGIES),
        (["data", "import"], load_layouts()),
        (["evaluate"], KINDS),
        (["graph"], FORMATS),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_help_lists_every_part_of_a_family(command, names):
    text = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "500"}).output
    assert [name for name in names if name not in text] == []


COMMAND = typer.main.get_command(app)
PLUMBING = {"balance-count", "balance-add", "balance-solve", "balance-apply", "balance-gather", "label-gather"}


def test_help_groups_the_commands_and_hides_plumbing():
    text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output
    assert [name for name in PLUMBING if name in text] == [] and "--install-completion" in text
    assert [panel for panel in (OWN_DATA, TRAINING, MEASURING, STUDY) if panel not in text] == []
    assert {name for name, command in COMMAND.commands.items() if command.hidden} == PLUMBING


def visible_commands(group=COMMAND, *parents: str):
    """Names and command of each command that help shows, also of those in groups."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from visible_commands(command, *parents, name)
        elif not command.hidden:
            yield [*parents, name], command


VISIBLE = list(visible_commands())


@pytest.mark.parametrize(("names", "command"), VISIBLE, ids=[" ".join(names) for names, _ in VISIBLE])
def test_help_has_an_example_that_parses(names, command):
    words = shlex.split(command.epilog.partition("Example: evenclip ")[2])
    assert words[: len(names)] == names
    command.make_context(names[-1], words[len(names) :])


def test_init_is_what_help_shows_first():
    assert next(iter(COMMAND.commands)) == "init"


def test_an_interrupted_command_says_what_is_kept(monkeypatch, capsys):
    def interrupt(root):
        raise KeyboardInterrupt

    monkeypatch.setattr("evenclip.doctor.examine", interrupt)
    monkeypatch.setattr(sys, "argv", ["evenclip", "doctor"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 130 and "a training goes on" in capsys.readouterr().err


def test_version_is_that_of_the_package():
    assert CliRunner().invoke(app, ["--version"]).output == f"evenclip {evenclip.__version__}\n"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Small inputs of the commands."""
    folder = tmp_path_factory.mktemp("inputs")
    write_squares(folder / "data", 40)
    write_weights(folder / "weights.parquet", {f"{i:05d}": 1 for i in range(40)})
    write_model(folder / "tiny.json")
    lexicon = {"sensitive": {"color": {"red": ["red"], "blue": ["blue"]}}, "target": {"square": ["square"]}}
    (folder / "lexicon.yaml").write_text(yaml.safe_dump(lexicon))
    draw = np.random.default_rng(0).random((2, 300))
    columns = {"key": [str(i) for i in range(300)], "sensitive.gender.woman": draw[0] < 0.4}
    columns |= {"sensitive.gender.man": draw[0] >= 0.4, "target.x": draw[1] < 0.3}
    pq.write_table(pa.table(columns), folder / "labels.parquet")
    return folder


COMMANDS = {
    "balance": "balance {inputs}/labels.parquet --out {out}",
    "balance-count": "balance-count {inputs}/labels.parquet --out {out}",
    "audit": "audit {inputs}/labels.parquet --figures {out}",
    "synthesize": "data synthesize --split objects --n 36 --out {out}",
    "label": "label --data {inputs}/data --lexicon {inputs}/lexicon.yaml --out {out}",
    "graph": "graph --source captions={inputs}/data --data {inputs}/data --out {out}",
    "schema": "config schema --out {out}",
    "train": "train --data {inputs}/data --weights {inputs}/weights.parquet --out {out} --state {inputs}/state"
    " --option model={inputs}/tiny.json --option samples_seen=32 --option batch_size=16 --option device=cpu",
}


@contextmanager
def small_disk(n_bytes: int | None):
    """No file that this process writes may become longer."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (before[0] if n_bytes is None else n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def assert_one_line(inputs, monkeypatch, capsys):
    """Run a command in this process: exit status 2, and one line that says why."""
    monkeypatch.setenv("MPLCONFIGDIR", str(inputs))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # half of a module would stay on the small disk
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # typer sets its own

    def check(command: str, out, n_bytes: int | None = None) -> None:
        words = [word.format(inputs=inputs, out=out) for word in COMMANDS[command].split()]
        monkeypatch.setattr(sys, "argv", ["evenclip", *words])
        with pytest.raises(SystemExit) as done, small_disk(n_bytes):
            main()
        errors = capsys.readouterr().err
        lines = [line for line in errors.splitlines() if line.startswith("error: ")]
        assert done.value.code == 2 and len(lines) == 1, errors[-3000:]

    return check


@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_below_a_file_is_one_line(command, assert_one_line, tmp_path):
    (tmp_path / "file").write_text("precious")
    assert_one_line(command, tmp_path / "file" / "out")
    assert [path.name for path in tmp_path.rglob("*")] == ["file"]
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a file system that nobody can write")
@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_that_cannot_be_written_is_one_line(command, assert_one_line):
    assert_one_line(command, "/proc/evenclip/out")


@pytest.mark.parametrize("command", ["balance", "balance-count", "synthesize", "label", "graph", "schema"])
def test_a_full_disk_is_one_line_and_leaves_nothing(command, assert_one_line, tmp_path):
    assert_one_line(command, tmp_path / "out", n_bytes=300)
    assert list(tmp_path.rglob("*")) == []


def test_the_process_ends_with_one_line_and_status_2(inputs, tmp_path):
    (tmp_path / "file").touch()
    words = COMMANDS["balance"].format(inputs=inputs, out=tmp_path / "file" / "out").split()
    done = subprocess.run([sys.executable, "-m", "evenclip", *words], capture_output=True, text=True)
    lines = done.stderr.splitlines()
    assert done.returncode == 2 and sum(line.startswith("error: ") for line in lines) == 1, done.stderr[-3000:]
    assert "Traceback" not in done.stderr


def test_a_full_disk_keeps_the_old_output(tmp_path):
    write_json({"a": 1}, tmp_path / "a.json")
    with pytest.raises(InputError, match=r"a\.json.*No space left"), atomic_file(tmp_path / "a.json"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_vanished_folder_is_one_line(tmp_path):
    with pytest.raises(InputError, match="cannot be read or written"), atomic_folder(tmp_path / "a" / "out") as folder:
        shutil.rmtree(tmp_path / "a")
        (folder / "x").write_text("1")


def test_other_errors_are_not_taken_for_writing_errors(tmp_path):
    assert writing_error(FileNotFoundError(errno.ENOENT, "no", "/elsewhere"), tmp_path / "out") is None
    assert writing_error(ValueError("a fault")) is None
    assert "No space left" in str(writing_error(RuntimeError("Os { message: No space left on device }")))


@pytest.mark.parametrize(("setting", "expected"), [({}, {1}), ({"OPENBLAS_NUM_THREADS": "2"}, {2})])
def test_balancing_keeps_openblas_to_one_thread(tmp_path, setting, expected):
    """Threads that wait keep their cores busy; systems of moments are too small for several."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core: OpenBLAS has one thread anyway")
    columns = {"sensitive.a.x": [True, False] * 20, "sensitive.a.y": [False, True] * 20, "target.t": [True] * 40}
    pq.write_table(pa.table({"key": [str(i) for i in range(40)]} | columns), tmp_path / "labels.parquet")
    code = """
import sys
from evenclip.cli import app
app(["balance", "labels.parquet", "--out", "out"], standalone_mode=False)
from threadpoolctl import threadpool_info
print({pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"})
"""
    environment = {key: value for key, value in os.environ.items() if "_NUM_THREADS" not in key}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment | setting, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(expected)
