"""Work on a finished or broken-off dataset: settle, audit, repair, cancel. Buys nothing, ever.

Each verb takes a `Request` and answers a report that knows its exit code and its JSON.
"""

from fluxbatch.maintenance.cancel import cancel
from fluxbatch.maintenance.prune import prune_uploads
from fluxbatch.maintenance.reconcile import reconcile
from fluxbatch.maintenance.repair import repair
from fluxbatch.maintenance.reports import CancelReport, PruneReport, ReconcileReport, RepairReport
from fluxbatch.maintenance.saved_settings import remembered_settings
from fluxbatch.maintenance.session import Request

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
