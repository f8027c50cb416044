"""JSON Web Tokens against an issuer that this test plays."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import jwt
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from airflow_agentic.exceptions import AccessSettingsError, AuthenticationUnavailableError, UnauthenticatedError
from airflow_agentic.serving.access import Client, JwtAuthenticator, JwtRules, Quota

if TYPE_CHECKING:
    from pathlib import Path

RSA: Final = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA: Final = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC: Final = ec.generate_private_key(ec.SECP256R1())
ED: Final = ed25519.Ed25519PrivateKey.generate()
REFUSED: Final = (
    "the token is not valid here: it is unknown, it has expired, or it was made for somebody else; "
    "ask whoever runs this gateway for one"
)


def public(kid: str, key: Any = RSA, **more: Any) -> dict[str, Any]:
    """A key as its issuer publishes it."""
    kind: Any = {rsa.RSAPrivateKey: RSAAlgorithm, ec.EllipticCurvePrivateKey: ECAlgorithm}
    algorithm = next((kind[base] for base in kind if isinstance(key, base)), OKPAlgorithm)
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, **more}


@dataclass
class Issuer:
    """What it publishes, and how often it was asked."""

    keys: list[Any] = field(default_factory=lambda: [public("one"), public("ec", EC), public("ed", ED)])
    body: str | None = None
    status: int = 200
    asked: int = 0

    async def answer(self, _: web.Request) -> web.Response:
        """The key set."""
        self.asked += 1
        text = json.dumps({"keys": self.keys}) if self.body is None else self.body
        return web.Response(text=text, status=self.status, headers={"Location": "/elsewhere"})


@dataclass
class Place:
    """An issuer at an address, a clock, and tokens."""

    issuer: Issuer
    jwks: str
    seconds: float = 0.0

    def rules(self, **changes: Any) -> JwtRules:
        """With some changes."""
        base = JwtRules(issuer="https://id", audience="gateway", jwks=self.jwks, algorithms=("RS256", "ES256", "EdDSA"))
        return replace(base, **changes)

    def authenticator(self, **changes: Any) -> JwtAuthenticator:
        """By this place's clock."""
        return JwtAuthenticator(self.rules(**changes), clock=lambda: self.seconds)


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    issuer = Issuer()
    app = web.Application()
    app.router.add_get("/keys", issuer.answer)
    async with TestServer(app, host="127.0.0.1") as server:
        yield Place(issuer, str(server.make_url("/keys")))


def claims(**changes: Any) -> dict[str, Any]:
    """Of a good token; ``None`` leaves one out."""
    exp = datetime.now(UTC) + timedelta(minutes=5)
    base = {"iss": "https://id", "aud": "gateway", "sub": "shop", "scope": "inbox photos", "exp": exp}
    return {name: value for name, value in {**base, **changes}.items() if value is not None}


def token(
    said: Mapping[str, Any] | None = None,
    key: Any = RSA,
    kid: str | None = "one",
    algorithm: str = "RS256",
    **headers: Any,
) -> str:
    """A signed token."""
    named = {} if kid is None else {"kid": kid}
    return jwt.encode(dict(claims() if said is None else said), key, algorithm, headers={**named, **headers})


async def refused(authenticator: JwtAuthenticator, text: str) -> bool:
    try:
        await authenticator.client(text)
    except UnauthenticatedError as error:
        return str(error) == REFUSED
    return False


@pytest.mark.parametrize(("kid", "key", "algorithm"), [("one", RSA, "RS256"), ("ec", EC, "ES256"), ("ed", ED, "EdDSA")])
async def test_a_signed_token_names_its_client(place: Place, kid: str, key: Any, algorithm: str) -> None:
    quota = Quota(concurrent=3)
    found = await place.authenticator(quota=quota).client(token(key=key, kid=kid, algorithm=algorithm))

    assert found == Client(name="shop", workflows=frozenset({"inbox", "photos"}), quota=quota)


@pytest.mark.parametrize(
    ("changes", "said", "workflows"),
    [
        ({}, {"scope": None}, frozenset()),
        ({}, {"scope": ["inbox", "two words"]}, frozenset({"inbox", "two words"})),
        ({}, {"scope": "*"}, None),
        ({"workflows_prefix": "ask:"}, {"scope": "openid ask:inbox *"}, frozenset({"inbox"})),
        ({"workflows_prefix": "ask:"}, {"scope": "ask:*"}, None),
        ({"workflows_claim": "workflows"}, {"workflows": ["inbox"]}, frozenset({"inbox"})),
    ],
)
async def test_a_claim_lists_the_workflows(
    place: Place, changes: dict[str, Any], said: dict[str, Any], workflows: frozenset[str] | None
) -> None:
    assert (await place.authenticator(**changes).client(token(claims(**said)))).workflows == workflows


async def test_another_claim_can_name_the_client(place: Place) -> None:
    found = await place.authenticator(client_claim="azp").client(token(claims(azp="app-7")))
    assert found.name == "app-7"


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "said",
    [
        claims(iss="https://other"),
        claims(iss=None),
        claims(aud="other"),
        claims(aud=None),
        claims(exp=None),
        claims(exp=ago(60)),
        claims(nbf=datetime.now(UTC) + timedelta(seconds=600)),
        claims(sub=None),
        claims(sub=""),
        claims(sub="a\nb"),
        claims(scope={"inbox": True}),
        claims(scope=[1]),
    ],
)
async def test_a_token_that_says_something_else_is_refused(place: Place, said: dict[str, Any]) -> None:
    assert await refused(place.authenticator(client_claim="sub"), token(said))


async def test_clocks_may_differ_a_little(place: Place) -> None:
    late = token(claims(exp=ago(20)))
    assert (await place.authenticator().client(late)).name == "shop"
    assert await refused(place.authenticator(leeway=5), late)


def unsigned(header: dict[str, Any]) -> str:
    said = {**claims(), "exp": 2**33}
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, said))
    return ".".join([*parts, ""])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.b.c",
        "agentic_x",
        unsigned({"alg": "none", "kid": "one"}),
        unsigned({"alg": "None", "kid": "one"}),
        unsigned({"alg": ["RS256"], "kid": "one"}),
        token(key=OTHER_RSA),
        token(kid="ec"),
        token(kid="absent"),
        token(kid=None),
        token(algorithm="RS512"),
        token(key="s" * 64, algorithm="HS256"),
        token(crit=["b64"], b64=True),
        token(key=EC, algorithm="ES256"),
        token()[:-4],
    ],
)
async def test_what_the_issuer_did_not_sign_is_refused(place: Place, text: str) -> None:
    assert await refused(place.authenticator(), text)


async def test_a_key_that_the_token_brings_is_not_used(place: Place) -> None:
    for headers in ({"jwk": public("one", OTHER_RSA)}, {"jku": place.jwks}):
        assert await refused(place.authenticator(), token(key=OTHER_RSA, **headers))


async def test_a_key_is_for_its_own_algorithm(place: Place) -> None:
    place.issuer.keys = [public("one", alg="RS512")]
    assert await refused(place.authenticator(), token())
    assert (await place.authenticator(algorithms=("RS512",)).client(token(algorithm="RS512"))).name == "shop"


async def test_keys_that_are_not_for_signatures_or_unknown_are_left_out(place: Place) -> None:
    secret = base64.urlsafe_b64encode(b"s" * 64).decode()
    place.issuer.keys = [
        {"kty": "oct", "kid": "secret", "k": secret},
        {"kty": "new", "kid": "x"},
        "no key",
        public("encryption", use="enc"),
        public("one", use="sig"),
    ]
    authenticator = place.authenticator()
    assert (await authenticator.client(token())).name == "shop"
    assert await refused(authenticator, token(kid="encryption"))
    assert await refused(authenticator, token(key="s" * 64, kid="secret", algorithm="HS256"))


async def test_keys_are_fetched_once_and_again_after_a_while(place: Place) -> None:
    authenticator = place.authenticator()
    for _ in range(5):
        await authenticator.client(token())
    assert place.issuer.asked == 1
    place.seconds += 300
    await authenticator.client(token())
    assert place.issuer.asked == 2


async def test_a_new_key_is_found_and_a_removed_one_forgotten(place: Place) -> None:
    authenticator = place.authenticator()
    await authenticator.client(token())
    place.issuer.keys = [public("two", OTHER_RSA)]
    place.seconds += 10
    assert (await authenticator.client(token(key=OTHER_RSA, kid="two"))).name == "shop"
    assert await refused(authenticator, token())


async def test_unknown_keys_do_not_make_us_ask_all_the_time(place: Place) -> None:
    authenticator = place.authenticator()
    for number in range(20):
        assert await refused(authenticator, token(kid=f"k{number}"))
    assert place.issuer.asked == 1


async def test_known_keys_go_on_while_the_issuer_is_away(place: Place) -> None:
    authenticator = place.authenticator()
    await authenticator.client(token())
    place.issuer.status = 503
    place.seconds += 300
    assert (await authenticator.client(token())).name == "shop"
    problem = f"the issuer's keys cannot be read from {place.jwks} (status 503)"
    assert authenticator.problem == problem
    with pytest.raises(AuthenticationUnavailableError) as caught:
        await authenticator.client(token(kid="two"))
    assert str(caught.value) == f"the token cannot be checked now: {problem}; ask again later"
    assert caught.value.retryable

    place.seconds += 3300
    with pytest.raises(AuthenticationUnavailableError):
        await authenticator.client(token())
    place.issuer.status = 200
    place.seconds += 10
    assert (await authenticator.client(token())).name == "shop"
    assert authenticator.problem is None


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        ("{}", 200, "no JSON object with a list 'keys'"),
        ("[]", 200, "no JSON object with a list 'keys'"),
        ("<html>", 200, "Expecting value: line 1 column 1 (char 0)"),
        (" " * (2**20 + 1), 200, "more than 1,048,576 bytes"),
        ("", 302, "status 302"),
    ],
)
async def test_what_is_no_key_set_is_a_problem(place: Place, body: str, status: int, why: str) -> None:
    place.issuer.body, place.issuer.status = body, status
    with pytest.raises(AuthenticationUnavailableError) as caught:
        await place.authenticator().client(token())
    assert str(caught.value) == (
        f"the token cannot be checked now: the issuer's keys cannot be read from {place.jwks} ({why}); ask again later"
    )


async def test_keys_can_lie_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [public("one")]}))
    rules = JwtRules(issuer="https://id", audience="gateway", jwks=str(path))
    assert (await JwtAuthenticator(rules).client(token())).name == "shop"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"issuer": ""}, "issuer is empty: without it tokens of others would be good here; set it"),
        ({"audience": ""}, "audience is empty: without it tokens of others would be good here; set it"),
        (
            {"algorithms": ("RS256", "none")},
            "algorithms is ['RS256', 'none']; give some of those with a public key: "
            "RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA",
        ),
        (
            {"algorithms": ("HS256",)},
            "algorithms is ['HS256']; give some of those with a public key: "
            "RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA",
        ),
        ({"leeway": 3600.0}, "leeway is 3600.0; give 0 to 300 seconds"),
        (
            {"jwks": "http://id.example/keys"},
            "jwks is 'http://id.example/keys': whoever stands between could send other keys; "
            "give an https URL, or a path",
        ),
        ({"jwks": "keys.json"}, "jwks is 'keys.json', and there is no such file; give a URL or a path"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], message: str) -> None:
    base: dict[str, Any] = {"issuer": "https://id", "audience": "gateway", "jwks": "https://id/keys"}
    with pytest.raises(AccessSettingsError) as caught:
        JwtRules(**{**base, **changes})
    assert str(caught.value) == message
