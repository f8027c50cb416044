"""Another gateway, as far as the job store sees it: a process that works on one job.

``python job_worker.py URL ACTION JOB`` says ``ready``, waits for a line on standard input, acts, and says what came of
it. ``claim`` takes the job; ``hold`` takes it and then waits to be killed; ``torn`` waits inside a transaction that
closes all jobs; ``submit`` submits a job whose key is ``JOB``.
"""

from __future__ import annotations

import os
import sys

from airflow_agentic.serving.jobs import Lease, NewJob, SqlJobs

OWNER = f"worker:{os.getpid()}"


def say(*words: object) -> None:
    """A line to who started this."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def main(url: str, action: str, job: str) -> None:
    """Act once."""
    store = SqlJobs.open(url)
    lease = Lease(owner=OWNER, seconds=60)
    say("ready")
    sys.stdin.readline()
    if action == "submit":
        new = NewJob(client="app", workflow="inbox", fingerprint="f", mode="sync")
        made = store.submit(new, key=job, lease=lease)
        say(made.created, made.owned, made.job.id)
    elif action == "torn":
        from sqlalchemy import text

        with store._database.write() as connection:
            connection.execute(text("UPDATE agentic_jobs SET state = 'failed'"))
            say("changed")
            sys.stdin.readline()
    else:
        taken = store.claim(job, lease)
        say("nothing" if taken is None else taken.owner_epoch)
        if action == "hold":
            sys.stdin.readline()


if __name__ == "__main__":
    main(*sys.argv[1:])
