"""The object store: versitygw, an S3 server over a folder, with AWS's users and policies."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from jobs.cluster.login import Login, new_login
from jobs.cluster.programs import program
from jobs.cluster.server import HOST, Server, tried
from jobs.process import free_port

REGION = "us-east-1"


@dataclass(kw_only=True)
class Store(Server):
    """An S3 server and beside it the one that knows its users, as AWS has S3 and IAM."""

    login: Login = field(default_factory=lambda: new_login("root"))
    """Who may do everything."""
    iam_port: int = field(default_factory=lambda: free_port(HOST))

    certificate: tuple[Path, Path] | None = None
    """Its certificate and the key to it; then it speaks TLS alone."""

    @property
    def url(self) -> str:
        """Address for S3's clients."""
        return f"{'https' if self.certificate else 'http'}://{HOST}:{self.port}"

    @property
    def requests(self) -> str:
        """Path of the log with a line for every request (in AWS's format)."""
        return str(self.folder / "requests.log")

    def start(self) -> None:
        """Start both servers; buckets and users are those of the folder."""
        gateway = str(program("versitygw", self.cache))
        for name in ("objects", "users"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        # A socket without a file: a path in a test's folder is longer than a socket's may be.
        private = f"@autoifs-iam-{self.iam_port}"
        env = {
            **_without_aws(),
            "ROOT_ACCESS_KEY": self.login.user,
            "ROOT_SECRET_KEY": self.login.secret,
        }
        users = ["iam", "--quiet", "--dir", str(self.folder / "users"), "--private-ports", private]
        self._run("iam", [gateway, "--port", f"{HOST}:{self.iam_port}", *users], env)
        words = [gateway, "--port", f"{HOST}:{self.port}", "--region", REGION]
        words += ["--iam-standalone-endpoint", private, "--health", "/health", "--quiet"]
        # What is asked of it counts, not what was asked a minute ago.
        words += ["--iam-cache-disable", "--access-log", self.requests]
        if self.certificate is not None:
            words += ["--cert", str(self.certificate[0]), "--key", str(self.certificate[1])]
        self._run("store", [*words, "posix", str(self.folder / "objects")], env)

    def answers(self) -> bool:
        """Return whether both servers can be used."""
        return self._speaks(f"{self.url}/health") and self._speaks(
            f"http://{HOST}:{self.iam_port}/"
        )

    def _speaks(self, url: str) -> bool:
        # Whether its certificate is the right one is for its clients to check.
        question = partial(httpx.get, url, trust_env=False, verify=False)
        return tried(question, httpx.HTTPError)

    def environment(self, login: Login | None = None) -> dict[str, str]:
        """Return what the AWS clients of Spark, Delta, MLflow and boto3 read; root's by default."""
        who = login or self.login
        found = {
            "AWS_ACCESS_KEY_ID": who.user,
            "AWS_SECRET_ACCESS_KEY": who.secret,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.url,
        }
        if self.certificate is None:
            return {**found, "AWS_ALLOW_HTTP": "true"}
        trusted = str(self.certificate[0])
        return {**found, "AWS_CA_BUNDLE": trusted, "SSL_CERT_FILE": trusted}

    def client(self, login: Login | None = None) -> Any:
        """Return a boto3 client, root's by default."""
        return self._client("s3", self.url, login or self.login)

    def add_user(self, name: str, policy: Mapping[str, Any]) -> Login:
        """Create a user with a policy of its own, in AWS's JSON; return its access key."""
        iam = self._client("iam", f"http://{HOST}:{self.iam_port}", self.login)
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=json.dumps(policy))
        made = iam.create_access_key(UserName=name)["AccessKey"]
        return Login(made["AccessKeyId"], made["SecretAccessKey"])

    def remove_key(self, name: str, key: Login) -> None:
        """Take a user's access key away."""
        iam = self._client("iam", f"http://{HOST}:{self.iam_port}", self.login)
        iam.delete_access_key(UserName=name, AccessKeyId=key.user)

    def _client(self, service: str, url: str, login: Login) -> Any:
        import boto3

        return boto3.client(
            service,
            endpoint_url=url,
            region_name=REGION,
            aws_access_key_id=login.user,
            aws_secret_access_key=login.secret,
        )


def _without_aws() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
