"""Who uses the pages in tests: opens one, fills in its form, sends it with the token that stands on it."""

import html
import re
from typing import Any

from starlette.testclient import TestClient

PASSWORD = "seven green apples"


class Person:
    """A browser without scripts: cookies, and the forms of pages."""

    def __init__(self, client: TestClient, name: str = "mira") -> None:
        self.client = client
        self.name = name

    def get(self, path: str, **more: Any) -> Any:
        return self.client.get(path, **more)

    def token(self, path: str) -> str:
        """The form token that stands on a page."""
        found = re.search(r'name="form_token" value="([0-9a-f]{64})"', self.get(path).text)
        assert found is not None, path
        return found[1]

    def send(self, page: str, path: str, fields: dict[str, Any] | None = None, **more: Any) -> Any:
        """Send a form that stands on a page."""
        data = {"form_token": self.token(page), **(fields or {})}
        return self.client.post(path, data=data, follow_redirects=False, **more)

    def sign_up(self, password: str = PASSWORD, **more: Any) -> Any:
        fields = {"name": self.name, "password": password, "next": ""}
        return self.send("/sign-up", "/sign-up", fields, **more)

    def sign_in(self, password: str = PASSWORD, **more: Any) -> Any:
        fields = {"name": self.name, "password": password, "next": ""}
        return self.send("/sign-in", "/sign-in", fields, **more)

    def sign_out(self) -> Any:
        return self.send("/account", "/sign-out")

    def make_key(self, name: str = "app", **fields: Any) -> str:
        """A new key; its secret, which stands on the page this once."""
        answer = self.send(
            "/account/keys", "/account/keys", {"name": name, "scopes": ["inference", "usage"], **fields}
        )
        assert answer.status_code == 200, answer.text
        return secret_on(answer.text)


def secret_on(page: str) -> str:
    found = re.search(r'<pre id="secret"[^>]*>([^<]+)</pre>', page)
    assert found is not None, page
    return html.unescape(found[1])


def problem_on(page: str) -> str:
    """What went wrong, as the page says it."""
    found = re.search(r'role="alert">([^<]+)<', page)
    return html.unescape(found[1]) if found else ""


def come_from(client: TestClient, address: str) -> None:
    """Let a client's next requests come from another network address."""
    client._transport.client = (address, 5000)  # type: ignore[attr-defined]
