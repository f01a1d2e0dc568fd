"""Proves, from the shell, that of several processes that send events at once one wins each transition.

    cargo build --release -p s3db-cli
    python3 dev/proof/machines.py target/release/s3db [--url http://KEY:SECRET@host:port/bucket/prefix]
        [--processes 8] [--entities 200] [--kills 2]

All processes send CONFIRM and CANCEL to the same entities of the machine in examples/order.json, whose entry
action writes a record, while some of them are killed every second. Then:

1. Every accepted answer is one log row, and no row is there twice: rows = sum of the final versions.
2. `machine verify` is clean for every entity.
3. The action's effect is there at least once for each accepted CONFIRM, and never for a refused event.

Without --url a directory is made and removed. With it the database should be an empty one of its own.
Exits 1 if one of them fails.
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
arguments.add_argument("--processes", type=int, default=8)
arguments.add_argument("--entities", type=int, default=200)
arguments.add_argument("--kills", type=int, default=2)
options = arguments.parse_args()
binary = os.path.abspath(options.binary)
machine_file = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../examples/order.json")
folder = tempfile.mkdtemp(prefix="s3db-machines-")
url = options.url or "file:" + os.path.join(folder, "data")
# What a process that was killed left is taken over after the time-out of its action.
config = os.path.join(folder, "s3db.toml")
with open(config, "w") as file:
    file.write('[stateMachine]\nactionTimeout = "3s"\n')


def command(*words):
    return [binary, "--url", url, "--config", config, "--json", *words]


def s3db(*words):
    return subprocess.run(command(*words), capture_output=True, text=True)


def done(*words):
    ended = s3db(*words)
    assert ended.returncode == 0, f"{words}: {ended.stderr}"
    return json.loads(ended.stdout)


def name_of(number):
    return f"o{number:04}"


def send_all(number, victims):
    """Sends both events to every entity; returns what was accepted, how often refused, and killed."""
    chance, accepted, refused, killed = random.Random(number), [], 0, 0
    work = [(entity, event) for entity in range(options.entities) for event in ("CONFIRM", "CANCEL")]
    chance.shuffle(work)
    for entity, event in work:
        sender = subprocess.Popen(command("machine", "send", "order", name_of(entity), event), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        victims[number] = sender.pid
        out, err = sender.communicate()
        victims[number] = 0
        if sender.returncode == 0:
            accepted.append((entity, json.loads(out)))
        elif sender.returncode == 6:
            assert json.loads(err.splitlines()[-1])["error"]["kind"] in ("InvalidEvent", "FinalState"), err
            refused += 1
        elif sender.returncode == -signal.SIGKILL:
            killed += 1
        else:
            raise AssertionError(f"exit {sender.returncode}: {err}")
    return accepted, refused, killed


def kill_some_every_second(victims, over):
    while not over.wait(1):
        killed, deadline = 0, time.time() + 1
        while killed < options.kills and time.time() < deadline and not over.is_set():
            pid = victims[random.randrange(options.processes)]
            if pid:
                try:
                    os.kill(pid, signal.SIGKILL)
                    killed += 1
                except ProcessLookupError:
                    pass


def finish_what_was_left():
    """Sweeps until no action waits any more."""
    for _ in range(30):
        waiting = done("count", "entity_states", "--where", '{"outbox.groups": {"$exists": true, "$ne": null}}')
        if not waiting["count"]:
            return
        time.sleep(2)
        done("machine", "sweep")
    raise AssertionError("actions are left that no sweep finishes")


def prepare():
    for resource, attributes in (("mails", {"to": "string", "text": "string"}), ("inventory", {"quantity": "number"})):
        done("resource", "create", resource, "--attributes", json.dumps(attributes))
    done("machine", "define", machine_file)
    for number in range(options.entities):
        done("machine", "init", "order", name_of(number), json.dumps({"customer": name_of(number)}))


def prove():
    prepare()
    started = time.time()
    manager = multiprocessing.Manager()
    victims, over = manager.dict({number: 0 for number in range(options.processes)}), manager.Event()
    killer = multiprocessing.Process(target=kill_some_every_second, args=(victims, over))
    killer.start()
    with multiprocessing.Pool(options.processes) as pool:
        results = pool.starmap(send_all, [(number, victims) for number in range(options.processes)])
    over.set()
    killer.join()
    seconds = time.time() - started
    finish_what_was_left()
    accepted = [answer for answers, _, _ in results for answer in answers]
    refused, killed = sum(r for _, r, _ in results), sum(k for _, _, k in results)

    rows = done("list", "transitions")
    final = {row["entityId"]: row["version"] for row in done("list", "entity_states")}
    by_version = {(row["entityId"], row["version"]): row for row in rows}
    wrong = [answer for answer in accepted if by_version.get((name_of(answer[0]), answer[1]["version"]), {}).get("transitionId") != answer[1]["transitionId"]]
    twice = len(accepted) - len({(entity, answer["version"]) for entity, answer in accepted})
    # A row whose process was killed before it could write it is still in the entity.
    logged = sum(len(done("machine", "history", "order", entity)) for entity in final)
    first = not wrong and not twice and len(by_version) == len(rows) and logged == sum(final.values())
    first = first and 0 <= logged - len(accepted) <= killed
    print(f"1. {options.processes} processes sent {2 * options.entities * options.processes} events in {seconds:.0f} s, {killed} were killed: {len(accepted)} accepted answers, {refused} refused, {twice} twice; {logged} transitions in the histories, {sum(final.values())} by the final versions, {len(wrong)} answers that no row has")

    report = done("machine", "verify", "order")
    second = report["valid"] and report["checked"] == options.entities
    print(f"2. machine verify: {report['checked']} entities, {report['rows']} log rows, {len(report['drifted'])} with drift")

    confirmed = {entity for entity in final if any(row["to"] == "confirmed" for row in done("machine", "history", "order", entity))}
    mailed = {mail["to"] for mail in done("list", "mails")}
    third = confirmed == mailed
    print(f"3. {len(confirmed)} accepted CONFIRM: {len(confirmed - mailed)} without their action's effect, {len(mailed - confirmed)} effects of refused ones")
    return first and second and third and killed > 0


holds = prove()
shutil.rmtree(folder, ignore_errors=True)
print("all proofs hold" if holds else "A PROOF FAILED")
sys.exit(not holds)
