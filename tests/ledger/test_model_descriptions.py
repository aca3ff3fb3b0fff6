"""Models as the provider described them, and which uploads nobody needs any more."""

from __future__ import annotations

from fluxbatch.domain.job import ControlFile
from fluxbatch.domain.money import Micros
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations.model_descriptions import (
    KeepModel,
    KeptModel,
    find_model,
    kept_models,
    models_named,
    observed_price,
)
from fluxbatch.ledger.operations.uploads import (
    ForgetUpload,
    RecordUpload,
    count_uploads,
    unused_uploads,
)
from tests.ledger.support import Books, at, make_job, make_row

SCHEMA = {"properties": {"größe 🎈": {"type": "string", "default": "\0"}}}


def test_a_description_is_kept_with_its_time_until_a_newer_one_comes(database: Database) -> None:
    """
    Word for word, also what PostgreSQL would not take as text.
    """
    books = Books(database)
    first = KeptModel("a", "A", "array", SCHEMA, None, at(1).utc)
    newer = KeptModel("a", "A 2", "image", {"properties": {}}, Micros(5), at(2).utc)
    books.do(KeepModel(first))
    assert find_model(database, "a") == first
    assert find_model(database, "b") is None

    books.do(KeepModel(newer))
    assert kept_models(database) == [newer]


def test_a_dataset_knows_which_models_it_may_have_bought_from(database: Database) -> None:
    """
    Those of its manifests, whatever else has been described.
    """
    books = Books(database)
    assert models_named(database) == []
    books.import_rows("m", [make_row(1, make_job(1))])
    books.import_rows("n", [make_row(1, make_job(2))])
    books.do(KeepModel(KeptModel("never-run", "", "", {}, None, at(1).utc)))

    assert models_named(database) == [make_job(1).model]


def test_the_price_seen_is_the_most_that_is_certain(books: Books) -> None:
    """
    Estimates and what cost nothing say nothing; another model's cost neither.
    """
    model = make_job(1).model
    assert observed_price(books.db, model) is None
    books.generate(1)
    books.move(books.run_one(2), PredictionEvent.SUCCEEDED, urls=("u",), cost=Micros(30_000))
    assert observed_price(books.db, model) == 30_000
    assert observed_price(books.db, "another") is None


def test_an_upload_is_unused_once_no_job_waits_for_it(database: Database) -> None:
    """
    Pending keeps it, and so does whatever may be alive.
    """
    books = Books(database)
    control = ControlFile("/a/photo.png", "cd" * 32, 10, "image/png")
    books.manifest_seq = books.import_rows("m", [make_row(1, make_job(1), control=control)])
    books.open_run("run-1")
    books.do(RecordUpload(at(1), "cd" * 32, "f", "https://cdn/1", 10, "image/png", "f1", None))
    books.do(RecordUpload(at(1), "ab" * 32, "g", "https://cdn/2", 20, "image/png", "f1", None))

    assert [one.file_id for one in unused_uploads(database)] == ["g"]
    prediction = books.run_one(1)
    assert [one.file_id for one in unused_uploads(database)] == ["g"]
    books.move(prediction, PredictionEvent.SUCCEEDED, urls=("u",))
    assert [one.file_id for one in unused_uploads(database)] == ["g", "f"]

    books.do(ForgetUpload("cd" * 32, "an older file"))
    assert count_uploads(database) == 2
    books.do(ForgetUpload("cd" * 32, "f"))
    assert count_uploads(database) == 1
