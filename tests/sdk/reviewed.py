"""A review as the platform tells it, with its trace."""

CALL = {
    "call": "cal_1",
    "id": "trc_1",
    "endpoint": "claims",
    "kind": "decide",
    "start": 1,
    "end": 2,
    "outcome": "ok",
    "status": 200,
}
ROW = {
    "id": "rvw_1", "trace": "trc_1", "call": "cal_1", "endpoint": "claims", "kind": "decide", "source": "decision",
    "state": "open", "called_at": 1, "created_at": 3,
}  # fmt: skip
REVIEW = {
    **ROW,
    "said": None,
    "explained": {
        "id": "trc_1",
        "calls": [CALL],
        "cost": 0,
        "content": {"cal_1": {"request": '{"amount": 11}', "answer": '{"pay": true}', "notes": {"review": ["It is a lot."]}}},
        "scores": [],
    },
}
DONE = {**ROW, "state": "done", "opinion": "wrong", "decided_by": "ada", "decided_at": 9}
TALLY = {
    "endpoint": "claims", "source": "decision", "open": 1, "right": 2, "wrong": 1, "unsure": 0,
    "share": {"value": 0.667, "low": 0.208, "high": 0.939, "n": 3, "level": 0.95},
}  # fmt: skip
SCORE = {"scorer": "person", "value": 0.0, "label": "wrong", "detail": {"call": "cal_1"}, "created_by": "ada", "created_at": 9}
