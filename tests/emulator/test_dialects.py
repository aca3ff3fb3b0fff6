"""The card's and the documentation's manner of speaking, each strict about its own."""

from __future__ import annotations

from typing import Any

import pytest

from fluxbatch.emulator import router
from fluxbatch.emulator.core import ProviderCore
from fluxbatch.emulator.messages import Call, Reply
from tests.emulator.support import KEY, FakeClock, buy, make_core, order, read


@pytest.fixture
def docs(clock: FakeClock) -> ProviderCore:
    return make_core(clock, dialect="docs")


def _listed(core: ProviderCore, headers: dict[str, str]) -> Reply:
    return router.handle_call(core, Call("GET", "/v1/executions", headers=headers))


def test_each_dialect_reads_its_own_auth_header_only(
    core: ProviderCore, docs: ProviderCore
) -> None:
    """
    The other one's header is no key at all, so that a client notices.
    """
    card_header, docs_header = {"x-api-key": "k"}, {"authorization": "Bearer k"}

    assert _listed(core, card_header).status == _listed(docs, docs_header).status == 200
    assert _listed(core, docs_header).status == _listed(docs, card_header).status == 401
    docs.faults["any_auth"] = 1
    assert _listed(docs, card_header).status == 200


def test_a_poll_tells_exactly_what_each_dialect_names(
    clock: FakeClock, core: ProviderCore, docs: ProviderCore
) -> None:
    """
    The card names status, id, output and metrics, of a failure why; what was asked for it never
    gives back. The documentation does.
    """
    for one in (core, docs):
        one.faults["prediction_error"] = {"chance": 1, "match": "bad"}
        one.faults["bill_errors"] = 1
    good, bad = buy(core, "good"), buy(core, "bad")
    told = buy(docs, "good")
    card = {"status", "predictionID", "output", "metrics"}

    assert set(read(core, good)) == card
    clock.pass_(10)

    assert set(read(core, good)) == card
    assert set(read(core, bad)) == card | {"message", "details"}
    documented = {"id", "input", "status", "output", "logs", "metrics", "urls"}
    assert set(read(docs, told)) == documented


def test_a_provider_may_have_no_listing(clock: FakeClock) -> None:
    """
    The card knows none: then there is no such address.
    """
    without = make_core(clock, has_listing=False)

    assert _listed(without, {"x-api-key": "k"}).status == 404


def test_error_bodies_differ(core: ProviderCore, docs: ProviderCore) -> None:
    """
    The card has a message and details in words; the docs an error and details as an object.
    """
    card = core.create(KEY, order(num_outputs=9)).body
    other = docs.create(KEY, order(num_outputs=9)).body

    assert card["status"] == "error"
    assert card["message"] == other["error"] == "Invalid input for model"
    assert "num_outputs" in card["details"]
    assert "num_outputs" in other["details"]["reason"]


def test_the_card_has_one_word_for_unfinished(clock: FakeClock, core: ProviderCore) -> None:
    """
    Processing, then success; a single output is a string, several are a list.
    """
    one, two = buy(core, "one"), buy(core, "two", num_outputs=2)
    assert read(core, one)["status"] == "processing"
    clock.pass_(10)

    assert isinstance(read(core, one)["output"], str)
    assert isinstance(read(core, two)["output"], list)


def test_the_docs_have_several_words_for_everything(clock: FakeClock, docs: ProviderCore) -> None:
    """
    Created, queued or starting, then processing, then success or completed.
    """
    ids = [buy(docs, str(n)) for n in range(9)]
    begun = {read(docs, i)["status"] for i in ids}
    clock.pass_(5)
    running = {read(docs, i)["status"] for i in ids}
    clock.pass_(5)
    done = {read(docs, i)["status"] for i in ids}

    assert begun == {"created", "queued", "starting"}
    assert running == {"processing"}
    assert done == {"success", "completed"}


def test_the_docs_show_every_shape_of_output(clock: FakeClock, docs: ProviderCore) -> None:
    """
    A string, a list, an object with a url, with images, a list of objects.
    """
    docs.executor.limits = type(docs.executor.limits)(creates=0, concurrent=0)
    ids = [buy(docs, str(n), num_outputs=1 + n // 12) for n in range(24)]
    clock.pass_(10)
    outputs = [read(docs, i)["output"] for i in ids]

    assert {_shape(o) for o in outputs[:12]} == {
        "url",
        "{url}",
        "[url]",
        "[{url}]",
        "{images: [url]}",
        "{images: [{url}]}",
    }
    assert {_shape(o) for o in outputs[12:]} == {
        "[url]",
        "[{url}]",
        "{images: [url]}",
        "{images: [{url}]}",
    }


def _shape(output: Any) -> str:
    match output:
        case str():
            return "url"
        case [str(), *_]:
            return "[url]"
        case [{"url": str()}, *_]:
            return "[{url}]"
        case {"url": str()}:
            return "{url}"
        case {"images": [str(), *_]}:
            return "{images: [url]}"
        case {"images": [{"url": str()}, *_]}:
            return "{images: [{url}]}"
    return repr(output)


def test_a_failure_gives_its_reason_where_the_dialect_puts_it(
    clock: FakeClock, core: ProviderCore, docs: ProviderCore
) -> None:
    """
    The card: message and details. The docs: an output object, or the logs.
    """
    for provider in (core, docs):
        provider.faults["prediction_filtered"] = 1
    card = buy(core)
    ids = [buy(docs, str(n)) for n in range(4)]
    clock.pass_(10)

    assert read(core, card)["status"] == "error"
    assert read(core, card)["message"] == "NSFW content detected"
    answers = [read(docs, i) for i in ids]
    assert {a["status"] for a in answers} == {"error", "failed"}
    assert answers[0]["output"]["error_code"] == "content_moderated"
    assert "NSFW content detected" in answers[1]["logs"]
    assert answers[1]["output"] is None


def test_both_dialects_cancel_in_their_words(docs: ProviderCore) -> None:
    """
    The docs spell it with one l and with two.
    """
    ids = [buy(docs, str(n)) for n in range(4)]
    for prediction in ids:
        assert docs.cancel(KEY, prediction).body == {"status": "cancelled"}

    assert {read(docs, i)["status"] for i in ids} == {"cancelled", "canceled"}


def test_an_address_nobody_knows_is_a_json_404(core: ProviderCore) -> None:
    """
    Whatever the method; and every reply carries its date and request id.
    """
    for method, path in (("GET", "/v1/nothing"), ("PATCH", "/v1/prediction"), ("GET", "/")):
        reply = router.handle_call(core, Call(method, path, headers={"x-request-id": "me-1"}))
        assert reply.status == 404
        assert reply.headers["X-Request-Id"] == "me-1"
        assert reply.headers["Date"] == "Sun, 22 Nov 2026 12:00:00 GMT"
