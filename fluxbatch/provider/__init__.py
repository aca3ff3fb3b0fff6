"""The provider's API: all requests to it, and the meaning of its answers.

`ProviderClient` over a `Transport` is the whole of it: real runs take `open_transport`, a
simulation brings its own. Raises the `ApiError` tree and nothing else.
"""

from fluxbatch.provider.client import Created, Listing, ProviderClient, not_after
from fluxbatch.provider.json_fields import MalformedResponse
from fluxbatch.provider.read_retry import RetryPolicy
from fluxbatch.provider.responses import (
    Execution,
    ExecutionsPage,
    ModelInfo,
    Prediction,
    Presigned,
    Status,
)
from fluxbatch.provider.transport import (
    AiohttpTransport,
    BeforeSend,
    ConnectionLost,
    HttpRequest,
    HttpResponse,
    Transport,
    open_http_session,
    open_transport,
)
from fluxbatch.provider.upload import Uploaded, upload
from fluxbatch.provider.webhook_urls import (
    WebhookAddress,
    WebhookAttempt,
    WebhookReceiver,
    WebhookUrls,
)

__all__ = [
    "AiohttpTransport",
    "BeforeSend",
    "ConnectionLost",
    "Created",
    "Execution",
    "ExecutionsPage",
    "HttpRequest",
    "HttpResponse",
    "Listing",
    "MalformedResponse",
    "ModelInfo",
    "Prediction",
    "Presigned",
    "ProviderClient",
    "RetryPolicy",
    "Status",
    "Transport",
    "Uploaded",
    "WebhookAddress",
    "WebhookAttempt",
    "WebhookReceiver",
    "WebhookUrls",
    "not_after",
    "open_http_session",
    "open_transport",
    "upload",
]
