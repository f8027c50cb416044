"""Bearer tokens from a file."""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from airflow_agentic.exceptions import ForbiddenError, SpecError, UnauthenticatedError, UnsafeFileError
from airflow_agentic.serving.access import Client, NewToken, Quota, TokenFile, new_token

if TYPE_CHECKING:
    from pathlib import Path

TOKENS = {name: new_token() for name in ("shop", "next", "ops")}
REFUSED = (
    "the token is not valid here: it is unknown, it has expired, or it was made for somebody else; "
    "ask whoever runs this gateway for one"
)


@dataclass
class Time:
    """Both clocks."""

    seconds: float = 0.0
    now: datetime = datetime(2026, 6, 1, tzinfo=UTC)


def content() -> dict[str, Any]:
    return {
        "clients": [
            {
                "name": "shop",
                "workflows": ["inbox", "photos"],
                "tokens": [
                    {"sha256": TOKENS["shop"].sha256, "expires": "2026-07-01"},
                    {"sha256": TOKENS["next"].sha256},
                ],
                "quota": {"requests_per_second": 20, "records_per_second": 200.5, "concurrent": 8},
            },
            {"name": "ops", "workflows": "*", "tokens": [{"sha256": TOKENS["ops"].sha256}]},
        ]
    }


def write(path: Path, data: object, mode: int = 0o600) -> Path:
    """As an editor does: whole, by renaming."""
    fresh = path.with_suffix(".new")
    fresh.write_text(data if isinstance(data, str) else yaml.safe_dump(data))
    fresh.chmod(mode)
    return fresh.rename(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "clients.yaml", content())


def opened(path: Path, time: Time | None = None) -> TokenFile:
    time = time or Time()
    return TokenFile(path, clock=lambda: time.seconds, now=lambda: time.now)


async def refuses(file: TokenFile, token: str) -> bool:
    try:
        await file.client(token)
    except UnauthenticatedError as error:
        return str(error) == REFUSED
    return False


def test_a_token_is_random_and_its_digest_is_plain() -> None:
    made = [new_token() for _ in range(10)]
    assert len({one.token for one in made}) == 10
    assert all(one.token.startswith("agentic_") and len(one.token) == 51 for one in made)
    assert made[0].sha256 == hashlib.sha256(made[0].token.encode()).hexdigest()
    assert made[0].token not in repr(made[0])


async def test_tokens_name_their_clients(path: Path) -> None:
    file = opened(path)
    shop = Client(
        name="shop",
        workflows=frozenset({"inbox", "photos"}),
        quota=Quota(requests_per_second=20, records_per_second=200.5, concurrent=8),
    )
    assert [await file.client(TOKENS[name].token) for name in ("shop", "next", "ops")] == [
        shop,
        shop,
        Client(name="ops", workflows=None),
    ]


@pytest.mark.parametrize(
    "token",
    ["", "agentic_x", TOKENS["shop"].sha256, TOKENS["shop"].token + " ", "ä\ud800"],
    ids=["none", "short", "a digest", "with a blank", "no Latin"],
)
async def test_any_other_token_is_refused_alike(path: Path, token: str) -> None:
    assert await refuses(opened(path), token)


async def test_a_token_expires(path: Path) -> None:
    time = Time(now=datetime(2026, 6, 30, 23, 59, 59, tzinfo=UTC))
    file = opened(path, time)
    assert (await file.client(TOKENS["shop"].token)).name == "shop"
    time.now += timedelta(seconds=1)
    assert await refuses(file, TOKENS["shop"].token)
    assert (await file.client(TOKENS["next"].token)).name == "shop"


async def test_every_digest_is_compared_in_constant_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def counting(one: str, other: str) -> bool:
        compared.append(one)
        return original(one, other)

    original = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", counting)
    file = opened(path)
    for token in (TOKENS["shop"].token, TOKENS["ops"].token):
        await file.client(token)
    await refuses(file, "nobody's")
    assert compared == [TOKENS[name].sha256 for name in ("shop", "next", "ops")] * 3


async def test_a_changed_file_is_read_again(path: Path) -> None:
    time = Time()
    file = opened(path, time)
    data = content()
    del data["clients"][0]
    write(path, data)
    assert (await file.client(TOKENS["shop"].token)).name == "shop"  # it is not looked at for every request

    time.seconds += 1
    assert await refuses(file, TOKENS["shop"].token)
    assert (await file.client(TOKENS["ops"].token)).name == "ops"
    assert file.problem is None


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda path: write(path, "clients: ["), "{path}:2:1  not valid YAML"),
        (lambda path: write(path, content(), 0o666), "{path} has the mode 0666, "),
        (lambda path: path.chmod(0o620), "{path} has the mode 0620, "),
        (lambda path: path.unlink(), "{path}  cannot be read: No such file or directory"),
    ],
)
async def test_a_spoilt_file_changes_no_client_and_is_a_problem(path: Path, spoil: Any, problem: str) -> None:
    time = Time()
    file = opened(path, time)
    spoil(path)
    time.seconds += 1

    assert (await file.client(TOKENS["shop"].token)).name == "shop"
    assert file.problem is not None
    assert file.problem.startswith(f"the clients are still those of before: {problem.format(path=path)}")

    write(path, {"clients": []})
    time.seconds += 1
    assert await refuses(file, TOKENS["shop"].token)
    assert file.problem is None


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o777])
def test_a_file_that_others_can_write_is_refused(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(UnsafeFileError) as caught:
        opened(path)
    assert str(caught.value) == (
        f"{path} has the mode {mode:04o}, so that others could give themselves access; run: chmod go-w {path}"
    )


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o644])
async def test_a_file_that_others_can_read_is_not(path: Path, mode: int) -> None:
    path.chmod(mode)
    assert (await opened(path).client(TOKENS["ops"].token)).name == "ops"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_somebody_else_is_refused(path: Path) -> None:
    os.chown(path, 12345, -1)
    with pytest.raises(UnsafeFileError) as caught:
        opened(path)
    assert str(caught.value) == (
        f"{path} belongs to the user 12345, who could give itself access; run: chown {os.geteuid()} {path}"
    )


def spoilt(**changes: Any) -> dict[str, Any]:
    """With a change of the second client."""
    data = content()
    data["clients"][1] |= changes
    return data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            spoilt(tokens=[{"sha256": TOKENS["ops"].token}]),
            "{path}:16:13  clients[1].tokens[0].sha256: this is no SHA-256\n"
            "    write its 64 lower-case hexadecimal digits, never the token itself",
        ),
        (
            spoilt(tokens=[{"sha256": TOKENS["shop"].sha256}]),
            "{path}:16:13  clients[1].tokens[0].sha256: this token is also one of 'shop'\n    make a token for each",
        ),
        (
            spoilt(name="shop"),
            "{path}:14:9  clients[1].name: the client 'shop' stands twice\n    give it several tokens instead",
        ),
        (
            spoilt(tokens=[{"sha256": TOKENS["ops"].sha256, "expires": "tomorrow"}]),
            "{path}:16:14  clients[1].tokens[0].expires: 'tomorrow' is no date\n"
            "    write for example 2027-01-31, or 2027-01-31T12:00:00Z",
        ),
    ],
)
def test_a_wrong_file_says_where(path: Path, data: Any, message: str) -> None:
    write(path, data)
    with pytest.raises(SpecError) as caught:
        opened(path)
    assert str(caught.value) == message.format(path=path)


@pytest.mark.parametrize(
    "data",
    [
        spoilt(tokens=[]),
        spoilt(workflows="inbox"),
        spoilt(quota={"requests_per_second": 0}),
        spoilt(token="secret"),
        {"clients": [{"name": "x"}]},
        [],
    ],
)
def test_what_is_no_list_of_clients_is_refused(path: Path, data: Any) -> None:
    write(path, data)
    with pytest.raises(SpecError) as caught:
        opened(path)
    assert str(path) in str(caught.value)


def test_a_new_token_is_the_callers_only() -> None:
    assert repr(NewToken(token="secret", sha256="d")) == "NewToken(sha256='d')"


async def test_only_a_client_that_is_trusted_acts_for_its_users(path: Path) -> None:
    said = content()
    said["clients"][0]["acts_for_users"] = True
    file = opened(write(path, said))
    shop, ops = [await file.client(TOKENS[name].token) for name in ("shop", "ops")]
    ann = shop.acting_for("ann@example.org")

    assert (ann.name, ann.workflows, ann.quota, ann.acts_for_users) == (
        "shop/ann@example.org", shop.workflows, shop.quota, False
    )  # fmt: skip
    with pytest.raises(ForbiddenError) as caught:
        ops.acting_for("ann")
    assert str(caught.value) == (
        "'ops' may not ask for others; ask without X-Agentic-User, "
        "or have whoever runs this gateway give the client acts_for_users"
    )
    for name in ("", "a/b", "a b", "ä", "a\n", "x" * 301):
        with pytest.raises(ForbiddenError) as caught:
            shop.acting_for(name)
        assert str(caught.value) == (
            "X-Agentic-User is no name of 1 to 300 letters, digits and -._~@+%; percent-encode it"
        )
