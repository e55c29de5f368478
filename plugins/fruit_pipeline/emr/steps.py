"""Describes the cluster's steps, as EMR is asked to run them. The same arguments run on a laptop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fruit_contract import release as release_layout
from fruit_contract.ingest_days import spans_of_days
from fruit_pipeline.emr.nodes.spark_sizes import task_slots
from fruit_pipeline.errors import StepTooLongError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fruit_contract.pca import RefreshPolicy
    from fruit_pipeline.settings import Settings

# EMR allows so many characters for all arguments of a step (AddJobFlowSteps).
MAX_ARGUMENT_CHARACTERS: Final = 10_280


def extract_features_step(
    settings: Settings,
    release: str,
    run_id: str,
    ingest_dates: Sequence[str],
    categories: Sequence[str],
    *,
    task_instances: int = 0,
    retry_rejected: bool = False,
    accept_rejects: bool = False,
) -> dict[str, Any]:
    """Returns the step that turns the images of `ingest_dates` into features. No `categories` means all of them.

    `task_instances` are the nodes beside the settings' core nodes. Raises StepTooLongError if EMR would refuse the
    arguments for their length.
    """
    arguments = [
        *_engine(settings.engine),
        *_flags(retry_rejected=retry_rejected, accept_rejects=accept_rejects),
        *_date_arguments(ingest_dates),
        # Option and value are one word, because a category that begins with '-' would be taken for an option.
        *(f"--category={category}" for category in categories),
    ]  # fmt: skip
    job = release_layout.EXTRACT_FEATURES_JOB
    return _step(settings, release, run_id, task_instances, release_layout.EXTRACT_FEATURES_STEP, job, arguments)


def refresh_pca_step(
    settings: Settings,
    release: str,
    run_id: str,
    ingest_dates: Sequence[str],
    policy: RefreshPolicy | None = None,
    *,
    task_instances: int = 0,
    switch_embedder: bool = False,
) -> dict[str, Any]:
    """Returns the step that fits the PCA if the policy (by default the settings') says so, and projects what is not
    projected yet.

    `task_instances` are the nodes beside the settings' core nodes. Raises StepTooLongError if EMR would refuse the
    arguments for their length.
    """
    rules = settings.pca_rules(policy)
    arguments = [
        "--target-variance", repr(rules.target_variance), "--policy", rules.policy.value,
        "--margin", repr(rules.margin), "--growth", repr(rules.growth),
        "--always-below", str(rules.always_below), "--keep-versions", str(settings.pca_keep_versions),
        *_flags(switch_embedder=switch_embedder),
        *_date_arguments(ingest_dates),
    ]  # fmt: skip
    return _step(
        settings,
        release,
        run_id,
        task_instances,
        release_layout.REFRESH_PCA_STEP,
        release_layout.REFRESH_PCA_JOB,
        arguments,
    )


def _flags(**wanted: bool) -> list[str]:
    """Returns the options without a value that are wanted: `retry_rejected` is `--retry-rejected`."""
    return [f"--{name.replace('_', '-')}" for name, is_wanted in wanted.items() if is_wanted]


def _engine(engine: str) -> list[str]:
    """Returns the option for the engine if it is not the default. An earlier release, which may have another default,
    then keeps its own.
    """
    return [] if engine == release_layout.DEFAULT_ENGINE else ["--engine", engine]


def _date_arguments(ingest_dates: Sequence[str]) -> list[str]:
    """Returns an option for each run of consecutive days (`2026-11-01..2026-11-30`), because EMR bounds the length of a
    step's arguments.
    """
    return [word for span in spans_of_days(ingest_dates) for word in ("--ingest-date", span)]


def _step(
    settings: Settings, release: str, run_id: str, task_instances: int, name: str, job: str, arguments: Sequence[str]
) -> dict[str, Any]:
    """Returns a step in client deploy mode, so that the driver's output is the step's log. If the step fails, the
    cluster is left to the DAG's own teardown.

    It runs the node's own copy of the release, which was checked when the node started. It is told its task slots
    because when it begins, Spark has no executor yet and takes the cluster for one of two cores.
    """
    code = release_layout.NODE_FOLDER
    words = [
        "spark-submit", "--deploy-mode", "client", "--name", name,
        "--py-files", f"{code}/{release_layout.LIBRARY_ZIP}", f"{code}/{job}",
        "--lake-bucket", settings.lake_bucket, "--release", release, "--release-folder", code, "--run-id", run_id,
        "--task-slots", str(task_slots(settings, settings.core_instance_count + task_instances)),
        *arguments,
    ]  # fmt: skip
    if sum(len(word) for word in words) > MAX_ARGUMENT_CHARACTERS:
        raise StepTooLongError(
            f"The arguments of step '{name}' are longer than EMR allows ({MAX_ARGUMENT_CHARACTERS:,} characters). "
            "Name fewer categories, or none for all of them; or take a shorter range of dates."
        )
    return {"Name": name, "ActionOnFailure": "CONTINUE", "HadoopJarStep": {"Jar": "command-runner.jar", "Args": words}}
