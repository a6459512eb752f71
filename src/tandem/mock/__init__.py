"""A mock upstream: the protocols of real providers, a deterministic model, exact token counts, faults on demand, a bill.

It is the independent witness of what a client really used: it counts with its own tokenizer and prices
with its own table. It knows nothing of the rest of the platform but errors, secrets and the clock.

    command.py      the words `tandem mock` takes
    serve.py        the server: start, stop
    app.py          the app behind it: addresses, keys
    exchange.py     one request to the model: faults, waits, frames and the bill, in that order
    heard.py        chat requests that were read before
    model.py        what the model says           facts.py  schema.py  pattern.py  embed.py  rerank.py
    tokens.py       how tokens are counted
    prices.py       what they cost                bill.py   the rows
    faults.py       the grammar of faults and their script
    openai_wire.py  OpenAI's words in             openai_reply.py  and out
    responses_wire.py  its Responses API in  responses_reply.py  and out
    anthropic_wire.py  Anthropic's in      anthropic_reply.py  and out      cache.py  its prompt cache
    http.py         the socket
"""
