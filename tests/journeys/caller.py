"""Calls from another machine: `python -m tests.journeys.caller URL KEY COUNT` prints a line for each, status and trace."""

from __future__ import annotations

import sys

import httpx2


def main(url: str, key: str, count: int) -> None:
    body = {"model": "assistant", "max_tokens": 8, "messages": [{"role": "user", "content": "hello"}]}
    with httpx2.Client(timeout=30, headers={"authorization": f"Bearer {key}"}) as http:
        for _ in range(count):
            reply = http.post(f"{url}/v1/chat/completions", json=body)
            print(reply.status_code, reply.headers.get("x-tandem-trace-id", "-"), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
