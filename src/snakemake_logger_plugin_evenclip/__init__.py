"""Snakemake's terminal output in few lines: one for each finished step, with its time, and errors in full.

A logger plugin, which Snakemake finds by its name: `--logger evenclip`, as in profiles/default. Snakemake's own log, in
.snakemake/log, and the logs of all steps stay complete. With --dry-run, --verbose, --printshellcmds or --debug-dag the
terminal shows everything too.
"""

import logging
import re
import sys
import time
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

MANY = 10
"""Of a rule with more jobs than this only every n-th finished one is printed."""
PRINTED_OF_MANY = 5
QUIET_EVENTS = {LogEvent.WORKFLOW_STARTED, LogEvent.RESOURCES_INFO, LogEvent.PROGRESS, LogEvent.JOB_STARTED,
                LogEvent.SHELLCMD, LogEvent.RULEGRAPH, LogEvent.GROUP_INFO}  # fmt: skip
TARGETS = {"all", "default", "total"}
"""Names in Snakemake's table of jobs that are no steps."""
NOISE = re.compile(
    r"Using (workflow specific )?(profile|shell)|Assuming unrestricted|Building DAG|Select jobs|host: |Rules claiming"
    r"|Conda environments|Singularity|Group jobs|Complete log|Elapsed time|Finished jobid|\s*$"
)
"""How messages begin that tell a user nothing."""


class LogHandler(LogHandlerBase):
    """Handler of Snakemake's messages that prints few of them on standard error."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = False
    has_formatter = False
    needs_rulegraph = False

    def __post_init__(self) -> None:
        settings = self.common_settings
        self._everything = bool(
            settings.dryrun or settings.verbose or settings.printshellcmds or settings.debug_dag or settings.stdout
        )
        self._jobs: dict[int, dict[str, Any]] = {}
        self._n_of_rule: dict[str, int] = {}
        self._done: dict[str, int] = {}
        self._n_done = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Print what the record says, if a user needs it."""
        try:
            text = self.format(record) if self._everything else self._short(record)
            if text is not None:
                print(text, file=sys.stdout if self.common_settings.stdout else sys.stderr, flush=True)
        except Exception:
            self.handleError(record)

    def _short(self, record: logging.LogRecord) -> str | None:
        event = getattr(record, "event", None)
        if event == LogEvent.RUN_INFO:
            self._n_of_rule = {rule: n for rule, n in record.stats.items() if rule not in TARGETS}
            return f"{sum(self._n_of_rule.values())} steps"
        if event == LogEvent.JOB_INFO:
            self._jobs[record.jobid] = {
                "rule": record.rule_name,
                "name": " ".join([record.rule_name, *map(str, (record.wildcards or {}).values())]),
                "start": time.monotonic(),
            }
            return None
        if event == LogEvent.JOB_FINISHED:
            return self._finished(self._jobs.get(record.job_id))
        if event in QUIET_EVENTS or (event is None and record.levelno <= logging.INFO and self._is_noise(record)):
            return None
        return self.format(record)

    def _finished(self, job: dict[str, Any] | None) -> str | None:
        if job is None or job["rule"] in TARGETS:
            return None
        rule, seconds = job["rule"], time.monotonic() - job["start"]
        self._n_done += 1
        done = self._done[rule] = self._done.get(rule, 0) + 1
        n_rule, n = self._n_of_rule.get(rule, 0), sum(self._n_of_rule.values())
        if n_rule > MANY:
            if done % -(-n_rule // PRINTED_OF_MANY) and done < n_rule:
                return None
            return f"[{self._n_done}/{n}] {rule}: {done} of {n_rule}"
        return f"[{self._n_done}/{n}] {job['name']}: {_duration(seconds)}"

    def _is_noise(self, record: logging.LogRecord) -> bool:
        return NOISE.match(str(record.msg or "")) is not None


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
