"""Machines of the suite's own: network namespaces on one bridge, each with an address, whose cable can be pulled.

It needs root and `ip`. A test that asks for it elsewhere is skipped, and says in capitals what was not tested.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest

IP = shutil.which("ip", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
WHY = "MANY MACHINES ARE NOT TESTED HERE: network namespaces need root and the command `ip` (Debian: iproute2)."


def ip(*words: str) -> None:
    assert IP is not None
    subprocess.run([IP, *words], check=True, capture_output=True)


class Network:
    """A bridge of this process, and the machines on it."""

    def __init__(self) -> None:
        self._tag = f"{os.getpid() % 100000:05d}"
        self._bridge, self._names = f"tb{self._tag}", list[str]()
        third = os.getpid() % 250
        self._prefix = f"10.213.{third}"
        self.host = f"{self._prefix}.1"
        """The address at which machines reach what runs outside of them."""
        ip("link", "add", self._bridge, "type", "bridge")
        try:
            ip("addr", "add", f"{self.host}/24", "dev", self._bridge)
            ip("link", "set", self._bridge, "up")
        except BaseException:
            self.close()
            raise

    def machine(self, name: str) -> str:
        """A new machine; returns its address."""
        self._names.append(name)
        space, address = self._space(name), f"{self._prefix}.{len(self._names) + 1}"
        outside, inside = self._cable(name), f"tc{self._tag}{name}"
        ip("netns", "add", space)
        ip("link", "add", outside, "type", "veth", "peer", "name", inside)
        ip("link", "set", inside, "netns", space)
        ip("link", "set", outside, "master", self._bridge, "up")
        for words in (
            ("addr", "add", f"{address}/24", "dev", inside),
            ("link", "set", inside, "up"),
            ("link", "set", "lo", "up"),
        ):
            ip("-n", space, *words)
        return address

    def inside(self, name: str) -> list[str]:
        """What a command begins with that is to run on the machine."""
        assert IP is not None
        return [IP, "netns", "exec", self._space(name)]

    def cut(self, name: str) -> None:
        """Pulls the machine's cable: nothing arrives, and nobody is told."""
        ip("link", "set", self._cable(name), "down")

    def mend(self, name: str) -> None:
        ip("link", "set", self._cable(name), "up")

    def close(self) -> None:
        for name in self._names:
            with suppress(subprocess.CalledProcessError):
                ip("netns", "del", self._space(name))
        with suppress(subprocess.CalledProcessError):
            ip("link", "del", self._bridge)

    def _space(self, name: str) -> str:
        return f"tandem-{self._tag}-{name}"

    def _cable(self, name: str) -> str:
        return f"tv{self._tag}{name}"


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """A network of the module's own."""
    if os.geteuid() != 0 or IP is None:
        refuse()
    try:
        made = Network()
    except subprocess.CalledProcessError:
        refuse()
    yield made
    made.close()


def refuse() -> None:
    print(f"\n{WHY}", file=sys.__stderr__, flush=True)
    pytest.skip(WHY)
