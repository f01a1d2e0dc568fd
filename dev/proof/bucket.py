"""Reads a bucket by signed requests of its own, with nothing of ours: AWS Signature Version 4, path style."""

import hashlib
import hmac
import http.client
import os
import re
import time
import urllib.parse


class Server:
    """A bucket, by signed requests of our own."""

    def __init__(self, url):
        parts = urllib.parse.urlsplit(url)
        self.host, self.access, self.secret = f"{parts.hostname}:{parts.port or 80}", urllib.parse.unquote(parts.username), urllib.parse.unquote(parts.password)
        self.bucket, _, self.prefix = parts.path.strip("/").partition("/")
        self.endpoint = f"{parts.scheme}://{self.host}"
        assert parts.scheme == "http" and self.prefix, "the URL has to be http://KEY:SECRET@host:port/bucket/prefix"

    def request(self, method, key="", query=()):
        now, empty = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), hashlib.sha256(b"").hexdigest()
        path = f"/{self.bucket}" + (f"/{urllib.parse.quote(key, safe='/-_.~')}" if key else "")
        text = "&".join(f"{name}={urllib.parse.quote(value, safe='-_.~')}" for name, value in sorted(query))
        scope = f"{now[:8]}/us-east-1/s3/aws4_request"
        canonical = f"{method}\n{path}\n{text}\nhost:{self.host}\nx-amz-content-sha256:{empty}\nx-amz-date:{now}\n\nhost;x-amz-content-sha256;x-amz-date\n{empty}"
        to_sign = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = ("AWS4" + self.secret).encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.new(key, to_sign.encode(), "sha256").hexdigest()
        headers = {"x-amz-content-sha256": empty, "x-amz-date": now, "Authorization": f"AWS4-HMAC-SHA256 Credential={self.access}/{scope}, SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={signature}"}
        if not getattr(self, "connection", None):
            self.connection = http.client.HTTPConnection(self.host)
        self.connection.request(method, path + (f"?{text}" if text else ""), headers=headers)
        answer = self.connection.getresponse()
        body = answer.read()
        assert answer.status in (200, 204), f"{method} {path}: {answer.status} {body[:300]}"
        self.headers = {name.lower(): value for name, value in answer.getheaders()}
        return body

    def head(self, key):
        self.request("HEAD", key)
        return self.headers

    def keys(self, prefix):
        found, token = [], None
        while True:
            query = [("list-type", "2"), ("prefix", prefix), ("encoding-type", "url")] + ([("continuation-token", token)] if token else [])
            body = self.request("GET", query=query).decode()
            found += [urllib.parse.unquote_plus(key) for key in re.findall("<Key>(.*?)</Key>", body)]
            more = re.search("<NextContinuationToken>(.*?)</NextContinuationToken>", body)
            if not more:
                return [key for key in found if not key.endswith("/")]
            token = more.group(1)

    def empty(self, prefix):
        for key in self.keys(prefix):
            self.request("DELETE", key)

    def download(self, prefix, folder):
        for key in self.keys(prefix):
            path = os.path.join(folder, key.removeprefix(prefix))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(self.request("GET", key))
