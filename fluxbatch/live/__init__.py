"""The live page of a dataset: what `fluxbatch serve` shows in a browser."""

from fluxbatch.live.server import LivePage, serve_page

__all__ = ["LivePage", "serve_page"]
