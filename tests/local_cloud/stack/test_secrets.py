from __future__ import annotations

import json
import re
import stat
from typing import TYPE_CHECKING

from local_cloud.stack.secrets import FILE_NAME, load_or_draw

if TYPE_CHECKING:
    from pathlib import Path


def test_are_drawn_once_and_only_their_owner_may_read_them(tmp_path: Path) -> None:
    drawn = load_or_draw(tmp_path)
    assert load_or_draw(tmp_path) == drawn
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600


def test_what_an_earlier_version_did_not_draw_is_added_to_what_it_drew(tmp_path: Path) -> None:
    drawn = vars(load_or_draw(tmp_path))
    earlier = {name: secret for name, secret in drawn.items() if name != "airflow_password"}
    (tmp_path / FILE_NAME).write_text(json.dumps(earlier), encoding="utf-8")
    completed = load_or_draw(tmp_path)
    assert vars(completed).items() >= earlier.items()
    assert completed.airflow_password
    assert load_or_draw(tmp_path) == completed
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600


def test_two_homes_have_nothing_in_common(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = vars(load_or_draw(tmp_path / "a")), vars(load_or_draw(tmp_path / "b"))
    assert not set(first.values()) & set(second.values())


def test_look_like_awss_and_are_not_shown(tmp_path: Path) -> None:
    drawn = load_or_draw(tmp_path)
    assert re.fullmatch(r"[A-Z0-9]{20}", drawn.access_key_id)
    for secret in list(vars(drawn).values())[1:]:
        assert secret not in repr(drawn)
