"""Exports without pyarrow: the light formats work and the others name the extra."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.export.made import made_dataset, row

_WITHOUT = """
import sys
sys.modules["pyarrow"] = None
from fluxbatch.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("form", "code"),
    [("jsonl", 0), ("csv", 0), ("parquet", 2), ("imagefolder", 2), ("webdataset", 2)],
)
def test_a_missing_extra_is_named(tmp_path: Path, form: str, code: int) -> None:
    """
    Before anything is read; nothing is written.
    """
    one = row(1)
    with made_dataset(tmp_path / "d", [one]) as maker:
        maker.done(one)
    words = ["export", str(tmp_path / "d"), "--format", form, "--to", str(tmp_path / f"x.{form}")]
    ended = subprocess.run(
        [sys.executable, "-c", _WITHOUT, *words], capture_output=True, text=True, check=False
    )

    assert ended.returncode == code, ended.stderr
    assert (tmp_path / f"x.{form}").exists() == (code == 0)
    if code:
        assert "pip install 'fluxbatch-engine[parquet]'" in ended.stderr
