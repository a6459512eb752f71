"""`tandem review` against a fake platform."""

from __future__ import annotations

from pathlib import Path

from tests.sdk.reviewed import DONE, REVIEW, ROW, SCORE, TALLY

from tandem_sdk.fake import Canned, FakePlatform


def test_the_queue_is_listed(tandem, platform: FakePlatform) -> None:
    platform.on("GET", "/api/v1/reviews", [ROW, {**ROW, "id": "rvw_2", "held_by": "ben"}, DONE], [])
    told = tandem("review", "list", "--state", "open", "--endpoint", "claims", "--source", "decision").out
    assert platform.asked[0].query == {"state": "open", "endpoint": "claims", "source": "decision", "limit": "50"}
    for text in ("rvw_1", "waits", "ben looks at it", "wrong, by ada"):
        assert text in told
    assert "Nothing waits for anybody" in tandem("review", "list").out


def test_the_next_one_is_shown_with_what_there_is_to_judge(tandem, platform: FakePlatform) -> None:
    platform.on("POST", "/api/v1/reviews/next", REVIEW, None)
    told = tandem("review", "next", "--endpoint", "claims", "--after", "rvw_0").out
    assert platform.asked[0].json() == {"endpoint": "claims", "after": "rvw_0"}
    for text in ("rvw_1", '"amount": 11', '"pay": true', "It is a lot."):
        assert text in told
    assert tandem("review", "next").out.strip() == "Nothing waits for anybody."
    platform.on("POST", "/api/v1/reviews/next", None)
    assert tandem("review", "next", "--json").json() is None


def test_a_call_is_put_before_a_person_and_judged(tandem, platform: FakePlatform, tmp_path: Path) -> None:
    platform.on("POST", "/api/v1/reviews", Canned(status=201, body=ROW))
    assert "waits for a person" in tandem("review", "add", "trc_1", "--call", "cal_1").out
    assert platform.asked[-1].json() == {"trace": "trc_1", "call": "cal_1"}
    platform.on("POST", "/api/v1/reviews/rvw_1/decide", DONE)
    (tmp_path / "right.json").write_text('{"pay": false}')
    words = ("review", "decide", "rvw_1", "wrong", "--correction", f"@{tmp_path / 'right.json'}", "--note", "not covered")
    assert "rvw_1: wrong." in tandem(*words).out
    assert platform.asked[-1].json() == {"opinion": "wrong", "correction": '{"pay": false}', "note": "not covered"}
    assert tandem("review", "decide", "rvw_1", "fine").code == 2


def test_a_review_that_was_done_shows_what_was_said(tandem, platform: FakePlatform) -> None:
    said = {"opinion": "wrong", "correction": "no", "note": "clause 3 \x1b[31m"}
    platform.on("GET", "/api/v1/reviews/rvw_1", {**REVIEW, **DONE, "said": said})
    told = tandem("review", "show", "rvw_1").out
    assert "wrong, by ada" in told
    assert "clause 3 ?[31m" in told


def test_the_tally_has_intervals_and_the_export_says_what_was_left_out(tandem, platform: FakePlatform) -> None:
    none = {**TALLY, "endpoint": "other", "share": {"value": 0, "low": 0, "high": 1, "n": 0, "level": 0.95}}
    platform.on("GET", "/api/v1/reviews/tally", [TALLY, none])
    assert "0.6670 [0.2080, 0.9390] on 3 rows" in tandem("review", "tally").out
    platform.on(
        "POST", "/api/v1/reviews/export", Canned(status=201, body={"ref": "dataset/d@1", "rows": 3, "left_out": {"cut": 1}})
    )
    assert tandem("review", "export", "claims", "--dataset", "dataset/d").out == "dataset/d@1\n  3 rows; left out: 1 cut\n"
    assert platform.asked[-1].json() == {"endpoint": "claims", "dataset": "d"}


def test_a_trace_shows_what_people_said(tandem, platform: FakePlatform) -> None:
    platform.on("GET", "/api/v1/traces/trc_1", {**REVIEW["explained"], "scores": [SCORE]})  # type: ignore[dict-item]
    told = tandem("trace", "show", "trc_1").out
    assert "decide claims  person  wrong  ada" in told
