"""`fluxbatch emulator`: the provider as a process of its own.

Prints exactly one line on stdout, once it listens; ends quietly on SIGINT or SIGTERM.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fluxbatch.emulator.settings import EmulatorSettings, ServedLimits, parse_image_size, parse_keys

if TYPE_CHECKING:
    from fluxbatch.emulator.core import ProviderCore


def emulator_command(
    port: Annotated[int, typer.Option(help="0: any free port.")] = 8089,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    duration: Annotated[float, typer.Option(help="Median seconds a prediction takes.")] = 10.0,
    sigma: Annotated[float, typer.Option(help="Sigma of the lognormal around it.")] = 0.15,
    latency: Annotated[float, typer.Option(help="Seconds on the wire, each way.")] = 0.0,
    jitter: Annotated[float, typer.Option(help="Up to this much more, each way.")] = 0.0,
    speed: Annotated[float, typer.Option(help="10: a minute lasts six seconds.")] = 1.0,
    image_size: Annotated[str, typer.Option(help="N or WxH; empty: as asked.")] = "",
    seed: Annotated[int, typer.Option(help="Seed of all its dice.")] = 0,
    dialect: Annotated[
        str, typer.Option(help="card or docs.", autocompletion=lambda: ["card", "docs"])
    ] = "card",
    keys: Annotated[str, typer.Option(help="a,b:team,c:team; empty: any key.")] = "",
    rate: Annotated[int, typer.Option(help="Creates in any window; 0: no limit.")] = 100,
    window: Annotated[float, typer.Option(help="Seconds of that window.")] = 60.0,
    concurrent: Annotated[int, typer.Option(help="Unfinished at once; 0: no limit.")] = 10,
    rate_counts: Annotated[
        str,
        typer.Option(
            help="What takes a place in the window: accepted or attempted.",
            autocompletion=lambda: ["accepted", "attempted"],
        ),
    ] = "accepted",
    no_retry_after: Annotated[
        bool, typer.Option("--no-retry-after", help="A 429 does not say when to come back.")
    ] = False,
    no_listing: Annotated[
        bool, typer.Option("--no-listing", help="A provider without GET /executions.")
    ] = False,
) -> None:
    """Serve the provider's API on this machine: strict limits, real images, faults on demand."""
    if dialect not in ("card", "docs"):
        raise typer.BadParameter(f"{dialect!r} is neither card nor docs", param_hint="--dialect")
    if rate_counts not in ("accepted", "attempted"):
        raise typer.BadParameter(
            f"{rate_counts!r} is neither accepted nor attempted", param_hint="--rate-counts"
        )
    try:
        settings = EmulatorSettings(
            limits=ServedLimits(
                creates=rate,
                window_s=window,
                concurrent=concurrent,
                counts="attempted" if rate_counts == "attempted" else "accepted",
                tells_when=not no_retry_after,
            ),
            duration_s=duration,
            sigma=sigma,
            latency_s=latency,
            jitter_s=jitter,
            speed=speed,
            image_size=parse_image_size(image_size),
            dialect="docs" if dialect == "docs" else "card",
            keys=parse_keys(keys),
            has_listing=not no_listing,
        )
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from exc

    # Imported late: `fluxbatch --help` must not pay for aiohttp and Pillow.
    import anyio

    try:
        anyio.run(_serve, _core(settings, seed), host, port)
    except OSError as exc:
        typer.echo(f"error: cannot listen on {host}:{port}: {exc.strerror}", err=True)
        raise typer.Exit(1) from exc


def _core(settings: EmulatorSettings, seed: int) -> ProviderCore:
    import random
    import time
    from datetime import UTC, datetime

    from fluxbatch.emulator.core import ProviderCore

    return ProviderCore(
        settings, monotonic=time.monotonic, began=datetime.now(UTC), rng=random.Random(seed)
    )


async def _serve(core: ProviderCore, host: str, port: int) -> None:
    import signal

    import anyio
    from aiohttp import web

    from fluxbatch.emulator.app import emulator_app

    runner = web.AppRunner(emulator_app(core), access_log=None, shutdown_timeout=1.0)
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        await runner.setup()
        try:
            site = web.TCPSite(runner, host, port, backlog=1024)
            await site.start()
            address = runner.addresses[0]
            core.listen_at(f"http://{address[0]}:{address[1]}")
            typer.echo(f"fluxbatch emulator listening on {core.origin}/v1")
            async for _ in signals:
                break
        finally:
            await runner.cleanup()
