"""Sends HTTP requests to one Airflow. It knows where that is and who we are, tries again what may pass, and explains
refusals.
"""

from __future__ import annotations

import ipaddress
import os
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import httpx

from fruit_cli.errors import CommandError, with_why_it_stopped
from fruit_cli.lake.target import Target
from fruit_cli.stack.airflow_environment import AIRFLOW_USER
from local_cloud.stack.state import local_home, read_state

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

    from local_cloud.stack.state import StackState

URL_VARIABLE: Final = "AIRFLOW_API_URL"
TOKEN_VARIABLE: Final = "AIRFLOW_API_TOKEN"  # noqa: S105 - the variable's name, not a token
USER_VARIABLE: Final = "AIRFLOW_API_USER"
PASSWORD_VARIABLE: Final = "AIRFLOW_API_PASSWORD"  # noqa: S105 - the variable's name, not a password
# Where the UI is for people, if that is another address than the one that is asked.
UI_VARIABLE: Final = "AIRFLOW_UI_URL"
# Set by docker-compose.yaml: this Airflow is a local stack's own, in a network of its own.
IS_LOCAL_VARIABLE: Final = "AIRFLOW_API_IS_LOCAL"
# A busy laptop's API server may not answer for a while; a run is not lost because of that.
PATIENCE_SECONDS: Final = 90.0
_PAUSE_SECONDS: Final = 1.0
_TIMEOUT_SECONDS: Final = 30.0
_HOST: Final = re.compile(r"[\w.:-]+")
_API: Final = "/api/v2"
_TOKENS: Final = "/auth/token"
_NOT_NOW: Final = frozenset({429, 500, 502, 503, 504})


class AirflowError(CommandError):
    """Raised if Airflow doesn't answer, refuses, or doesn't know the DAG."""


@dataclass(frozen=True)
class Login:
    """Holds a user of an Airflow. Its API gives tokens to users with a password, and the tokens expire."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class AirflowAddress:
    """Says where an Airflow is, and who we are there: the holder of a token, or a user with a password.

    The Airflow of a local stack is ours alone: it may be unpaused, and no proxy stands before it.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    login: Login | None = None
    ui_url: str = ""
    is_local: bool = False


def current_airflow(target: Target = Target.LOCAL, environment: Mapping[str, str] | None = None) -> AirflowAddress:
    """Returns the Airflow of `target`: the local stack's, or for AWS the one that AIRFLOW_API_URL names, with
    AIRFLOW_API_TOKEN or a user and a password. (In compose's network these name the local one, too.)

    Raises AirflowError if there is none, or if what names it can't be meant.
    """
    environment = os.environ if environment is None else environment
    if target is Target.LOCAL and not environment.get(IS_LOCAL_VARIABLE):
        state = read_state(local_home())
        if state and state.airflow_url:
            return local_airflow(state)
        raise AirflowError(
            with_why_it_stopped(
                f"No local Airflow is up. Type `make up`, or say TARGET=aws for the Airflow that {URL_VARIABLE} names."
            )
        )
    url, token = environment.get(URL_VARIABLE, ""), environment.get(TOKEN_VARIABLE, "")
    login = Login(environment.get(USER_VARIABLE, ""), environment.get(PASSWORD_VARIABLE, ""))
    is_local = bool(environment.get(IS_LOCAL_VARIABLE))
    if not url:
        raise AirflowError(
            f"Which Airflow? Set {URL_VARIABLE} and {TOKEN_VARIABLE}, or say TARGET=local for the local one."
        )
    if not token and not (login.user and login.password):
        raise AirflowError(
            f"{URL_VARIABLE} is set, but {TOKEN_VARIABLE} is not. Set it to a token of that Airflow's API, or "
            f"{USER_VARIABLE} and {PASSWORD_VARIABLE} to a user that may ask for one."
        )
    _require_an_address(url, allow_http=is_local)
    if not token.isascii() or any(character.isspace() for character in token):
        raise AirflowError(
            f"{TOKEN_VARIABLE} holds what no token holds: a blank, a line's end or a letter with an accent. Set a "
            "valid one."
        )
    ui_url = environment.get(UI_VARIABLE, "").rstrip("/")
    return AirflowAddress(url.rstrip("/"), token or None, None if token else login, ui_url, is_local)


def local_airflow(state: StackState) -> AirflowAddress:
    """Returns the Airflow of the local stack that is up."""
    login = Login(AIRFLOW_USER, state.airflow_password) if state.airflow_password else None
    return AirflowAddress(state.airflow_url or "", login=login, is_local=True)


def _require_an_address(url: str, *, allow_http: bool) -> None:
    """Raises AirflowError if the text is no address of a host, or one to which a secret would go in the clear."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise AirflowError(
            f"{URL_VARIABLE} is '{url}', which is no address ({error}). Set it to https://<host>."
        ) from error
    if not _HOST.fullmatch(parts.host):
        raise AirflowError(f"{URL_VARIABLE} is '{url}', which names no host. Set it to https://<host>.")
    if parts.scheme != "https" and not (parts.scheme == "http" and (allow_http or _is_loopback(parts.host))):
        raise AirflowError(f"{URL_VARIABLE} must begin with https://, or anyone on the way could read the token.")


class AirflowHttp:
    """Sends JSON requests to one Airflow, and waits if it is busy. Use it as a context manager.

    `transport` and `sleep` are there for tests.
    """

    def __init__(
        self,
        address: AirflowAddress,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.address = address
        self._sleep = sleep
        self._token = address.token
        try:
            # A proxy of the environment must not carry what goes to this machine itself.
            self._client = httpx.Client(
                base_url=address.url, timeout=_TIMEOUT_SECONDS, transport=transport, trust_env=not address.is_local
            )
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            raise AirflowError(
                f"{address.url} can't be reached with the proxy settings of this shell: {error}"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: Mapping[str, object] | None = None,
        names_what_it_makes: bool = False,
    ) -> dict[str, Any]:
        """Sends one request below /api/v2 and returns its JSON. See `find` for what is tried again. Raises AirflowError
        if Airflow refuses, doesn't answer or has no such thing.
        """
        found = self.find(method, path, params=params, json=json, names_what_it_makes=names_what_it_makes)
        if found is None:
            raise AirflowError(f"{self.address.url} has no {path}. Is it an Airflow 3 with this project's DAGs?")
        return found

    def find(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: Mapping[str, object] | None = None,
        names_what_it_makes: bool = False,
    ) -> dict[str, Any] | None:
        """Sends one request as `send` does, but returns None if there is no such thing.

        For a minute and a half it tries again what Airflow can't do just then, and what got no answer. A POST whose
        answer was lost may have made something, so it is tried again only if it names what it makes. Airflow then
        refuses the second one as a conflict, and an empty dictionary is returned.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        last_trouble = ""
        is_repeatable = method != "POST" or names_what_it_makes
        for _ in range(int(PATIENCE_SECONDS / _PAUSE_SECONDS)):
            try:
                response = self._authorised(method, _API + path, params, json)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                last_trouble = str(error)
            except httpx.TransportError as error:
                if not is_repeatable:
                    raise AirflowError(
                        f"{self.address.url} took {path}, but its answer was lost ({error}). See its UI for what it "
                        "did."
                    ) from error
                last_trouble = str(error)
            else:
                if names_what_it_makes and last_trouble and response.status_code == httpx.codes.CONFLICT:
                    return {}
                if response.status_code not in _NOT_NOW or not (
                    is_repeatable or response.status_code == httpx.codes.SERVICE_UNAVAILABLE
                ):
                    return self._result(response)
                last_trouble = f"{response.status_code}: {_detail(response)}"
            if time.monotonic() > deadline:
                break
            self._sleep(_PAUSE_SECONDS)
        sentence = f"{self.address.url} doesn't answer ({last_trouble}). Is it up? `make up` starts the local one."
        raise AirflowError(with_why_it_stopped(sentence) if self.address.is_local else sentence)

    def _authorised(
        self, method: str, path: str, params: Mapping[str, str] | None, json: Mapping[str, object] | None
    ) -> httpx.Response:
        """Returns the answer to a request. If we log in as a user, it gets a fresh token when there is none or the last
        one has expired.
        """
        if self._token is None:
            self._token = self._fresh_token()
        response = self._client.request(
            method, path, params=params, json=json, headers={"Authorization": f"Bearer {self._token}"}
        )
        if response.status_code == httpx.codes.UNAUTHORIZED and self.address.token is None:
            self._token = self._fresh_token()
            response = self._client.request(
                method, path, params=params, json=json, headers={"Authorization": f"Bearer {self._token}"}
            )
        return response

    def _fresh_token(self) -> str:
        login = self.address.login
        if login is None:
            response = self._client.get(_TOKENS)
        else:
            response = self._client.post(_TOKENS, json={"username": login.user, "password": login.password})
        if response.status_code in _NOT_NOW:
            raise httpx.ConnectError(f"no token yet: {response.status_code}")
        if response.is_error:
            of_ours, elsewhere = (
                "Stop the local stack and start it again.",
                f"Set {USER_VARIABLE} and {PASSWORD_VARIABLE} to ones it knows.",
            )
            remedy = of_ours if self.address.is_local else elsewhere
            raise AirflowError(
                f"{self.address.url} gives no token ({response.status_code}: {_detail(response)}). {remedy}"
            )
        try:
            return str(response.json()["access_token"])
        except (ValueError, KeyError, TypeError) as error:
            raise AirflowError(
                f"{self.address.url}{_TOKENS} answers without a token. Is it the address of an Airflow 3?"
            ) from error

    def _result(self, response: httpx.Response) -> dict[str, Any] | None:
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        if response.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            raise AirflowError(
                f"{self.address.url} refuses {TOKEN_VARIABLE} ({response.status_code}: {_detail(response)}). Set a "
                "valid one."
            )
        if response.is_error:
            raise AirflowError(f"Airflow refuses: {_detail(response)}")
        try:
            content: dict[str, Any] = response.json() if response.content else {}
        except ValueError as error:
            raise AirflowError(
                f"{self.address.url} answers with something else than JSON. Is it the address of an Airflow 3?"
            ) from error
        return content


def _detail(response: httpx.Response) -> str:
    """Returns what Airflow says is wrong, which for rejected fields is their messages."""
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return response.text[:300] or response.reason_phrase
    if isinstance(detail, list):
        return "; ".join(str(entry.get("msg", entry)) if isinstance(entry, dict) else str(entry) for entry in detail)
    return str(detail)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
