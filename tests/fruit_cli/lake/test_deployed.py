from __future__ import annotations

import pytest

from fruit_cli.aws.stacks import environment_of
from fruit_cli.errors import CommandError
from fruit_cli.lake.connection import current_connection, local_bucket
from fruit_cli.lake.deployed import (
    DEPLOYED_VARIABLES,
    deployed_name,
    deployed_region,
    is_of_another,
    read_environment_file,
    with_deployed,
    without_deployed,
    write_environment_file,
)
from fruit_cli.lake.target import Target

VALUES = {
    "FRUITS_AWS_REGION": "eu-west-3",
    "FRUITS_LAKE_BUCKET": "fruits-lake-123456789012-eu-west-3",
    "FRUITS_LAKE_OWNER": "123456789012",
    "FRUITS_SUBNET_ID": "subnet-1,subnet-2",
}


def test_the_file_holds_what_was_written_and_comments_say_nothing(tmp_path) -> None:
    path = tmp_path / "fruits.env"
    write_environment_file(path, VALUES, ["FRUITS_LAKE_BUCKET=another", "for people"])
    assert read_environment_file(path) == VALUES
    assert read_environment_file(tmp_path / "none") == {}


def test_a_variable_that_was_typed_goes_before_the_file_that_happens_to_be_here(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_environment_file(tmp_path / "fruits.env", VALUES, [])
    merged = with_deployed({"FRUITS_LAKE_BUCKET": "typed", "FRUITS_AWS_REGION": ""})
    assert (merged["FRUITS_LAKE_BUCKET"], merged["FRUITS_AWS_REGION"]) == ("typed", "eu-west-3")


def test_who_deploys_again_in_a_new_shell_means_the_region_of_the_last_time(tmp_path) -> None:
    path = tmp_path / "fruits.env"
    file = {"FRUITS_ENV_FILE": str(path)}
    assert deployed_region(file) == "eu-west-1"
    write_environment_file(path, VALUES, [])
    assert deployed_region(file) == "eu-west-3"
    assert deployed_region(file | {"FRUITS_AWS_REGION": "eu-central-1"}) == "eu-central-1"


def test_the_file_tells_which_deployment_is_meant(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "fruits-2.env"
    file = {"FRUITS_ENV_FILE": str(path)}
    assert deployed_name(None, {}) == "fruits"
    write_environment_file(path, VALUES | {"FRUITS_STACK": "fruits-2"}, [])
    assert deployed_name(None, file) == "fruits-2"
    with pytest.raises(CommandError, match="STACK is 'fruits-3', and FRUITS_ENV_FILE names a file of 'fruits-2'"):
        deployed_name("fruits-3", file)


def test_a_file_that_does_not_say_whose_it_is_is_not_taken_for_the_default_ones(tmp_path) -> None:
    path = tmp_path / "fruits-2.env"
    file = {"FRUITS_ENV_FILE": str(path)}
    for _ in range(2):
        with pytest.raises(CommandError, match="it does not say of which STACK it is"):
            deployed_name(None, file)
        assert deployed_name("fruits-2", file) == "fruits-2"
        write_environment_file(path, VALUES, [])  # as a former release wrote it


def test_a_file_that_is_named_must_be_there_and_of_the_same_lake_as_the_variables(tmp_path) -> None:
    path = tmp_path / "fruits-2.env"
    loaded = {"FRUITS_ENV_FILE": str(path), "FRUITS_LAKE_BUCKET": "first"}
    with pytest.raises(CommandError, match="and there is no such file"):
        current_connection(Target.AWS, loaded)
    write_environment_file(path, VALUES, [])
    with pytest.raises(
        CommandError, match=f"of the lake {VALUES['FRUITS_LAKE_BUCKET']}, and FRUITS_LAKE_BUCKET is first"
    ):
        current_connection(Target.AWS, loaded)


def test_another_deployment_is_not_made_from_variables_that_are_loaded(tmp_path) -> None:
    loaded = VALUES | {"FRUITS_STACK": "fruits", "FRUITS_ENV_FILE": str(tmp_path / "none")}
    assert deployed_name("fruits", loaded) == deployed_name(None, loaded) == "fruits"
    with pytest.raises(CommandError, match="STACK is 'fruits-2', and this shell has the variables of 'fruits' loaded"):
        deployed_name("fruits-2", loaded)


def test_a_file_of_one_deployment_and_variables_of_another_are_not_mixed(tmp_path) -> None:
    path = tmp_path / "fruits-2.env"
    write_environment_file(path, VALUES | {"FRUITS_STACK": "fruits-2"}, [])
    loaded = {"FRUITS_STACK": "fruits", "FRUITS_LAKE_BUCKET": "first", "FRUITS_ENV_FILE": str(path)}
    with pytest.raises(CommandError, match=r"fruits-2\.env is of 'fruits-2', and this shell has .* 'fruits' loaded"):
        current_connection(Target.AWS, loaded)


@pytest.mark.parametrize(
    ("file", "another"),
    [
        ({}, False),
        ({"FRUITS_LAKE_BUCKET": "b"}, False),
        ({"FRUITS_LAKE_BUCKET": "b", "FRUITS_STACK": "fruits"}, False),
        ({"FRUITS_LAKE_BUCKET": "c", "FRUITS_STACK": "fruits"}, True),
        ({"FRUITS_LAKE_BUCKET": "b", "FRUITS_STACK": "fruits-2"}, True),
    ],
)
def test_a_file_is_of_one_deployment_and_one_lake(tmp_path, file: dict[str, str], another: bool) -> None:
    write_environment_file(tmp_path / "fruits.env", file, [])
    assert is_of_another(tmp_path / "fruits.env", "fruits", "b") is another


def test_the_local_cloud_takes_nothing_of_a_deployment_that_is_loaded() -> None:
    typed = {"FRUITS_LAKE_BUCKET": "mine", "FRUITS_SECURITY_CONFIGURATION": "none", "FRUITS_POLL_SECONDS": "1"}
    assert without_deployed(typed) == typed
    assert local_bucket(typed) == "mine"
    loaded = typed | {"FRUITS_STACK": "fruits"}
    assert without_deployed(loaded) == {"FRUITS_POLL_SECONDS": "1"}
    assert local_bucket(loaded) == "fruits-lake"
    outputs = ("ServiceRole", "InstanceProfile", "SecurityConfiguration", "KeyArn", "SubnetIds", "QueueUrl", "TopicArn")
    written = environment_of("fruits", "eu-west-1", "b", "123456789012", dict.fromkeys(outputs, "x"))
    assert tuple(written) == DEPLOYED_VARIABLES


def test_a_file_that_names_a_region_outside_the_eu_leads_nowhere(tmp_path) -> None:
    path = tmp_path / "fruits.env"
    write_environment_file(path, VALUES | {"FRUITS_AWS_REGION": "us-east-1"}, [])
    with pytest.raises(Exception, match="not inside the EU"):
        current_connection(Target.AWS, {"FRUITS_ENV_FILE": str(path)})


def test_the_lake_that_was_deployed_is_the_one_on_aws_and_no_local_one(tmp_path) -> None:
    path = tmp_path / "fruits.env"
    write_environment_file(path, VALUES, [])
    connection = current_connection(Target.AWS, {"FRUITS_ENV_FILE": str(path)})
    assert (connection.bucket, connection.region, connection.is_local) == (
        VALUES["FRUITS_LAKE_BUCKET"],
        "eu-west-3",
        False,
    )
    assert connection.owner == "123456789012"
    assert local_bucket({"FRUITS_ENV_FILE": str(path)}) == "fruits-lake"
