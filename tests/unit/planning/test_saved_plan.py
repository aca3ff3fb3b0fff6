"""The saved plan: what it keeps of how it was asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fluxbatch.config.loading import load_settings
from fluxbatch.dataset.address import dataset_at
from fluxbatch.planning.plan import make_plan
from fluxbatch.planning.saved_plan import SavedPlan


@pytest.mark.parametrize(
    "out", ["pictures", "postgresql://me@host/db/night?sslmode=require", "postgresql://host/db/n"]
)
def test_a_saved_plan_leads_to_its_dataset_from_everywhere(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A folder by its whole path, a dataset in a database by its address.
    """
    monkeypatch.chdir(tmp_path)
    manifest, saved = tmp_path / "m.jsonl", tmp_path / "plan.json"
    row = {"prompt": "a pier", "control_image": "https://photos.invalid/cat.png"}
    manifest.write_text(json.dumps(row) + "\n")
    plan = make_plan(load_settings(None, {}, {}), manifest, None)

    made = SavedPlan.of(plan, manifest, Path(out), kind="", base_url="", budget="")
    made.write(saved, plan)
    kept = SavedPlan.read(saved)

    assert kept is not None
    assert kept.out is not None
    meant = dataset_at(out)
    found = dataset_at(Path(kept.out))
    assert found.address == (meant.address if meant.is_shared else str(tmp_path / out))
