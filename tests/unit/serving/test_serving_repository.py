from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from builders import card
from serving_samples import Cards, FakeLoaded, doubled, errors, process_card, request

from airflow_agentic.exceptions import InputError, ModelLoadError, ModelUnavailableError, StoreError, UnknownModelError


async def started(cards: Cards) -> Any:
    repository = cards.repository()
    await repository.start()
    return repository


async def test_it_is_ready_once_every_model_was_loaded() -> None:
    cards = Cards(card("a"), card("b"))
    repository = cards.repository()
    assert not repository.ready
    await repository.start()
    assert repository.ready
    assert list(repository.current) == ["a", "b"]
    await repository.close()
    assert all(model.closed for model in cards.models.values())
    assert not repository.ready


async def test_before_all_are_loaded_it_is_not_ready_though_some_answer() -> None:
    cards = Cards(card("a"), card("b"))
    cards.broken["b", "1"] = ModelLoadError("no file")
    repository = cards.repository()
    with pytest.raises(ModelLoadError, match=r"^no file$"):
        await repository.start()
    assert repository.find("a").ready
    assert not repository.ready
    await repository.close()


async def test_one_that_restarts_leaves_it_ready_as_long_as_another_answers() -> None:
    repository = await started(Cards(card("a"), card("b")))
    repository.find("a").state = "restarting"
    assert repository.ready
    repository.find("b").state = "restarting"
    assert not repository.ready
    await repository.close()


async def test_unknown_names_and_versions_say_what_there_is() -> None:
    repository = await started(Cards(card("minilm"), card("vader")))
    for name, version, message in [
        ("minilmm", None, "no model is called 'minilmm' here; did you mean 'minilm'?"),
        ("other", None, "no model is called 'other' here; there are: minilm, vader"),
        ("vader", "2", "model 'vader' has no version '2' here; there are: 1"),
    ]:
        with pytest.raises(UnknownModelError) as raised:
            repository.find(name, version)
        assert str(raised.value) == message
    assert repository.find("vader", "1") is repository.find("vader")
    assert repository.versions("vader") == ("1",)
    assert repository.versions("other") == ()
    await repository.close()


async def test_a_new_version_takes_over_and_the_old_one_answers_what_it_was_asked() -> None:
    cards, begun, go = Cards(process_card(version="1")), threading.Event(), threading.Event()

    def slow(given: Any) -> Any:
        begun.set()
        go.wait()
        return doubled(given)

    old = cards.models["fake", "1"] = FakeLoaded(slow, process=True)
    repository = await started(cards)
    asked = asyncio.create_task(repository.infer("fake", None, request((1, 2))))
    while not begun.is_set():
        await asyncio.sleep(0)
    cards.cards = [process_card(version="2")]
    refreshing = asyncio.create_task(repository.refresh())
    while repository.find("fake").card.version == "1":
        await asyncio.sleep(0)
    assert (await repository.infer("fake", None, request((1, 2)))).model_version == "2"
    with pytest.raises(UnknownModelError):
        await repository.infer("fake", "1", request((1, 2)))
    assert not old.closed
    go.set()
    assert (await asked).model_version == "1"
    await refreshing
    assert old.closed
    await repository.close()


async def test_a_request_that_found_the_old_version_too_late_is_answered_by_the_new_one() -> None:
    cards = Cards(process_card(version="1"))
    repository = await started(cards)
    asked = repository.infer("fake", None, request((1, 2)))
    old = repository.find("fake")
    task = asyncio.create_task(old.close())
    await task
    cards.cards = [process_card(version="2")]
    found = repository.find
    repository.find = lambda *_: old
    with pytest.raises(ModelUnavailableError, match="is unloaded"):
        await repository.infer("fake", None, request((1, 2)))
    repository.find = found
    await repository.refresh()
    places = iter([old])
    repository.find = lambda *given: next(places, None) or found(*given)
    assert (await asked).model_version == "2"
    await repository.close()


async def test_a_version_that_cannot_be_loaded_changes_nothing_and_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cards = Cards(card(version="1"))
    repository = await started(cards)
    cards.cards = [card(version="2")]
    cards.broken["fake", "2"] = ModelLoadError("no such file")
    for _ in range(3):
        await repository.refresh()
    assert repository.find("fake").card.version == "1"
    assert (await repository.infer("fake", None, request((1, 2)))).model_version == "1"
    assert errors(caplog) == ["model 'fake': version '2' cannot be loaded and is not served: no such file"]
    await repository.close()


async def test_a_version_that_could_not_be_loaded_for_now_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    cards = Cards(card(version="1"))
    repository = await started(cards)
    cards.cards = [card(version="2")]
    cards.broken["fake", "2"] = StoreError("the store is away")
    for _ in range(3):
        await repository.refresh()
    assert errors(caplog) == ["model 'fake': version '2' cannot be loaded and is not served: the store is away"]
    del cards.broken["fake", "2"]
    await repository.refresh()
    assert repository.find("fake").card.version == "2"
    await repository.close()


async def test_a_card_that_is_edited_under_the_same_version_is_refused_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cards = Cards(card())
    repository = await started(cards)
    served = repository.find("fake")
    cards.cards = [card(classes=["good", "bad"])]
    for _ in range(2):
        await repository.refresh()
    assert repository.find("fake") is served
    assert errors(caplog) == ["model 'fake': version '1' has changed under the same version; give it another version"]
    cards.cards = [card()]
    await repository.refresh()
    cards.cards = [card(classes=["good", "bad"])]
    await repository.refresh()
    assert len(errors(caplog)) == 2
    await repository.close()


async def test_a_model_without_a_card_is_unloaded_and_one_with_a_new_card_is_loaded() -> None:
    cards = Cards(card("a"))
    repository = await started(cards)
    cards.cards = [card("b")]
    await repository.refresh()
    assert list(repository.current) == ["b"]
    assert cards.models["a", "1"].closed
    assert (await repository.infer("b", None, request((1, 2)))).model_name == "b"
    await repository.close()


@pytest.mark.parametrize("error", [InputError("no model is called 'a'"), PermissionError("models")])
async def test_cards_that_cannot_be_read_change_nothing_and_are_said_once(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    cards = Cards(card("a"))
    repository = await started(cards)
    cards.error = error
    for _ in range(2):
        await repository.refresh()
    assert repository.ready
    assert errors(caplog) == [f"the cards cannot be used, what is loaded goes on: {error}"]
    await repository.close()


async def test_closing_also_frees_a_version_that_is_leaving() -> None:
    cards, begun = Cards(process_card(version="1")), threading.Event()
    go = threading.Event()

    def hang(given: Any) -> Any:
        begun.set()
        go.wait()
        return doubled(given)

    old = cards.models["fake", "1"] = FakeLoaded(hang, process=True)
    old.process.busy = True
    old.process.kill = go.set
    repository = await started(cards)
    asked = asyncio.create_task(repository.infer("fake", None, request((1, 2))))
    while not begun.is_set():
        await asyncio.sleep(0)
    cards.cards = [process_card(version="2")]
    refreshing = asyncio.create_task(repository.refresh())
    while repository.find("fake").card.version == "1":
        await asyncio.sleep(0)
    refreshing.cancel()
    await asyncio.wait([refreshing])
    await repository.close()
    assert old.closed
    with pytest.raises(ModelUnavailableError):
        await asked
