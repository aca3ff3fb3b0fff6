"""The fetch of a generated prediction's outputs into files.

Owns the tries: thirty-two an output, eight where each brings the same, with fresh URLs, free of
charge and never an attempt of the job. (Eight in all lost 6 of 300 paid outputs when each of nine
download faults struck one time in ten; with thirteen of them twenty would lose one more.)
What cannot be fetched is lost with its reason and stays `repair`'s to fetch; what came and is no
image by any reading is kept aside for it. Runs outside
the slot. Source: docs/design/protocol.md 6 and 9.
"""

from __future__ import annotations

from functools import partial

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from fluxbatch.domain.job import FailureClass, JobState
from fluxbatch.domain.provenance import Provenance
from fluxbatch.errors import ApiError, ExitCode, SinkError
from fluxbatch.events import Noticed, OutputStored
from fluxbatch.ledger.operations.outputs import LoseOutput, StoreOutput, WantedOutput
from fluxbatch.ledger.queries.provenance import provenance_of
from fluxbatch.provider import Status
from fluxbatch.sink import OutputRef, RejectedOutput, Sink, Stored
from fluxbatch.worker.await_result import NoKeyWorks, read_prediction
from fluxbatch.worker.context import OutputsToFetch, WorkerContext

_TRIES = 32
_TRIES_ALIKE = 8
"""The same body as often in a row, and no image, will not become one."""
_BACKOFF_S = 0.5
_LONGEST_BACKOFF_S = 15.0
_USUAL_TIMEOUT_S = 120.0


class OutputFetcher:
    """Fetches deliveries, one at a time; several run side by side."""

    def __init__(self, context: WorkerContext, sink: Sink) -> None:
        self._context = context
        self._sink = sink

    async def run(self, deliveries: MemoryObjectReceiveStream[OutputsToFetch]) -> None:
        """Fetch until the last sender has gone."""
        with deliveries:
            async for delivery in deliveries:
                made = await self._made(delivery)
                for output in delivery.outputs:
                    try:
                        await self._fetch(delivery, output, made)
                    except SinkError as exc:
                        # The output stays wanted: the next run fetches it again.
                        self._context.stop(ExitCode.ERROR, str(exc))

    async def _made(self, delivery: OutputsToFetch) -> Provenance | None:
        """What its images say of themselves, where they do."""
        if delivery.provenance is not None or not self._context.settings.sink.writes_metadata:
            return delivery.provenance
        seq, edition = delivery.tracked.prediction_seq, delivery.edition
        return await self._context.read(partial(provenance_of, prediction_seq=seq, edition=edition))

    async def _fetch(
        self, delivery: OutputsToFetch, output: WantedOutput, made: Provenance | None
    ) -> None:
        asked = OutputRef(made, output.number) if made is not None else None
        url: str | None = None
        if output.number < len(delivery.urls):
            url = delivery.urls[output.number]
        if url is None and (kept := await self._sink.store_kept(output.stem, asked)) is not None:
            await self._stored(delivery, output, kept)
            await self._sink.forget_kept(output.stem)
            return
        downloads = reads = alike = 0
        reason, latest = "", None
        while downloads < _TRIES and reads < _TRIES:
            if downloads + reads:
                # Scaled with the time a download may take, which tests shorten.
                scale = min(1.0, self._context.settings.sink.timeout / _USUAL_TIMEOUT_S)
                await anyio.sleep(self._context.jittered(scale * _pause_s(downloads + reads)))
            if url is None:
                url, reason = await self._fresh_url(delivery, output)
            if url is None:
                reads += 1
                continue
            is_last = downloads + 1 >= _TRIES or alike + 1 >= _TRIES_ALIKE
            arrived = await self._sink.store(url, output.stem, asked, is_last=is_last)
            if isinstance(arrived, Stored):
                await self._stored(delivery, output, arrived)
                if not delivery.urls:
                    await self._sink.forget_kept(output.stem)
                return
            if isinstance(arrived, RejectedOutput) and arrived.is_other_kind:
                await self._not_an_image(delivery, output, arrived.reason)
                return
            downloads, reason, url = downloads + 1, arrived.reason, None
            came = arrived.sha256 if isinstance(arrived, RejectedOutput) else None
            alike = alike + 1 if came is not None and came == latest else int(came is not None)
            latest = came
            if alike >= _TRIES_ALIKE or (isinstance(arrived, RejectedOutput) and arrived.is_final):
                break
        words = f"{downloads} downloads failed, the last: {reason}" if downloads else reason
        await self._lost(delivery, output, words)

    async def _not_an_image(
        self, delivery: OutputsToFetch, output: WantedOutput, reason: str
    ) -> None:
        """It is left to `repair` of a version that stores it; no more of it is submitted."""
        context = self._context
        await self._lost(delivery, output, reason)
        if not context.queue.is_closed:
            context.stop(ExitCode.STOPPED, f"an output of {context.card.slug!r}: {reason}")

    async def _fresh_url(
        self, delivery: OutputsToFetch, output: WantedOutput
    ) -> tuple[str | None, str]:
        """The output's URL as the provider gives it now, or why there is none."""
        try:
            prediction = await read_prediction(self._context, delivery.tracked)
        except NoKeyWorks:
            return None, "no key may read its prediction"
        except ApiError as exc:
            return None, str(exc)
        if prediction.status is not Status.SUCCEEDED or output.number >= len(prediction.urls):
            return None, f"the provider now says {prediction.word!r} without this output"
        return prediction.urls[output.number], ""

    async def _stored(self, delivery: OutputsToFetch, output: WantedOutput, stored: Stored) -> None:
        context = self._context
        state = await context.ledger.apply(
            StoreOutput(
                stored.at,
                output.output_seq,
                stored.path,
                stored.sha256,
                stored.bytes,
                stored.mime,
                stored.width,
                stored.height,
                stored.look.dhash,
                stored.look.notes,
                stored.file_sha256,
                _SIGNED if stored.is_signed else None,
            )
        )
        if stored.is_signed:
            context.notice_once(
                "images that carry content credentials (C2PA) are left as they came (sink.embed)"
                + ("; how they were made is in a .json beside each" if stored.is_beside else "")
            )
        elif stored.is_beside:
            context.notice_once(
                f"{stored.mime} images as they come cannot hold how they were made (sink.embed);"
                " it is in a .json beside each"
            )
        job = delivery.tracked.job_id
        done = state is JobState.DONE
        context.events.emit(
            OutputStored(
                job.hex(), stored.path, stored.bytes, done, stored.verify_s, *delivery.made
            )
        )
        if done:
            context.guard.job_ended(failed=False)
        elif state is JobState.FAILED:
            reason = f"fewer images than asked for ({len(delivery.outputs)})"
            context.job_failed(job, FailureClass.SHORT_OUTPUT, reason, *delivery.made)

    async def _lost(self, delivery: OutputsToFetch, output: WantedOutput, reason: str) -> None:
        context = self._context
        state = await context.ledger.apply(
            LoseOutput(context.runtime.clock.now(), output.output_seq, reason)
        )
        job_id = delivery.tracked.job_id
        if state is JobState.FAILED:
            context.job_failed(job_id, FailureClass.OUTPUT_LOST, reason, *delivery.made)
        else:
            message = f"an extra output of job {job_id.hex()} could not be fetched: {reason}"
            context.events.emit(Noticed(message))


_SIGNED = "it carries content credentials (C2PA), so nothing was embedded in it"


def _pause_s(tries: int) -> float:
    return min(_BACKOFF_S * 2.0 ** (tries - 1), _LONGEST_BACKOFF_S)
