"""A SLURM cluster of this machine's user in a folder: munged, slurmctld and two nodes, without accounting."""

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from support.servers import free_ports, wait_for

CONF = """\
ClusterName={name}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0
SlurmdParameters=config_overrides
GresTypes=gpu
ReturnToService=2
SlurmdTimeout=10
MessageTimeout=30
KillWait=5
MinJobAge=3600
MpiDefault=none
MailProg=/bin/true
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 RealMemory=24000 Gres=gpu:2
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4 RealMemory=24000 Gres=gpu:2
PartitionName=main Nodes=node1,node2 Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes=node2 MaxTime=INFINITE State=UP
"""


class SlurmCluster:
    """The cluster while the context lasts; commands find it by `environment`."""

    def __init__(self, folder: Path):
        self.folder, self._name = folder, f"evenclip{os.getpid()}"
        self.environment = os.environ | {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": f"{folder}/bin{os.pathsep}{os.environ['PATH']}",
        }
        self._daemons: dict[str, subprocess.Popen] = {}

    def __enter__(self):
        with ExitStack() as stack:
            stack.callback(self._stop)
            self._start()
            stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    def _start(self) -> None:
        for name in ("munge", "state"):
            (self.folder / name).mkdir(parents=True, mode=0o755)
        key = self.folder / "munge/key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        self.user = subprocess.check_output(["id", "-un"], text=True).strip()
        values = {
            "name": self._name,
            "host": socket.gethostname(),
            "ports": free_ports(3),
            "user": self.user,
            "folder": self.folder,
        }
        (self.folder / "slurm.conf").write_text(CONF.format(**values))
        (self.folder / "gres.conf").write_text("AutoDetect=off\nName=gpu File=/dev/null\nName=gpu File=/dev/zero\n")
        # Snakemake's plugin starts a job's step without SLURM_CONF; elsewhere srun finds /etc/slurm/slurm.conf
        srun = self.folder / "bin/srun"
        srun.parent.mkdir()
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {shutil.which("srun")} "$@"\n')
        srun.chmod(0o755)
        munge = [f"--{name}={self.folder}/munge/{file}" for name, file in
                 (("key-file", "key"), ("socket", "socket"), ("pid-file", "pid"), ("seed-file", "seed"),
                  ("log-file", "log"))]  # fmt: skip
        self._daemon("munged", "munged", "--foreground", "--force", *munge)
        wait_for(lambda: (self.folder / "munge/socket").exists(), "munged answers")
        self._daemon("slurmctld", "slurmctld", "-D", "-f", self.environment["SLURM_CONF"])
        for node in ("node1", "node2"):
            self.start_node(node)
        wait_for(lambda: self.run("sinfo", "-h", "-t", "idle", "-o", "%D").strip() == "2", "both nodes are idle")

    def _daemon(self, name: str, *command: str) -> None:
        log = open(self.folder / f"{name}.out", "wb")  # noqa: SIM115 - the daemon's, closed below
        quiet = {"stdout": log, "stderr": subprocess.STDOUT, "env": self.environment}
        self._daemons[name] = subprocess.Popen(command, start_new_session=True, **quiet)
        log.close()

    def start_node(self, node: str) -> None:
        """Start a node's daemon."""
        self._daemon(node, "slurmd", "-D", "-N", node, "-f", self.environment["SLURM_CONF"])

    def kill_node(self, node: str) -> None:
        """Kill a node's daemon and all that runs on it, as a machine that loses its power does."""
        daemon = self._daemons.pop(node)
        marks = {f"SLURM_CLUSTER_NAME={self._name}", f"SLURMD_NODENAME={node}"}
        tasks = [pid for pid in processes() if marks <= environment_of(pid)]
        steps = {parent for pid in tasks if command_of(parent := parent_of(pid)).startswith("slurmstepd: ")}
        for pid in [daemon.pid, *steps, *tasks]:  # first those who would report that the others ended
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        daemon.wait()

    def run(self, *command: str) -> str:
        """Output of a SLURM command."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
        return done.stdout

    def jobs(self) -> list[dict[str, str]]:
        """Every job that the controller knows of, ended ones too, by its fields."""
        lines = self.run("scontrol", "-o", "show", "jobs").splitlines()
        return [dict(part.split("=", 1) for part in line.split() if "=" in part) for line in lines if "=" in line]

    def _stop(self) -> None:
        """Cancel what runs and end every daemon."""
        if "slurmctld" in self._daemons:
            self.run("scancel", f"--user={self.user}")
            time.sleep(2)
        for daemon in reversed(self._daemons.values()):
            daemon.terminate()
        for daemon in self._daemons.values():
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def processes() -> list[int]:
    """Ids of all processes."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def environment_of(pid: int) -> set[str]:
    """Environment that a process was started with; empty where it has ended."""
    try:
        return set(Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0"))
    except OSError:
        return set()


def parent_of(pid: int) -> int:
    """Id of a process's parent; 0 where it has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def command_of(pid: int) -> str:
    """Command line of a process; empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
