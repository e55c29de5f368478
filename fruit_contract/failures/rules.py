"""Recognises an error by its words. The first rule of a list that matches tells the cause.

A job uses it for the error that ends it. Airflow's side uses it for what died without a word, of which there are only
logs and EMR's reasons.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fruit_contract.failures import causes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fruit_contract.failures.causes import Cause


@dataclass(frozen=True)
class Rule:
    cause: Cause
    patterns: tuple[re.Pattern[str], ...]

    def matches(self, text: str) -> bool:
        return any(pattern.search(text) for pattern in self.patterns)


def _rule(cause: Cause, errors: str, *words: str) -> Rule:
    """Returns a rule. `errors` are patterns of whole names (case matters), with spaces in between; `words` are searched
    in the error's own words, in any case.
    """
    named = (re.compile(rf"(?<![\w$])(?:{'|'.join(errors.split())})(?![\w$])"),) if errors else ()
    return Rule(cause, (*named, *(re.compile(pattern, re.IGNORECASE) for pattern in words)))


# 137 is 128 + SIGKILL. A node that goes away kills too, and so does a cancelled step.
_NOT_ON_PURPOSE: Final = r"(?s:\A(?!.*(?:lost\* node|decommission|preempt|cancell?ed)).*)"

# The more precise rules come first. An error that says why memory ran out is no lost node, though its executor was
# lost.
RULES: Final = (
    # What our own steps raise.
    _rule(causes.BOOKS_DO_NOT_BALANCE, "BooksError"),
    _rule(causes.FEATURES_CHANGED, "FeaturesDifferError FeaturesGoneError"),
    _rule(causes.ANOTHER_WRITER, "LostPlaceError"),
    _rule(causes.UNUSUAL_REJECTS, "UnusualRejectsError"),
    _rule(causes.MOMENTS_DIFFER, "ImagesDifferError LostMomentsError MomentsLostError"),
    _rule(causes.NOT_FINITE, "NotFiniteError"),
    _rule(causes.TOO_MANY_IMAGES, "TooManyImagesError"),
    _rule(causes.LATER_FORMAT, "CommitFormatError"),
    _rule(causes.RELEASE_CHANGED, "EmbedderChangedError", r"the release is not as it was published"),
    _rule(
        causes.RELEASE_BROKEN,
        "EmbedderArtefactError UnknownEngineError",
        r"the embedder gave \(|\.whl is not a valid wheel",
        r"invalid model file|InvalidProtobuf|INVALID_PROTOBUF",
    ),
    _rule(
        causes.LAKE_DAMAGED,
        "LostBlockError UnsortedImagesError DamagedFileError",
        r"its moments file is damaged|is not a parquet file|magic bytes not found|CANNOT_READ_FILE_FOOTER|could not "
        r"read footer",
    ),
    # What others raise, and what is only said.
    _rule(
        causes.PYTHON_MISMATCH,
        "",
        r"python in worker has different version",
        r"PYTHON_VERSION_MISMATCH",
        r"bad magic number in",
    ),
    _rule(
        causes.NODE_TOO_SMALL,
        "InvalidResourceRequestException",
        r"above the max threshold|requested resource .* (?:exceed|maximum)|(?:system|executor) memory \d+ must be at "
        r"least",
    ),
    _rule(
        causes.OUT_OF_MEMORY,
        r"MemoryError \w*OutOfMemoryError _ArrayMemoryError ArrowMemoryError std::bad_alloc",
        r"java heap space|gc overhead limit exceeded",
        r"killed by yarn for exceeding (?:\S+ )?memory limits|running beyond (?:the '?\w+'? )?(?:physical|virtual)\S* "
        r"memory limit",
        r"cannot allocate memory|insufficient memory for the java runtime|not enough space' \(errno=12\)|oom-?kill|out "
        r"of memory",
        r"python worker exited unexpectedly \(crashed\)",
        r"total size of serialized results .* is bigger than spark\.driver\.maxResultSize",
        rf"{_NOT_ON_PURPOSE}(?:exit(?: ?(?:code|status|value|ed with))?(?: is)?[ :(']*137\b|ret '137'|ended by signal "
        r"9\b|sigkill)",
        r"^(?:.*line \d+: +\d+ Killed\b.*|Killed)$",
    ),
    _rule(
        causes.DISK_FULL,
        "",
        r"no space left on device|ENOSPC|disk quota exceeded|errno 28\b",
        r"local-dirs (?:are bad|usable space is below)|all datanodes .* are bad",
    ),
    _rule(
        causes.THROTTLED,
        r"SlowDown \w*Throttl(?:ed|ing)\w* RequestLimitExceeded TooManyRequests\w* ProvisionedThroughputExceeded\w*",
        r"rate exceeded|reduce your request rate|please reduce your|throttled from amazon|due to throttling",
        r"(?:status(?: code)?|error|http)\W{0,3}503\b|\(503\)|service ?unavailable",
        r"(?:status(?: code)?|error|http)\W{0,3}500\b|InternalError\)|we encountered an internal error",
    ),
    _rule(
        causes.CAPACITY,
        r"INSTANCE_FLEET_TIMEOUT Insufficient\w*Capacity VcpuLimitExceeded InstanceLimitExceeded "
        r"MaxSpotInstanceCountExceeded",
        r"insufficient.{0,40}capacity|(?:not|n't) (?:have|enough).{0,40}capacity|unfulfilled.{0,20}capacity",
        r"exceed\w* (?:your|the) .{0,40}(?:limit|quota)|(?:instance|vcpu|spot).{0,20} (?:limit|quota)",
        r"(?:timed? ?out|time-out).{0,80}(?:provision|fleet)|(?:provision|fleet).{0,80}(?:timed? ?out|time-out)|max "
        r"spot instance",
    ),
    _rule(
        causes.NO_SERVICE_LINKED_ROLE,
        r"AuthFailure\.ServiceLinkedRoleCreationNotPermitted",
        r"service[- ]linked role|AWSServiceRoleFor(?:EMRCleanup|EC2Spot)|iam:CreateServiceLinkedRole",
    ),
    _rule(
        causes.CLUSTER_SETTINGS,
        "VALIDATION_ERROR",
        r"(?:vpc|subnet)\S*(?: configuration)? (?:was|is) (?:invalid|not)|subnet .*(?:does not exist|not found|no "
        r"route|not have)",
        r"service[ -]role .*(?:invalid|insufficient|not|missing)|instance ?profile .*(?:invalid|does not exist|not "
        r"found|missing)",
        r"(?:has|have) insufficient ec2 permissions|is not supported (?:in|by) (?:the|this|your) |release label "
        r".*(?:invalid|not)",
        r"security ?(?:group|configuration) .*(?:invalid|does not exist|not found)|EMR_DefaultRole is invalid",
        r"failed to assume role|ebs .*(?:encrypt|kms)",
    ),
    _rule(
        causes.PACKAGE_MISSING,
        r"ModuleNotFoundError ImportError \w*NotFoundError\(ImportError\) ScikitLearnNotFoundError "
        "ClassNotFoundException NoClassDefFoundError UnsatisfiedLinkError NoSuchMethodError "
        "UnsupportedClassVersionError",
        r"do not match the hashes|hash(?:es)? (?:mis|does not )match|hashes are required in --require-hashes mode",
        r"no module named|command not found|failed to load class|could not find or load main class|is not a supported "
        r"wheel",
        r": \S+ installed, \S+ pinned|no such package|unable to find a match",
    ),
    # Without an index no package has a version, so what pip says before that tells the cause.
    _rule(causes.NETWORK, "", r"retrying \(retry\(total"),
    _rule(causes.PACKAGE_MISSING, "", r"no matching distribution found|could not find a version that satisfies"),
    _rule(
        causes.PERMISSION,
        r"\w*AccessDenied\w* UnauthorizedOperation PermissionDeniedError UnauthenticatedError PermissionError "
        r"AccessControlException "
        r"InvalidAccessKeyId SignatureDoesNotMatch ExpiredToken\w* InvalidToken\w* UnrecognizedClient\w* "
        r"InvalidClientTokenId "
        r"NoCredentialsError PartialCredentialsError NoAuthWithAWSException \w*CredentialRetrievalError "
        r"AllAccessDisabled",
        r"access denied|permission denied|operation not permitted|not authorized to perform|is not authorized",
        r"(?:status(?: code)?|error|http)\W{0,3}40[13]\b|\(40[13]\)|\b40[13] (?:forbidden|unauthorized)|: forbidden\b",
        r"unable to (?:locate|load) (?:aws )?credentials",
    ),
    _rule(
        causes.NODE_LOST,
        "INSTANCE_FAILURE ExecutorLostFailure ExecutorDeadException",
        r"all slaves in the job flow were terminated",
        r"(?:core|task|master|primary|slave) (?:nodes?|instances?) (?:\S+ )?(?:was|were) terminated",
        r"\b(?:slave|worker|node|executor|instance) (?:was )?lost\b|\blost (?:executor|node|worker|instance)|\*lost\* "
        r"node",
        r"spot (?:instance )?(?:interruption|request|termination)|spot instance .*(?:terminat|interrupt|reclaim)",
        r"decommission(?:ed|ing)?\b|unable to create executor|executor heartbeat timed out|no recent heartbeats",
        r"instance-terminated-no-capacity|container (?:was )?preempted|failed to connect to external shuffle server",
        r"exit(?: ?(?:code|status))?(?: is)?[ :]*-?100\b|MetadataFetchFailed",
        r"instance failure|the master (?:node|instance) .*(?:terminated|failed)",
    ),
    _rule(
        causes.KEY_NOT_FOUND,
        "NoSuchKey NoSuchBucket NoSuchUpload FileNotFoundException FileNotFoundError NotADirectoryError "
        "ObjectNotFoundError NotFoundError PATH_NOT_FOUND FAILED_READ_FILE.FILE_NOT_EXIST NoSuchFileException",
        r"path does not exist|no such file or directory|input path does not exist|the specified (?:key|bucket) does "
        r"not exist",
        r"(?:status(?: code)?|error|http)\W{0,3}404\b|\(404\)|\b404 not found|s3a?n?://\S+ (?:does not exist|was not "
        r"found)",
    ),
    _rule(
        causes.NETWORK,
        r"\w*UnknownHost\w* ConnectException SocketTimeoutException SocketException ConnectTimeout\w* ReadTimeout\w* "
        r"EndpointConnectionError ConnectionClosedError Connection(?:Refused|Reset|Aborted)?Error NewConnectionError "
        r"NoRouteToHostException NoHttpResponseException SSLHandshakeException SSLError socket\.gaierror "
        r"IncompleteRead "
        "TimeoutError ProxyConnectionError ProxyError ResponseStreamingError ConnectTimeoutException "
        "ApiCallTimeoutException",
        r"connection (?:refused|reset|timed out|was closed|broken)|network is unreachable|no route to host|could not "
        r"connect to",
        r"name or service not known|temporary failure in name resolution|could not resolve host|unable to execute http "
        r"request",
        r"(?:read|connect(?:ion)?|request|operation) timed out|error sending request|tls handshake|broken pipe",
    ),
    _rule(
        causes.BAD_ARGUMENTS,
        r"LakeNameError RegionNotAllowedError argparse\.ArgumentError ArgumentTypeError",
        r": error: .*(?:argument|arguments|required|invalid|expected|ambiguous)",
        r"unrecognized arguments|the following arguments are required",
        r"unrecognized option|(?:missing|unknown|invalid) (?:application resource|option|master)|reading the arguments",
    ),
    _rule(
        causes.TIME_OUT,
        "",
        r"futures timed out|could not execute broadcast in|step timed? ?out|time-?out of the step|exceeded .{0,20}time "
        r"limit",
    ),
    _rule(
        causes.CANCELLED,
        "KeyboardInterrupt USER_REQUEST",
        r"cancelled (?:by|because)|job terminated|terminated by user request|received signal term|\bsigterm\b|ended by "
        r"signal 15",
        r"exit(?: ?(?:code|status))?(?: is)?[ :']*143\b",
    ),
    _rule(
        causes.BOOTSTRAP_FAILED,
        "BOOTSTRAP_FAILURE",
        r"bootstrap action \S+ (?:returned|failed)|^bootstrap failed: |application provisioning failed",
    ),
    _rule(
        causes.CODE_ERROR,
        r"(?:Zero|Floating)\w*Error "
        r"(?:Value|Type|Key|Index|Attribute|Name|Assertion|Runtime|Arithmetic|Lookup|Syntax|Indentation)Error "
        r"(?:Overflow|Recursion|NotImplemented|UnboundLocal|Unicode\w*|StopIteration|OS|IO|EOF|JSONDecode|Buffer)Error "
        r"StopIteration "
        r"(?:NullPointer|IllegalArgument|IllegalState|NumberFormat|ClassCast|Arithmetic)Exception "
        r"(?:\w*IndexOutOfBounds|Analysis|Parse)Exception "
        r"(?:ParamValidation|PySpark\w*|ArrowInvalid|ArrowTypeError|Arrow\w*|Client)Error ArrowInvalid "
        r"SparkArithmeticException",
    ),
    _rule(causes.UNKNOWN, "", ""),
)
# When a step or a bootstrap action speaks of limits and subnets, it is about something else.
STEP_RULES: Final = tuple(
    rule
    for rule in RULES
    if rule.cause not in (causes.CAPACITY, causes.NO_SERVICE_LINKED_ROLE, causes.CLUSTER_SETTINGS)
)
CAUSES: Final = tuple(dict.fromkeys(rule.cause for rule in RULES))
# Names that say no more than that something went wrong.
VAGUE: Final = (causes.UNKNOWN, causes.CODE_ERROR)


def cause_of(words: str, rules: Sequence[Rule] = RULES) -> Cause:
    """Returns the cause of the first rule that the words match."""
    return _first(words, rules).cause


def rule_of_error(name: str, words: str) -> Rule:
    """Returns the rule of a step's error. The name tells more than the words, which may hold anything: `KeyError:
    'timed out'`.
    """
    named = _first(name, STEP_RULES)
    return _first(words, STEP_RULES) if named.cause in VAGUE else named


def _first(words: str, rules: Sequence[Rule]) -> Rule:
    return next(rule for rule in rules if rule.matches(words))
