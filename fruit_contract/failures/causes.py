"""Says what usually makes a step or a cluster fail, what to do, and whether it may pass by itself. Only this module
decides that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Cause:
    """Describes a cause of failures. `passes` tells whether it may help to try again without changing anything."""

    name: str
    usually: str
    what_to_do: str
    passes: bool = False


BOOKS_DO_NOT_BALANCE: Final = Cause(
    "books_do_not_balance",
    "The step counted other images at its end than at its beginning: a defect of the step. The dates that it names may "
    "be committed, in part or in whole.",
    "Clear the task: what was committed stays, and the rest starts from the same state. If it happens again, report it "
    "with this message.",
)
FEATURES_CHANGED: Final = Cause(
    "features_changed",
    "Files below features/ are not those that the ledger names, or do not hold the images that it says: something else "
    "than a run removed, added or replaced them, or put the ledger back to another state.",
    "Remove the files that the message names, if it names some that are there, and run their dates again: that run "
    "computes what is "
    "missing, and removes what no ledger names. If it comes back, see who else writes below features/.",
)
ANOTHER_WRITER: Final = Cause(
    "another_writer",
    "While the step worked, another writer committed this date, or flipped pca/current.json. The step left what that "
    "one wrote as it is.",
    "Try again: what the other one committed is known then. If it comes back, see which other run, or which process "
    "outside Airflow, writes these dates: claims (runs/_claims/) keep the runs of one Airflow apart, not those of two.",
    passes=True,
)
UNUSUAL_REJECTS: Final = Cause(
    "unusual_rejects",
    "So many images were rejected for one reason that the batch, or the release, is likely at fault. The step "
    "committed nothing more; what it had committed before stays.",
    "Look at the images that are named: was the batch cut off, or is its format new? Then deliver it again. Did the "
    "release before read them? Then publish that one. If they are really no images, trigger the run with 'Accept many "
    "rejected images' (`accept_rejects`).",
)
MOMENTS_DIFFER: Final = Cause(
    "moments_differ",
    "The moments that the PCA is fitted on are not of the images that the ledgers have, or are gone: something else "
    "than a run changed moments/ or ledger/, or a step is defective. Readers stay on the PCA version that there is.",
    "Run the dates that are named again: their moments are computed from their features, where they are lost. If it "
    "comes back, remove moments/_compacted/ (a cache), and report it with this message.",
)
NOT_FINITE: Final = Cause(
    "features_not_finite",
    "The embedder made NaN or infinity of an image, which the message names: its weights are damaged, or its engine "
    "fails on this machine.",
    "Publish a release with sound weights (`make publish`). If it is that one image alone, take it out of raw/ and run "
    "its date again. "
    "If its features lie in the lake already, remove their file below features/ first: its images are computed anew.",
)
TOO_MANY_IMAGES: Final = Cause(
    "too_many_images",
    "The run, or one of its dates, has more images than a step is made for; the message says which, and how many it "
    "takes.",
    "Run fewer dates at a time; of a date that is too large by itself, some categories at a time, or deliver it as "
    "several dates. A larger FRUITS_PRIMARY_INSTANCE_TYPE holds more.",
)
LATER_FORMAT: Final = Cause(
    "later_format",
    "A ledger was written by a later release than this one, or is no ledger: its metadata hold no commit that this "
    "release can read.",
    "Written by a later release: run that one, or a later one (FRUITS_RELEASE, empty for the last that was published). "
    "Not a ledger: remove the object that is named, and run its date again.",
)
RELEASE_BROKEN: Final = Cause(
    "release_broken",
    "The release's jobs and its embedder do not belong together, the engine is not in it, or its weights are damaged.",
    "Run `make publish` and leave FRUITS_RELEASE empty (or set it to the id that is printed), then clear the failed "
    "task and those before it: a release is never changed, the new one is another.",
)
RELEASE_CHANGED: Final = Cause(
    "release_changed",
    "A file of the release in the lake, or the list of its files, is not as it was published: something else than "
    "`make publish` wrote below code/. It was found out before any of it was run.",
    "See who wrote below code/ (the object that is named has the time). Run `make publish`, which puts back what "
    "differs, and clear plan_run (with *downstream*, without *only failed*).",
)
LAKE_DAMAGED: Final = Cause(
    "lake_damaged",
    "A file of the lake is not as the steps write it: something else wrote below these prefixes, or the file was cut "
    "off.",
    "See which file the lines above name. Below code/: run `make publish`. Below runs/: remove it (below _claims/ only "
    "while no run is under way). "
    "Below features/, rejected/, moments/, projections/ or ledger/: remove it, and run its date again: what is missing "
    "is done anew. Below pca/: run a date with the PCA policy 'always', which writes the model again, or fits another "
    "one in its place. If pca/current.json can't be read, remove it first: the newest version that is complete takes "
    "its place.",
)
PYTHON_MISMATCH: Final = Cause(
    "python_mismatch",
    "Driver and workers run different Pythons: a node did not get the environment of the bootstrap action.",
    "Use the cluster that the DAG asks for (its bootstrap action makes /opt/fruits/venv on every node, and "
    "PYSPARK_PYTHON names it), with FRUITS_EMR_RELEASE_LABEL of a release that has Python 3.11.",
)
NODE_TOO_SMALL: Final = Cause(
    "node_too_small",
    "An executor is asked for that no node has room for. Executors are sized to FRUITS_CORE_INSTANCE_TYPE, so the "
    "cluster has other nodes, or its YARN other settings, than `plan_run` asked for.",
    "Clear the task and those before it, so that a cluster is made as planned. If it happens on such a one, take a "
    "larger FRUITS_CORE_INSTANCE_TYPE, and report it with this message.",
)
OUT_OF_MEMORY: Final = Cause(
    "out_of_memory",
    "A Java heap, or the Python workers beside it, took more memory than they may have; the system or YARN then kills "
    "them.",
    "On an executor ('Java heap space', a killed or crashed Python worker, YARN's limit): set "
    "FRUITS_CORE_INSTANCE_TYPE to a family with more memory a vCPU (r has twice that of m, and m twice that of c), for "
    "a node's vCPUs share its memory equally. On the driver: a larger FRUITS_PRIMARY_INSTANCE_TYPE, or fewer dates a "
    "run.",
)
DISK_FULL: Final = Cause(
    "disk_full",
    "A node's disk is full: shuffle files, spilled data, the packages of the bootstrap action or logs.",
    "Raise FRUITS_ROOT_VOLUME_GIB if a bootstrap action or /opt is named; else take a larger "
    "FRUITS_CORE_INSTANCE_TYPE, raise FRUITS_CORE_INSTANCE_COUNT, or give the run fewer dates.",
)
THROTTLED: Final = Cause(
    "throttled",
    "AWS asked to slow down, or answered that it was not able to for a moment; the step's own repetitions did not "
    "outlast it.",
    "Try again. If it comes back at the same place: fewer nodes (FRUITS_TASK_INSTANCE_MAX) or fewer dates at once.",
    passes=True,
)
CAPACITY: Final = Cause(
    "capacity",
    "AWS had no such instances free in that zone, or the account's own limit of instances or vCPUs is reached.",
    "Clear plan_run later (with *downstream*, without *only failed*). To find instances more easily give "
    "FRUITS_SUBNET_ID several subnets (one a zone), another FRUITS_CORE_INSTANCE_TYPE, or "
    "FRUITS_TASK_MARKET=on-demand; if a limit is named, have it raised in AWS' Service Quotas.",
)
NO_SERVICE_LINKED_ROLE: Final = Cause(
    "no_service_linked_role",
    "The account lacks a role under which AWS itself acts: EMR's (AWSServiceRoleForEMRCleanup) or that of spot nodes "
    "(AWSServiceRoleForEC2Spot). That is so in a new account, and Airflow's role may not make them.",
    "Type `make deploy` again: it makes the roles that are missing. By hand: `aws iam create-service-linked-role "
    "--aws-service-name elasticmapreduce.amazonaws.com`, for spot nodes with `spot.amazonaws.com`. Then clear plan_run "
    "(with *downstream*, without *only failed*).",
)
CLUSTER_SETTINGS: Final = Cause(
    "cluster_settings",
    "EMR accepted the request for a cluster and then found that a subnet, role, instance type or release does not "
    "work.",
    "Compare FRUITS_SUBNET_ID, FRUITS_SERVICE_ROLE, FRUITS_INSTANCE_PROFILE, FRUITS_SECURITY_CONFIGURATION, "
    "FRUITS_CORE_INSTANCE_TYPE and FRUITS_EMR_RELEASE_LABEL with bootstrap/README.md (role policies, the subnet's tag, "
    "its way to S3 and EMR), then clear plan_run (with *downstream*, without *only failed*).",
)
PACKAGE_MISSING: Final = Cause(
    "package_missing",
    "A package or class is not on the nodes: the release's lock lacks it, or the bootstrap action installed another "
    "version.",
    "Add it to the `cluster` group of pyproject.toml, then `make lock` and `make publish`: the release brings it to "
    "every node. If the node reached no package index, or a hash differs, publish with `make publish WHEELHOUSE=1`, "
    "and nodes need the bucket only.",
)
PERMISSION: Final = Cause(
    "permission",
    "A role may not do what the step asked for: the bucket or key is another than its policy names, or KMS refuses. S3 "
    "also answers 403 for a key that is not there if the role may not list the bucket.",
    "See which action and which key the error names, compare FRUITS_LAKE_BUCKET and the role of the nodes "
    "(FRUITS_INSTANCE_PROFILE) "
    "with bootstrap/README.md and bootstrap/stacks/cluster.yaml, mend that and `make deploy`; then clear the task.",
)
NODE_LOST: Final = Cause(
    "node_lost",
    "A machine of the cluster went away under the step: mostly a spot node that AWS took back, sometimes a broken "
    "machine.",
    "Try again: what was not written is done anew. If it keeps happening, set FRUITS_TASK_MARKET=on-demand, or use "
    "another FRUITS_CORE_INSTANCE_TYPE.",
    passes=True,
)
KEY_NOT_FOUND: Final = Cause(
    "key_not_found",
    "An object, table or release that the step reads is not in the lake: not published, removed meanwhile, or of "
    "another bucket or name.",
    "See which key the error names. Is FRUITS_LAKE_BUCKET the right bucket? Below code/: run `make publish`, and leave "
    "FRUITS_RELEASE empty. Below raw/: is the batch delivered whole? Below features/ or moments/: run the date again, "
    "which makes what is missing. Below pca/: run a date with the PCA policy 'always'.",
)
NETWORK: Final = Cause(
    "network",
    "A node did not reach S3, a package index or another node: no route from its subnet, a name that is not known, or "
    "a passing disturbance.",
    "Try again. If it is the same each time: does the subnet (FRUITS_SUBNET_ID) have an S3 gateway endpoint, as "
    "bootstrap/README.md says, and does its security group let nodes reach each other? `make publish WHEELHOUSE=1` "
    "spares nodes the package index.",
    passes=True,
)
BAD_ARGUMENTS: Final = Cause(
    "bad_arguments",
    "The step was called with what its script does not take: mostly a release older or newer than the DAG, or a "
    "setting mistyped.",
    "Run `make publish` so that jobs and DAG are of one state (and leave FRUITS_RELEASE empty), or mend the value that "
    "is named: the step's arguments come from FRUITS_ settings and the run's parameters.",
)
TIME_OUT: Final = Cause(
    "time_out",
    "There is more to do than the cluster does in that time, or one task hangs.",
    "Look at Spark's history: are all tasks slow, or does one hang? Raise FRUITS_STEP_TIMEOUT_HOURS, give it more core "
    "nodes (FRUITS_CORE_INSTANCE_COUNT) or fewer dates a run. What is written stays, so the next try has less to do.",
)
CANCELLED: Final = Cause(
    "cancelled",
    "Somebody, or the run's own teardown, ended the step or its cluster: the task was killed, marked or cleared, or "
    "the cluster was ended.",
    "If that was not meant, clear the task: what the step had not written is done again.",
)
BOOTSTRAP_FAILED: Final = Cause(
    "bootstrap_failed",
    "The bootstrap action could not bring the packages to a node: it found no release, no package index, or no space.",
    "Read the last lines of its log: they name what failed and what to do. `make publish WHEELHOUSE=1` spares nodes "
    "the package index.",
)
CODE_ERROR: Final = Cause(
    "code_error",
    "A defect in the step's code, or data that it does not expect.",
    "Read which line of the code failed, and with which values, in the lines above. Mend it, `make publish`, and clear "
    "the task; trying again as it is ends the same way.",
)
UNKNOWN: Final = Cause(
    "unknown",
    "The logs hold no error that is known.",
    "Read the whole logs, first stdout, then stderr (their address is below), and look at Spark's history for the "
    "stage that failed.",
)
