from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from local_cloud.project import PROJECT
from scripts import pin_images

OLD, NEW = f"sha256:{'0' * 64}", f"sha256:{'a' * 64}"


class Registry(BaseHTTPRequestHandler):
    """Gives a token to anybody, and an image to who has one."""

    def do_HEAD(self):
        if self.headers["Authorization"] != "Bearer let-me-in":
            self.send_response(401)
            realm = f"http://{self.headers['Host']}/token"
            self.send_header(
                "WWW-Authenticate", f'Bearer realm="{realm}",service="registry",scope="repository:library/python:pull"'
            )
        elif self.path == "/v2/library/python/manifests/3.11-slim":
            self.send_response(200)
            self.send_header("Docker-Content-Digest", NEW)
        else:
            self.send_response(404)
        self.end_headers()

    def do_GET(self):
        assert "scope=repository" in self.path
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"token": "let-me-in"}')

    def log_message(self, *_):
        """Says nothing."""


@pytest.fixture
def registry(monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("FRUITS_REGISTRY", f"http://127.0.0.1:{server.server_port}")
        yield
        server.shutdown()
        thread.join()


@pytest.fixture
def project(tmp_path):
    (tmp_path / "Dockerfile").write_text(f"FROM python:3.11-slim@{OLD} AS base\nFROM base AS airflow\n")
    (tmp_path / "docker-compose.yaml").write_text(f"    image: postgres:17@{OLD}\n")
    return tmp_path


def test_an_image_gets_the_digest_that_its_tag_has_now_and_what_is_not_told_stays(registry, project, capsys):
    assert pin_images.main(project) == 0
    assert (project / "Dockerfile").read_text() == f"FROM python:3.11-slim@{NEW} AS base\nFROM base AS airflow\n"
    assert OLD in (project / "docker-compose.yaml").read_text()
    said = capsys.readouterr().out
    assert f"python:3.11-slim is now {NEW}" in said
    assert (
        "docker-compose.yaml (postgres:17 was answered with HTTP 404 and no digest): their digests stay as they are"
        in said
    )


def test_without_a_registry_everything_stays_and_it_says_so(project, monkeypatch, capsys):
    monkeypatch.setenv("FRUITS_REGISTRY", "http://127.0.0.1:1")
    before = [(project / name).read_text() for name in pin_images.FILES]
    assert pin_images.main(project) == 0
    assert [(project / name).read_text() for name in pin_images.FILES] == before
    assert "http://127.0.0.1:1 can't be asked for the images of Dockerfile" in capsys.readouterr().out


def test_every_base_image_of_this_project_is_one_that_is_pinned():
    found = [
        match["name"] for name in pin_images.FILES for match in pin_images.PINNED.finditer((PROJECT / name).read_text())
    ]
    assert found == ["python", "postgres"]
