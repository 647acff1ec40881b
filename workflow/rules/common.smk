# The repeated parts of all rules, namely log and benchmark, the folder of a file, the shape of a command.
LOGS = f"logs/{STUDY.config.study}"
BENCHMARK = f"{RESULTS}/benchmark"


def log_of(job):
    """The log file of a job, e.g. `train/{run}_seed{seed}`."""
    return f"{LOGS}/{job}.log"


def benchmark_of(job):
    """The benchmark table of a job."""
    return f"{BENCHMARK}/{job}.tsv"


def input_folder(name):
    """A param: the folder of the (first) input ``name``."""
    return lambda w, input: Path(_first(input.get(name))).parent


def output_folder(name):
    """A param: the folder of the (first) output ``name``."""
    return lambda w, output: Path(_first(output.get(name))).parent


def _first(paths):
    return paths if isinstance(paths, str) else paths[0]


def evenclip(arguments, processes=1):
    """A shell line, in which every field ends in `:q` so that no path is taken for shell code.

    All output goes to the job's log, which Snakemake shows in full if the job fails.
    """
    torchrun = f"-m torch.distributed.run --standalone --nproc-per-node {processes} " if processes > 1 else ""
    return f"python {torchrun}-m evenclip {arguments} > {{log:q}} 2>&1"


def memory(mb):
    """Memory of a job in MB, as much again for each new attempt (`retries` in a cluster's profile)."""
    return lambda w, attempt: mb * attempt


def gpus_for(device, processes=1):
    """GPUs of a job whose options name ``device(wildcards)``: one a process; on a cluster `auto` asks for them."""
    return lambda w: processes * gpus(device(w), elsewhere=workflow.non_local_exec)


def counts(strategy):
    """Counts of all parts' cells; strategies that count utilities equally finely share them."""
    return expand(rules.balance_add.output, bits=STUDY.config.balance[strategy].utility_bits)


TOGETHER = STUDY.config.seeds_per_job == "all"
FEATURES = f"{RESULTS}/features"


def of_job(path):
    """A path with a seed in it, as one job has it: of its own seed, or of all."""
    return per_job(path) if TOGETHER else path


def per_job(path):
    """The same as a list."""
    return expand(path, seed=STUDY.config.seeds, allow_missing=True) if TOGETHER else [path]


def seeds_of(w):
    """The seeds of a job."""
    return STUDY.config.seeds if TOGETHER else [w.seed]


def job_name(start):
    """The name of a job of one run: with its seed, where it has one of its own."""
    return start + ("" if TOGETHER else "_seed{seed}")


def features_of(data):
    """Manifest of the trunk features of ``data``, as a list: empty where the study has none."""
    return [f"{STUDY.config.feature_folder(data)}/manifest.json"] if STUDY.config.features else []


def probe_embeddings(run):
    """`SET=EMBEDDINGS` of each set whose linear probes train on the embeddings of another, with {seed} in the path."""
    training_sets = STUDY.config.evaluate.probe_sets().items()
    return [f"{name}={RESULTS}/embed/{run}/seed{{seed}}/{other}.npz" for name, other in training_sets]


def one_of(names):
    """A wildcard's pattern: one of ``names``; a word that no study uses where there are none."""
    return "|".join(names) or "none"


remember_checksums(getattr(snakemake.io, "_IOFile", None))


# `python -m evenclip` in a job is this checkout's package, in whichever environment its rule names. Without conda
# it is the interpreter that runs Snakemake, also where the virtual environment is not activated
with_conda = "conda" in {str(method) for method in workflow.deployment_settings.deployment_method}
interpreter = "" if with_conda else f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; "
shell.prefix(
    # set replaces the prefix that Snakemake itself gives bash
    f"set -euo pipefail; export PYTHONPATH={shlex.quote(str(SOURCE))}; {interpreter}"
)


wildcard_constraints:
    dataset=r"[a-z]\w*",
    split=r"\w+",
    strategy=r"[a-z]\w*",
    run=r"[a-z]\w*",
    seed=r"\d+",
    part=r"\d+",
    bits=r"\d+",
