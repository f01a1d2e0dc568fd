"""Proves, from the shell, that each planned instant runs once, however many processes are up and however they die.

    cargo build --release -p s3db-cli
    python3 dev/proof/jobs.py target/release/s3db [--url http://KEY:SECRET@host:port/bucket/prefix]
        [--seconds 300] [--every 20]

Two `s3db run` work on one database. One of them is killed with SIGKILL every 20 seconds and begun again. The jobs append
the id of their run to a file when they begin, which counts real starts. Then, read from the stored objects by signed
requests of its own, or from the SQLite file, with nothing of ours:

1. Each planned instant of each job has one history object, and none is missing between the first and the last.
2. Each of them began exactly once.
3. Each ended as `success`, or as `interrupted` where its process was killed; there are no other ends.
4. Both processes end with exit code 0 after SIGTERM, and the counts of `s3db job stats` are those of the objects.

Without --url a directory is made and removed. Exits 1 if one of them fails.
"""

import argparse
import collections
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

from bucket import Server

arguments = argparse.ArgumentParser()
arguments.add_argument("binary")
arguments.add_argument("--url")
arguments.add_argument("--seconds", type=int, default=300)
arguments.add_argument("--every", type=float, default=20)
options = arguments.parse_args()
binary = os.path.abspath(options.binary)
folder = tempfile.mkdtemp(prefix="s3db-jobs-")
url = options.url or "file:" + os.path.join(folder, "data")
starts = os.path.join(folder, "starts")
SCHEDULES = {"five": (5, "*/5 * * * * *"), "two": (2, "*/2 * * * * *"), "ten": (10, "*/10 * * * * *")}


def write_config():
    lines = ["allowExec = true"]
    for name, (_, schedule) in SCHEDULES.items():
        # Long enough that some are hit by a kill.
        command = f"echo \"$S3DB_TOKEN\" >> '{starts}'; sleep 0.4"
        lines += [f"[jobs.{name}]", f'schedule = "{schedule}"', "retries = 0", f'action = {{ kind = "exec", command = ["sh", "-c", {json.dumps(command)}] }}']
    with open(os.path.join(folder, "s3db.toml"), "w") as file:
        file.write("\n".join(lines))


def s3db(*words):
    return [binary, "--url", url, "--config", os.path.join(folder, "s3db.toml"), "--json", *words]


def begin(name):
    log = open(os.path.join(folder, f"{name}.log"), "a")
    return subprocess.Popen(s3db("run"), stdout=log, stderr=log)


def kill_and_begin_again():
    """Two processes for a while; returns them and how many were killed."""
    steady, victim, killed = begin("steady"), begin("victim"), 0
    over = time.time() + options.seconds
    while time.time() < over:
        time.sleep(options.every + random.random())
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        killed += 1
        victim = begin("victim")
        assert steady.poll() is None, open(os.path.join(folder, "steady.log")).read()[-2000:]
    # What the last one killed left is ended 30 s after it was last heard of, and what waited behind it runs.
    time.sleep(50)
    return [steady, victim], killed


def status_field(catalog):
    entry = catalog["resources"]["job_history"]
    version = entry["versions"][entry["currentVersion"]]
    return str(list(version["attributes"]).index("status"))


def objects_of_server():
    server = Server(url)
    base = f"{server.prefix}/"
    field = status_field(json.loads(server.request("GET", f"{base}s3db.json")))
    prefix = f"{base}resource=job_history/data/id="
    found = {}
    for key in server.keys(prefix):
        headers = server.head(key)
        found[key.removeprefix(prefix)] = headers[f"x-amz-meta-{field}"]
    return found


def objects_of_directory():
    connection = sqlite3.connect(f"file:{folder}/data/s3db.sqlite3?mode=ro", uri=True)
    catalog = json.loads(connection.execute("SELECT body FROM objects WHERE key = 's3db.json'").fetchone()[0])
    field, prefix = status_field(catalog), "resource=job_history/data/id="
    rows = connection.execute("SELECT key, headers FROM objects WHERE key LIKE ?", (prefix + "%",)).fetchall()
    return {key.removeprefix(prefix): json.loads(headers)[field] for key, headers in rows}


def prove():
    write_config()
    processes, killed = kill_and_begin_again()
    for process in processes:
        process.terminate()
    codes = [process.wait(60) for process in processes]
    found = objects_of_server() if options.url else objects_of_directory()
    begun = collections.Counter(open(starts).read().split())
    holds = True
    for name, (seconds, _) in SCHEDULES.items():
        rows = {int(id.removeprefix(name + "_")): status for id, status in found.items() if id.startswith(name + "_")}
        planned = list(range(min(rows), max(rows) + 1, seconds * 1000))
        missing = [ms for ms in planned if ms not in rows]
        beside = [ms for ms in rows if ms % (seconds * 1000)]
        counts = collections.Counter(begun[f"{name}_{ms}"] for ms in planned)
        ends = collections.Counter(rows.values())
        stats = json.loads(subprocess.run(s3db("job", "stats", name), capture_output=True, text=True, check=True).stdout)
        same = stats["total"] == len(rows) and stats["ok"] == ends["success"]
        right = not missing and not beside and set(counts) == {1} and set(ends) <= {"success", "interrupted"} and same
        holds = holds and right and len(planned) * seconds >= options.seconds
        print(f"{name}: {len(planned)} planned instants, {len(rows)} history objects, {len(missing)} missing; started once {counts[1]}, never {counts[0]}, more than once {sum(n for times, n in counts.items() if times > 1)}; ends {dict(ends)}; counts {'agree' if same else 'DISAGREE: ' + json.dumps(stats)}")
    print(f"{killed} processes killed; exit codes after SIGTERM: {codes}")
    return holds and killed > 0 and codes == [0, 0]


holds = prove()
if holds:
    shutil.rmtree(folder, ignore_errors=True)
print("all proofs hold" if holds else f"A PROOF FAILED; see {folder}")
sys.exit(not holds)
