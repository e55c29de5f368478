from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_contract.lake import image_key
from fruit_pipeline.run_plan import STRAYS_NAMED, UnknownInstanceTypeError, estimate, plan_of_listing, summary_lines, vcpus
from fruit_pipeline.settings import Settings
from fruit_pipeline.stored_object import StoredObject

DAY = "2026-11-22"
NOW = datetime(2026, 11, 22, tzinfo=UTC)
SETTINGS = Settings()


def stored(key: str, size_bytes: int = 1000) -> StoredObject:
    return StoredObject(key, size_bytes, "etag", NOW)


def test_counts_images_and_bytes_by_category() -> None:
    objects = [stored(image_key(DAY, "Kiwi", f"{n}.jpg")) for n in range(3)] + [stored(image_key(DAY, "Äpfel 50%", "a/b.jpg"), 500)]
    plan = plan_of_listing(DAY, objects, [], SETTINGS)
    assert (plan.images, plan.size_bytes) == (4, 3500)
    assert plan.images_by_category == {"Kiwi": 3, "Äpfel 50%": 1}
    assert plan.n_strays == 0


def test_counts_and_names_what_is_no_image() -> None:
    prefix = f"raw/ingest_date={DAY}/"
    strays = ["loose.jpg", "Kiwi/.DS_Store", "_old/1.jpg", "a\nb/1.jpg"]
    own = ["_SUCCESS", "_manifest.csv", "Kiwi/"]
    plan = plan_of_listing(DAY, [stored(prefix + name) for name in strays + own], [], SETTINGS)
    assert plan.images == 0
    assert plan.n_strays == 4
    assert sorted(plan.strays) == sorted(prefix + name for name in strays)


def test_names_only_the_first_strays_so_that_the_plan_stays_small() -> None:
    plan = plan_of_listing(DAY, [stored(f"raw/ingest_date={DAY}/{n}.jpg") for n in range(5000)], [], SETTINGS)
    assert plan.n_strays == 5000
    assert len(plan.strays) == STRAYS_NAMED
    assert any("5,000 objects" in line and line.endswith(" and more.") for line in summary_lines(plan))


def test_a_choice_of_categories_leaves_the_others_alone_and_names_what_is_missing() -> None:
    objects = [stored(image_key(DAY, category, "1.jpg")) for category in ("Kiwi", "Plum", "007")]
    plan = plan_of_listing(DAY, objects, ["007", "Fig"], SETTINGS)
    assert plan.images_by_category == {"007": 1}
    assert plan.missing_categories == ["Fig"]
    assert plan.n_strays == 0
    assert "Asked for, but nothing was delivered: Fig." in summary_lines(plan)


def test_images_of_another_date_are_not_counted() -> None:
    assert plan_of_listing(DAY, [stored(image_key("2026-11-21", "Kiwi", "1.jpg"))], [], SETTINGS).images == 0


def test_the_plan_fits_into_xcom() -> None:
    plan = plan_of_listing(DAY, [stored(image_key(DAY, "Kiwi", "1.jpg"))], [], SETTINGS)
    assert json.loads(json.dumps(plan.as_dict())) == plan.as_dict()


def test_the_estimate_is_start_plus_fixed_plus_images_over_speed() -> None:
    settings = replace(
        SETTINGS,
        images_per_second_per_vcpu=10.0,
        core_instance_count=2,
        cluster_start_minutes=5.0,
        fixed_work_minutes=1.0,
        prices_eur_per_hour=(("m5.xlarge", 0.5),),
    )
    result = estimate(48_000, settings)
    assert result.minutes == pytest.approx(5 + 1 + 48_000 / (10 * 4 * 2) / 60)
    assert result.euros == pytest.approx(16 / 60 * 0.5 * 3)
    assert result.core_instances == 2


def test_no_images_cost_nothing() -> None:
    result = estimate(0, SETTINGS)
    assert (result.core_instances, result.minutes, result.euros) == (0, 0.0, 0.0)


def test_an_unknown_price_is_said_and_not_guessed() -> None:
    settings = replace(SETTINGS, core_instance_type="m7g.4xlarge")
    plan = plan_of_listing(DAY, [stored(image_key(DAY, "Kiwi", "1.jpg"))], [], settings)
    assert plan.estimate.euros is None
    assert "cost unknown" in summary_lines(plan)[-1]


@given(images=st.integers(1, 10**9), more=st.integers(1, 10**6), nodes=st.integers(1, 500))
def test_more_images_never_take_less_time_and_more_nodes_never_more(images: int, more: int, nodes: int) -> None:
    few, many = replace(SETTINGS, core_instance_count=nodes), replace(SETTINGS, core_instance_count=nodes + 1)
    assert estimate(images, few).minutes <= estimate(images + more, few).minutes
    assert estimate(images, many).minutes <= estimate(images, few).minutes


@given(
    st.lists(st.tuples(st.sampled_from(["Kiwi", "Plum", "_x", "007"]), st.integers(0, 9)), unique=True),
    st.sets(st.sampled_from(["Kiwi", "Plum", "007"])),
)
def test_every_object_is_an_image_a_stray_or_in_another_category(names: list[tuple[str, int]], chosen: set[str]) -> None:
    plan = plan_of_listing(DAY, [stored(f"raw/ingest_date={DAY}/{category}/{n}.jpg") for category, n in names], sorted(chosen), SETTINGS)
    elsewhere = sum(category != "_x" and bool(chosen) and category not in chosen for category, _ in names)
    assert plan.images + plan.n_strays + elsewhere == len(names)
    assert plan.images == sum(plan.images_by_category.values())


@pytest.mark.parametrize(("instance_type", "expected"), [("m5.large", 2), ("m5.xlarge", 4), ("m5.2xlarge", 8), ("c5.24xlarge", 96)])
def test_knows_the_vcpus_of_a_size(instance_type: str, expected: int) -> None:
    assert vcpus(instance_type) == expected


def test_says_what_to_do_about_a_size_without_a_number() -> None:
    with pytest.raises(UnknownInstanceTypeError, match="FRUITS_CORE_INSTANCE_TYPE"):
        vcpus("m5.metal")
