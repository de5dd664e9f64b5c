"""A small OpenID Connect issuer, real HTTP on loopback: discovery, consent, codes, PKCE, signed tokens."""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

import uvicorn
from joserfc import jwk, jwt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from clipworks.serve.server import listen

CLIENT, SECRET = "clip works", "s3cret&more"


class Issuer:
    """Signs in whoever is `person`, and does what a test asks of it."""

    def __init__(self) -> None:
        self.address = ""
        self.key = jwk.RSAKey.generate_key(2048, {"kid": "first", "use": "sig", "alg": "RS256"})
        self.signs_with: Any = self.key
        self.algorithm = "RS256"
        self.person: dict[str, Any] = {"sub": "person-1", "preferred_username": "mira"}
        self.tells: dict[str, Any] = {}
        """Claims that stand in the token in place of the right ones; None leaves one out."""
        self.about: dict[str, Any] = {}
        """The same for what it says of itself."""
        self.asked_for_keys = 0
        self._codes: dict[str, dict[str, str]] = {}

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._describe),
                Route("/authorize", self._authorize),
                Route("/token", self._token, methods=["POST"]),
                Route("/keys", self._keys),
            ]
        )

    async def _describe(self, request: Request) -> Response:
        ends = {name: f"{self.address}/{path}" for name, path in PLACES.items()}
        return JSONResponse({"issuer": self.address, **ends, **self.about})

    async def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        assert asked["response_type"] == "code" and "openid" in asked["scope"].split()
        assert asked["client_id"] == CLIENT and asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        back = urlencode({"code": code, "state": asked["state"]})
        return RedirectResponse(f"{asked['redirect_uri']}?{back}", 303)

    async def _token(self, request: Request) -> Response:
        given = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        basic = f"{quote(CLIENT, safe='')}:{quote(SECRET, safe='')}".encode()
        asked = self._codes.pop(given["code"], None)
        digest = hashlib.sha256(given["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            request.headers.get("authorization") != f"Basic {base64.b64encode(basic).decode()}"
            or asked is None
            or asked["code_challenge"] != challenge
            or asked["redirect_uri"] != given["redirect_uri"]
            or given["grant_type"] != "authorization_code"
        ):
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(time.time())
        claims = {"iss": self.address, "aud": CLIENT, "iat": now, "exp": now + 60, "nonce": asked["nonce"]}
        claims = {n: v for n, v in {**claims, **self.person, **self.tells}.items() if v is not None}
        header = {"alg": self.algorithm, "kid": "first"}
        if self.algorithm == "none":
            parts = (json.dumps(part).encode() for part in (header, claims))
            words = [base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts]
            return JSONResponse({"id_token": f"{'.'.join(words)}."})
        return JSONResponse({"id_token": jwt.encode(header, claims, self.signs_with, [self.algorithm])})

    async def _keys(self, request: Request) -> Response:
        self.asked_for_keys += 1
        return JSONResponse({"keys": [self.key.as_dict(private=False)]})


PLACES = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}


@contextmanager
def running_issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    with listen("127.0.0.1", 0) as listener:
        listener.listen()
        server = uvicorn.Server(uvicorn.Config(issuer.app(), log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        issuer.address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            yield issuer
        finally:
            server.should_exit = True
            thread.join(20)
