"""Proves, from the shell, what one directory or one bucket promises to several processes.

    cargo build --release -p s3db-cli
    python3 dev/proof/prove.py target/release/s3db [--url http://KEY:SECRET@host:port/bucket/prefix]
        [--processes 16] [--ids 1000] [--increments 100] [--seconds 20] [--kills 2]

1. All processes insert the same ids: exactly one insert of each succeeds.
2. All processes raise one counter by `update --expected-rev`: no increment is lost.
3. All processes write records and move them between partitions while some of them are killed every
   second: every acknowledged record is there, and is listed by each of its partitions.

Without --url a directory is made and removed. With it three resources are left in that database.

Prints a line per proof and exits 1 if one fails. Not part of CI, where smaller versions run
(crates/s3db-cli/tests/processes.rs).
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

arguments = argparse.ArgumentParser()
arguments.add_argument("binary")
arguments.add_argument("--url")
arguments.add_argument("--kills", type=int, default=2)
arguments.add_argument("--processes", type=int, default=16)
arguments.add_argument("--ids", type=int, default=1000)
arguments.add_argument("--increments", type=int, default=100)
arguments.add_argument("--seconds", type=int, default=20)
options = arguments.parse_args()
binary = os.path.abspath(options.binary)
folder = None if options.url else tempfile.mkdtemp(prefix="s3db-proof-")
url = options.url or "file:" + folder
run = f"{int(time.time()):x}"


def s3db(*words, stdin=None):
    return subprocess.run([binary, "--url", url, "--json", *words], input=stdin, capture_output=True, text=True)


def rows(resource, *words):
    done = s3db("list", resource, *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def together(work, *more):
    with multiprocessing.Pool(options.processes) as pool:
        return pool.starmap(work, [(number, *more) for number in range(options.processes)])


def insert_all(number, resource):
    lines = "".join(json.dumps({"id": f"r{i:05}", "n": i, "group": f"g{number}", "shelf": i % 7}) + "\n" for i in range(options.ids))
    done = s3db("import", resource, "-", stdin=lines)
    report = json.loads(done.stdout)
    kinds = {failure["error"]["kind"] for failure in report["failed"]}
    assert kinds <= {"AlreadyExists"}, kinds
    return report["inserted"]


def raise_counter(_, resource):
    conflicts = 0
    for _ in range(options.increments):
        while True:
            row = json.loads(s3db("get", resource, "counter", "--meta").stdout)
            done = s3db("update", resource, "counter", json.dumps({"n": row["n"] + 1}), "--expected-rev", row["_meta"]["rev"])
            if done.returncode == 0:
                break
            assert done.returncode == 4, done.stderr
            conflicts += 1
    return conflicts


def write_and_move(number, resource, until, victims):
    """Writes records of its own; what was acknowledged is known, what was killed is open."""
    chance, known, killed = random.Random(number), {}, 0
    while time.time() < until:
        record = {"id": f"w{number}-{chance.randrange(40)}", "n": chance.randrange(1000), "group": chance.choice("abc"), "shelf": chance.randrange(3)}
        writer = subprocess.Popen([binary, "--url", url, "--json", "upsert", resource, json.dumps(record)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        victims[number] = writer.pid
        writer.communicate()
        victims[number] = 0
        if writer.returncode == 0:
            known[record["id"]] = record
        elif writer.returncode == -signal.SIGKILL:
            known.pop(record["id"], None)
            killed += 1
        else:
            raise AssertionError(f"exit {writer.returncode}")
    return known, killed


def kill_some_every_second(until, victims):
    while time.time() < until:
        time.sleep(1)
        deadline, killed = time.time() + 1, 0
        while time.time() < deadline and killed < options.kills:
            pid = victims[random.randrange(options.processes)]
            if pid:
                try:
                    os.kill(pid, signal.SIGKILL)
                    killed += 1
                except ProcessLookupError:
                    pass


def fresh(what):
    resource = f"{what}-{run}"
    done = s3db("resource", "create", resource, "--attributes", '{"n": "integer", "group": "string|optional", "shelf": "number|optional"}', "--partition", "byGroup=group", "--partition", "byShelf=shelf:number")
    assert done.returncode == 0, done.stderr
    return resource


def prove_inserts():
    resource = fresh("inserts")
    started = time.time()
    inserted = together(insert_all, resource)
    stored = rows(resource)
    print(f"1. {options.processes} processes inserted the same {options.ids} ids: {sum(inserted)} inserts succeeded, {len(stored)} records are there ({time.time() - started:.0f} s)")
    return sum(inserted) == options.ids == len(stored)


def prove_counter():
    resource = fresh("counter")
    s3db("insert", resource, '{"id": "counter", "n": 0}')
    started = time.time()
    conflicts = together(raise_counter, resource)
    value = json.loads(s3db("get", resource, "counter").stdout)["n"]
    print(f"2. {options.processes} processes raised one counter {options.increments} times each: it is at {value}, {sum(conflicts)} attempts lost and were told so ({time.time() - started:.0f} s)")
    return value == options.processes * options.increments


def prove_kills():
    resource = fresh("kills")
    manager = multiprocessing.Manager()
    victims = manager.dict({number: 0 for number in range(options.processes)})
    until = time.time() + options.seconds
    killer = multiprocessing.Process(target=kill_some_every_second, args=(until, victims))
    killer.start()
    written = together(write_and_move, resource, until, victims)
    killer.join()
    known = {id: record for part, _ in written for id, record in part.items()}
    killed = sum(count for _, count in written)
    stored = {row["id"]: row for row in rows(resource)}
    lost = [id for id, record in known.items() if stored.get(id) != record]
    listed = {"byGroup": {}, "byShelf": {}}
    for group in "abc":
        for row in rows(resource, "--partition", "byGroup", "--values", json.dumps({"group": group})):
            listed["byGroup"][row["id"]] = row
    for shelf in range(3):
        for row in rows(resource, "--partition", "byShelf", "--values", json.dumps({"shelf": shelf})):
            listed["byShelf"][row["id"]] = row
    wrong = [name for name, found in listed.items() if found != stored]
    print(f"3. {killed} writers were killed: {len(known)} acknowledged records, {len(lost)} lost; {len(stored)} records, partitions that list others: {wrong or 'none'}")
    return not lost and not wrong and killed > 0


results = [prove_inserts(), prove_counter(), prove_kills()]
if folder:
    shutil.rmtree(folder, ignore_errors=True)
print("all proofs hold" if all(results) else "A PROOF FAILED")
sys.exit(not all(results))
