"""Counters: limits that many machines share, counted in Redis or Valkey and lent to workers in slices, as the ledger does.

Of each account (a limit's scope and meter in one window) Redis keeps what is `taken`: what was lent and not given back.

    taken <= cap      holds after every step, but for a cap that was lowered since

What was spent stays taken until its window is over. A lease that is not renewed ends by Redis' own clock: calls at once are
free again, of requests and tokens nobody knows what was spent, so they stay taken. Every step is one script, which Redis runs
as a whole. It knows no caps, no dollars and no rolling window.

Keys, all under `tandem:`

    life                             which server this is, and since when it has its data
    account:METER:SCOPE:START        life, taken, and of each lease "amount answered"
    lease:LEASE                      boot, expires, and for each of its accounts ("METER SCOPE") the account's key
    recall:BOOT                      slices ("LEASE METER SCOPE") of a worker that others wait for
    asked:REQUEST                    what a request was given, or that it counts no more
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tandem.core.clock import MICROS, Clock
from tandem.core.errors import Unavailable
from tandem.core.ids import new_id
from tandem.core.policy import unit_of, window_in
from tandem.core.secret import Secret
from tandem.core.window import window_of
from tandem.governance.ledger import LEASE_SECONDS, SHARES, Account, Lease, NoRoom, Want, booking_meter
from tandem.governance.standing import MEMBER
from tandem.store.kv import Redis

AWAY = "It goes on by itself once Redis is back; until then calls go on that fit into what is lent already."
AGAIN_SECONDS = 1
"""A worker that has just handed back what it had is not asked for more so soon."""
MARK_SECONDS = 60
"""How long Redis remembers a request, so that it counts once; longer than anybody tries to give back."""
AFTER_SECONDS = 3600
"""How long an account is kept after its window."""
TRIES = 4
LENT = "cnt"
"""What the names of these leases begin with, which the ledger's do not."""
LIFE = "tandem:life"

Piece = tuple[str, str, str, int]
"""Lease, scope, meter, amount."""
Cap = tuple[str, str]
"""Scope and meter."""

_COMMON = """
local function time(given)
  if given ~= '' then return tonumber(given) end
  local parts = redis.call('TIME')
  return tonumber(parts[1]) * 1000000 + tonumber(parts[2])
end
local function life(now)  -- another one after the data were lost, or may have been, because the server began anew
  local server = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  local known = redis.call('HMGET', 'tandem:life', 'server', 'since')
  if known[1] ~= server then
    known[2] = string.format('%.0f', now)
    redis.call('HSET', 'tandem:life', 'server', server, 'since', known[2])
  end
  return server .. ' ' .. known[2], tonumber(known[2])
end
local function holder(lease, now)  -- the boot of a lease that stands
  local row = redis.call('HMGET', 'tandem:lease:' .. lease, 'boot', 'expires')
  return row[1] and tonumber(row[2]) > now and row[1]
end
local function prolong(lease, expires, term)
  redis.call('HSET', 'tandem:lease:' .. lease, 'expires', string.format('%.0f', expires))
  redis.call('PEXPIRE', 'tandem:lease:' .. lease, term * 2 / 1000)
end
local function is_calls(name) return string.sub(name, 1, 6) == 'calls/' end
"""

_LEASE = (
    _COMMON
    + """
local now, boot, request, term, shares = time(ARGV[1]), ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local again, after, mark_term = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]
if redis.call('EXISTS', KEYS[1]) == 1 then return {'over', now} end
local epoch, since = life(now)
local asked, unknown = {}, {'seed', now, since}
for i = 2, #KEYS do
  local at = 8 + (i - 2) * 8
  local each = {key = KEYS[i], name = ARGV[at + 1], start = tonumber(ARGV[at + 2]), stop = tonumber(ARGV[at + 3]),
    cap = tonumber(ARGV[at + 4]), need = tonumber(ARGV[at + 5]), like = tonumber(ARGV[at + 6]), own = ARGV[at + 7]}
  local seed = tonumber(ARGV[at + 8])
  if now < each.start or now >= each.stop then return {'moved', now} end
  if redis.call('HGET', each.key, 'life') ~= epoch then
    if not seed then
      unknown[#unknown + 1] = i - 2
    elseif is_calls(each.name) then  -- what the ledger has lent is free when those leases are over
      redis.call('HSET', each.key, 'life', epoch, 'before_' .. request, string.format('%.0f 0', seed))
      redis.call('HSET', 'tandem:lease:before_' .. request, 'boot', '')
      prolong('before_' .. request, now + term, term)
    else
      local taken = math.max(seed, tonumber(redis.call('HGET', each.key, 'taken') or 0))
      redis.call('HSET', each.key, 'life', epoch, 'taken', string.format('%.0f', taken))
    end
  end
  asked[#asked + 1] = each
end
if #unknown > 3 then return unknown end
for i, each in ipairs(asked) do
  local held, others = 0, {}
  local fields = redis.call('HGETALL', each.key)
  for f = 1, #fields, 2 do
    local lease = fields[f]
    if lease ~= 'life' and lease ~= 'taken' then
      local whose = holder(lease, now)
      local amount, answered = string.match(fields[f + 1], '(%d+) (%d+)')
      if not whose then
        redis.call('HDEL', each.key, lease)
      else
        held = held + tonumber(amount)
        if whose ~= boot and whose ~= '' and now - tonumber(answered) >= again then
          others[#others + 1] = {whose, lease}
        end
      end
    end
  end
  local taken = is_calls(each.name) and held or tonumber(redis.call('HGET', each.key, 'taken') or 0)
  each.room = each.cap - taken
  if each.room < each.need then
    for _, other in ipairs(others) do
      redis.call('SADD', 'tandem:recall:' .. other[1], other[2] .. ' ' .. each.name)
      redis.call('PEXPIRE', 'tandem:recall:' .. other[1], term * 2 / 1000)
    end
    return {'short', now, i - 1, taken, #others}
  end
end
local reply, marked = {'lent', now, epoch}, {}
for _, each in ipairs(asked) do
  local more = math.min(each.like, math.max(each.need, math.floor(each.room / shares)))
  local lease, amount = request, more
  local present = each.own ~= '' and holder(each.own, now) == boot and redis.call('HGET', each.key, each.own)
  if present then
    lease, amount = each.own, more + tonumber(string.match(present, '%d+'))
  end
  redis.call('HSET', each.key, lease, string.format('%.0f 0', amount))
  if not is_calls(each.name) then
    redis.call('HINCRBY', each.key, 'taken', string.format('%.0f', more))
    redis.call('PEXPIRE', each.key, string.format('%.0f', (each.stop - now + after) / 1000))
  end
  redis.call('HSET', 'tandem:lease:' .. lease, 'boot', boot, each.name, each.key)
  prolong(lease, now + term, term)
  reply[#reply + 1], reply[#reply + 2] = lease, more
  for _, value in ipairs({lease, each.name, string.format('%.0f', more)}) do marked[#marked + 1] = value end
end
redis.call('SET', KEYS[1], cmsgpack.pack(marked), 'EX', mark_term)
return reply
"""
)
"""KEYS: the request's mark, then the accounts. ARGV: eight for all, then eight for each account."""

_GIVE_BACK = (
    _COMMON
    + """
local now, boot, mark_term = time(ARGV[1]), ARGV[2], ARGV[3]
local given = redis.call('GET', KEYS[1])
if given == 'over' then return 0 end
redis.call('SET', KEYS[1], 'over', 'EX', mark_term)
local pieces = given and cmsgpack.unpack(given) or {unpack(ARGV, 4)}
for i = 1, #pieces, 3 do
  local lease, name, amount = pieces[i], pieces[i + 1], tonumber(pieces[i + 2])
  local account = holder(lease, now) == boot and redis.call('HGET', 'tandem:lease:' .. lease, name)
  local present = account and redis.call('HGET', account, lease)
  if present then
    local had = tonumber(string.match(present, '%d+'))
    amount = math.min(amount, had)
    if not is_calls(name) and amount > 0 then
      redis.call('HINCRBY', account, 'taken', string.format('%.0f', -amount))
    end
    if amount == had then
      redis.call('HDEL', account, lease)
    else
      redis.call('HSET', account, lease, string.format('%.0f %.0f', had - amount, now))
    end
  end
end
return 1
"""
)
"""KEYS: the mark of this request, or of a lease that nobody heard of. ARGV: three, then lease, name, amount of each piece."""

_RENEW = (
    _COMMON
    + """
local now, boot, term = time(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local reply = {now}
for i = 4, #ARGV do
  if holder(ARGV[i], now) == boot then
    prolong(ARGV[i], now + term, term)
    reply[#reply + 1] = ARGV[i]
  end
end
return reply
"""
)

_RECALLED = (
    _COMMON
    + """
local epoch = life(time(ARGV[1]))
local reply = redis.call('SPOP', KEYS[1], 1000)
table.insert(reply, 1, epoch)
return reply
"""
)


@dataclass(frozen=True, slots=True)
class _Owed:
    """What Redis has not taken back yet."""

    request: str
    boot: str
    pieces: tuple[Piece, ...]
    """Of a lease whose reply was lost none: Redis remembers what it was given, if it was."""
    until: float
    """Monotonic second after which its leases are over by themselves."""


def counted_here(scope: str, meter: str) -> bool:
    """Whether a hard cap of a scope is counted in Redis, unless it is fair.

    >>> counted_here("key/demo", "requests/minute"), counted_here("key/demo", "tokens/month")
    (True, False)
    """
    if MEMBER in scope or scope.startswith("run/"):
        return False
    unit, window = unit_of(meter), window_in(meter)
    if unit == "calls":
        return window == "total"
    return unit != "usd" and window.partition("@")[0] in ("minute", "hour", "day")


class Counters:
    """One worker's way to the counters. Safe for several threads; many workers share one Redis.

    What speaks to Redis raises `Unavailable` while it is away, at once for a moment after it did not answer.
    """

    def __init__(
        self,
        url: Secret,
        clock: Clock,
        standing: Callable[[Collection[str]], Sequence[Account]],
        server: Clock | None = None,
    ) -> None:
        """Speaks to nobody yet.

        Args:
            url: `redis://…`, `rediss://…` or `unix://…`.
            clock: of this machine.
            standing: what the ledger knows of the caps of some scopes, by which an account begins that Redis does not know.
            server: instead of Redis' own clock, for tests.

        Raises:
            Invalid: the URL is none, or the client is not installed.
        """
        self._redis = Redis(url, clock, "Redis, which counts the limits,", AWAY, texts=True)
        self._lease, self._give_back, self._renew, self._recalled = [
            self._redis.script(text) for text in (_LEASE, _GIVE_BACK, _RENEW, _RECALLED)
        ]
        self._clock, self._standing, self._server = clock, standing, server
        self._owed: deque[_Owed] = deque()
        self._paying = threading.Lock()
        self._life, self._lost = "", False
        self.ahead = 0
        """Microseconds that Redis' clock was ahead of this machine's when it was heard last."""

    def close(self) -> None:
        self._redis.close()

    def now(self) -> int:
        """Redis' UTC microseconds, by what was heard of them last."""
        return self._clock.now() + self.ahead

    def lease(self, boot: str, wants: Sequence[Want], caps: Mapping[Cap, int]) -> list[Lease] | NoRoom:
        """Lends slices of all the accounts at once, or none of them.

        Args:
            caps: how much of its unit each account wanted may have taken.

        Raises:
            Unavailable: Redis is away; or it does not know an account yet, and neither can the ledger be read.
        """
        self._pay()
        seeds: dict[Cap, int] = {}
        for _ in range(TRIES):
            windows = [window_of(window_in(want.meter), self.now()) for want in wants]
            reply = self._request(boot, wants, windows, caps, seeds)
            match reply[0]:
                case "lent":
                    self._heard(reply[2])
                    return [
                        _lease(want, window, reply[3 + 2 * i], reply[4 + 2 * i], reply[1])
                        for i, (want, window) in enumerate(zip(wants, windows, strict=True))
                    ]
                case "short":
                    return _no_room(wants[reply[2]], windows[reply[2]], caps, taken=reply[3], elsewhere=reply[4] > 0)
                case "seed":
                    for i in reply[3:]:
                        seeds[wants[i].scope, wants[i].meter] = self._seed(wants[i], windows[i][0], reply[2])
        raise Unavailable("Redis, which counts the limits, has begun anew again and again.", retry_after=1)

    def _request(
        self,
        boot: str,
        wants: Sequence[Want],
        windows: Sequence[tuple[int, int]],
        caps: Mapping[Cap, int],
        seeds: Mapping[Cap, int],
    ) -> list[Any]:
        request = new_id(LENT)
        keys, values = [f"tandem:asked:{request}"], self._common(boot, request)
        for want, (start, end) in zip(wants, windows, strict=True):
            keys.append(f"tandem:account:{want.meter}:{want.scope}:{start}")
            cap, seed = caps[want.scope, want.meter], seeds.get((want.scope, want.meter), "")
            values += [f"{want.meter} {want.scope}", start, end, cap, want.need, want.like, want.lease or "", seed]
        try:
            reply: list[Any] = self._redis.ask(self._lease, keys, values)
        except Unavailable:  # it may have been given all the same
            self._owe(request, boot, ())
            raise
        self.ahead = int(reply[1]) - self._clock.now()
        return reply

    def _common(self, boot: str, request: str) -> list[str | int]:
        term, again, after = LEASE_SECONDS * MICROS, AGAIN_SECONDS * MICROS, AFTER_SECONDS * MICROS
        return [self._time(), boot, request, term, SHARES, again, after, MARK_SECONDS]

    def _seed(self, want: Want, start: int, since: int) -> int:
        """What an account that Redis does not know begins with: what the ledger has booked and lent of it.

        Where the ledger cannot tell it is nothing, if Redis has had its data since before the window began.
        """
        with suppress(Unavailable):
            known = {booking_meter(account): account for account in self._standing([want.scope])}
            account = known.get(want.meter)
            if account is None or account.start < start:  # by the ledger's clock the window is still to come
                return 0
            if account.start == start:
                return account.settled + account.reserved
        if since <= start:
            return 0
        raise Unavailable(
            f"Redis does not know yet what was used of {want.scope} by {want.meter}, and the ledger cannot tell.",
            hint="It goes on by itself once the ledger answers, or with the next window.",
            retry_after=1,
        )

    def give_back(self, boot: str, pieces: Iterable[Piece]) -> None:
        """Returns what is unspent; what Redis cannot take now it takes as soon as it answers, once."""
        self._owe(new_id(LENT), boot, tuple(pieces))
        with suppress(Unavailable):
            self._pay()

    def renew(self, boot: str, leases: Iterable[str]) -> dict[str, int]:
        """Moves the expiry of a worker's leases; returns the new expiry of those that still stand."""
        self._pay()
        now, *alive = self._redis.ask(self._renew, [], [self._time(), boot, LEASE_SECONDS * MICROS, *leases])
        return dict.fromkeys(alive, int(now) + LEASE_SECONDS * MICROS)

    def recalled(self, boot: str) -> list[tuple[str, str, str]]:
        """Slices of this worker that others wait for; asking clears the mark."""
        self._pay()
        life, *slices = self._redis.ask(self._recalled, [f"tandem:recall:{boot}"], [self._time()])
        self._heard(life)
        found = [each.split(" ", 2) for each in slices]
        return [(lease, scope, meter) for lease, meter, scope in found]

    def forgotten(self) -> bool:
        """Whether Redis has lost what it knew, or may have, since this was asked last: every slice lent before is uncounted."""
        lost, self._lost = self._lost, False
        return lost

    def _heard(self, life: str) -> None:
        self._lost = self._lost or (self._life not in ("", life))
        self._life = life

    def _owe(self, request: str, boot: str, pieces: tuple[Piece, ...]) -> None:
        self._owed.append(_Owed(request, boot, pieces, self._clock.monotonic() + LEASE_SECONDS))

    def _pay(self) -> None:
        """Gives back what is owed, in order; what Redis has taken already it does not take twice."""
        with self._paying:
            while self._owed:
                owed = self._owed[0]
                if self._clock.monotonic() < owed.until:
                    values: list[str | int] = [self._time(), owed.boot, MARK_SECONDS]
                    for lease, scope, meter, amount in owed.pieces:
                        values += [lease, f"{meter} {scope}", amount]
                    self._redis.ask(self._give_back, [f"tandem:asked:{owed.request}"], values)
                self._owed.popleft()

    def _time(self) -> str | int:
        return "" if self._server is None else self._server.now()


def _lease(want: Want, window: tuple[int, int], lease: str, amount: int, now: int) -> Lease:
    return Lease(
        lease=lease,
        scope=want.scope,
        meter=want.meter,
        start=window[0],
        end=window[1],
        amount=amount,
        expires=now + LEASE_SECONDS * MICROS,
    )


def _no_room(want: Want, window: tuple[int, int], caps: Mapping[Cap, int], *, taken: int, elsewhere: bool) -> NoRoom:
    cap = caps[want.scope, want.meter]
    return NoRoom(scope=want.scope, meter=want.meter, cap=cap, settled=taken, leased=0, end=window[1], elsewhere=elsewhere)
