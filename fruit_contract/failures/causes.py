"""What usually makes a step or a cluster fail, how its error reads, and what to do. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Cause:
    """`passes` tells whether trying again as it is may help. A pattern is searched in the error's own words, not in what surrounds it."""

    name: str
    patterns: tuple[re.Pattern[str], ...]
    usually: str
    what_to_do: str
    passes: bool = False


def cause_of(words: str, causes: Sequence[Cause]) -> Cause:
    """The first of the causes whose pattern the words hold; UNKNOWN if there is none."""
    return next((cause for cause in causes if any(pattern.search(words) for pattern in cause.patterns)), UNKNOWN)


def _words(*patterns: str) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern, re.IGNORECASE) for pattern in patterns)


# 137 is 128 + SIGKILL. A node that goes away kills too, and so does a cancelled step.
_NOT_ON_PURPOSE: Final = r"(?s:\A(?!.*(?:lost\* node|decommission|preempt|cancell?ed)).*)"


def _names(*patterns: str) -> tuple[re.Pattern[str], ...]:
    """Names of errors: upper and lower case matter, and a name is not a part of a longer one."""
    return tuple(re.compile(rf"(?<![\w$])(?:{pattern})(?![\w$])") for pattern in patterns)


BOOKS_DO_NOT_BALANCE: Final = Cause(
    "books_do_not_balance",
    _names("BooksError"),
    "The step counted other images at its end than at its beginning: a defect of the step. It did not commit the dates that it names.",
    "Clear the task: what was committed stays, and the rest starts from the same state. If it happens again, report it with this message.",
)
RELEASE_BROKEN: Final = Cause(
    "release_broken",
    (
        *_names("EmbedderArtefactError", "UnknownEngineError"),
        *_words(r"the embedder gave \(", r"\.whl is not a valid wheel", r"invalid model file|InvalidProtobuf|INVALID_PROTOBUF"),
    ),
    "The release's jobs and its embedder do not belong together, the engine is not in it, or a file of it was changed afterwards.",
    "Run `make publish` and leave FRUITS_RELEASE empty (or set it to the id that is printed), then clear the failed task and those "
    "before it: a release is never changed, the new one is another.",
)
FEATURES_CHANGED: Final = Cause(
    "features_changed",
    _names("FeaturesDifferError", "FeaturesGoneError"),
    "Files below features/ are not those that the ledger names, or do not hold the images that it says: something else than a run removed, "
    "added or replaced them, or put the ledger back to another state.",
    "Remove the files that the message names, if it names some that are there, and run their dates again: that run computes what is "
    "missing, and removes what no ledger names. If it comes back, see who else writes below features/.",
)
ANOTHER_WRITER: Final = Cause(
    "another_writer",
    _names("LostPlaceError"),
    "While the step worked, another writer committed this date, or flipped pca/current.json. The step left what that one wrote as it is.",
    "Try again: what the other one committed is known then. If it comes back, see which other run, or which process outside Airflow, "
    "writes these dates: claims (runs/_claims/) keep the runs of one Airflow apart, not those of two.",
    passes=True,
)
UNUSUAL_REJECTS: Final = Cause(
    "unusual_rejects",
    _names("UnusualRejectsError"),
    "So many images were rejected for one reason that the batch, or the release, is likely at fault. The step did not commit the date.",
    "Look at the images that are named: was the batch cut off, or is its format new? Then deliver it again. Did the release before read "
    "them? Then publish that one. If they are really no images, trigger the run with 'Accept many rejected images' (`accept_rejects`).",
)
MOMENTS_DIFFER: Final = Cause(
    "moments_differ",
    _names("ImagesDifferError", "LostMomentsError", "MomentsLostError"),
    "The moments that the PCA is fitted on are not of the images that the ledgers have, or are gone: something else than a run changed "
    "moments/ or ledger/, or a step is defective. Readers stay on the PCA version that there is.",
    "Run the dates that are named again: their moments are computed from their features, where they are lost. If it comes back, remove "
    "moments/_compacted/ (a cache), and report it with this message.",
)
NOT_FINITE: Final = Cause(
    "features_not_finite",
    _names("NotFiniteError"),
    "The embedder made NaN or infinity of an image, which the message names: its weights are damaged, or its engine fails on this machine.",
    "Publish a release with sound weights (`make publish`). If it is that one image alone, take it out of raw/ and run its date again. "
    "If its features lie in the lake already, remove their file below features/ first: its images are computed anew.",
)
TOO_MANY_IMAGES: Final = Cause(
    "too_many_images",
    _names("TooManyImagesError"),
    "The run, or one of its dates, has more images than a step is made for; the message says which, and how many it takes.",
    "Run fewer dates at a time; of a date that is too large by itself, some categories at a time, or deliver it as several dates. A larger "
    "FRUITS_PRIMARY_INSTANCE_TYPE holds more.",
)
LATER_FORMAT: Final = Cause(
    "later_format",
    _names("CommitFormatError"),
    "A ledger was written by a later release than this one, or is no ledger: its metadata hold no commit that this release can read.",
    "Written by a later release: run that one, or a later one (FRUITS_RELEASE, empty for the last that was published). Not a ledger: "
    "remove the object that is named, and run its date again.",
)
LAKE_DAMAGED: Final = Cause(
    "lake_damaged",
    (
        *_names("LostBlockError", "UnsortedImagesError"),
        *_words(
            r"its moments file is damaged",
            r"the ledger has a line for '.*which is not an image's key",
            r"is no file of features/",
            r"(?:is not a parquet file|magic bytes not found|CANNOT_READ_FILE_FOOTER|could not read footer)",
        ),
    ),
    "A file of the lake is not as the steps write it: something else wrote below these prefixes, or the file was cut off.",
    "See which file the lines above name. Below features/, rejected/, moments/ or projections/: remove it, and run its date again, which "
    "makes what is missing. Below ledger/: remove it, and run its date again, for what has no ledger is done anew. Below pca/: run a date "
    "with the PCA policy 'always'.",
)
PYTHON_MISMATCH: Final = Cause(
    "python_mismatch",
    _words(r"python in worker has different version", r"PYTHON_VERSION_MISMATCH", r"bad magic number in"),
    "Driver and workers run different Pythons: a node did not get the environment of the bootstrap action.",
    "Use the cluster that the DAG asks for (its bootstrap action makes /opt/fruits/venv on every node, and PYSPARK_PYTHON names it), "
    "with FRUITS_EMR_RELEASE_LABEL of a release that has Python 3.11.",
)
OUT_OF_MEMORY: Final = Cause(
    "out_of_memory",
    (
        *_names(
            "MemoryError", r"\w*OutOfMemoryError", "SparkOutOfMemoryError", r"_ArrayMemoryError", "ArrowMemoryError", r"std::bad_alloc"
        ),
        *_words(
            r"java heap space|gc overhead limit exceeded",
            r"killed by yarn for exceeding (?:\S+ )?memory limits|running beyond (?:the '?\w+'? )?(?:physical|virtual)\S* memory limit",
            r"cannot allocate memory|insufficient memory for the java runtime|not enough space' \(errno=12\)|oom-?kill|out of memory",
            r"python worker exited unexpectedly \(crashed\)",
            r"total size of serialized results .* is bigger than spark\.driver\.maxResultSize",
            rf"{_NOT_ON_PURPOSE}(?:exit(?: ?(?:code|status|value|ed with))?(?: is)?[ :(']*137\b|ret '137'|ended by signal 9\b|sigkill)",
            r"^(?:.*line \d+: +\d+ Killed\b.*|Killed)$",
        ),
    ),
    "A Java heap, or the Python workers beside it, took more memory than they may have; the system or YARN then kills them.",
    "On an executor ('Java heap space', a killed or crashed Python worker, YARN's limit): set FRUITS_CORE_INSTANCE_TYPE to a family "
    "with more memory a vCPU (r has twice that of m, and m twice that of c), for a node's vCPUs share its memory equally. On the driver: "
    "a larger FRUITS_PRIMARY_INSTANCE_TYPE, or fewer dates a run.",
)
NODE_TOO_SMALL: Final = Cause(
    "node_too_small",
    (
        *_names("InvalidResourceRequestException"),
        *_words(r"above the max threshold|requested resource .* (?:exceed|maximum)|(?:system|executor) memory \d+ must be at least"),
    ),
    "An executor is asked for that no node has room for. Executors are sized to FRUITS_CORE_INSTANCE_TYPE, so the cluster has other "
    "nodes, or its YARN other settings, than `plan_run` asked for.",
    "Clear the task and those before it, so that a cluster is made as planned. If it happens on such a one, take a larger "
    "FRUITS_CORE_INSTANCE_TYPE, and report it with this message.",
)
DISK_FULL: Final = Cause(
    "disk_full",
    _words(
        r"no space left on device|ENOSPC|disk quota exceeded|errno 28\b",
        r"local-dirs (?:are bad|usable space is below)|all datanodes .* are bad",
    ),
    "A node's disk is full: shuffle files, spilled data, the packages of the bootstrap action or logs.",
    "Raise FRUITS_ROOT_VOLUME_GIB if a bootstrap action or /opt is named; else take a larger FRUITS_CORE_INSTANCE_TYPE, raise "
    "FRUITS_CORE_INSTANCE_COUNT, or give the run fewer dates.",
)
THROTTLED: Final = Cause(
    "throttled",
    (
        *_names(
            r"SlowDown", r"\w*Throttl(?:ed|ing)\w*", r"RequestLimitExceeded", r"TooManyRequests\w*", r"ProvisionedThroughputExceeded\w*"
        ),
        *_words(
            r"rate exceeded|reduce your request rate|please reduce your|throttled from amazon|due to throttling",
            r"(?:status(?: code)?|error|http)\W{0,3}503\b|\(503\)|service ?unavailable",
            r"(?:status(?: code)?|error|http)\W{0,3}500\b|InternalError\)|we encountered an internal error",
        ),
    ),
    "AWS asked to slow down, or answered that it was not able to for a moment; the step's own repetitions did not outlast it.",
    "Try again. If it comes back at the same place: fewer nodes (FRUITS_TASK_INSTANCE_MAX) or fewer dates at once.",
    passes=True,
)
CLUSTER_SETTINGS: Final = Cause(
    "cluster_settings",
    (
        *_names("VALIDATION_ERROR"),
        *_words(
            r"(?:vpc|subnet)\S*(?: configuration)? (?:was|is) (?:invalid|not)|subnet .*(?:does not exist|not found|no route|not have)",
            r"service[ -]role .*(?:invalid|insufficient|not|missing)|instance ?profile .*(?:invalid|does not exist|not found|missing)",
            r"(?:has|have) insufficient ec2 permissions|is not supported (?:in|by) (?:the|this|your) |release label .*(?:invalid|not)",
            r"security ?(?:group|configuration) .*(?:invalid|does not exist|not found)|EMR_DefaultRole is invalid|"
            r"failed to assume role|ebs .*(?:encrypt|kms)",
        ),
    ),
    "EMR accepted the request for a cluster and then found that a subnet, role, instance type or release does not work.",
    "Compare FRUITS_SUBNET_ID, FRUITS_SERVICE_ROLE, FRUITS_INSTANCE_PROFILE, FRUITS_SECURITY_CONFIGURATION, FRUITS_CORE_INSTANCE_TYPE "
    "and FRUITS_EMR_RELEASE_LABEL with bootstrap/README.md (role policies, the subnet's tag, its way to S3 and EMR), then clear "
    "create_cluster.",
)
CAPACITY: Final = Cause(
    "capacity",
    (
        *_names(
            "INSTANCE_FLEET_TIMEOUT",
            r"Insufficient\w*Capacity",
            r"VcpuLimitExceeded",
            r"InstanceLimitExceeded",
            r"MaxSpotInstanceCountExceeded",
        ),
        *_words(
            r"insufficient.{0,40}capacity|(?:not|n't) (?:have|enough).{0,40}capacity|unfulfilled.{0,20}capacity",
            r"exceed\w* (?:your|the) .{0,40}(?:limit|quota)|(?:instance|vcpu|spot).{0,20} (?:limit|quota)",
            r"(?:timed? ?out|time-out).{0,80}(?:provision|fleet)|(?:provision|fleet).{0,80}(?:timed? ?out|time-out)|max spot instance",
        ),
    ),
    "AWS had no such instances free in that zone, or the account's own limit of instances or vCPUs is reached.",
    "Clear create_cluster later. To find instances more easily give FRUITS_SUBNET_ID several subnets (one a zone), another "
    "FRUITS_CORE_INSTANCE_TYPE, or FRUITS_TASK_MARKET=on-demand; if a limit is named, have it raised in AWS' Service Quotas.",
)
PERMISSION: Final = Cause(
    "permission",
    (
        *_names(
            r"\w*AccessDenied\w*",
            "UnauthorizedOperation",
            "PermissionDeniedError",
            "UnauthenticatedError",
            "PermissionError",
            "AccessControlException",
        ),
        *_names(
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            r"ExpiredToken\w*",
            r"InvalidToken\w*",
            "UnrecognizedClient\\w*",
            r"InvalidClientTokenId",
        ),
        *_names(
            "NoCredentialsError", "PartialCredentialsError", "NoAuthWithAWSException", r"\w*CredentialRetrievalError", "AllAccessDisabled"
        ),
        *_words(
            r"access denied|permission denied|operation not permitted|not authorized to perform|is not authorized",
            r"(?:status(?: code)?|error|http)\W{0,3}40[13]\b|\(40[13]\)|\b40[13] (?:forbidden|unauthorized)|: forbidden\b",
            r"unable to (?:locate|load) (?:aws )?credentials",
        ),
    ),
    "A role may not do what the step asked for: the bucket or key is another than its policy names, or KMS refuses. S3 also answers 403"
    " for a key that is not there if the role may not list the bucket.",
    "See which action and which key the error names, compare FRUITS_LAKE_BUCKET and the role of the nodes (FRUITS_INSTANCE_PROFILE) "
    "with bootstrap/README.md and bootstrap/iam/nodes-policy.json, and mend the policy; then clear the task.",
)
NODE_LOST: Final = Cause(
    "node_lost",
    (
        *_names("INSTANCE_FAILURE", "ExecutorLostFailure", "ExecutorDeadException"),
        *_words(
            r"all slaves in the job flow were terminated"
            r"|(?:core|task|master|primary|slave) (?:nodes?|instances?) (?:\S+ )?(?:was|were) terminated",
            r"\b(?:slave|worker|node|executor|instance) (?:was )?lost\b|\blost (?:executor|node|worker|instance)|\*lost\* node",
            r"spot (?:instance )?(?:interruption|request|termination)|spot instance .*(?:terminat|interrupt|reclaim)"
            r"|instance-terminated-no-capacity",
            r"decommission(?:ed|ing)?\b|unable to create executor|executor heartbeat timed out|no recent heartbeats"
            r"|container (?:was )?preempted",
            r"exit(?: ?(?:code|status))?(?: is)?[ :]*-?100\b|failed to connect to external shuffle server|MetadataFetchFailed",
            r"instance failure|the master (?:node|instance) .*(?:terminated|failed)",
        ),
    ),
    "A machine of the cluster went away under the step: mostly a spot node that AWS took back, sometimes a broken machine.",
    "Try again: what was not written is done anew. If it keeps happening, set FRUITS_TASK_MARKET=on-demand, or use another "
    "FRUITS_CORE_INSTANCE_TYPE.",
    passes=True,
)
PACKAGE_MISSING: Final = Cause(
    "package_missing",
    (
        *_names("ModuleNotFoundError", "ImportError", r"\w*NotFoundError\(ImportError\)", "ScikitLearnNotFoundError"),
        *_names(
            "ClassNotFoundException", "NoClassDefFoundError", "UnsatisfiedLinkError", "NoSuchMethodError", "UnsupportedClassVersionError"
        ),
        *_words(
            r"no matching distribution found|could not find a version that satisfies|do not match the hashes"
            r"|hash(?:es)? (?:mis|does not )match",
            r"no module named|command not found|failed to load class|could not find or load main class|is not a supported wheel",
            r": \S+ installed, \S+ pinned|hashes are required in --require-hashes mode|no such package|unable to find a match",
        ),
    ),
    "A package or class is not on the nodes: the release's lock lacks it, or the bootstrap action installed another version.",
    "Add it to the `cluster` group of pyproject.toml, then `make lock` and `make publish`: the release brings it to every node. If the "
    "node reached no package index, or a hash differs, publish with `make publish WHEELHOUSE=1`, and nodes need the bucket only.",
)
KEY_NOT_FOUND: Final = Cause(
    "key_not_found",
    (
        *_names(
            "NoSuchKey",
            "NoSuchBucket",
            "NoSuchUpload",
            "FileNotFoundException",
            "FileNotFoundError",
            "NotADirectoryError",
            "ObjectNotFoundError",
        ),
        *_names(
            r"obstore\.exceptions\.NotFoundError",
            "NotFoundError",
            "PATH_NOT_FOUND",
            "FAILED_READ_FILE.FILE_NOT_EXIST",
            "NoSuchFileException",
        ),
        *_words(
            r"path does not exist|no such file or directory|input path does not exist|the specified (?:key|bucket) does not exist",
            r"(?:status(?: code)?|error|http)\W{0,3}404\b|\(404\)|\b404 not found|s3a?n?://\S+ (?:does not exist|was not found)",
        ),
    ),
    "An object, table or release that the step reads is not in the lake: not published, removed meanwhile, or of another bucket or name.",
    "See which key the error names. Is FRUITS_LAKE_BUCKET the right bucket? Below code/: run `make publish`, and leave FRUITS_RELEASE "
    "empty. Below raw/: is the batch delivered whole? Below features/ or moments/: run the date again,"
    " which makes what is missing.",
)
NETWORK: Final = Cause(
    "network",
    (
        *_names(
            r"\w*UnknownHost\w*",
            r"ConnectException",
            r"SocketTimeoutException",
            r"SocketException",
            r"ConnectTimeout\w*",
            r"ReadTimeout\w*",
        ),
        *_names(r"EndpointConnectionError", r"ConnectionClosedError", r"Connection(?:Refused|Reset|Aborted)?Error", r"NewConnectionError"),
        *_names(
            r"NoRouteToHostException",
            r"NoHttpResponseException",
            r"SSLHandshakeException",
            r"SSLError",
            r"socket\.gaierror",
            r"IncompleteRead",
        ),
        *_names(
            r"TimeoutError",
            r"ProxyConnectionError",
            r"ProxyError",
            r"ResponseStreamingError",
            "ConnectTimeoutException",
            "ApiCallTimeoutException",
        ),
        *_words(
            r"connection (?:refused|reset|timed out|was closed|broken)|network is unreachable|no route to host|could not connect to",
            r"name or service not known|temporary failure in name resolution|could not resolve host|unable to execute http request",
            r"(?:read|connect(?:ion)?|request|operation) timed out|error sending request|retrying \(retry\(total|tls handshake|broken pipe",
        ),
    ),
    "A node did not reach S3, a package index or another node: no route from its subnet, a name that is not known, or a passing "
    "disturbance.",
    "Try again. If it is the same each time: does the subnet (FRUITS_SUBNET_ID) have an S3 gateway endpoint, as bootstrap/README.md "
    "says, and does its security group let nodes reach each other? `make publish WHEELHOUSE=1` spares nodes the package index.",
    passes=True,
)
BAD_ARGUMENTS: Final = Cause(
    "bad_arguments",
    (
        *_names("LakeNameError", "RegionNotAllowedError", r"argparse\.ArgumentError", "ArgumentTypeError"),
        *_words(
            r": error: .*(?:argument|arguments|required|invalid|expected|ambiguous)|unrecognized arguments"
            r"|the following arguments are required",
            r"unrecognized option|(?:missing|unknown|invalid) (?:application resource|option|master)|reading the arguments",
        ),
    ),
    "The step was called with what its script does not take: mostly a release older or newer than the DAG, or a setting mistyped.",
    "Run `make publish` so that jobs and DAG are of one state (and leave FRUITS_RELEASE empty), or mend the value that is named: the "
    "step's arguments come from FRUITS_ settings and the run's parameters.",
)
TIME_OUT: Final = Cause(
    "time_out",
    _words(r"futures timed out|could not execute broadcast in|step timed? ?out|time-?out of the step|exceeded .{0,20}time limit"),
    "There is more to do than the cluster does in that time, or one task hangs.",
    "Look at Spark's history: are all tasks slow, or does one hang? Raise FRUITS_STEP_TIMEOUT_HOURS, give it more core nodes "
    "(FRUITS_CORE_INSTANCE_COUNT) or fewer dates a run. What is written stays, so the next try has less to do.",
)
CANCELLED: Final = Cause(
    "cancelled",
    (
        *_names("KeyboardInterrupt", "USER_REQUEST"),
        *_words(
            r"cancelled (?:by|because)|job terminated|terminated by user request|received signal term|\bsigterm\b|ended by signal 15",
            r"exit(?: ?(?:code|status))?(?: is)?[ :']*143\b",
        ),
    ),
    "Somebody, or the run's own teardown, ended the step or its cluster: the task was killed, marked or cleared, or the cluster was ended.",
    "If that was not meant, clear the task: what the step had not written is done again.",
)
BOOTSTRAP_FAILED: Final = Cause(
    "bootstrap_failed",
    (
        *_names("BOOTSTRAP_FAILURE"),
        *_words(r"bootstrap action \S+ (?:returned|failed)|^bootstrap failed: |application provisioning failed"),
    ),
    "The bootstrap action could not bring the packages to a node: it found no release, no package index, or no space.",
    "Read the last lines of its log: they name what failed and what to do. `make publish WHEELHOUSE=1` spares nodes the package index.",
)
CODE_ERROR: Final = Cause(
    "code_error",
    (
        *_names(
            r"(?:Zero|Floating)\w*Error",
            r"(?:Value|Type|Key|Index|Attribute|Name|Assertion|Runtime|Arithmetic|Lookup|Syntax|Indentation)Error",
        ),
        *_names(
            r"(?:Overflow|Recursion|NotImplemented|UnboundLocal|Unicode\w*|StopIteration|OS|IO|EOF|JSONDecode|Buffer)Error", "StopIteration"
        ),
        *_names(
            r"(?:NullPointer|IllegalArgument|IllegalState|NumberFormat|ClassCast|Arithmetic|\w*IndexOutOfBounds|Analysis|Parse)Exception"
        ),
        *_names(
            r"(?:ParamValidation|PySpark\w*|ArrowInvalid|ArrowTypeError|Arrow\w*|Client)Error",
            r"(?:\w+\.)*ArrowInvalid",
            r"SparkArithmeticException",
        ),
    ),
    "A defect in the step's code, or data that it does not expect.",
    "Read which line of the code failed, and with which values, in the lines above. Mend it, `make publish`, and clear the task; trying"
    " again as it is ends the same way.",
)
UNKNOWN: Final = Cause(
    "unknown",
    (),
    "The logs hold no error that is known.",
    "Read the whole logs, first stdout, then stderr (their address is below), and look at Spark's history for the stage that failed.",
)

# In order of precedence: the more precise first. An error that says why memory ran out is no lost node, though its executor was lost.
CAUSES: Final = (
    BOOKS_DO_NOT_BALANCE,
    FEATURES_CHANGED,
    ANOTHER_WRITER,
    UNUSUAL_REJECTS,
    MOMENTS_DIFFER,
    NOT_FINITE,
    TOO_MANY_IMAGES,
    LATER_FORMAT,
    RELEASE_BROKEN,
    LAKE_DAMAGED,
    PYTHON_MISMATCH,
    NODE_TOO_SMALL,
    OUT_OF_MEMORY,
    DISK_FULL,
    THROTTLED,
    CAPACITY,
    CLUSTER_SETTINGS,
    PACKAGE_MISSING,
    PERMISSION,
    NODE_LOST,
    KEY_NOT_FOUND,
    NETWORK,
    BAD_ARGUMENTS,
    TIME_OUT,
    CANCELLED,
    BOOTSTRAP_FAILED,
    CODE_ERROR,
)


def table() -> str:
    """All causes as a Markdown table, as docs/operations.md has it."""
    rows = [("cause", "usually", "what to do", "tried again"), ("---",) * 4]
    rows += [(f"`{cause.name}`", cause.usually, cause.what_to_do, _tried_again(cause)) for cause in (*CAUSES, UNKNOWN)]
    # Markdown would take <words> for a tag and | for the end of a cell.
    lines = (" | ".join(cell.replace("<", "&lt;").replace("|", "\\|") for cell in row) for row in rows)
    return "\n".join(f"| {line} |" for line in lines)


def _tried_again(cause: Cause) -> str:
    return "yes, while its cluster is up" if cause.passes else "no"
