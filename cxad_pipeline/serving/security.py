"""Who calls, and what they may do.

Belongs here: API keys and their roles, the dependency by which a route asks for one, and the rules that keep a service
without keys to its own machine. Does not belong here: how often somebody may call (`limits`), the order of the checks
(`front`).

A service without keys is open to whoever can reach a loopback address, which web pages in a browser on the same machine
can: by a name of theirs that resolves to 127.0.0.1 (DNS rebinding) or by posting a form (cross-site request forgery).
Hence it looks at `Host`, `Origin` and `Sec-Fetch-Site`; with keys there is nothing that a browser would send by itself.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast, get_args

from fastapi import Request
from fastapi.openapi.models import HTTPBearer as BearerScheme
from fastapi.security.base import SecurityBase
from starlette.types import Scope

from cxad_pipeline.serving.problems import ProblemError
from cxad_pipeline.settings import Settings, SettingsError
from cxad_pipeline.settings.hosts import is_loopback
from cxad_pipeline.settings.serving import Role, ServingSettings

KEY_PREFIX = "cxad_"
KEY_SCHEME = "ApiKey"
"""Name of the bearer scheme in OpenAPI."""

# A state may change by these alone (RFC 9110, 9.2.1, says what is safe).
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_BEARER = re.compile(rb"bearer +(\S+) *", re.IGNORECASE)
_HOST = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]+)(?::[0-9]*)?")
_ALL_ROLES: frozenset[Role] = frozenset(get_args(Role))
_GRANTS: dict[Role, frozenset[Role]] = {
    "score": frozenset({"score"}),
    "read": frozenset({"read"}),
    "reviewer": frozenset({"reviewer", "read"}),
    "admin": _ALL_ROLES,
}
_NO_KEYS = (
    "This service has no keys, so it answers its own machine alone. To call it from elsewhere, configure serving.keys "
    "(`cxad key` makes one)."
)


@dataclass(frozen=True)
class Caller:
    """Who sent a request.

    Attributes
    ----------
    name
        Name of the key in `serving.keys`; `local` where there are no keys.
    roles
        What the caller may do, with the roles that others include.
    """

    name: str
    roles: frozenset[Role]


LOCAL = Caller("local", _ALL_ROLES)


def new_key() -> tuple[str, str]:
    """Make an API key of 256 random bits.

    Returns
    -------
    tuple of str
        The key, which is kept nowhere, and its SHA-256 in hexadecimal for `serving.keys`.
    """
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    return key, hashlib.sha256(key.encode()).hexdigest()


def check_exposure(settings: Settings) -> None:
    """Refuse to start a service that the network can reach and that asks nobody for a key.

    Raises
    ------
    SettingsError
        If `serving.host` is not a loopback address and `serving.keys` is empty.
    """
    serving = settings.serving
    if not serving.keys and not is_loopback(serving.host):
        raise SettingsError(
            f"serving.host = {serving.host!r}: is open to the network, and serving.keys is empty. Make a key with "
            "`cxad key` and put it under serving.keys, or listen on 127.0.0.1"
        )


class Keyring:
    """The keys of a service.

    Parameters
    ----------
    serving
        `keys` and `cors_origins` count.
    """

    def __init__(self, serving: ServingSettings) -> None:
        self._keys = [
            (bytes.fromhex(key.sha256), Caller(name, frozenset().union(*(_GRANTS[role] for role in key.roles))))
            for name, key in serving.keys.items()
        ]
        self._origins = frozenset(origin.lower() for origin in serving.cors_origins)

    @property
    def empty(self) -> bool:
        """Whether there are no keys, so that the service is open to its own machine alone."""
        return not self._keys

    def caller(self, key: bytes) -> Caller | None:
        """Whose key this is, None for nobody's; takes equally long for every key, known or not."""
        digest = hashlib.sha256(key).digest()
        found = None
        for stored, caller in self._keys:
            if hmac.compare_digest(digest, stored):
                found = caller
        return found

    def check_local(self, scope: Scope) -> None:
        """Let a request to a service without keys pass only if it comes from this machine and not from a web page.

        Raises
        ------
        ProblemError
            403 that says what is amiss.
        """
        server, client = scope.get("server"), scope.get("client")
        over_unix_socket = server is not None and server[1] is None
        if not over_unix_socket and not (
            server is not None and is_loopback(server[0]) and client is not None and is_loopback(client[0])
        ):
            raise ProblemError(403, _NO_KEYS)
        hosts = header_values(scope, b"host")
        if header_values(scope, b"forwarded") or header_values(scope, b"x-forwarded-for"):
            raise ProblemError(403, f"{_NO_KEYS} This request came through a proxy.")
        if not over_unix_socket and not (hosts and all(map(_names_loopback, hosts))):
            raise ProblemError(
                403,
                f"{_NO_KEYS} The Host header must name localhost or a loopback address, as in http://127.0.0.1:8000.",
            )
        if scope["method"] not in _SAFE_METHODS:
            self._check_page(scope, hosts)

    def _check_page(self, scope: Scope, hosts: Iterable[str]) -> None:
        origins = [origin.lower() for origin in header_values(scope, b"origin")]
        own = {f"{scheme}://{host.lower()}" for scheme in ("http", "https") for host in hosts}
        if not all(origin in own or origin in self._origins for origin in origins) or (
            not origins and b"cross-site" in [value.lower() for value in header_bytes(scope, b"sec-fetch-site")]
        ):
            raise ProblemError(
                403, "A web page of another origin may not do this; serving.cors_origins lists the origins that may."
            )

    def require(self, role: Role) -> Requirement:
        """The dependency of a route that wants a role; it gives the `Caller`. Who is admin has every role."""
        return Requirement(self, role) if self.empty else KeyRequirement(self, role)


class Requirement:
    """Lets callers with a role pass.

    Parameters
    ----------
    keyring
        Who has which role.
    role
        The one that is wanted.
    """

    def __init__(self, keyring: Keyring, role: Role) -> None:
        self._keyring, self._role = keyring, role

    async def __call__(self, request: Request) -> Caller:
        """Give the caller.

        Raises
        ------
        ProblemError
            401 without a known key, 403 without the role.
        """
        scope = request.scope
        state = scope.get("state", {})
        # The front has looked already; without one (a small app, a forgotten middleware) nothing is open by it.
        caller = cast("Caller | None", state["caller"]) if "caller" in state else identify(self._keyring, scope)
        if caller is None:
            raise _unknown(scope)
        if self._role not in caller.roles:
            raise ProblemError(
                403,
                f"This key lacks the role {self._role!r}; it has {', '.join(sorted(caller.roles))}.",
                headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{self._role}"'},
            )
        return caller


class KeyRequirement(Requirement, SecurityBase):
    """The same where there are keys: OpenAPI shows it as a bearer scheme, and not where nobody is asked for one."""

    def __init__(self, keyring: Keyring, role: Role) -> None:
        super().__init__(keyring, role)
        self.model = BearerScheme(description="An API key, made by `cxad key`.")
        self.scheme_name = KEY_SCHEME


def identify(keyring: Keyring, scope: Scope) -> Caller | None:
    """Who sent a request; None without a known key.

    Raises
    ------
    ProblemError
        403 where the service has no keys and the request is not local.
    """
    if keyring.empty:
        keyring.check_local(scope)
        return LOCAL
    key = bearer_key(scope)
    return None if key is None else keyring.caller(key)


def bearer_key(scope: Scope) -> bytes | None:
    """The key that a request brings; None if it brings none. Two keys at once are no key that anybody has."""
    given = header_bytes(scope, b"authorization")
    found = [match[1] for match in map(_BEARER.fullmatch, given) if match]
    if not found:
        return None
    return found[0] if len(given) == 1 else b""


def header_bytes(scope: Scope, name: bytes) -> list[bytes]:
    """Values of a header as they came."""
    return [value for key, value in scope["headers"] if key == name]


def header_values(scope: Scope, name: bytes) -> list[str]:
    """Values of a header as text."""
    return [value.decode("latin-1") for value in header_bytes(scope, name)]


def _names_loopback(host: str) -> bool:
    match = _HOST.fullmatch(host)
    return match is not None and is_loopback(match[1].strip("[]"))


def _unknown(scope: Scope) -> ProblemError:
    if bearer_key(scope) is None:
        return ProblemError(
            401, "This needs an API key: Authorization: Bearer <key>.", headers={"WWW-Authenticate": "Bearer"}
        )
    return ProblemError(401, "Nobody has this API key.", headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
