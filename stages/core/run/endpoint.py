"""A model behind an OpenAI-compatible server, in words: `openai:URL#model` and how much may be asked of it.

What enters: the text of a recipe's input and the `runtime.endpoint` map. What leaves: an `Address`, which is all that a
fingerprint sees of such a model, and the limits, which no fingerprint sees. Nothing here opens a connection, so a plan
needs no network; a key is never part of an address.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from stages.core.errors import InputError, RecipeError

SCHEME = "openai:"
KEY_ENV = "OPENAI_API_KEY"
"""The environment variable that holds the key, unless `key_env` names another."""
_MAY_BE_SECRET = re.compile(
    r":[^@]*@|%(?:25)*(?:3a|3f|40)|[?&;=]|\b(?:sk|hf|gsk|xai)[-_][\w-]{8}|\w{32}", re.IGNORECASE
)
"""A password before an @ in any spelling, a query, what looks like a key."""
_EXAMPLE = "write openai:http://127.0.0.1:8000/v1#MODEL"


def shown(text: str) -> str:
    """Return an input's text for an error, in backticks; where it may hold a password or a key, words in its place."""
    bare = re.sub(r"^(?:hf|openai):", "", text)
    hidden = "what is given (not repeated here: it may hold a password or a key)"
    return hidden if _MAY_BE_SECRET.search(bare) else f"`{text}`"


@dataclass(frozen=True)
class Address:
    """Which model of which server: what such a model is, as far as this side can know."""

    url: str
    """The base URL that /chat/completions is appended to, without a slash at its end."""
    model: str
    """The name that the server knows the model by."""
    revision: str = ""
    """What the user declares to be served there: another one is another model. Empty: nothing declared."""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `openai:URL#model` or `openai:URL#model@revision`; `%40` stands for an @ inside a model's name.

        Raises InputError, which never repeats the text where it may hold a secret.
        """
        base, mark, name = text.removeprefix(SCHEME).partition("#")
        try:
            parts = urlsplit(base)
            port = parts.port
        except ValueError as error:
            raise InputError("the address of an endpoint cannot be read as a URL", hint=_EXAMPLE) from error
        userinfo = parts.username is not None or "@" in unquote(unquote(base))
        if userinfo or parts.query or "?" in unquote(text) or re.search(r"[;&=]", unquote(base)):
            what = "the address of an endpoint holds a password or a query, and it would be written into records"
            raise InputError(what, hint=f"leave it out and put the key into the environment variable {KEY_ENV}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"{shown(text)} is not openai:URL#model", hint=_EXAMPLE)
        model, at, revision = name[1:].partition("@")
        model = unquote(name[:1] + model)
        if not mark or not model.strip() or not model.isprintable():
            raise InputError(f"{shown(text)} does not say which model", hint=_EXAMPLE)
        if at and not revision:
            hint = "write it behind the @, or leave the @ out; an @ of the model's name is written %40"
            raise InputError(f"{shown(text)} has an empty revision", hint=hint)
        if re.search(r"/(chat/)?completions/*$", parts.path):
            raise InputError(f"{shown(text)} names a route", hint="end the URL before it, usually in /v1")
        usual = {"http": 80, "https": 443}[parts.scheme]
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        place = host if port in (None, usual) else f"{host}:{port}"
        return cls(f"{parts.scheme}://{place}{parts.path.rstrip('/')}", model, unquote(revision))

    @property
    def text(self) -> str:
        """The one way to write it."""
        declared = f"@{quote(self.revision, safe='/:')}" if self.revision else ""
        return f"{SCHEME}{self.url}#{self.model[:1]}{quote(self.model[1:], safe='/: ')}{declared}"

    @property
    def host(self) -> str:
        """The name of the server."""
        return urlsplit(self.url).hostname or ""

    @property
    def local(self) -> bool:
        """Whether it is this machine itself, which is asked past any proxy."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    @property
    def in_the_clear(self) -> bool:
        """Whether a key would travel over a network unencrypted."""
        return self.url.startswith("http:") and not self.local


def server_address(url: str) -> Address:
    """Read the URL of `runtime.vllm_server`, whose server is asked for its model's name.

    Raises RecipeError, which never repeats the text: it may hold a secret.
    """
    hint = f"write runtime.vllm_server=http://HOST:8000; a key goes into the environment variable {KEY_ENV}"
    try:
        if not url.startswith(("http://", "https://")) or "#" in url or " " in url or not url.isprintable():
            raise InputError("no URL", hint=hint)
        return Address.parse(f"{SCHEME}{url.rstrip('/').removesuffix('/v1')}#served")
    except InputError as error:
        what = "`vllm_server` is no http(s) URL of a server, or holds a password or a query"
        raise RecipeError(what, hint=hint) from error


@dataclass(frozen=True, kw_only=True)
class EndpointSettings:
    """How much may be asked of an endpoint, how long one waits for it and what it may cost."""

    concurrency: int = 16
    """Requests in flight at once, 1 or more."""
    requests_per_minute: float | None = None
    """Requests started a minute, evenly spread, above 0; None = no limit."""
    tokens_per_minute: float | None = None
    """Tokens of prompts and completions a minute, above 0; None = no limit."""
    retries: int = 5
    """How often a request that failed is sent again where that can help, 0 or more."""
    backoff_s: float = 1.0
    """Longest wait before the first repetition, in seconds, above 0; doubles each time up to a minute. Where the server
    says Retry-After, that is waited instead."""
    connect_s: float = 10.0
    """Longest wait for a connection, in seconds, above 0."""
    first_s: float = 300.0
    """Longest wait for the first byte of an answer, in seconds, above 0."""
    idle_s: float = 300.0
    """Longest wait between two bytes of an answer, in seconds, above 0."""
    deadline_s: float = 1800.0
    """Longest time for one answer in all, in seconds, above 0."""
    stream: bool = True
    """Whether answers are asked for as streams; false for a server that cannot: then only `deadline_s` bounds the wait
    for the first byte."""
    budget_tokens: int | None = None
    """Tokens of prompts and completions that the node may use in all, killed attempts included; 1 or more, None = no
    limit. At the limit it stops resumable."""
    budget_money: float | None = None
    """The same in money, in the currency of the prices; above 0, needs both prices."""
    price_in: float | None = None
    """What a million tokens of prompts cost, 0 or more; None = unknown."""
    price_out: float | None = None
    """What a million tokens of completions cost, 0 or more; None = unknown."""
    key_env: str = KEY_ENV
    """The environment variable that holds the key; unset = no key is sent."""

    def __post_init__(self) -> None:
        least = {"concurrency": 1, "retries": 0, "budget_tokens": 1, "price_in": 0, "price_out": 0}
        for name, number in least.items():
            value = getattr(self, name)
            if value is not None and value < number:
                raise RecipeError(f"`{name}` must be {number} or more, not {value}", hint=_ask(name, number))
        above = ("requests_per_minute", "tokens_per_minute", "budget_money")
        for name in (*above, "backoff_s", "connect_s", "first_s", "idle_s", "deadline_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise RecipeError(f"`{name}` must be above 0, not {value}", hint=_ask(name, 1))
        if self.budget_money is not None and None in (self.price_in, self.price_out):
            hint = "add runtime.endpoint.price_in=… and runtime.endpoint.price_out=…, per million tokens"
            raise RecipeError("`budget_money` needs to know what tokens cost", hint=hint)
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", self.key_env):  # not repeated: it may be the key itself
            raise RecipeError("`key_env` is not the name of an environment variable", hint=f"e.g. {KEY_ENV}")

    def money(self, prompt_tokens: int, tokens: int) -> float | None:
        """What so many tokens cost; None where a price is unknown."""
        if self.price_in is None or self.price_out is None:
            return None
        return (prompt_tokens * self.price_in + tokens * self.price_out) / 1e6


def _ask(name: str, number: float) -> str:
    return f"try runtime.endpoint.{name}={max(number, 1):g}"
