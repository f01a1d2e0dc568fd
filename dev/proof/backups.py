"""Proves, from the shell and with a reader of its own, what backups promise.

    cargo build --release -p s3db-cli
    python3 dev/proof/backups.py target/release/s3db [--url http://KEY:SECRET@host:port/bucket/prefix]
        [--records 10000] [--rounds 20] [--restore-kills 10] [--seed N]

1. A full backup and an incremental one of ten changes, which stores at most 20 lines; the database and its
   configuration are deleted, and what is restored from the destination and the key alone is byte-equal.
2. Files are opened without the program under proof (`age`, gzip, `zstd`, `brotli`): every size and digest is
   recomputed, lines of segments and index are compared, the chain is merged and equals the database.
3. Backups are killed while another process writes: what is listed as complete is whole, and the next one succeeds.
4. Restores are killed and run again until they end: the copy is byte-equal.
5. Every file of a chain is damaged in turn: `verify` and `restore` notice it, and nothing is written.
6. Nothing of an encrypted backup, its file names or the log shows what is in it, nor a key.
7. Of two backups at once one is made, and the other is told so.

With --url part 1 runs on that server, under that prefix and the prefix with `-backups` behind it; both have to be
empty, and are emptied at the end. The rest runs in directories, which are removed.

Without `age` in the path the backups of parts 1 to 3 are not encrypted. Prints a line per proof and exits 1 if one
fails. Not part of CI, where smaller versions run. A round of part 3 may wait half a minute for the lease of the dead.
"""

import argparse
import base64
import gzip
import hashlib
import json
import multiprocessing
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
arguments.add_argument("--records", type=int, default=10000)
arguments.add_argument("--rounds", type=int, default=20)
arguments.add_argument("--restore-kills", type=int, default=10)
arguments.add_argument("--seed", type=int, default=None)
options = arguments.parse_args()
binary = os.path.abspath(options.binary)
seed = options.seed if options.seed is not None else random.randrange(1 << 30)
chance = random.Random(seed)
root = tempfile.mkdtemp(prefix="s3db-backups-")
has = {program: shutil.which(program) is not None for program in ("age", "zstd", "brotli")}
passphrase = "the passphrase of the database"
problems = []


def check(good, text):
    text = " ".join(text.split())[:600]
    if not good:
        problems.append(text)
        print(f"   WRONG: {text}", flush=True)
    return good


def say(text):
    print(text, flush=True)


# Keys -------------------------------------------------------------------------------------------------------------

BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def bech32(kind, data):
    """The text of a key: BIP 173."""
    bits, count, words = 0, 0, []
    for byte in data:
        bits, count = bits << 8 | byte, count + 8
        while count >= 5:
            count -= 5
            words.append(bits >> count & 31)
    if count:
        words.append(bits << (5 - count) & 31)
    check_sum = 1
    for word in [ord(c) >> 5 for c in kind] + [0] + [ord(c) & 31 for c in kind] + words + [0] * 6:
        top = check_sum >> 25
        check_sum = (check_sum & 0x1FFFFFF) << 5 ^ word
        for bit, term in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check_sum ^= term if top >> bit & 1 else 0
    check_sum ^= 1
    return kind + "1" + "".join(BECH32[word] for word in words + [check_sum >> 5 * (5 - n) & 31 for n in range(6)])


def public_key(secret):
    """X25519 of the base point: RFC 7748."""
    p = 2**255 - 19
    k = int.from_bytes(secret, "little") & ~7 & ~(1 << 255) | 1 << 254
    x2, z2, x3, z3, swap = 1, 0, 9, 1, 0
    for t in reversed(range(255)):
        bit = k >> t & 1
        if swap ^ bit:
            x2, z2, x3, z3 = x3, z3, x2, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        da, cb, aa, bb = d * a % p, c * b % p, a * a % p, b * b % p
        e = aa - bb
        x3, z3, x2, z2 = (da + cb) ** 2 % p, 9 * (da - cb) ** 2 % p, aa * bb % p, e * (aa + 121665 * e) % p
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, p - 2, p) % p).to_bytes(32, "little")


def make_key(path):
    """Writes a secret key and returns the public one; by age-keygen where there is one."""
    if shutil.which("age-keygen"):
        subprocess.run(["age-keygen", "-o", path], check=True, capture_output=True)
        return subprocess.run(["age-keygen", "-y", path], check=True, capture_output=True, text=True).stdout.strip()
    secret = os.urandom(32)
    with open(path, "w") as file:
        file.write(bech32("age-secret-key-", secret).upper() + "\n")
    return bech32("age", public_key(secret))


# A database in a folder of its own ---------------------------------------------------------------------------------


class Bench:
    def __init__(self, name, url="file:./data"):
        self.folder, self.url = os.path.join(root, name), url
        os.makedirs(self.folder)
        self.backups = os.path.join(self.folder, "backups")
        self.key = os.path.join(root, f"{name}.key")
        self.public = make_key(self.key)

    def configure(self, encrypted=True, secret_file=None, more_destinations="", **settings):
        lines = [f"url = {json.dumps(self.url)}", "[backup]"]
        lines += [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
        if encrypted:
            lines += ["[backup.encryption]", f'recipients = ["{self.public}"]', f'identityFiles = ["{self.key}"]']
            lines += [f'passphraseFile = "{secret_file}"'] if secret_file else []
        lines += ["[[backup.destinations]]", 'type = "filesystem"', 'path = "./backups/{date}/"', more_destinations]
        with open(os.path.join(self.folder, "s3db.toml"), "w") as file:
            file.write("\n".join(lines) + "\n")

    def start(self, *words, folder=None, **more):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("S3DB_")}
        environment |= {"S3DB_PASSPHRASE": passphrase}
        return subprocess.Popen([binary, *words], cwd=folder or self.folder, env=environment, stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)

    def s3db(self, *words, stdin=None, folder=None):
        process = self.start("--json", *words, folder=folder)
        out, err = process.communicate(stdin)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def done(self, *words, stdin=None, folder=None):
        ended = self.s3db(*words, stdin=stdin, folder=folder)
        assert ended.returncode == 0, f"{words}: exit {ended.returncode}: {ended.stderr}"
        return json.loads(ended.stdout) if ended.stdout.strip() else None

    def create(self, kind="full"):
        return self.done("backup", "create", "--type", kind)

    def fill(self, resource, records, first=0):
        attributes = {"name": "string", "n": "number", "token": "secret|optional", "group": "string|optional"}
        self.done("resource", "create", resource, "--attributes", json.dumps(attributes), "--behavior", "body-overflow", "--partition", "byGroup=group")
        self.more(resource, first, records)

    def more(self, resource, first, count):
        lines = "".join(json.dumps(record(number)) + "\n" for number in range(first, first + count))
        report = self.done("import", resource, "-", stdin=lines)
        assert report["inserted"] == count, report

    def path_of(self, id):
        return path_of(self.backups, id)


def record(number):
    # Some have no ASCII, some overflow into the body.
    text = "é☃\u2028 \\\"" if number % 97 == 0 else "x" * (number % 150)
    text += "long " * 800 if number % 499 == 0 else ""
    return {"id": f"r{number:06}", "name": f"name {number} {text}".strip(), "n": number, "token": f"token {number}", "group": f"g{number % 7}"}


def path_of(folder, id):
    found = [path for path, _, _ in os.walk(folder) if os.path.basename(path) == id]
    assert len(found) == 1, f"{id} is at {found}"
    return found[0]


def files_under(folder):
    return sorted(os.path.join(path, name) for path, _, names in os.walk(folder) for name in names)


def is_left_out(key):
    return key.startswith(("s3db/tmp/", "cache/", "resource=backup_metadata/"))


def dump(data):
    """Every object of a directory: content type, headers and body by key."""
    connection = sqlite3.connect(f"file:{data}/s3db.sqlite3?mode=ro", uri=True)
    objects = {}
    for key, size, kind, headers, file, body in connection.execute("SELECT key, size, content_type, headers, file, body FROM objects"):
        if is_left_out(key):
            continue
        if file is not None:
            with open(os.path.join(data, "bodies", file), "rb") as opened:
                body = opened.read()
        body = body or b""
        assert len(body) == size, f"{key} has {len(body)} bytes instead of {size}"
        objects[key] = (kind, json.loads(headers), body)
    connection.close()
    return objects


def keys_of(data, prefix):
    """How many keys of a directory begin with a prefix; none where there is no store."""
    if not os.path.exists(os.path.join(data, "s3db.sqlite3")):
        return 0
    connection = sqlite3.connect(f"file:{data}/s3db.sqlite3?mode=ro", uri=True)
    tables = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'objects'").fetchone()[0]
    count = connection.execute("SELECT count(*) FROM objects WHERE substr(key, 1, ?) = ?", (len(prefix), prefix)).fetchone()[0] if tables else 0
    connection.close()
    return count


def records_of(objects):
    return {key: value for key, value in objects.items() if key.startswith("resource=")}


def differences(one, other):
    """Keys that are not the same, a few of them by name."""
    wrong = sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
    return f"{len(wrong)} objects differ: {', '.join(wrong[:5])}" if wrong else ""


# The reader --------------------------------------------------------------------------------------------------------


def unseal(text):
    """A document whose last member is the digest of the text before it."""
    before, digest = text.removesuffix("\n").rsplit('"sha256":"', 1)
    before = before.removesuffix(",") + "}"
    assert digest == hashlib.sha256(before.encode()).hexdigest() + '"}', "a seal does not fit"
    return json.loads(before)


def head_text(kind, headers):
    # Sorted by bytes, as UTF-8 sorts like code points.
    return json.dumps({"contentType": kind, "headers": dict(sorted(headers.items()))}, ensure_ascii=False, separators=(",", ":")).encode()


def piped(words, bytes):
    return subprocess.run(words, input=bytes, check=True, capture_output=True).stdout


UNPACK = {
    "gzip": gzip.decompress,
    "none": lambda packed: packed,
    "zstd": lambda packed: piped(["zstd", "-dc"], packed),
    "brotli": lambda packed: piped(["brotli", "-dc"], packed),
}


class Backup:
    """One backup in a folder, read and checked completely."""

    def __init__(self, folder, key):
        self.folder, self.files, self.recomputed, self.segments, self.index = folder, 0, 0, {}, {}
        self.manifest = unseal(self.read("manifest.json").decode())
        assert (self.manifest["format"], self.manifest["version"]) == ("s3db-backup", 1)
        assert self.manifest["id"] == os.path.basename(folder) and self.manifest["status"] == "completed"
        assert os.path.getsize(os.path.join(folder, "manifest.json")) < 1 << 20
        self.identity = self.open_key(key) if "encryption" in self.manifest else None
        self.entries = []
        for entry in self.manifest["files"]:
            stored = self.stored(entry)
            listed = [json.loads(line) for line in stored.decode().splitlines()] if entry["kind"] == "files" else [entry]
            self.entries += listed
        self.by_path = {entry["path"]: entry for entry in self.entries}
        assert len(self.by_path) == len(self.entries), "a file is listed twice"
        assert sum(entry["size"] for entry in self.entries) == self.manifest["size"], "the sizes do not add up"
        self.read_lines()
        contents = [entry for entry in self.entries if entry["kind"] == "contents"]
        assert len(contents) == 1 and json.loads(self.plain(contents[0])) is not None
        notes = ("manifest.json", "verified.json", "pinned.json", "begun.json")
        there = {os.path.relpath(path, folder) for path in files_under(folder)}
        self.strays = sorted(path for path in there - set(self.by_path) if path not in notes and not path.startswith(("keys/", "files/")))

    def read(self, path):
        with open(os.path.join(self.folder, path), "rb") as file:
            return file.read()

    def open_key(self, key):
        listed = unseal(self.read("keys/keys.json").decode())["files"]
        opened = None
        for entry in listed:
            stored = self.read(entry["path"])
            assert (len(stored), hashlib.sha256(stored).hexdigest()) == (entry["size"], entry["sha256"]), entry["path"]
            if entry["kind"] == "recipients":
                opened = piped(["age", "-d", "-i", key], stored).decode().strip()
        path = os.path.join(root, f"{self.manifest['id']}.identity")
        with open(path, "w") as file:
            file.write(opened + "\n")
        self.secret = opened
        return path

    def stored(self, entry):
        stored = self.read(entry["path"])
        assert len(stored) == entry["size"], f"{entry['path']} has another size"
        assert hashlib.sha256(stored).hexdigest() == entry["sha256"], f"{entry['path']} has another digest"
        self.files += 1
        return stored

    def plain(self, entry):
        stored = self.stored(entry)
        if self.identity:
            stored = piped(["age", "-d", "-i", self.identity], stored)
        plain = UNPACK[self.manifest["compression"]](stored)
        assert len(plain) == entry["bytes"], f"{entry['path']} has {len(plain)} bytes when unpacked"
        return plain

    def lines(self, kind):
        last = ""
        for entry in self.entries:
            if entry["kind"] != kind:
                continue
            lines = self.plain(entry).decode().split("\n")
            assert lines.pop() == "" and len(lines) == entry["lines"], f"{entry['path']} has another number of lines"
            for line in map(json.loads, lines):
                assert last < line["key"], f"{line['key']} is out of order"
                last = line["key"]
                yield entry["number"], line

    def read_lines(self):
        stored = deleted = bytes = 0
        for number, line in self.lines("segment"):
            if line.get("deleted"):
                assert line.keys() <= {"key", "deleted", "size", "modified"}, line["key"]
                self.segments[line["key"]] = (number, line, None)
                deleted += 1
                continue
            if line.get("files"):
                body = b"".join(self.plain(self.by_path[path]) for path in line["files"])
            elif "base64" in line:
                body = base64.b64decode(line["base64"])
            else:
                body = line.get("body", "").encode()
            kind, headers = line.get("contentType"), line.get("headers", {})
            assert len(body) == line["size"], f"{line['key']} has another size"
            found = hashlib.sha256(head_text(kind, headers) + b"\n" + body).hexdigest()
            assert found == line["sha256"], f"{line['key']} has another digest"
            self.recomputed += 1
            self.segments[line["key"]] = (number, line, (kind, headers, body))
            stored += 1
            bytes += len(body) + sum(len(name.encode()) + len(value.encode()) for name, value in headers.items())
        for _, line in self.lines("index"):
            number, full, value = self.segments[line["key"]]
            wanted = {name: full[name] for name in ("key", "deleted", "etag", "size", "modified", "sha256") if name in full}
            if "-" in full.get("etag", ""):
                wanted["head"] = hashlib.sha256(head_text(value[0], value[1])).hexdigest()
            assert line == wanted | {"segment": number}, f"{line['key']} differs between segment and index"
            self.index[line["key"]] = line
        assert self.index.keys() == self.segments.keys(), "the index has other keys than the segments"
        counts = self.manifest["counts"]
        assert (counts["stored"], counts["deleted"]) == (stored, deleted), f"{counts} but {stored} stored, {deleted} deleted"
        assert counts["bytes"] == bytes, f"{counts} but {bytes} bytes"


def read_chain(folder, id, key):
    """A backup and its parents, the oldest first, and the objects that they hold together."""
    chain, wanted = [], id
    while wanted:
        chain.insert(0, Backup(path_of(folder, wanted), key))
        wanted = chain[0].manifest.get("parent")
    objects = {}
    for backup in chain:
        for key, (_, line, value) in backup.segments.items():
            if line.get("deleted"):
                assert objects.pop(key, None) is not None, f"{key} is deleted and was not there"
            else:
                objects[key] = value
        assert backup.manifest["counts"]["objects"] == len(objects), f"{backup.manifest['id']} counts other objects"
        assert backup.manifest["source"] == chain[0].manifest["source"]
    for backup in chain:
        check(not backup.strays, f"{backup.manifest['id']} has files that its manifest does not list: {backup.strays}")
    return chain, objects


def prove_files(what, folder, id, key, expected):
    """The reader's line about a chain; `expected` are the objects of the database, or a test of those that were read."""
    try:
        chain, objects = read_chain(folder, id, key)
    except (AssertionError, KeyError, OSError, ValueError, subprocess.CalledProcessError) as error:
        check(False, f"{what}: the reader says {type(error).__name__}: {error}")
        return None
    recomputed = sum(backup.recomputed for backup in chain)
    lines = sum(value is not None for backup in chain for _, _, value in backup.segments.values())
    wrong = expected(objects) if callable(expected) else differences(objects, expected)
    check(not wrong, f"{what}: merged, {wrong}")
    files = sum(backup.files for backup in chain)
    say(f"   {what}: {len(chain)} backups, {files} files checked, digests recomputed: {recomputed} of {lines}, merged {len(objects)} objects, {'equal' if not wrong else 'NOT equal'}")
    return chain


# 1 and 2 ------------------------------------------------------------------------------------------------------------


def change_ten(bench):
    for number in range(3, 11):
        bench.done("update", "users", f"r{number:06}", json.dumps({"n": -number}))
    bench.done("delete", "users", "r000011")
    bench.done("insert", "users", json.dumps(record(options.records)))


def count_stored_lines(chain):
    segment, index = len(chain[-1].segments), len(chain[-1].index)
    say(f"   the incremental backup of 10 changes stores {segment} lines in segments and {index} in the index, {segment + index} together")
    check(segment <= 20, f"{segment} lines in segments are more than 20: {sorted(chain[-1].segments)}")
    check(segment + index <= 20, f"{segment + index} lines in segments and index are more than 20: {sorted(chain[-1].segments)}")


def prove_directory():
    bench, started = Bench("directory"), time.time()
    bench.configure(encrypted=has["age"])
    bench.fill("users", options.records)
    full = bench.create()
    check(full["counts"]["objects"] >= options.records, f"the full backup counts {full['counts']}")
    prove_files("full", bench.backups, full["id"], bench.key, dump(os.path.join(bench.folder, "data")))
    change_ten(bench)
    incremental = bench.create("incremental")
    check(incremental.get("parent") == full["id"], f"the incremental backup has no parent: {incremental.get('reason')}")
    before = dump(os.path.join(bench.folder, "data"))
    group = bench.done("list", "users", "--partition", "byGroup", "--values", '{"group": "g3"}', "--fields", "id,name,n")
    chain = prove_files("incremental", bench.backups, incremental["id"], bench.key, before)
    if chain:
        count_stored_lines(chain)
    # Nothing is left but the destination and the key.
    shutil.rmtree(os.path.join(bench.folder, "data"))
    os.remove(os.path.join(bench.folder, "s3db.toml"))
    empty = os.path.join(root, "empty")
    os.makedirs(empty)
    identity = ("--identity", bench.key) if has["age"] else ()
    listed = {row["id"] for row in bench.done("backup", "list", "--from", bench.backups, folder=empty)}
    check(listed == {full["id"], incremental["id"]}, f"without the database {listed} are listed")
    check(not os.listdir(empty), f"listing left {os.listdir(empty)} in an empty directory")
    if has["age"]:
        other = os.path.join(root, "other.key")
        make_key(other)
        for words in ((), ("--identity", other)):
            refused = bench.s3db("--url", "file:./data", "backup", "restore", incremental["id"], "--from", bench.backups, *words, folder=empty)
            check(refused.returncode == 8, f"restore {'by a wrong key' if words else 'without a key'} exits {refused.returncode}")
            check(keys_of(os.path.join(empty, "data"), "") == 0, "restore without the right key wrote something")
    report = bench.done("--url", "file:./data", "backup", "restore", incremental["id"], "--from", bench.backups, *identity, folder=empty)
    after = dump(os.path.join(empty, "data"))
    wrong = differences(before, after)
    check(not wrong, f"restored, {wrong}")
    check(report["resources"].get("users") == options.records, f"the restore counts {report['resources']}")
    again = bench.done("--url", "file:./data", "list", "users", "--partition", "byGroup", "--values", '{"group": "g3"}', "--fields", "id,name,n", folder=empty)
    check(sorted(map(str, group)) == sorted(map(str, again)), "a partition lists other records than before")
    secret = bench.done("--url", "file:./data", "get", "users", "r000020", folder=empty)
    check(secret == record(20), f"a restored record reads {secret}")
    say(f"1. {options.records} records, {'encrypted' if has['age'] else 'NOT encrypted (no age)'}: deleted, restored from the destination and the key alone: {len(after)} objects, {'byte-equal' if not wrong else 'NOT equal'} ({time.time() - started:.0f} s)")


def prove_server():
    server, started = Server(options.url), time.time()
    beside = server.prefix + "-backups"
    assert not server.keys(server.prefix + "/") and not server.keys(beside + "/"), "the prefixes are not empty"
    bench = Bench("server", options.url)
    destination = "\n".join(["[[backup.destinations]]", 'type = "s3"', f'bucket = "{server.bucket}"', f'path = "{beside}/{{date}}/"', f'endpoint = "{server.endpoint}"',
                             f'credentials = {{ accessKeyId = "{server.access}", secretAccessKey = "{server.secret}" }}'])
    bench.configure(encrypted=has["age"], more_destinations=destination)
    try:
        bench.fill("users", options.records)
        full = bench.create()
        change_ten(bench)
        incremental = bench.create("incremental")
        check(incremental.get("parent") == full["id"], f"the incremental backup has no parent: {incremental.get('reason')}")
        for report in (full, incremental):
            places = [(place["type"], place["status"]) for place in report["destinations"]]
            check(places == [("filesystem", "completed"), ("s3", "completed")], f"{report['id']}: {places}")

        def export(folder):
            ended = bench.s3db("--url", options.url, "export", "users", "--with-secrets", folder=folder)
            assert ended.returncode == 0, ended.stderr
            return sorted(ended.stdout.removesuffix("\n").split("\n"))

        before = export(bench.folder)
        keys = {key.removeprefix(server.prefix + "/") for key in server.keys(server.prefix + "/")}
        keys = {key for key in keys if not is_left_out(key)}

        def same(objects):
            return "" if objects.keys() == keys else f"{len(objects.keys() ^ keys)} keys differ from those of the bucket"

        mirror = os.path.join(bench.folder, "mirror")
        server.download(beside + "/", mirror)
        for what, folder in (("filesystem", bench.backups), ("s3", mirror)):
            chain = prove_files(f"incremental at {what}", folder, incremental["id"], bench.key, same)
            if chain:
                count_stored_lines(chain)
        empty = os.path.join(root, "empty-server")
        os.makedirs(empty)
        os.remove(os.path.join(bench.folder, "s3db.toml"))
        identity = ("--identity", bench.key) if has["age"] else ()
        at_server = options.url.rstrip("/").removesuffix(server.prefix) + beside
        for what, place in (("filesystem", bench.backups), ("s3", at_server)):
            server.empty(server.prefix + "/")
            bench.done("--url", options.url, "backup", "restore", incremental["id"], "--from", place, *identity, folder=empty)
            after = export(empty)
            check(before == after, f"restored from {what}: {len(set(before) ^ set(after))} lines of the export differ")
            there = {key.removeprefix(server.prefix + "/") for key in server.keys(server.prefix + "/")}
            there = {key for key in there if not is_left_out(key)}
            check(there == keys, f"restored from {what}: {len(there ^ keys)} keys differ: {sorted(there ^ keys)[:5]}")
            say(f"1. {options.records} records on the server: deleted, restored from {what}: {len(after)} records exported, {'equal' if before == after else 'NOT equal'} ({time.time() - started:.0f} s)")
    finally:
        server.empty(server.prefix + "/")
        server.empty(beside + "/")


def prove_compressions():
    proven = []
    for compression in ("gzip", "none", "zstd", "brotli"):
        if not has.get(compression, True):
            continue
        bench = Bench(f"packed-{compression}")
        bench.configure(encrypted=has["age"], compression=compression)
        bench.fill("users", 600)
        bench.done("insert", "users", "-", stdin=json.dumps(record(600) | {"name": "large " * 1_800_000}))
        bench.create()
        bench.more("users", 601, 50)
        bench.done("delete", "users", "r000001", "r000002")
        bench.create("differential")
        bench.done("upsert", "users", json.dumps({"id": "r000601", "n": 0}))
        bench.more("users", 651, 5)
        tip = bench.create("incremental")
        if prove_files(f"{compression}, chain", bench.backups, tip["id"], bench.key, dump(os.path.join(bench.folder, "data"))):
            proven.append(compression)
    say(f"2. read without the program: {', '.join(proven)}{' inside age' if has['age'] else ''}")


# 3 ------------------------------------------------------------------------------------------------------------------


def write_always(bench, stop, written, first):
    dice = random.Random(seed + 1)
    while not stop.is_set():
        id = f"r{dice.randrange(first):06}"
        ended = bench.s3db("update", "users", id, json.dumps({"n": dice.randrange(1000)}))
        if ended.returncode == 0:
            written.value += 1
        else:
            written.value = -10**9
            print(f"   WRONG: update exits {ended.returncode}: {ended.stderr}", flush=True)
        if dice.random() < 0.2:
            bench.more("users", first, 20)
            first += 20
            written.value += 20


def create_after(bench, kind):
    """Waits for the lease of a dead process; returns the report, or none, and how long it took."""
    started = time.time()
    while True:
        ended = bench.s3db("backup", "create", "--type", kind)
        waited = time.time() - started
        if ended.returncode == 0:
            return json.loads(ended.stdout), waited
        if ended.returncode != 4 or waited > 60:
            return ended, waited
        time.sleep(0.5)


def look_for_leftovers(bench, complete):
    """Folders of backups that are neither complete nor marks, other things that are left over, and the number of marks."""
    unfinished, strays, marks = [], [], 0
    for path, folders, names in os.walk(bench.backups):
        id = os.path.basename(path)
        if not id.startswith("backup_"):
            continue
        folders.clear()
        files = {os.path.relpath(file, path) for file in files_under(path)}
        try:
            with open(os.path.join(path, "manifest.json")) as file:
                manifest = unseal(file.read())
        except (OSError, AssertionError, ValueError) as error:
            unfinished.append(f"{id} ({error})")
            continue
        if manifest["status"] == "aborted":
            marks += 1
            # Empty folders are no objects, but nobody removes them.
            strays += [f"{id}/{name}/ (empty)" for name in os.listdir(path) if os.path.isdir(os.path.join(path, name))]
            if files != {"manifest.json"}:
                unfinished.append(f"{id} (marked, with {sorted(files)})")
            continue
        check(id in complete, f"{id} is complete at the destination, and not listed")
        known = {entry["path"] for entry in manifest["files"]} | {"manifest.json", "verified.json"}
        strays += [f"{id}/{file}" for file in files - known if not file.startswith("keys/") or file.endswith(".part")]
    return unfinished, strays, marks


def prove_kills():
    bench, started = Bench("kills"), time.time()
    bench.configure(encrypted=has["age"])
    bench.fill("users", 4000)
    duration = {}
    for kind in ("full", "incremental"):
        before = time.time()
        bench.create(kind)
        duration[kind] = time.time() - before
    stop, written = multiprocessing.Event(), multiprocessing.Value("q", 0)
    writer = multiprocessing.Process(target=write_always, args=(bench, stop, written, 4000))
    writer.start()
    verified, leftovers, killed, recovered, ended_first, finished_dead, waits, marks = set(), set(), 0, 0, 0, 0, [], 0

    def verify_new(when):
        listed = {row["id"] for row in bench.done("backup", "list", "--status", "completed")}
        every = bench.done("backup", "list")
        check(listed == {row["id"] for row in every if row["status"] == "completed"}, f"{when}: --status completed lists others than list")
        for id in listed - verified:
            ended = bench.s3db("backup", "verify", id, "--level", "full")
            if check(ended.returncode == 0 and json.loads(ended.stdout)["valid"], f"{when}: {id} is listed as completed, and verify exits {ended.returncode}: {ended.stdout}{ended.stderr}"):
                verified.add(id)
        return listed

    try:
        verify_new("before")
        for number in range(options.rounds):
            kind = ("full", "incremental")[number % 2]
            wrong_before = len(problems)
            while True:
                before = {row["id"] for row in bench.done("backup", "list", "--status", "completed")}
                victim = bench.start("--json", "backup", "create", "--type", kind)
                delay = chance.uniform(0, 1.3 * duration[kind])
                try:
                    _, err = victim.communicate(timeout=delay)
                    # It was quicker: a good backup, and another try.
                    check(victim.returncode == 0, f"create exits {victim.returncode}: {err}")
                    ended_first += 1
                except subprocess.TimeoutExpired:
                    victim.kill()
                    victim.communicate()
                    if victim.returncode == -signal.SIGKILL:
                        break
            killed += 1
            after = verify_new(f"killed after {delay:.3f} s")
            finished_dead += len(after - before)
            report, waited = create_after(bench, ("incremental", "full")[number // 2 % 2])
            waits.append(waited)
            if check(isinstance(report, dict) and report.get("status") == "completed", f"killed after {delay:.3f} s, the next one failed after {waited:.0f} s: {getattr(report, 'returncode', '')} {getattr(report, 'stderr', report)}"):
                complete = verify_new("after the next one")
                check(report["id"] in complete, f"{report['id']} is not listed")
                unfinished, strays, marks = look_for_leftovers(bench, complete)
                check(not unfinished, f"unfinished backups are left: {unfinished}")
                for stray in set(strays) - leftovers:
                    say(f"   note: {stray} is left over")
                leftovers |= set(strays)
                recovered += len(problems) == wrong_before
            say(f"   round {number + 1}: {kind} killed after {delay:.3f} s, the next one was made after {waited:.1f} s as {report['type'] if isinstance(report, dict) else '-'}")
    finally:
        stop.set()
        writer.join()
    check(written.value > 0, "the writer failed")
    report, _ = create_after(bench, "incremental")
    if check(isinstance(report, dict), "no backup can be made at the end"):
        prove_files("after the kills", bench.backups, report["id"], bench.key, dump(os.path.join(bench.folder, "data")))
    for id in verified:
        ended = bench.s3db("backup", "verify", id, "--level", "quick")
        check(ended.returncode == 0, f"in the end verify of {id} exits {ended.returncode}: {ended.stdout}")
    stale = [row["id"] for row in bench.done("backup", "list") if row["status"] == "in_progress"]
    check(not stale, f"in the end {stale} are listed as in progress")
    locks = [path for path in files_under(bench.backups) if "/pins/" in path]
    say(f"   {written.value} writes meanwhile, {ended_first} backups were quicker than the kill, {finished_dead} killed ones were complete, {marks} marks and {len(locks)} locks of the dead are left; {len(verified)} backups verified; the longest wait was {max(waits, default=0):.0f} s")
    check(recovered == options.rounds, f"only {recovered} recovered")
    say(f"3. killed {killed}, recovered {recovered} of {killed} ({time.time() - started:.0f} s)")


# 4 ------------------------------------------------------------------------------------------------------------------


def prove_restore_kills():
    bench, started = Bench("restores"), time.time()
    bench.configure(encrypted=has["age"])
    bench.fill("users", 3000)
    bench.create()
    bench.more("users", 3000, 200)
    tip = bench.create("incremental")["id"]
    expected = records_of(dump(os.path.join(bench.folder, "data")))
    before = time.time()
    bench.done("backup", "restore", tip, "--into", "file:./whole")
    takes = time.time() - before
    kills, tries, partly, ended, targets = 0, 0, 0, 0, 0
    while kills < options.restore_kills:
        # Every target is killed a few times, and then left alone.
        targets += 1
        target, left, is_over = f"copy{targets}", 3, False
        while True:
            restore = bench.start("--json", "backup", "restore", tip, "--into", f"file:./{target}")
            tries += 1
            try:
                _, err = restore.communicate(timeout=chance.uniform(0.1, 1) * takes if left and kills < options.restore_kills else None)
                wanted = 4 if is_over else 0
                check(restore.returncode == wanted, f"restore again exits {restore.returncode} instead of {wanted}: {err}")
                break
            except subprocess.TimeoutExpired:
                restore.kill()
                restore.communicate()
                kills, left = kills + 1, left - 1
                there = keys_of(os.path.join(bench.folder, target), "resource=")
                partly += 0 < there < len(expected)
                # Killed on its way out: the note is gone, everything has to be there, and again is once too often.
                is_over = there > 0 and keys_of(os.path.join(bench.folder, target), "s3db/tmp/restore") == 0
                ended += is_over
        wrong = differences(expected, records_of(dump(os.path.join(bench.folder, target))))
        check(not wrong, f"{target}: {wrong}")
        check(keys_of(os.path.join(bench.folder, target), "s3db/tmp/restore") == 0, f"{target}: the note of the restore is left")
        for group in range(7):
            rows = bench.done("--url", f"file:./{target}", "list", "users", "--partition", "byGroup", "--values", json.dumps({"group": f"g{group}"}), "--fields", "id")
            check(len(rows) == len([n for n in range(3200) if n % 7 == group]), f"{target}: the partition g{group} lists {len(rows)} records")
    say(f"4. restores killed {kills} times ({partly} of them half-way, {ended} after the last write), {tries} tries, {targets} copies of {len(expected)} records, byte-equal ({time.time() - started:.0f} s)")


# 5 ------------------------------------------------------------------------------------------------------------------


def kind_of(path):
    """Files of one kind may be swapped: segments with segments, keys with keys."""
    folder, name = os.path.split(path)
    folder = os.path.basename(folder)
    return name if folder.startswith("backup_") or name == "keys.json" else folder


def prove_damage():
    bench, started = Bench("damage"), time.time()
    bench.configure(encrypted=True)
    bench.fill("users", 300)
    ids = [bench.create()["id"]]
    for number in (300, 310):
        bench.more("users", number, 10)
        ids.append(bench.create("incremental")["id"])
    tip = ids[-1]
    whole = {path: open(path, "rb").read() for path in files_under(bench.backups) if "/backup_" in path}

    def look():
        verify = bench.s3db("backup", "verify", tip, "--level", "full")
        shutil.rmtree(os.path.join(bench.folder, "copy"), ignore_errors=True)
        restore = bench.s3db("backup", "restore", tip, "--into", "file:./copy")
        copy = os.path.join(bench.folder, "copy")
        return verify, restore, keys_of(copy, "resource="), keys_of(copy, "")

    verify, restore, records, _ = look()
    check((verify.returncode, restore.returncode, records) == (0, 0, 320), f"undamaged: verify {verify.returncode}, restore {restore.returncode}, {records} records: {verify.stdout}{restore.stderr}")
    damaged = by_verify = by_restore = wrote = touched = 0
    codes = {}
    for path, stored in whole.items():
        middle = len(stored) // 2
        others = [other for other in whole if other != path and kind_of(other) == kind_of(path) and whole[other] != stored]
        ways = {
            "a bit flipped": {path: stored[:middle] + bytes([stored[middle] ^ 1 << chance.randrange(8)]) + stored[middle + 1:]},
            "the last byte cut": {path: stored[:-1]},
            "removed": {path: None},
        }
        if check(others, f"{path} has no other of its kind"):
            other = chance.choice(others)
            ways[f"swapped with {os.path.relpath(other, bench.backups)}"] = {path: whole[other], other: stored}
        for way, changes in ways.items():
            for changed, now in changes.items():
                os.remove(changed) if now is None else open(changed, "wb").write(now)
            verify, restore, records, objects = look()
            for changed in changes:
                open(changed, "wb").write(whole[changed])
            for note in files_under(bench.backups):
                if note not in whole:
                    os.remove(note)
            what = f"{os.path.relpath(path, bench.backups)}, {way}"
            gone = os.path.basename(path) == "manifest.json"
            damaged += 1
            by_verify += check(verify.returncode == 8 or gone and verify.returncode == 3, f"{what}: verify exits {verify.returncode}: {verify.stdout}{verify.stderr}")
            by_restore += check(restore.returncode != 0, f"{what}: restore exits 0: {restore.stdout}")
            wrote += not check(records == 0, f"{what}: {records} records were written")
            touched += objects > 0
            codes[restore.returncode] = codes.get(restore.returncode, 0) + 1
    verify, restore, records, _ = look()
    check((verify.returncode, restore.returncode, records) == (0, 0, 320), "what was mended is not whole")
    say(f"   {len(whole)} files of {len(ids)} backups; restore exits {codes}; targets with any object at all: {touched}")
    say(f"5. damaged {damaged}, detected by verify {by_verify} of {damaged}, by restore {by_restore} of {damaged}, wrote before detection {wrote} ({time.time() - started:.0f} s)")


# 6 ------------------------------------------------------------------------------------------------------------------


def prove_silence():
    global passphrase
    bench, started = Bench("silence"), time.time()
    # Not compressed: that would hide it already.
    secret_file = os.path.join(root, "silence.pass")
    passphrase, word, marker, resource = "Zimtstern-database-4711", "Zimtstern-backup-4711", "MARKER7f3a9", "hidden-orders"
    with open(secret_file, "w") as file:
        file.write(word + "\n")
    bench.configure(encrypted=True, secret_file=secret_file, compression="none")
    attributes = {"name": "string", "token": "secret", "group": "string"}
    bench.done("resource", "create", resource, "--attributes", json.dumps(attributes), "--behavior", "body-overflow", "--partition", "byHiddenGroup=group")
    lines = "".join(json.dumps({"id": f"{marker}-{n}", "name": f"{marker} {'y' * (n % 3000)}", "token": f"{marker} {n}", "group": f"{marker}-g{n % 3}"}) + "\n" for n in range(500))
    bench.done("import", resource, "-", stdin=lines)
    log = []

    def loud(*words):
        process = bench.start("-vv", "--json", "backup", *words)
        out, err = process.communicate()
        check(process.returncode == 0, f"backup {words} exits {process.returncode}: {err[-500:]}")
        log.append(err)
        return json.loads(out)

    full = loud("create")["id"]
    bench.done("update", resource, f"{marker}-1", json.dumps({"name": f"{marker} again"}))
    bench.done("delete", resource, f"{marker}-2")
    tip = loud("create", "--type", "incremental")["id"]
    loud("list")
    loud("show", tip)
    for level in ("quick", "full", "drill"):
        loud("verify", tip, "--level", level)
    loud("restore", tip, "--into", "file:./copy")
    loud("restore", tip, "--into", "file:./copy", "--mode", "skip", "--dry-run")
    needles = {"the marker": marker, "the resource": resource, "the partition": "byHiddenGroup", "the database's passphrase": passphrase, "the backup's passphrase": word}
    for line in open(bench.key):
        if line.startswith("AGE-SECRET-KEY"):
            needles["the secret key"] = line.strip()
    if has["age"]:
        needles |= {f"the key of {id}": Backup(bench.path_of(id), bench.key).secret for id in (full, tip)}

    def scan(folder):
        scanned, found = 0, []
        for path in files_under(folder):
            data = open(path, "rb").read() + os.path.relpath(path, folder).encode()
            scanned += len(data)
            found += [f"{name} is in {os.path.relpath(path, folder)}" for name, needle in needles.items() if needle.encode() in data]
        return scanned, found

    scanned, found = scan(bench.backups)
    for text in log:
        scanned += len(text.encode())
        for name, needle in needles.items():
            lines = [line for line in text.splitlines() if needle in line]
            found += [f"{name} is in {len(lines)} lines of the log: {lines[0][:200]}"] if lines else []
    for text in found:
        check(False, text)
    # The same without encryption shows that this looks at the right place.
    shutil.move(bench.backups, os.path.join(bench.folder, "encrypted"))
    bench.configure(encrypted=False, compression="none")
    bench.create()
    control = scan(bench.backups)[1]
    check(any("the marker" in text for text in control) and any("the resource" in text for text in control), "the scan finds nothing where it has to")
    say(f"6. bytes scanned {scanned}, of them {sum(len(text.encode()) for text in log)} of the log at -vv, found {len(found)}; without encryption found {len(control)} ({time.time() - started:.0f} s)")


# 7 ------------------------------------------------------------------------------------------------------------------


def prove_one_at_a_time():
    bench, started, told = Bench("together"), time.time(), 0
    rounds, quick, waited = 2, 3, 0

    def both():
        pair = [bench.start("--json", "backup", "create") for _ in range(2)]
        errors = [process.communicate()[1] for process in pair]
        refused = [json.loads(err.splitlines()[-1])["error"]["kind"] for process, err in zip(pair, errors) if process.returncode == 4]
        return sorted(process.returncode for process in pair), refused, " ".join(errors)

    # So slow that the first one renews its lease while the second one looks.
    bench.configure(encrypted=False, compression="none", bandwidth="300kB")
    bench.fill("users", 4000)
    for _ in range(rounds):
        codes, refused, errors = both()
        told += check(codes == [0, 4] and refused == ["Busy"], f"two at once exit {codes}, {refused}: {errors}")
    # A quick one may be over before that: then the second one comes after it.
    bench.configure(encrypted=False, compression="none")
    for _ in range(quick):
        codes, refused, errors = both()
        waited += codes == [0, 0]
        check(codes in ([0, 0], [0, 4]), f"two quick ones at once exit {codes}, {refused}: {errors}")
    made = [row for row in bench.done("backup", "list") if row["status"] == "completed"]
    check(len(made) == rounds + quick + waited, f"{len(made)} backups were made instead of {rounds + quick + waited}")
    sequences = []
    for row in made:
        with open(os.path.join(bench.path_of(row["id"]), "manifest.json")) as file:
            manifest = unseal(file.read())
        sequences.append((manifest["sequence"], manifest["id"]))
        ended = bench.s3db("backup", "verify", row["id"])
        check(ended.returncode == 0, f"{row['id']}: verify exits {ended.returncode}: {ended.stdout}")
    numbers = sorted(number for number, _ in sequences)
    check(numbers == list(range(1, len(made) + 1)), f"the sequence has {numbers}")
    say(f"   of {quick} quick pairs {waited} second ones waited and were made after the first, instead of being told so")
    say(f"7. two backups at once: one made and the other told so {told} of {rounds} ({time.time() - started:.0f} s)")


def main():
    started = time.time()
    present = ", ".join(program for program, there in has.items() if there) or "none"
    say(f"in {root}, seed {seed}, programs: {present}")
    proofs = [prove_server if options.url else prove_directory, prove_compressions, prove_kills, prove_restore_kills, prove_damage, prove_silence, prove_one_at_a_time]
    for proof in proofs:
        try:
            proof()
        except Exception as error:  # noqa: BLE001 - a proof that cannot run has failed, the others go on
            check(False, f"{proof.__name__} ended with {type(error).__name__}: {error}")
    say(f"{len(problems)} problems ({time.time() - started:.0f} s)")
    for problem in problems:
        say(f"   {problem}")
    return not problems


good = False
try:
    good = main()
finally:
    shutil.rmtree(root, ignore_errors=True)
sys.exit(0 if good else 1)
