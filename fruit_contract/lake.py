"""Says where everything lies in the lake. No other module knows how a key or URI of the lake is built.

Keys are exact to the byte: Unicode is not normalised, and case is not folded. Partition values are strings. They are
escaped in a path as Spark and Hive escape them, so that any reader finds a table that Spark wrote.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Final

from fruit_contract.errors import RefusedError

DEFAULT_BUCKET: Final = "fruits-lake"

RAW: Final = "raw"
FEATURES: Final = "features"
REJECTED: Final = "rejected"
MOMENTS: Final = "moments"
PCA: Final = "pca"
PROJECTIONS: Final = "projections"
LEDGER: Final = "ledger"
RUNS: Final = "runs"
REPORTS: Final = "reports"
CODE: Final = "code"
LOGS: Final = "logs"

SUCCESS_MARKER: Final = "_SUCCESS"
MANIFEST: Final = "_manifest.csv"
CURRENT_PCA_KEY: Final = f"{PCA}/current.json"
CURRENT_RELEASE_KEY: Final = f"{CODE}/current.json"

# Hive and Spark escape these characters as %XX in a partition value (Spark: ExternalCatalogUtils.charToEscape).
_ESCAPED_IN_PARTITION: Final = frozenset([chr(code) for code in range(1, 0x20)] + list("\"#%'*/:=?\\\x7f{[]^"))
# These are Unicode's control characters: C0, DEL and C1. The stores' clients, Hive's folders and people's terminals
# each treat them in another way.
_CONTROL_CHARACTER: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
# The name of a folder can have this many bytes on every file system to which a lake is copied.
_FOLDER_NAME_BYTES: Final = 255
# S3 allows no longer keys.
MOST_KEY_BYTES: Final = 1024
_HIVE_NULL: Final = "__HIVE_DEFAULT_PARTITION__"
BUCKET_NAME: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ISO_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_NOT_SAFE_IN_RUN_KEY: Final = re.compile(r"[^A-Za-z0-9._=-]")


class LakeNameError(RefusedError):
    """Raised for a date, category or key that can't be a place in the lake. The message names it and says why."""


@dataclass(frozen=True)
class ImageKey:
    """Holds the parts of an image's key, `raw/ingest_date=<ingest_date>/<category>/<file_name>`.

    `file_name` may hold slashes, because everything below a category folder belongs to that category.
    """

    ingest_date: str
    category: str
    file_name: str

    def __str__(self) -> str:
        return f"{raw_prefix(self.ingest_date)}{self.category}/{self.file_name}"


def parse_ingest_date(text: str) -> str:
    """Returns `text`. Raises LakeNameError if it is not a real calendar day, written yyyy-mm-dd."""
    if _ISO_DATE.fullmatch(text):
        try:
            date.fromisoformat(text)
        except ValueError:
            pass
        else:
            return text
    raise LakeNameError(f"'{text}' is not an ingest date: write a calendar day as yyyy-mm-dd, for example 2026-11-22.")


def check_bucket(name: str) -> str:
    """Returns `name`. Raises LakeNameError if no bucket can have that name."""
    if not BUCKET_NAME.fullmatch(name):
        raise LakeNameError(
            f"'{name}' is no bucket's name: set FRUITS_LAKE_BUCKET to 3 to 63 lower-case letters, digits, dots and "
            "hyphens."
        )
    return name


def check_category(category: str) -> str:
    """Returns `category`. Raises LakeNameError if it can't be a folder of images and a partition value."""
    reason = _why_no_category(category)
    if reason:
        # The name is shown as Python writes it, so that a tab or a line break is seen and does not break the line.
        raise LakeNameError(f"{category!r} is not a category: {reason}.")
    return category


@lru_cache(maxsize=4096)
def _why_no_category(category: str) -> str | None:
    """Returns why a name can't be a category, or None if it can. It is called for every key of a listing, hence the
    cache.
    """
    if not category:
        return "it is empty"
    if category.startswith((".", "_")):
        return "folders that begin with '.' or '_' hold no images"
    if "/" in category:
        return "it holds a '/'"
    if has_control_character(category):
        return "it holds a control character (a tab, a line break or the like)"
    try:
        n_bytes = len(f"category={escape_partition_value(category)}".encode())
    except UnicodeEncodeError:
        return "it is not UTF-8"
    if n_bytes > _FOLDER_NAME_BYTES:
        return f"its folder in the tables would have a name of {n_bytes} bytes, and {_FOLDER_NAME_BYTES} are the most"
    return None


def looks_of(category: str) -> str:
    """Returns what a name looks like, for comparing names but not as a key.

    Two names that look the same differ only in normal form, case or outer spaces.
    """
    return unicodedata.normalize("NFKC", category).casefold().strip()


def has_control_character(name: str) -> bool:
    return _CONTROL_CHARACTER.search(name) is not None


def date_prefix(table: str, ingest_date: str) -> str:
    """Returns `<table>/ingest_date=<day>/`, for features, rejected, moments, ledger, raw and reports."""
    return f"{table}/ingest_date={ingest_date}/"


def raw_prefix(ingest_date: str) -> str:
    return date_prefix(RAW, ingest_date)


def success_marker_key(ingest_date: str) -> str:
    """Returns the key that a delivery writes last. When it is there, the image batch is complete."""
    return f"{raw_prefix(ingest_date)}{SUCCESS_MARKER}"


def image_key(ingest_date: str, category: str, file_name: str) -> str:
    return str(ImageKey(ingest_date, category, file_name))


def parse_image_key(key: str) -> ImageKey | None:
    """Returns the parts of an image's key, or None if the key is not an image's.

    Every key below a category folder is an image's, even `_DSC0001.JPG`. These keys are not images: a folder's
    placeholder (it ends in '/'), a file whose name begins with '.', a file in a folder whose name begins with '.' or
    '_', a file outside of all category folders (a marker or manifest), and a file in a folder that can be no category
    (see `check_category`).
    """
    parts = _below_category_folder(key)
    return parts if parts is not None and _why_no_category(parts.category) is None else None


def image_category(key: str, ingest_date: str) -> str | None:
    """Returns the category of an image's key of this ingest date, or None if the key is not such an image's."""
    parts = parse_image_key(key)
    return parts.category if parts is not None and parts.ingest_date == ingest_date else None


def refused_category(key: str) -> tuple[str, str] | None:
    """Returns the name of a key's folder and why that can be no category, if this alone keeps the key from being an
    image's.

    Returns None for any other key.
    """
    parts = _below_category_folder(key)
    reason = _why_no_category(parts.category) if parts is not None else None
    return (parts.category, reason) if parts is not None and reason else None


def _below_category_folder(key: str) -> ImageKey | None:
    head, _, rest = key.partition("/")
    if head != RAW or key.endswith("/"):
        return None
    day, _, rest = rest.partition("/")
    name, _, ingest_date = day.partition("=")
    if name != "ingest_date" or not _ISO_DATE.fullmatch(ingest_date):
        return None
    category, _, file_name = rest.partition("/")
    if not category or not file_name:
        return None
    below = f"/{rest}"
    if "/." in below or "/_" in below[: below.rindex("/")]:
        return None
    return ImageKey(ingest_date, category, file_name)


def escape_partition_value(value: str) -> str:
    """Returns `value` as Spark writes it in the name of a partition's folder: `Äpfel 50%` becomes `Äpfel 50%25`."""
    if not value:
        return _HIVE_NULL
    return "".join(f"%{ord(character):02X}" if character in _ESCAPED_IN_PARTITION else character for character in value)


def unescape_partition_value(escaped: str) -> str:
    """Returns the value that `escape_partition_value` escaped."""
    return re.sub(r"%([0-9A-Fa-f]{2})", lambda match: chr(int(match.group(1), 16)), escaped)


def partition_prefix(table: str, ingest_date: str, category: str) -> str:
    """Returns `<table>/ingest_date=<day>/category=<escaped>/`, for features."""
    return f"{date_prefix(table, ingest_date)}category={escape_partition_value(category)}/"


def parse_features_file(key: str) -> tuple[str, str, str] | None:
    """Returns ingest date, category and name of a file of `features/`, or None for any other key."""
    parts = key.split("/")
    if len(parts) != 4 or parts[0] != FEATURES:
        return None
    day, category = (part.partition("=") for part in parts[1:3])
    if day[0] != "ingest_date" or category[0] != "category" or not _ISO_DATE.fullmatch(day[2]):
        return None
    return day[2], unescape_partition_value(category[2]), parts[3]


def content_indexes_prefix() -> str:
    return f"{LEDGER}/_content/"


def content_index_prefix(embedder_id: str) -> str:
    return f"{content_indexes_prefix()}{embedder_id}/"


def content_index_key(embedder_id: str, ingest_date: str) -> str:
    """Returns the key of hashes of a date's featurised contents. They find content that is delivered again under
    another key.
    """
    return f"{content_index_prefix(embedder_id)}{ingest_date}.bin"


def content_pack_key(embedder_id: str, month: str) -> str:
    """Returns the key of the content indexes of a month (`2026-11`) in one file, which is a cache of them."""
    return f"{content_index_prefix(embedder_id)}{month}.pack"


def ledger_key(ingest_date: str) -> str:
    """Returns the key of a date's ledger, whose commit says what is true of the date. See `fruit_contract.commit`."""
    return f"{date_prefix(LEDGER, ingest_date)}ledger.parquet"


def ingest_date_of(key: str) -> str | None:
    """Returns the date of a key of `<table>/ingest_date=<day>/...`, or None for any other key."""
    parts = key.split("/")
    name, _, ingest_date = parts[1].partition("=") if len(parts) > 2 else ("", "", "")
    return ingest_date if name == "ingest_date" and _ISO_DATE.fullmatch(ingest_date) else None


def rejected_key(ingest_date: str, write: str) -> str:
    """Returns the key of a date's rejects, as the commit `write` has them."""
    return f"{date_prefix(REJECTED, ingest_date)}{write}.parquet"


def moments_key(ingest_date: str, write: str, embedder_id: str) -> str:
    """Returns the key of the moments of a date's features of one embedder, as the commit `write` has them."""
    return f"{date_prefix(MOMENTS, ingest_date)}{write}-{embedder_id}.parquet"


def moments_parts_prefix(ingest_date: str) -> str:
    """Returns where the moments of single tasks of a features step lie, until they are merged into those of the
    date.
    """
    return f"{MOMENTS}/_parts/ingest_date={ingest_date}/"


def compacted_moments_prefix(embedder_id: str) -> str:
    """Returns where merged moments of many dates lie. They are a cache: what is missing is merged again from the dates'
    own.
    """
    return f"{MOMENTS}/_compacted/{embedder_id}/"


def pca_prefix(version: str) -> str:
    return f"{PCA}/version={version}/"


def pca_provenance_key(version: str) -> str:
    """Returns the key that says where a PCA version comes from: its images, dates, target and release."""
    return f"{pca_prefix(version)}provenance.json"


def projections_prefix(version: str) -> str:
    return f"{PROJECTIONS}/pca_version={version}/"


def projections_partition_prefix(version: str, ingest_date: str, category: str) -> str:
    return f"{projections_prefix(version)}ingest_date={ingest_date}/category={escape_partition_value(category)}/"


def projections_date_prefix(version: str, ingest_date: str) -> str:
    return f"{projections_prefix(version)}ingest_date={ingest_date}/"


def projections_file_key(version: str, features_key: str) -> str:
    """Returns the key of the file of `projections/` that belongs to a file of `features/`.

    Both have the same name. So a date is projected exactly if the two sets of names are equal.
    """
    return f"{projections_prefix(version)}{features_key.removeprefix(f'{FEATURES}/')}"


def features_file_key(projections_key: str) -> str:
    """Returns the key of the file of `features/` to which a file of `projections/` belongs."""
    return f"{FEATURES}/{projections_key.split('/', 2)[2]}"


def pca_cache_key() -> str:
    """Returns the key of what the PCA step remembers of ledgers and listings. Losing it costs time, never truth."""
    return f"{PCA}/_cache.json"


def partition_values(key: str) -> dict[str, str]:
    """Returns the `name=value` folders of a key, unescaped: {'ingest_date': '2026-11-22', 'category': 'Kiwi'}."""
    pairs = (part.partition("=") for part in key.split("/")[:-1] if "=" in part)
    return {name: unescape_partition_value(value) for name, _, value in pairs}


def safe_run_id(run_id: str) -> str:
    """Returns Airflow's run id made safe for a key: every character except A-Z a-z 0-9 . _ = - becomes '_'."""
    return _NOT_SAFE_IN_RUN_KEY.sub("_", run_id) or "_"


def run_key(run_id: str) -> str:
    """Returns the key of the record of what one run did."""
    return f"{RUNS}/{safe_run_id(run_id)}.json"


def step_summary_key(run_id: str, step: str) -> str:
    """Returns the key of what a step reports about itself. At the end of the run it goes into the run's record."""
    return f"{RUNS}/_steps/{safe_run_id(run_id)}/{step}.json"


def progress_key(run_id: str, step: str) -> str:
    """Returns the key that says how far a running step has come. The step's driver replaces it every few seconds."""
    return f"{RUNS}/_progress/{safe_run_id(run_id)}/{step}.json"


def failure_key(run_id: str, step: str) -> str:
    """Returns the key under which a step of a run says why it failed, before it ends. What was written there before the
    step began is about an earlier try.
    """
    return f"{RUNS}/_failures/{safe_run_id(run_id)}/{step}.json"


def node_start_key(sha256: str) -> str:
    """Returns the key of the program that starts a node, by its digest. Airflow writes it, and a cluster's nodes run it
    first.
    """
    return f"{RUNS}/_node_start/{sha256}.py"


def measured_speed_key() -> str:
    """Returns the key that says how fast the last run with enough images was. The next run's plan reckons with it."""
    return f"{RUNS}/_measured_speed.json"


def claims_prefix() -> str:
    return f"{RUNS}/_claims/"


def dates_claims_key() -> str:
    """Returns the key that says on which dates each run works, so that no two write one date at the same time."""
    return f"{claims_prefix()}books/ingest_dates.json"


def pca_claims_key() -> str:
    """Returns the key that says which run's turn it is to fit the PCA and to flip its pointer."""
    return f"{claims_prefix()}books/pca.json"


def step_logs_prefix(cluster_id: str, step_id: str) -> str:
    """Returns where EMR puts a step's stdout.gz, stderr.gz and controller.gz."""
    return f"{cluster_logs_prefix(cluster_id)}steps/{step_id}/"


def cluster_logs_prefix(cluster_id: str) -> str:
    """Returns where EMR puts a cluster's logs: in `steps/<step>/` and `node/<instance>/bootstrap-actions/<n>/` below
    it.
    """
    return f"{LOGS}/{cluster_id}/"


def report_prefix(ingest_date: str) -> str:
    return date_prefix(REPORTS, ingest_date)


def release_prefix(release: str) -> str:
    return f"{CODE}/{release}/"


def uri(bucket: str, key: str) -> str:
    """Returns the full address of a key or prefix, `s3://<bucket>/<key>`."""
    return f"s3://{bucket}/{key}"


def split_uri(address: str) -> tuple[str, str]:
    """Returns (bucket, key) of `s3://bucket/key`. Raises LakeNameError if the address is anything else."""
    scheme, separator, rest = address.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not separator or not bucket:
        raise LakeNameError(f"'{address}' is not an S3 address: write s3://<bucket>/<key>.")
    return bucket, key
