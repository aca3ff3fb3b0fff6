"""A notebook's cell that is interrupted while its run goes on."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from jupyter_core.utils import ensure_async

from tests.kills.killing import wait_for_creates
from tests.support.emulator import emulator_process
from tests.support.notebook import Executed, client_for, facts_of, kernel_environment, rows_cell

pytestmark = pytest.mark.proof


async def test_a_cell_that_is_interrupted_ends_its_run(tmp_path: Path) -> None:
    """
    As by the kernel's stop button; the next cell works, and nothing is bought meanwhile.
    """
    run, look = "fluxbatch.run(rows, out='d')", "fluxbatch.Dataset.open('d')"
    client = client_for(tmp_path, rows_cell(60), run, look)
    with emulator_process("--speed", "5", "--image-size", "64") as slow:
        async with client.async_setup_kernel(env=kernel_environment(tmp_path, slow)):
            await client.async_execute_cell(client.nb["cells"][0], 0)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.async_execute_cell, client.nb["cells"][1], 1)
                await anyio.to_thread.run_sync(wait_for_creates, slow, 3)
                assert client.km is not None
                await ensure_async(client.km.interrupt_kernel())
            created = slow.stats()["created"]
            await client.async_execute_cell(client.nb["cells"][2], 2)
        after = slow.stats()["created"]

    outputs = client.nb["cells"][1]["outputs"]
    assert [one["ename"] for one in outputs if one["output_type"] == "error"] == [
        "KeyboardInterrupt"
    ]
    assert created == after < 60
    assert "60: " in facts_of(Executed(client.nb).html(2))["jobs"]
