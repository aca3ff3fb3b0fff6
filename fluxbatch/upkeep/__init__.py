"""Work on a finished or broken-off dataset: settle, audit, repair, cancel. Buys nothing, ever.

Each verb takes a `Request` and answers a report that knows its exit code and its JSON.
"""

from fluxbatch.upkeep.attending import Request
from fluxbatch.upkeep.cancel import cancel
from fluxbatch.upkeep.prune import prune_uploads
from fluxbatch.upkeep.reconcile import reconcile
from fluxbatch.upkeep.remembered import remembered_settings
from fluxbatch.upkeep.repair import repair
from fluxbatch.upkeep.reports import CancelReport, PruneReport, ReconcileReport, RepairReport

__all__ = [
    "CancelReport",
    "PruneReport",
    "ReconcileReport",
    "RepairReport",
    "Request",
    "cancel",
    "prune_uploads",
    "reconcile",
    "remembered_settings",
    "repair",
]
