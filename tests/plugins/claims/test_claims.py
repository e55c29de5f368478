from __future__ import annotations

from datetime import datetime

from fruit_pipeline.claims.claims import Claim, Wish, answer_wish, claim_of, made_before, narrowed, who_holds

NOW, EARLIER = "2026-11-22T09:00:00+00:00", "2026-11-22T08:00:00+00:00"
OTHER = Claim("other", ("20", "21"), EARLIER)


def nobody_asks(run_id: str) -> bool:
    raise AssertionError(run_id)


def lives(_: str) -> bool:
    return True


def has_ended(_: str) -> bool:
    return False


def test_free_dates_are_held_by_whoever_wants_them() -> None:
    answer = answer_wish([OTHER], Wish("own", ("22",), ("23", "24")), nobody_asks, NOW)
    assert (answer.held, answer.busy) == (("22", "23", "24"), {})
    assert answer.claims == (OTHER, Claim("own", ("22", "23", "24"), NOW))


def test_what_is_merely_welcome_is_left_to_the_run_that_holds_it() -> None:
    answer = answer_wish([OTHER], Wish("own", ("22",), ("21", "19")), lives, NOW)
    assert (answer.held, answer.busy) == (("19", "22"), {"21": OTHER})


def test_who_can_not_have_all_it_needs_keeps_nothing() -> None:
    """Else two runs could each hold what the other one waits for."""
    before = Claim("own", ("19",), EARLIER)
    answer = answer_wish([before, OTHER], Wish("own", ("19", "21"), ("18",)), lives, NOW)
    assert (answer.held, answer.busy) == ((), {"21": OTHER})
    assert answer.claims == (OTHER,)


def test_the_claim_of_a_run_that_has_ended_goes_as_a_whole() -> None:
    answer = answer_wish([OTHER], Wish("own", ("21",)), has_ended, NOW)
    assert answer.claims == (Claim("own", ("21",), NOW),)
    assert claim_of(answer.claims, "other") is None


def test_an_ended_run_in_whose_way_nobody_is_keeps_its_claim_so_that_it_can_be_gone_on_with() -> None:
    assert OTHER in answer_wish([OTHER], Wish("own", ("22",)), nobody_asks, NOW).claims


def test_who_takes_again_what_it_has_holds_it_since_it_first_did() -> None:
    answer = answer_wish(
        [Claim("own", ("21", "22"), EARLIER)], Wish("own", ("22", "23"), cluster_id="j-1"), nobody_asks, NOW
    )
    assert answer.claims == (Claim("own", ("22", "23"), EARLIER, "j-1"),)


def test_what_is_given_back_is_the_runs_own_and_nobody_elses() -> None:
    own = Claim("own", ("22", "23"), EARLIER)
    assert narrowed([OTHER, own], "own", ["22", "20"]) == (OTHER, Claim("own", ("22",), EARLIER))
    assert narrowed([OTHER, own], "own", []) == (OTHER,)
    assert narrowed([OTHER], "own", []) == (OTHER,)


def test_of_many_that_are_held_a_few_are_named() -> None:
    many = {f"2026-11-{day:02}": OTHER for day in range(1, 31)}
    said = who_holds(many)
    assert said.startswith(f"2026-11-01 (other, since {EARLIER}), 2026-11-02")
    assert said.endswith(" and 22 more")
    assert "2026-11-09" not in said
    assert who_holds({"pca": OTHER}) == f"pca (other, since {EARLIER})"


def test_a_claim_is_read_as_it_was_written() -> None:
    claim = Claim("manual__Äpfel", ("2026-11-22",), NOW, "j-1")
    assert Claim.from_dict(claim.as_dict()) == claim


def test_claims_are_told_apart_by_when_they_were_made() -> None:
    later = Claim("later", ("22",), NOW)
    assert made_before((OTHER, later), datetime.fromisoformat(NOW)) == (OTHER,)
