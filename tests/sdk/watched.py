"""A monitor, a report, a request and an alert as the platform tells them."""

ESTIMATE = {"value": 0.4, "low": 0.2, "high": 0.6, "n": 150, "level": 0.95}
REPORT = {
    "id": "rpt_1", "monitor": "m", "at": 5, "trigger": "asked", "verdict": "drifted", "alarm": True, "n": 150, "since": 1,
    "until": 4, "level": 0.001, "reference": "dataset/rows@1", "coverage": {"read": 150}, "run": "run_1", "note": "Retraining.",
    "findings": [
        {
            "subject": "x", "what": "values", "verdict": "drifted", "n": 150, "reference_n": 600, "measure": "psi",
            "threshold": 0.1, "effect": ESTIMATE, "p": 1e-9, "adjusted": 1e-8, "now": ESTIMATE, "before": None,
            "histogram": {"labels": ["≤ 1", "> 1", "missing"], "reference": [300, 300, 0], "now": [10, 140, 0]}, "note": "",
        }
    ],
}  # fmt: skip
MONITOR = {"name": "m", "endpoint": "credit", "question": "drift", "every": 3600, "alarmed": True, "newest": REPORT}
REQUEST = {
    "id": "req_1", "subject": "model/credit@2", "alias": "production", "reason": "It drifted.", "monitor": "m",
    "report": "rpt_1", "run": "run_1", "passed": True, "state": "open", "created_at": 6,
}  # fmt: skip
ALERT = {
    "name": "ops", "kind": "webhook", "url": "https://hooks.example.org/…", "on": ["monitor.alarm", "budget.*"], "team": None,
    "secret": "sealed", "user": "", "sender": "", "to": [], "managed": None, "pending": 2,
    "delivery": {
        "cursor": 7, "failures": 3, "failing_since": 1_750_000_000_000_000, "tried_at": 1_750_000_000_000_000,
        "delivered_at": None, "error": "The receiver answered 500.", "undelivered": 1,
    },
}  # fmt: skip
