"""A folder alone says how its provider is reached, and may not say where the key goes."""

from __future__ import annotations

import pytest

from fluxbatch.dataset.folder import Folder
from fluxbatch.errors import ConfigError
from fluxbatch.maintenance import saved_settings
from tests.maintenance.support import Ward


async def test_the_latest_runs_settings_stand_beneath_environment_and_flags(ward: Ward) -> None:
    """
    Flag over environment over what the run was told; its manifest is forgotten.
    """
    ward.settings = {"reconcile": {"lag": 0.25}, "sink": {"downloads": 3}}
    await ward.run(rows=1)

    settings = saved_settings(
        Folder(ward.out),
        {"limits": {"concurrent": 2}},
        {"FLUXBATCH_SINK__DOWNLOADS": "5", "FLUXBATCH_LIMITS__CONCURRENT": "9"},
    )

    assert settings.provider.base_url == ward.emulator.base_url
    assert (settings.reconcile.lag, settings.sink.downloads) == (0.25, 5)
    assert settings.limits.concurrent == 2
    assert settings.manifest is None


async def test_an_address_that_only_the_ledger_names_gets_no_key(ward: Ward) -> None:
    """
    Named by whoever has the key, it does.
    """
    await ward.run(rows=1)
    theirs = "https://elsewhere.invalid/v1"
    ward.change(
        "UPDATE runs SET settings_json ="
        f" replace(settings_json, '{ward.emulator.base_url}', '{theirs}')"
    )

    with pytest.raises(ConfigError, match="elsewhere"):
        saved_settings(Folder(ward.out), {}, {})

    for flags, environ in (({"provider": {"base_url": theirs}}, {}),
                           ({}, {"EACHLABS_BASE_URL": theirs})):  # fmt: skip
        named = saved_settings(Folder(ward.out), flags, environ)
        assert named.provider.base_url == theirs


async def test_a_dataset_that_never_ran_has_the_defaults(ward: Ward) -> None:
    """
    Nothing was told, so nothing is remembered.
    """
    ward.make_empty()

    assert saved_settings(Folder(ward.out), {}, {}).model == "flux-depth-dev"
