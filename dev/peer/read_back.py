"""Reads what our writer wrote with an independent reader of the s3db.js 9.2.0 format.

    cargo run -p xtask -- peer-dump --seeds 1000 > dump.jsonl
    python3 dev/peer/read_back.py READER_FOLDER dump.jsonl

READER_FOLDER holds `s3dbfmt.py`, a reader that was made from the format's description alone and is no
part of this repository. Each line of the dump is one resource: its catalog entry, its objects, and
what was written. Prints the number of records and of differences; exits 1 if there are any.
"""

import base64
import json
import sys

sys.path.insert(0, sys.argv[1])
import s3dbfmt as reader  # noqa: E402


def same(a, b):
    if isinstance(a, bool) != isinstance(b, bool):
        return False
    if isinstance(a, dict) and isinstance(b, dict):
        return set(a) == set(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def prune(value):
    if isinstance(value, dict):
        return {k: prune(v) for k, v in value.items() if not isinstance(v, reader.Undef)}
    return value


records = differences = beyond = 0
for line in open(sys.argv[2], encoding="utf-8"):
    dump = json.loads(line)
    entry = dump["entry"]
    version = entry["versions"][entry["currentVersion"]]
    hashed = reader.definition_hash(version["attributes"], version["behavior"], version["partitions"], version["timestamps"])
    if hashed != version["hash"]:
        differences += 1
        print("hash", dump["seed"])
    for row in dump["rows"]:
        if version["behavior"] == "body-only" and "_map" not in row["headers"]:
            beyond += 1  # its map is larger than S3 allows, so s3db.js could not hold the record at all
            continue
        records += 1
        stored = {"metadata": row["headers"], "body": base64.b64decode(row["body_base64"]), "ct": row["content_type"]}
        try:
            got = prune(reader.read_object(stored, entry, version["behavior"], dump["passphrase"]))
        except Exception as error:  # the reader is another program: whatever it raises is a difference
            got = repr(error)
        if not same(got, row["written"]):
            differences += 1
            if differences <= 5:
                print("seed", dump["seed"], version["behavior"])
                fields = row["written"] if isinstance(got, dict) else {}
                for name in sorted(set(fields) | set(got if isinstance(got, dict) else {})):
                    a, b = fields.get(name), got.get(name)
                    if not same(a, b):
                        print("  ", name, version["attributes"].get(name), "written", repr(a)[:200], "read", repr(b)[:200])
print(f"{records} records, {differences} differences ({beyond} more are beyond what s3db.js can hold)")
sys.exit(differences > 0)
