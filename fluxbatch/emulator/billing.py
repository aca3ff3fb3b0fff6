"""The billing of predictions: what was charged, to whom, and what was charged twice.

When a prediction is charged: at its end, whatever the end. A success costs its price; an
error costs it only under `bill_errors`, a cancelled one only under `bill_cancelled`, read
at that moment. Nothing is charged at a create, nothing is ever refunded.

Billed twice: a prediction that is charged, and that was created while as many equal
inputs as expected (1 unless a test says more) were alive or had succeeded with output.
Whether it repeats another is settled at its create, whether that cost money at its end.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from fluxbatch.emulator.prediction import EmulatedPrediction


@dataclass(slots=True)
class Billing:
    expected_repeats: int = 1
    created: int = 0
    billed: int = 0
    billed_micro_usd: int = 0
    double_created: int = 0
    double_billed: int = 0
    in_flight_micro_usd: int = 0
    first_create_s: float | None = None
    last_create_s: float | None = None
    _occupied: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _balances: dict[str, int] = field(default_factory=dict)
    _in_flight: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _default_balance: int | None = None

    def set_balance(self, account: str | None, micro_usd: int | None) -> None:
        """Give one account (None: every account) this much from now on; None: no limit."""
        if account is None:
            self._balances.clear()
            self._default_balance = micro_usd
        elif micro_usd is None:
            self._balances.pop(account, None)
        else:
            self._balances[account] = micro_usd

    def can_pay(self, account: str, price_micro_usd: int) -> bool:
        """True if the balance covers what is in flight and this create."""
        balance = self._balances.get(account, self._default_balance)
        return balance is None or balance >= self._in_flight[account] + price_micro_usd

    def open(self, prediction: EmulatedPrediction) -> None:
        prediction.repeats_another = self._occupied[prediction.digest] >= self.expected_repeats
        self._occupied[prediction.digest] += 1
        self._in_flight[prediction.account] += prediction.price_micro_usd
        self.in_flight_micro_usd += prediction.price_micro_usd
        self.created += 1
        self.last_create_s = prediction.created_at
        if self.first_create_s is None:
            self.first_create_s = prediction.created_at
        self.double_created += prediction.repeats_another

    def close(self, prediction: EmulatedPrediction, *, charge: bool) -> None:
        """Book an ended prediction; its state must already be final."""
        self._in_flight[prediction.account] -= prediction.price_micro_usd
        self.in_flight_micro_usd -= prediction.price_micro_usd
        if not prediction.occupies_its_input:
            self._occupied[prediction.digest] -= 1
        if charge:
            self._charge(prediction)

    def _charge(self, prediction: EmulatedPrediction) -> None:
        prediction.billed = True
        prediction.cost_micro_usd = prediction.price_micro_usd
        self.billed += 1
        self.billed_micro_usd += prediction.price_micro_usd
        self.double_billed += prediction.repeats_another
        balance = self._balances.get(prediction.account, self._default_balance)
        if balance is not None:
            self._balances[prediction.account] = balance - prediction.price_micro_usd
