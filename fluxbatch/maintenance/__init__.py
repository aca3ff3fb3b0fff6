"""Maintenance of a finished or interrupted dataset: settle, audit, repair, cancel. Never buys.

Each verb takes a `DatasetRequest` and answers a report that knows its exit code and its JSON.
"""

from fluxbatch.engine.session import DatasetRequest
from fluxbatch.maintenance.cancel import cancel_dataset
from fluxbatch.maintenance.prune import prune_uploads
from fluxbatch.maintenance.reconcile import reconcile_dataset
from fluxbatch.maintenance.repair import repair_dataset
from fluxbatch.maintenance.reports import CancelReport, PruneReport, ReconcileReport, RepairReport
from fluxbatch.maintenance.saved_settings import saved_settings
from fluxbatch.maintenance.undecided import ByHand

__all__ = [
    "ByHand",
    "CancelReport",
    "DatasetRequest",
    "PruneReport",
    "ReconcileReport",
    "RepairReport",
    "cancel_dataset",
    "prune_uploads",
    "reconcile_dataset",
    "repair_dataset",
    "saved_settings",
]
