"""The judge of a simulation: the provider's billing against the ledgers, always and at the end.

Owns the comparison of the two sides. A complaint is kept when it is raised, because what
raises inside the engine may be taken for an error of the engine's own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from fluxbatch.emulator.messages import Picture
from fluxbatch.emulator.prediction import EmulatedPrediction, PlannedOutcome, State
from fluxbatch.engine.run_status import RunSummary
from fluxbatch.errors import ExitCode, FluxbatchError, SinkError
from fluxbatch.events import Event, RunStarted
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.worker.unknown.resolve import ALL_ENDED
from tests.simulation.checks import Auditor, Violation, is_lost
from tests.simulation.pictures import sha256_of
from tests.simulation.plan import ENDS, Invocation, Plan
from tests.simulation.provider import Order, Provider, may_cost, order_of
from tests.simulation.truth import Truth

_ALL_OVER = 1e12
_ENDS_RUN = (
    ExitCode.DONE, ExitCode.SOME_FAILED, ExitCode.STOPPED, ExitCode.NO_KEY, ExitCode.UNKNOWN_LEFT,
)  # fmt: skip


class Judge:
    """Raises `Violation`."""

    def __init__(
        self,
        plan: Plan,
        provider: Provider,
        auditors: Sequence[Auditor],
        note: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._provider = provider
        self._auditors = auditors
        self._note = note
        self._complaint: Violation | None = None
        self._asked_again: Counter[Order] = Counter()
        self._doubled: list[EmulatedPrediction] = []
        self._caps: tuple[int | None, int | None, int | None] = (None, None, None)
        self._run_began = 0
        """Predictions there were when the run began."""
        self._dataset = 0
        self._forgot_lanes = False
        self._has_overshot = False
        self._is_paused = False
        self._changes = Counter[int]()
        """By dataset: what `ctl` was told to have changed."""
        self._truth = Truth(plan, provider)
        self.on_complaint: Callable[[], None] = lambda: None
        """Called where raising would not be heard: in the provider's timers."""
        provider.on_leave = lambda order, at: self.kept(lambda: self._may_leave(order, at))
        provider.on_post = lambda order: self.kept(lambda: self._had_an_intent(order))
        provider.on_created = lambda made: self.kept(lambda: self._created(made))
        for auditor in auditors:
            auditor.checks_caps = "cost_higher" not in plan.faults
            auditor.checks_twins = not (plan.webhooks and "prediction_lost" in plan.faults)

    # -- while it runs ---------------------------------------------------------------

    def complain(self) -> None:
        """Raise what was complained of in a place where nobody heard it."""
        if self._complaint is not None:
            raise self._complaint

    def after_call(self) -> None:
        self.kept(self._check_ledgers)
        self.complain()

    def kept(self, check: Callable[[], None]) -> None:
        try:
            check()
        except Violation as exc:
            self._complaint = self._complaint or exc
            self._note(f"VIOLATION: {exc}")
            self.on_complaint()

    def _check_ledgers(self) -> None:
        if not self._plan.audits:
            return
        for auditor in self._auditors:
            if auditor.after_call():
                self._note("commit")

    def heard(self, event: Event) -> None:
        """A run that is not continued has a cap of its own."""
        if isinstance(event, RunStarted) and not event.continued:
            self._run_began = len(self._provider.ours())

    def caps_are(self, one: Invocation) -> None:
        """A new invocation begins."""
        self._caps, self._dataset = one.caps, one.dataset
        self._forgot_lanes = self._forgot_lanes or one.deletes_lane_files

    def command_sent(self, command: str, value: str) -> None:
        """From now on a new cap may hold, until the answer the old one may."""
        self._note(f"ctl {command} {value}")
        run, day, whole = self._caps
        if command == "budget" and run is not None and not value.startswith("-"):
            self._caps = (max(run, _micros(value)), day, whole)

    def command_answered(self, command: str, value: str, told: Mapping[str, Any]) -> None:
        """What `ctl` answers is so from that moment on, and stands in the ledger."""
        self._note(f"ctl {command} {value}: {told.get('changed', told.get('error'))}")
        if not told.get("changed"):
            return
        self._changes[self._dataset] += 1
        if command in ("pause", "resume"):
            self._is_paused = command == "pause"
        elif command == "budget":
            # What was reserved under a higher cap may still be billed.
            committed = self._auditors[self._dataset].committed_to_run()
            _, day, whole = self._caps
            self._caps = (max(_micros(value), committed), day, whole)

    def lanes_are_forgotten(self) -> None:
        """A power cut took the lanes' files: of other datasets' creates nothing is known.

        By design: a boot takes longer than a window. A dataset's own ledger must do for itself.
        """
        self._forgot_lanes = self._forgot_lanes or len(self._auditors) > 1

    def clocks_are_forgotten(self) -> None:
        """After a reboot the wall clock alone dates what was lost before, if none was answered."""
        self._truth.is_dated = False

    def user_asks_again(self, auditor: Auditor) -> None:
        """`retry`: one more of each failed job is no double spend."""
        orders = auditor.orders()
        for seq, state, failure in auditor.states():
            if state == "failed" and failure == "short_output":
                self._asked_again[orders[seq]] += 1

    def _may_leave(self, order: Order, now: Timestamp) -> None:
        """Never later than its `send_by`: another process may have begun to look for it."""
        self._truth.left(order)
        if self._is_paused:
            raise Violation(f"a create of {order} left while the run was paused")
        if self._plan.audits and not any(one.may_leave(order, now) for one in self._auditors):
            raise Violation(f"a create of {order} left without an intent that still allows it")

    def _had_an_intent(self, order: Order) -> None:
        """Intent before create."""
        if not self._plan.audits:
            return
        intents = sum(auditor.intents(order) for auditor in self._auditors)
        if self._provider.posts[order] > intents:
            raise Violation(f"a create of {order} left without an intent")

    def _created(self, prediction: EmulatedPrediction) -> None:
        self._truth.made(prediction)
        if not self._plan.audits:
            return
        self._check_limits()
        self._check_budget()
        order = order_of(prediction.input)
        occupied = [
            other
            for other in self._provider.ours()
            if other is not prediction
            and order_of(other.input) == order
            and other.occupies_its_input
            and not is_lost(other)
            and not self._truth.is_coincidence(other)
        ]
        if len(occupied) >= self._allowed(order):
            self._doubled.append(prediction)
            self._note(f"created while another may live: {prediction.id}")

    def _allowed(self, order: Order) -> int:
        jobs = sum(
            order == named for auditor in self._auditors for named in auditor.orders().values()
        )
        return jobs + self._asked_again[order]

    def _check_limits(self) -> None:
        """Rule 1, as the provider counts: by its witness, and by what it had to refuse."""
        core, plan = self._provider.core, self._plan
        seen = core.executor.witnessed(core.clock.now())
        counted = {
            "creates in one window": (seen["worst_window"], plan.creates),
            "predictions at once": (seen["worst_concurrency"], plan.concurrent),
            "creates refused for the rate": (core.counts["refused_rate"], 0),
            "creates refused for concurrency": (core.counts["refused_concurrent"], 0),
        }
        over = {name: pair for name, pair in counted.items() if pair[0] > pair[1]}
        if over and not self._may_overshoot():
            raise Violation(f"above the limits: {over}")
        self._has_overshot = self._has_overshot or bool(over)

    def _may_overshoot(self) -> bool:
        """A slot is freed by rule while its prediction may live: given up, overdue, lost.

        Another dataset's is held no longer than that either, and leaves no trace in its ledger.
        """
        if self._has_overshot:  # the provider counts on
            return True
        rows = (row for auditor in self._auditors for row in auditor.predictions())
        overdue = any(
            (row.at_risk and row.reason != ALL_ENDED) or row.state in ("timed_out", "lost")
            for row in rows
        )
        stuck = any(one.outcome is PlannedOutcome.STUCK for one in self._provider.ours())
        return overdue or self._forgot_lanes or (stuck and len(self._auditors) > 1)

    def _check_budget(self) -> None:
        """Rule 3, by the provider's own figures: billed and in flight."""
        if "cost_higher" in self._plan.faults or len(self._auditors) > 1:
            return
        run, _, whole = self._caps
        ours = self._provider.ours()
        known = {row.provider_id for row in self._auditors[0].predictions()}
        for cap, since in ((run, self._run_began), (whole, 0)):
            # What the provider denies can be known by nobody who was not told of it in time.
            exposed = sum(may_cost(p) for p in ours[since:] if p.id in known or not is_lost(p))
            if cap is not None and exposed > cap:
                raise Violation(f"the provider may bill {exposed} under a cap of {cap}")

    # -- after an invocation -----------------------------------------------------------

    def after_life(
        self,
        one: Invocation,
        auditor: Auditor,
        summary: RunSummary | None,
        error: FluxbatchError | None,
    ) -> None:
        self._is_paused = False  # the process that was is gone
        auditor.check()
        auditor.check_history()
        if auditor.changes_told() < self._changes[one.dataset]:
            raise Violation("a change that ctl was told of is not in the ledger")
        auditor.check_files(after_recovery=summary is not None and not one.full_disk)
        if error is not None and not (one.full_disk and isinstance(error, SinkError)):
            raise Violation(f"the run failed: {error!r}") from error
        if summary is not None:
            self._check_exit(one, auditor, summary)
            if summary.exit_code in _ENDS_RUN:  # though the next may die before it says so
                self._run_began = len(self._provider.ours())

    def _check_exit(self, one: Invocation, auditor: Auditor, summary: RunSummary) -> None:
        states = Counter(state for _, state, _ in auditor.states())
        code, open_ = summary.exit_code, states.total() - states["done"] - states["failed"]
        right = True
        if code is ExitCode.DONE:
            right = not open_ and not states["failed"]
        elif code is ExitCode.SOME_FAILED:
            right = not open_ and states["failed"] > 0
        elif code is ExitCode.STOPPED:
            dear = "cost_higher" in self._plan.faults
            failing = bool(self._plan.faults & set(ENDS))  # the circuit breaker's business
            steered = any(command in ("stop", "budget") for _, command, _ in one.commands)
            held_back = one.limit is not None or any(one.caps)
            right = open_ > 0 and (held_back or dear or failing or steered)
        elif code is ExitCode.ERROR:
            right = bool(one.full_disk or one.outage or "without a reason" not in summary.reason)
        if not right:
            raise Violation(f"exit {code!r} ({summary.reason}) with jobs {dict(states)}")

    # -- at the end --------------------------------------------------------------------

    def may_stay_unknown(self, dataset: int) -> bool:
        """Whether every unknown create can be undecidable for ever: no listing, or executions
        near it whose input nobody can read, of which one may be it."""
        history = self._provider.core.executor.history
        isolated = "isolated" in self._plan.switches
        if any(is_lost(one) or (isolated and one.stranger) for one in history):
            return True
        if not self._plan.has_listing or self._forgot_lanes:
            return True
        if self._plan.dialect == "docs":
            return False
        known = {row.provider_id for one in self._auditors for row in one.predictions()}
        orders = self._auditors[dataset].orders()
        return all(
            self._truth.has_suspect(orders[row.job_seq], known, is_hidden=row.left_at is None)
            for row in self._auditors[dataset].predictions()
            if row.state == "unknown"
        )

    def verdict(self) -> None:
        """Everything is over: let the provider finish too, and compare."""
        core = self._provider.core
        core.executor.advance(_ALL_OVER)
        for auditor in self._auditors:
            auditor.check()
            auditor.check_history()
        self._check_doubled()
        self._check_pictures()
        self._check_adopted()
        if "list_strangers_equal" not in self._plan.faults:
            self._check_orphans()
            self._check_totals()

    def _check_doubled(self) -> None:
        paid_twice = [prediction for prediction in self._doubled if prediction.billed]
        if paid_twice:
            raise Violation(f"billed twice: {[order_of(p.input) for p in paid_twice]}")

    def _check_adopted(self) -> None:
        """What was found is its job's own; without sole use nothing is found by time alone."""
        made = {prediction.id: prediction for prediction in self._provider.core.executor.history}
        for auditor in self._auditors:
            for row in auditor.predictions():
                if row.provider_id is None or row.state == "errored":
                    continue
                if row.adopted == "by time" and not self._plan.sole_user:
                    raise Violation(f"{row.provider_id} was adopted by its time alone")
                one = made[row.provider_id]
                is_its_own = order_of(one.input) == auditor.orders()[row.job_seq]
                # Without the lanes' files another dataset's is nobody's on this host.
                excused = self._truth.is_coincidence(one) or self._forgot_lanes
                if not is_its_own and not excused:
                    raise Violation(f"{one.id} was taken for another job's")
                if one.stranger and "list_strangers_equal" not in self._plan.faults:
                    raise Violation(f"{one.id} is nobody's of ours")

    def _check_orphans(self) -> None:
        """Everything that was made is known, unless the provider denies it or it is held."""
        rows = [row for auditor in self._auditors for row in auditor.predictions()]
        known = {row.provider_id for row in rows}
        held = any(row.state == "unknown" for row in rows)
        orphans = [p for p in self._provider.ours() if p.id not in known and not is_lost(p)]
        if self._plan.dialect == "card":
            # Of several that failed and cannot be told apart, one may go unbooked.
            orphans = [p for p in orphans if p.state is State.SUCCEEDED]
        if orphans and not held:
            raise Violation(f"paid and unknown: {[order_of(p.input) for p in orphans]}")

    def _check_totals(self) -> None:
        billed = self._provider.core.executor.billing.billed_micro_usd
        amounts = [auditor.money() for auditor in self._auditors]
        settled = sum(one.settled for one in amounts)
        most = settled + sum(one.estimated + one.reserved for one in amounts)
        told_no_cost = self._plan.webhooks or "no_cost" in self._plan.faults
        if "cost_higher" in self._plan.faults and told_no_cost:
            return
        if any(is_lost(prediction) for prediction in self._provider.ours()):
            return
        if "cost_higher" in self._plan.faults and most != settled:
            return
        if self._plan.dialect == "card":
            known = {row.provider_id for one in self._auditors for row in one.predictions()}
            most += sum(
                p.cost_micro_usd
                for p in self._provider.ours()
                if p.billed and p.state is not State.SUCCEEDED and p.id not in known
            )
        if not settled <= billed <= most:
            raise Violation(f"billed {billed}, but the ledger says {settled} to {most}")

    def _check_pictures(self) -> None:
        """Every file is the picture that its own prediction made."""
        made = {prediction.id: prediction for prediction in self._provider.core.executor.history}
        for auditor in self._auditors:
            for provider_id, number, sha256 in auditor.pictures():
                if sha256 not in self._right(made[provider_id], number):
                    raise Violation(f"the wrong picture for output {number} of {provider_id}")

    def _right(self, prediction: EmulatedPrediction, number: int) -> set[str]:
        if prediction.state is not State.SUCCEEDED:
            return set()
        formats = {prediction.output_format}
        if "download_wrong_type" in self._plan.faults:
            formats.add("gif")  # a whole image all the same
        return {sha256_of(_picture(prediction, number, name)) for name in formats}


def _picture(prediction: EmulatedPrediction, number: int, name: str) -> Picture:
    return Picture(prediction.prompt, prediction.seed, number, name, 80, 1.0, None, None)


def _micros(dollars: str) -> int:
    return int(Decimal(dollars) * 1_000_000)
