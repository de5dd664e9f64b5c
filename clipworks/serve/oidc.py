"""OpenID Connect: who somebody is, told by an issuer that the operator named.

The authorization code flow with PKCE. What the issuer signs is checked: its signature by the issuer's own
keys, for whom it is, until when, and that it answers this very question (the nonce). Only the subject counts,
which no issuer gives twice; an e-mail address that it tells never opens an account that is there already.
"""

import base64
import hashlib
import json
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from clipworks.addresses import parse_address
from clipworks.errors import ClipworksError, MissingExtraError, NetError
from clipworks.origins import Answer, Origin, OriginRules
from clipworks.serve.problems import RequestError
from clipworks.serve.settings import ServeSettings

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
LEEWAY_SECONDS = 60
_ASK_SECONDS = 10.0
_MAX_BYTES = 1 << 20
_KEPT_SECONDS = 3600.0
_ANEW_SECONDS = 60.0
"""How long what the issuer says of itself is kept, and how soon it may be asked again for an unknown key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """Who somebody is at an issuer."""

    subject: str
    """What the issuer calls the person, for ever."""
    name: str
    """The same for people, which may change and be anybody's; empty where it is not told."""


class OpenId:
    """Asks one issuer.

    Args:
        settings: which, and what it calls this server.

    Raises:
        MissingExtraError: the package that checks signatures is not installed.
    """

    def __init__(self, settings: ServeSettings) -> None:
        try:
            from joserfc import jwk, jwt
            from joserfc.errors import JoseError
        except ModuleNotFoundError as error:
            raise MissingExtraError("joserfc", "oidc") from error
        self.issuer = settings.oidc_issuer
        self._settings = settings
        self._jwk, self._jwt, self._jose_error = jwk, jwt, JoseError
        self._about: dict[str, Any] = {}
        self._about_at = float("-inf")
        self._keys: Any = None
        self._keys_at = float("-inf")

    async def question(self, back: str, *, state: str, nonce: str, verifier: str) -> str:
        """The address at the issuer that somebody is sent to.

        Args:
            back: the address of this server that it leads back to.
            state: comes back unchanged.
            nonce: stands in what the issuer signs.
            verifier: a secret, whose hash is sent now and it itself for the code later.

        Raises:
            RequestError: the issuer does not answer as it should.
        """
        about = await self._ask_about()
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": self._settings.oidc_client_id,
            "redirect_uri": back,
            "scope": "openid profile email",
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        place = str(about["authorization_endpoint"])
        self._rules(place)  # a javascript: or plain http address is refused here
        return f"{place}{'&' if '?' in place else '?'}{urlencode(asked)}"

    async def person(self, code: str, back: str, *, nonce: str, verifier: str) -> Person:
        """Who the issuer says it is, for the code that somebody came back with.

        Raises:
            RequestError: the code is worth nothing, or what the issuer signed is not what it must be.
        """
        about = await self._ask_about()
        asked = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": back,
            "code_verifier": verifier,
            "client_id": self._settings.oidc_client_id,
        }
        answer = await self._ask(str(about["token_endpoint"]), urlencode(asked).encode())
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise _refused("it gave no token")
        claims = await self._checked(token)
        if claims.get("nonce") != nonce:
            raise _refused("its token answers another question")
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= 255:
            raise _refused("its token names nobody")
        names = (claims.get(name) for name in ("preferred_username", "email", "name"))
        return Person(subject=subject, name=next((name for name in names if isinstance(name, str)), ""))

    async def _checked(self, token: str) -> dict[str, Any]:
        """What a token says, once its signature, its issuer, its reader and its time are right."""
        try:
            claims = self._jwt.decode(token, await self._ask_keys(), list(ALGORITHMS)).claims
        except (self._jose_error, ValueError):  # a new key of the issuer's, perhaps
            try:
                claims = self._jwt.decode(token, await self._ask_keys(anew=True), list(ALGORITHMS)).claims
            except (self._jose_error, ValueError) as error:
                raise _refused("its token is not signed by it") from error
        readers = claims.get("aud")
        readers = readers if isinstance(readers, list) else [readers]
        mine, now = self._settings.oidc_client_id, time.time()
        ends, begins = claims.get("exp"), claims.get("iat")
        if claims.get("iss") != self.issuer or mine not in readers or claims.get("azp", mine) != mine:
            raise _refused("its token is for somebody else")
        if not isinstance(ends, int | float) or not isinstance(begins, int | float):
            raise _refused("its token has no time")
        if ends < now - LEEWAY_SECONDS or begins > now + LEEWAY_SECONDS:
            raise _refused("its token is not of this time")
        return dict(claims)

    async def _ask_about(self) -> dict[str, Any]:
        """What the issuer says of itself."""
        if time.monotonic() - self._about_at > _KEPT_SECONDS:
            about = await self._ask(f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
            wanted = ("authorization_endpoint", "token_endpoint", "jwks_uri")
            if about.get("issuer") != self.issuer or not all(isinstance(about.get(n), str) for n in wanted):
                raise _refused("it describes another issuer, or not all of itself")
            self._about, self._about_at = about, time.monotonic()
        return self._about

    async def _ask_keys(self, *, anew: bool = False) -> Any:
        age = time.monotonic() - self._keys_at
        if self._keys is None or age > _KEPT_SECONDS or (anew and age > _ANEW_SECONDS):
            found = await self._ask(str((await self._ask_about())["jwks_uri"]))
            rows = [one for one in found.get("keys", []) if isinstance(one, dict) and one.get("kty") != "oct"]
            try:
                self._keys = self._jwk.KeySet.import_key_set({"keys": rows})
            except (self._jose_error, ValueError, KeyError) as error:
                raise _refused("its keys cannot be read") from error
            self._keys_at = time.monotonic()
        return self._keys

    async def _ask(self, url: str, body: bytes | None = None) -> dict[str, Any]:
        """The JSON object at an address of the issuer."""
        try:
            address = parse_address(url)
            origin = Origin(self._rules(url))
            try:
                answer = await origin.ask(
                    address.target,
                    body=body,
                    kind="application/x-www-form-urlencoded",
                    headers=self._basic() if body is not None else (),
                    seconds=_ASK_SECONDS,
                    max_bytes=_MAX_BYTES,
                )
            finally:
                origin.close()
        except NetError as error:
            raise _refused("it does not answer") from error
        return _object(answer)

    def _rules(self, url: str) -> OriginRules:
        try:
            address = parse_address(url)
            return OriginRules(
                url=f"{address.scheme}://{address.authority}", is_private=self._settings.oidc_private
            )
        except ClipworksError as error:
            raise _refused("it names an address that is not taken") from error

    def _basic(self) -> list[tuple[str, str]]:
        secret = self._settings.oidc_client_secret
        if not secret:
            return []
        words = f"{quote(self._settings.oidc_client_id, safe='')}:{quote(secret, safe='')}"
        return [("Authorization", f"Basic {base64.b64encode(words.encode()).decode()}")]


def _object(answer: Answer) -> dict[str, Any]:
    try:
        found = json.loads(answer.data)
    except (ValueError, RecursionError):
        found = None
    if answer.status != 200 or not isinstance(found, dict):
        raise _refused(f"it answered with status {answer.status}")
    return found


def _refused(words: str) -> RequestError:
    return RequestError(
        f"The place where you sign in could not tell who you are: {words}.",
        "Try again.",
        code="not_recognised",
    )
