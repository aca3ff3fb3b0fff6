"""The provider's API: everything that is sent to it, and what its answers mean.

`ProviderClient` over a `Transport` is the whole of it: real runs take `open_transport`, a
simulation brings its own. Raises the `ApiError` tree and nothing else.
"""

from fluxbatch.provider.client import Created, Listing, ProviderClient, unless_late
from fluxbatch.provider.json_fields import Garbled
from fluxbatch.provider.responses import (
    Delivery,
    Execution,
    ExecutionsPage,
    ModelInfo,
    Prediction,
    Presigned,
    Status,
)
from fluxbatch.provider.retry import Patience
from fluxbatch.provider.transport import (
    AiohttpTransport,
    Dropped,
    HttpRequest,
    HttpResponse,
    Leaves,
    ProxyFor,
    Transport,
    environment_proxies,
    open_session,
    open_transport,
)
from fluxbatch.provider.upload import Uploaded, upload
from fluxbatch.provider.webhook_urls import Attempt, HookAddress, HookNames, Receiver

__all__ = [
    "AiohttpTransport",
    "Attempt",
    "Created",
    "Delivery",
    "Dropped",
    "Execution",
    "ExecutionsPage",
    "Garbled",
    "HookAddress",
    "HookNames",
    "HttpRequest",
    "HttpResponse",
    "Leaves",
    "Listing",
    "ModelInfo",
    "Patience",
    "Prediction",
    "Presigned",
    "ProviderClient",
    "ProxyFor",
    "Receiver",
    "Status",
    "Transport",
    "Uploaded",
    "environment_proxies",
    "open_session",
    "open_transport",
    "unless_late",
    "upload",
]
