"""The location of images, decided once: before there is any."""

from __future__ import annotations

import pytest

from fluxbatch.errors import ConfigError
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations.image_location import KeepImagesAt, image_store
from tests.ledger.support import URL, Books


def test_the_place_may_change_until_there_is_an_image(database: Database) -> None:
    """
    Then another is refused with the remedy, and the same is no news.
    """
    books = Books.opened(database)
    assert image_store(database) is None
    for place in ("s3://one/x", None, "s3://two/y"):
        books.do(KeepImagesAt(place))
        assert image_store(database) == place
    (output,) = books.generate(1, [URL]).outputs
    books.store(output.output_seq)

    books.do(KeepImagesAt("s3://two/y"))
    with pytest.raises(ConfigError, match=r"set sink\.store to 's3://two/y'"):
        books.do(KeepImagesAt("s3://one/x"))
    with pytest.raises(ConfigError, match=r"sink\.store names no store"):
        books.do(KeepImagesAt(None))
    assert image_store(database) == "s3://two/y"
