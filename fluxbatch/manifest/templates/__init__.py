"""Prompt templates: Jinja2 over a row's columns, and the grammar users of diffusion tools know."""

from __future__ import annotations
