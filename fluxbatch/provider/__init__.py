"""The provider's API: everything that is sent to it, and what its answers mean.

`ProviderClient` over a `Transport` is the whole of it: real runs take `open_transport`, a
simulation brings its own. Raises the `ApiError` tree and nothing else.
"""

from fluxbatch.provider.client import Created, Listing, ProviderClient, unless_late
from fluxbatch.provider.patience import Patience
from fluxbatch.provider.session import environment_proxies, open_session, open_transport
from fluxbatch.provider.shapes import Garbled
from fluxbatch.provider.transport import (
    AiohttpTransport,
    Dropped,
    HttpRequest,
    HttpResponse,
    Leaves,
    ProxyFor,
    Transport,
)
from fluxbatch.provider.uploads import Uploaded, upload
from fluxbatch.provider.webhooks import Attempt, HookAddress, HookNames, Receiver
from fluxbatch.provider.wire import (
    Delivery,
    Execution,
    ExecutionsPage,
    ModelInfo,
    Prediction,
    Presigned,
    Status,
)

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
