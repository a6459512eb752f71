"""Online features in Redis: a copy of what the store keeps of the views that answer, for reads by one round trip.

The store stays the truth. What changes is noted there in the transaction that changes it, and copied from there: right after
it, and by rounds for what a process left that died. Whoever copies takes the present state, and an older one never takes
the place of a newer one, so it does not matter who copies what how often in which order.

A reader believes the copy only where it can be whole: the server must be the one that has been filled, without an end since,
the generation of each view must be there from its first entity to its last, and the rounds must have found it up to date a
moment ago. Else the store answers, so nothing is ever "not found" because Redis lost it.

Keys, all under `tandem:features:EPOCH:`, where a copy that was lost is followed by one of another epoch

    server           which server this was begun on, and the number of the last change that it was up to date with
    fresh            ends by itself unless the rounds prolong it
    live             of each view the generation that answers
    VIEW:GENERATION  of each entity the number of the last change when it was read, in eight bytes, and what is kept of it;
                     of the empty entity something, once all are there
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from tandem.core.clock import Clock
from tandem.core.errors import Unavailable
from tandem.core.ids import new_id
from tandem.core.secret import Secret
from tandem.data.features.repo import WHOLE, Copy, Generation, Noted, Store
from tandem.store.kv import Redis, Word

ROUND_SECONDS = 1.0
"""Between two looks for what was left."""
FRESH_SECONDS = 5
"""For so long after a round the copy is believed: if nobody brings it up to date, the store answers."""
PUSH_SECONDS = 2.0
"""Who pushed waits no longer for what others left."""
CHUNK = 500
"""Entities that are copied at once."""
CHUNK_BYTES = 1 << 20
NUMBER_BYTES = 8
WHAT, HINT = "Redis, which holds a copy of the features,", "It goes on by itself; until then the feature store answers."

Written = tuple[str, int, bytes, int, bytes]
"""View, generation, entity, the last change when it was read, and what is kept of it."""

_COMMON = """
local prefix = KEYS[1]
local function server() return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') end
local function known() return redis.call('HGET', prefix .. 'server', 'id') == server() end
local function live(view) return tonumber(redis.call('HGET', prefix .. 'live', view) or 0) end
local function entities(view, generation) return prefix .. view .. ':' .. string.format('%.0f', generation) end
"""
_READ = (
    _COMMON
    + """
if not known() then return false end
local views, size = tonumber(ARGV[1]), 1000
local reply = {redis.call('EXISTS', prefix .. 'fresh')}
for v = 2, views + 1 do
  local key = entities(ARGV[v], live(ARGV[v]))
  if redis.call('HEXISTS', key, '') == 0 then return {} end
  for from = views + 2, #ARGV, size do
    local found = redis.call('HMGET', key, unpack(ARGV, from, math.min(from + size - 1, #ARGV)))
    for i = 1, #found do reply[#reply + 1] = found[i] end
  end
end
return reply
"""
)
"""ARGV: how many views, the views, the entities. False: this is not the copy any more; nothing: a view is not there."""
_WRITE = (
    _COMMON
    + """
if not known() then return 0 end
for i = 1, #ARGV, 4 do
  local view, generation, entity, data = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2], ARGV[i + 3]
  local answering = live(view)
  if generation > answering then
    redis.call('HSET', prefix .. 'live', view, generation)
    redis.call('UNLINK', entities(view, answering))
    answering = generation
  end
  if generation == answering and entity ~= '' then
    local key = entities(view, generation)
    local had = redis.call('HGET', key, entity)
    if not had or struct.unpack('>I8', had) < struct.unpack('>I8', data) then redis.call('HSET', key, entity, data) end
  end
end
return 1
"""
)
"""ARGV: view, generation, entity and data of each. An empty entity tells that the generation answers from now on."""
_FILLED = (
    _COMMON
    + """
if not known() then return 0 end
local view, generation, least = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if live(view) > generation then return 1 end
local key = entities(view, generation)
if redis.call('HLEN', key) < least then return 0 end
redis.call('HSET', key, '', '1')
return 1
"""
)
"""ARGV: view, generation, how many entities it had when it began to answer."""
_FRESH = (
    _COMMON
    + """
if not known() then return {0} end
local last, head = tonumber(ARGV[1]), tonumber(redis.call('HGET', prefix .. 'server', 'last') or 0)
if last < head then return {head} end
redis.call('HSET', prefix .. 'server', 'last', ARGV[1])
redis.call('SET', prefix .. 'fresh', '1', 'EX', ARGV[2])
local reply, views = {last}, redis.call('HGETALL', prefix .. 'live')
for i = 1, #views, 2 do
  if redis.call('HEXISTS', entities(views[i], views[i + 1]), '') == 0 then reply[#reply + 1] = views[i] end
end
return reply
"""
)
"""ARGV: the last change that is in the copy, seconds. Replies with the last known change, and with the views not there."""
_STALE = (
    _COMMON
    + """
return redis.call('DEL', prefix .. 'fresh')
"""
)
_BEGIN = (
    _COMMON
    + """
local views = redis.call('HGETALL', prefix .. 'live')
for i = 1, #views, 2 do redis.call('UNLINK', entities(views[i], views[i + 1])) end
redis.call('DEL', prefix .. 'server', prefix .. 'fresh', prefix .. 'live')
if KEYS[2] then redis.call('HSET', KEYS[2] .. 'server', 'id', server()) end
return 1
"""
)
"""KEYS: the copy that goes, and the one that begins."""


class RedisReading:
    """Reads of vectors: of the copy where it can be believed, else of the store. Safe for several threads."""

    def __init__(self, store: Store, url: Secret, clock: Clock) -> None:
        """Speaks to nobody yet.

        Args:
            url: `redis://…`, `rediss://…` or `unix://…`.
            clock: of this machine.

        Raises:
            Invalid: the URL is none, or the client of Redis is not installed.
        """
        self._store = store
        self._redis = Redis(url, clock, WHAT, HINT, texts=False)
        self._script = self._redis.script(_READ)
        self._epoch: str | None = None

    def read(self, views: Sequence[str], entities: Sequence[bytes]) -> dict[tuple[str, bytes], bytes]:
        """As `Store.read`. While the store is away too, a copy that is whole answers as of when it was up to date last."""
        found, fresh = self._copy(views, entities)
        if found is not None and fresh:
            return found
        try:
            return self._store.read(views, entities)
        except Unavailable:
            if found is None:
                raise
            return found

    def close(self) -> None:
        self._redis.close()

    def _copy(self, views: Sequence[str], entities: Sequence[bytes]) -> tuple[dict[tuple[str, bytes], bytes] | None, bool]:
        """What the copy keeps, None where it is not whole; and whether it is up to date."""
        reply = None
        with suppress(Unavailable):
            if self._epoch is not None:
                reply = self._redis.ask(self._script, [_prefix(self._epoch)], [len(views), *views, *entities])
            if reply is None:
                self._epoch = self._kept()
        if not reply:
            return None, False
        pairs = [(view, entity) for view in views for entity in entities]
        found = {pair: data[NUMBER_BYTES:] for pair, data in zip(pairs, reply[1:], strict=True) if data is not None}
        return found, bool(reply[0])

    def _kept(self) -> str | None:
        copy = self._store.copy()
        return None if copy is None or not copy.kept else copy.epoch


class _Lost(Exception):
    """This is not the copy any more, or it is not whole."""


class Mirror:
    """Keeps the copy: brings it up to date, and begins another where it was lost. Safe for several threads and processes."""

    def __init__(self, store: Store, url: Secret, clock: Clock) -> None:
        """As `RedisReading`."""
        self._store, self._clock = store, clock
        self._redis = Redis(url, clock, WHAT, HINT, texts=False)
        texts = (_WRITE, _FILLED, _FRESH, _STALE, _BEGIN)
        self._write, self._filled, self._fresh, self._stale, self._begin = [self._redis.script(text) for text in texts]
        self._filling: tuple[str, str, int] | None = None
        self._at = WHOLE

    def pushed(self) -> None:
        """Copies what was changed, so that whoever changed it reads it; what cannot be copied now, the rounds copy.

        Where that takes long the store answers meanwhile.
        """
        with suppress(Unavailable, _Lost):
            if not self._drained(self._clock.monotonic() + PUSH_SECONDS):
                copy = self._store.copy()
                if copy is not None:
                    self._redis.ask(self._stale, [_prefix(copy.epoch)], [])

    def step(self) -> bool:
        """One round: copies what was changed, fills some of a generation, and says that the copy is up to date.

        Returns:
            Whether there is more to do at once; not after a copy was lost, for that may happen again.

        Raises:
            Unavailable: Redis or the store is away.
        """
        copy = self._store.copy()
        try:
            if copy is None or not copy.kept:
                raise _Lost
            if not self._drained(self._clock.monotonic() + PUSH_SECONDS):
                return True
            missing = self._said_fresh(copy)
            whole = self._store.noted(1, whole=True)
            if whole:
                self._fill(whole[0])
                return True
            for view in missing:
                self._store.copy_again(view)
        except _Lost:
            self._begin_anew(copy)
        return False

    def close(self) -> None:
        self._redis.close()

    def _drained(self, until: float) -> bool:
        """Copies what was noted of entities, and which generations answer; returns whether that was all of it.

        Args:
            until: monotonic second.
        """
        while noted := self._store.noted(CHUNK):
            self._copied(noted)
            self._store.copied(noted)
            if len(noted) < CHUNK:
                break
            if self._clock.monotonic() >= until:
                return False
        self._copied(self._store.noted(whole=True))
        return True

    def _copied(self, noted: Sequence[Noted]) -> None:
        for epoch in dict.fromkeys(each.epoch for each in noted):
            self._written(
                epoch,
                [
                    (each.view, each.generation, each.entity, each.as_of, each.data or b"")
                    for each in noted
                    if each.epoch == epoch and each.live and (each.entity == WHOLE or each.data is not None)
                ],
            )

    def _written(self, epoch: str, rows: Sequence[Written]) -> None:
        for part in _parts(rows):
            words: list[Word] = []
            for view, generation, entity, as_of, data in part:
                words += [view, generation, entity, as_of.to_bytes(NUMBER_BYTES, "big") + data]
            if not self._redis.ask(self._write, [_prefix(epoch)], words):
                raise _Lost

    def _fill(self, noted: Noted) -> None:
        """Copies some of a generation, from where the last call left it."""
        filling = (noted.epoch, noted.view, noted.generation)
        if filling != self._filling:
            self._filling, self._at = filling, WHOLE
        if noted.live:
            page = self._store.page(noted.view, noted.generation, self._at, CHUNK)
            rows = [(noted.view, noted.generation, entity, as_of, data) for entity, data, as_of in page]
            self._written(noted.epoch, rows)
            if len(page) == CHUNK:
                self._at = page[-1][0]
                return
            for each in self._answering(noted):
                words: list[Word] = [each.view, each.number, each.entities]
                if not self._redis.ask(self._filled, [_prefix(noted.epoch)], words):
                    raise _Lost
        self._store.copied([noted])
        self._filling = None

    def _answering(self, noted: Noted) -> list[Generation]:
        return [each for each in self._store.generations(noted.view) if each.live and each.number == noted.generation]

    def _said_fresh(self, copy: Copy) -> list[str]:
        """Says that the copy holds all changes; returns the views that it lacks.

        Raises:
            _Lost: it holds more than the store, which was set back; or it is gone.
        """
        last, *missing = self._redis.ask(self._fresh, [_prefix(copy.epoch)], [copy.last, FRESH_SECONDS])
        if not last:
            raise _Lost
        if last > copy.last:
            now = self._store.copy()
            if now is not None and now.epoch == copy.epoch and now.last < last:
                raise _Lost
        return [view.decode() for view in missing]

    def _begin_anew(self, before: Copy | None) -> None:
        epoch = new_id("epo")
        instead = None if before is None else before.epoch
        self._redis.ask(self._begin, [_prefix(instead or ""), _prefix(epoch)], [])
        if not self._store.begin_copy(epoch, instead):  # another process did
            self._redis.ask(self._begin, [_prefix(epoch)], [])


def _prefix(epoch: str) -> str:
    return f"tandem:features:{epoch}:"


def _parts(rows: Sequence[Written]) -> Iterator[list[Written]]:
    """The rows in their order, some at a time, so that Redis is not kept by one script for long."""
    part: list[Written] = []
    size = 0
    for row in rows:
        part.append(row)
        size += len(row[-1])
        if size >= CHUNK_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part
