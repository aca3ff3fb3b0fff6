"""Croissant metadata: an export's files and columns for machines, as MLCommons has them.

Owns `croissant.json`. Like the card it has no date and no path: the same dataset gives the same
bytes. Source: docs/design/decisions.md "Croissant".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from fluxbatch._version import __version__
from fluxbatch.export.columns import COLUMNS, ColumnType
from fluxbatch.export.dataset_card import Contents

METADATA_NAME = "croissant.json"

_VERSION = "http://mlcommons.org/croissant/1.0"
_CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The official one of version 1.0, whole: readers compare it."""
_TYPES: Mapping[ColumnType, str] = {
    "text": "sc:Text",
    "nested": "sc:Text",
    "integer": "sc:Integer",
    "number": "sc:Float",
    "flag": "sc:Boolean",
    "money": "sc:Float",
    "moment": "sc:DateTime",
}
_IMAGES = ["image/png", "image/jpeg", "image/webp"]
_IMAGE_GLOBS = ["*.png", "*.jpg", "*.webp"]


@dataclass(frozen=True, slots=True)
class _Shape:
    """Where a format's records are, and its images."""

    records: str
    """A glob of the files with a line for each sample."""
    mime: str
    archives: str = ""
    """A glob of the archives that hold the images."""
    has_image_files: bool = False
    has_objects: bool = False
    """What is nested is an object, for which there is no type here, and not JSON text."""


_PARQUET = "application/x-parquet"
_SHAPES: Mapping[str, _Shape] = {
    "jsonl": _Shape("*-??????.jsonl", "application/jsonlines", has_objects=True),
    "csv": _Shape("*-??????.csv", "text/csv"),
    "parquet": _Shape("*-??????.parquet", _PARQUET),
    "imagefolder": _Shape("*/??????/metadata.parquet", _PARQUET, has_image_files=True),
    "webdataset": _Shape("*-??????.parquet", _PARQUET, archives="*-??????.tar"),
}


def croissant_metadata(
    about: Contents, root: Path, files: Mapping[str, str], *, has_image_columns: bool
) -> bytes | None:
    """The whole file; None for a format of a plugin, whose columns nobody knows.

    *files* are those of the export below *root*, with their sha256.
    """
    shape = _SHAPES.get(about.format_name)
    if shape is None:
        return None
    shards = [
        (name, glob, mime)
        for glob, mime in ((shape.records, shape.mime), (shape.archives, "application/x-tar"))
        for name in sorted(files)
        if glob and fnmatchcase(name, glob)
    ]
    distribution = [_file_object(root, name, files[name], mime) for name, _, mime in shards]
    distribution += _file_sets(shape, [name for name, glob, _ in shards if glob == shape.archives])
    columns = [
        (name, kind) for name, kind in COLUMNS.items() if kind != "nested" or not shape.has_objects
    ]
    record_sets = [_records(columns, has_image_columns=has_image_columns)]
    if shape.archives or shape.has_image_files:
        record_sets.append(_images())
    models = ", ".join(about.models) or "no model"
    told: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": _VERSION,
        "name": re.sub(r"[^A-Za-z0-9._-]+", "-", about.title)[:100].strip("-") or "dataset",
        "description": (
            f"{about.images} images in {sum(about.splits.values())} rows, made with {models} by"
            f" fluxbatch {__version__} and exported as {about.format_name}."
        ),
        "keywords": ["fluxbatch", "synthetic", "image"],
        **({"license": about.license} if about.license else {}),
        "distribution": distribution,
        "recordSet": record_sets,
    }
    return (json.dumps(told, indent=1, ensure_ascii=False) + "\n").encode()


def _file_object(root: Path, name: str, sha256: str, mime: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{(root / name).stat().st_size} B",
        "encodingFormat": mime,
        "sha256": sha256,
    }


def _file_sets(shape: _Shape, archives: list[str]) -> Iterator[dict[str, Any]]:
    yield {
        "@type": "cr:FileSet",
        "@id": "records",
        "name": "records",
        "encodingFormat": shape.mime,
        "includes": shape.records,
    }
    if shape.archives or shape.has_image_files:
        within = {"containedIn": [{"@id": name} for name in archives]} if archives else {}
        yield {
            "@type": "cr:FileSet",
            "@id": "image-files",
            "name": "image-files",
            **within,
            "encodingFormat": _IMAGES,
            "includes": _IMAGE_GLOBS,
        }


def _records(
    columns: Sequence[tuple[str, ColumnType]], *, has_image_columns: bool
) -> dict[str, Any]:
    fields = [_field(name, _TYPES[kind]) for name, kind in columns]
    if has_image_columns:
        image = _field("image", "sc:ImageObject")
        image["source"]["transform"] = {"jsonPath": "bytes"}
        fields.insert(0, image)
    return {
        "@type": "cr:RecordSet",
        "@id": "rows",
        "name": "rows",
        "description": "A row of the manifest with one of its images.",
        "key": {"@id": "rows/key"},
        "field": fields,
    }


def _field(column: str, data_type: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"rows/{column}",
        "name": column,
        "dataType": data_type,
        "source": {"fileSet": {"@id": "records"}, "extract": {"column": column}},
    }


def _images() -> dict[str, Any]:
    """The images themselves; `file_name` and `control_file_name` of a row name them."""

    def of_file(name: str, data_type: str, file_property: str) -> dict[str, Any]:
        source = {"fileSet": {"@id": "image-files"}, "extract": {"fileProperty": file_property}}
        return {
            "@type": "cr:Field",
            "@id": f"images/{name}",
            "name": name,
            "dataType": data_type,
            "source": source,
        }

    return {
        "@type": "cr:RecordSet",
        "@id": "images",
        "name": "images",
        "description": "The image files, control images too, by the names that the rows have.",
        "key": {"@id": "images/file_name"},
        "field": [
            of_file("file_name", "sc:Text", "filename"),
            of_file("image", "sc:ImageObject", "content"),
        ],
    }
