"""A transformer over tokens that carry values: layers of attention, exact or through few tokens.

    t <- t + attention(norm(t)),   t <- t + feedforward(norm(t))          (norm = "pre")
    t <- norm(t + attention(t)),   t <- norm(t + feedforward(t))          ("post")

Attention is exact among all t tokens, or "induced" (Set Transformer, Lee et al. 2019): M learned
tokens attend to all of them, and they attend to these M, which costs t M instead of t^2. Matrices
have no bias, as in the authors' code. Deviates: GELU (its tanh form) where the code has ReLU. Left
out: Set Transformer's feed-forward layer between its two attentions, and caches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from omics_jax.nn.attention import layer_norm
from omics_jax.nn.initial import Constant, Uniform
from omics_jax.nn.long_attention import WeightDropout, long_attention, with_value_term
from omics_jax.nn.noise import row_dropout
from omics_jax.nn.value_encodings import encoding_parameters, turned, value_vectors

NORMS = ("pre", "post", "post_twice")
ATTENTIONS = ("exact", "induced")
ATTENTION_WEIGHTS, ATTENTION_OUTPUT, HIDDEN_UNITS, FEEDFORWARD_OUTPUT = range(4)
_SITES = 8  # random streams of a layer

Params = Mapping[str, Any]
Tokens = Float[Array, "n t d"]
PerHead = Float[Array, "n h t c"]
Exists = Bool[Array, "n t"]
Attend = Callable[..., Tokens]  # with the arguments of `_attend`


@dataclass(frozen=True)
class TokenEncoder:
    """The shape of a transformer.

    tokens: t. channels: d of a token. heads: h, a divisor of d.
    feedforward: hidden units of the feed-forward layers.
    encoding: of the tokens' values, see `value_encodings`.
    attention: "exact" or "induced". inducing: M.
    norm: "pre", "post", or "post_twice" (the authors' code: one more norm after the last).
    dropout: rate, of outputs, hidden units and attention weights.
    """

    tokens: int
    channels: int
    heads: int
    layers: int
    feedforward: int
    encoding: str = "bias"
    attention: str = "exact"
    inducing: int = 32
    norm: str = "pre"
    dropout: float = 0.0


class Randomness(NamedTuple):
    """What dropout is keyed by in training: a key of the step, and (n,) row ids."""

    key: PRNGKeyArray
    rows: Int[Array, " n"]


# --- parameters -----------------------------------------------------------------------------------


def encoder_parameters(shape: TokenEncoder) -> dict[str, Any]:
    """The description of all parameters, see `initial.draw`.

    token: (t, d) the tokens' vectors. value: of the encoding. layer_0, ...: of every layer.
    """
    value = encoding_parameters(shape.encoding, shape.tokens, shape.channels, shape.heads)
    layers = {f"layer_{i}": _layer_parameters(shape) for i in range(shape.layers)}
    last = {} if shape.norm == "post" else {"norm": _norm_parameters(shape)}
    return {
        "token": Uniform((shape.tokens, shape.channels), shape.channels / 3),
        **({"value": value} if value else {}),
        **layers,
        **last,
    }


def _layer_parameters(shape: TokenEncoder) -> dict[str, Any]:
    c, f = shape.channels, shape.feedforward
    parameters = {
        "attention": _attention_parameters(c),
        "wide": _matrix(c, f),
        "narrow": _matrix(f, c),
        "norm_1": _norm_parameters(shape),
        "norm_2": _norm_parameters(shape),
    }
    if shape.attention == "induced":
        parameters["gather"] = _attention_parameters(c)
        parameters["inducing"] = Uniform((shape.inducing, c), c / 3)
        parameters["inducing_value"] = Uniform((shape.inducing,), 1)
    return parameters


def _attention_parameters(channels: int) -> dict[str, Uniform]:
    return {name: _matrix(channels, channels) for name in ("query", "key", "value", "output")}


def _matrix(inputs: int, outputs: int) -> Uniform:
    """Entries of variance 1 / inputs (LeCun et al. 1998)."""
    return Uniform((inputs, outputs), inputs / 3)


def _norm_parameters(shape: TokenEncoder) -> dict[str, Constant]:
    return {
        "scale": Constant((shape.channels,), 1.0),
        "bias": Constant((shape.channels,), 0.0),
    }


# --- layers ---------------------------------------------------------------------------------------


def encode_tokens(
    shape: TokenEncoder,
    p: Params,
    x: Float[Array, "n t"],
    exists: Exists,
    randomness: Randomness | None = None,
    extra: Float[Array, "_ t d"] | float = 0.0,
) -> Tokens:
    """The tokens after the last layer; those that do not exist hold nothing of use.

    x: the tokens' values; they are not read where a token does not exist.
    exists: the tokens that take part.
    randomness: in training; None for no dropout.
    extra: added to the tokens' vectors, such as vectors that are known of them.
    """
    x = jnp.where(exists, x, 0)
    return through_layers(shape, p, first_tokens(shape, p, x, exists, extra), x, exists, randomness)


def through_layers(
    shape: TokenEncoder,
    p: Params,
    t: Tokens,
    x: Float[Array, "n t"],
    exists: Exists,
    randomness: Randomness | None = None,
) -> Tokens:
    """The tokens after the last layer, of any tokens t before the first one and their values x."""
    return _layers(shape, p, t, x, exists, randomness, _attend)


def first_tokens(
    shape: TokenEncoder,
    p: Params,
    x: Float[Array, "n t"],
    exists: Exists,
    extra: Float[Array, "_ t d"] | float,
) -> Tokens:
    """The tokens before the first layer, see `encode_tokens`."""
    encoded = value_vectors(shape.encoding, p.get("value", {}), x, exists, shape.channels)
    return jnp.broadcast_to(p["token"] + extra + encoded, (*x.shape, shape.channels))


def _layers(
    shape: TokenEncoder,
    p: Params,
    t: Tokens,
    x: Float[Array, "n t"],
    exists: Exists,
    randomness: Randomness | None,
    attend: Attend,
) -> Tokens:
    """All layers and the last norm. attend: what a layer's attention gives, such as `_attend`."""
    for number in range(shape.layers):
        t = _layer(shape, p, number, t, x, exists, randomness, attend)
    return t if shape.norm == "post" else layer_norm(p["norm"], t)


def _layer(
    shape: TokenEncoder,
    p: Params,
    number: int,
    t: Tokens,
    x: Float[Array, "n t"],
    exists: Exists,
    randomness: Randomness | None,
    attend: Attend,
) -> Tokens:
    own = p[f"layer_{number}"]
    is_pre = shape.norm == "pre"

    def dropped(values: Array, site: int) -> Array:
        if randomness is None:
            return values
        key = jax.random.fold_in(randomness.key, number * _SITES + site)
        return row_dropout(key, randomness.rows, values, shape.dropout)

    def attention(t: Tokens) -> Tokens:
        return dropped(attend(shape, p, number, t, x, exists, randomness), ATTENTION_OUTPUT)

    def feedforward(t: Tokens) -> Tokens:
        hidden = dropped(jax.nn.gelu(t @ own["wide"]), HIDDEN_UNITS)
        return dropped(hidden @ own["narrow"], FEEDFORWARD_OUTPUT)

    if is_pre:
        t = t + attention(layer_norm(own["norm_1"], t))
        return t + feedforward(layer_norm(own["norm_2"], t))
    t = layer_norm(own["norm_1"], t + attention(t))
    return layer_norm(own["norm_2"], t + feedforward(t))


def attention_weights(
    shape: TokenEncoder,
    p: Params,
    x: Float[Array, "n t"],
    exists: Exists,
    extra: Float[Array, "_ t d"] | float = 0.0,
    added: Float[Array, "l n h t t"] | float = 0.0,
) -> tuple[Tokens, Float[Array, "l n h t t"]]:
    """What `encode_tokens` returns without dropout, and how much token i attends to token j.

    For exact attention among few tokens: the weights of all layers exist at once.

    added: to the weights, so that a derivative by them can be taken at 0.
    """
    x = jnp.where(exists, x, 0)
    added = jnp.broadcast_to(added, (shape.layers, *_weights_shape(shape, x)))
    weights = []

    def attend(
        shape: TokenEncoder, p: Params, number: int, t: Tokens, x: Array, exists: Exists, _: None
    ) -> Tokens:
        own = p[f"layer_{number}"]["attention"]
        q, k, v = _projected(shape, own, t, t)
        q, k = with_values(shape.encoding, _strength(shape, p), q, k, x[:, None], x[:, None])
        logits = jnp.where(exists[:, None, None], jnp.einsum("nhic,nhjc->nhij", q, k), -jnp.inf)
        weights.append(jax.nn.softmax(logits, axis=-1))
        return joined(jnp.einsum("nhij,nhjc->nhic", weights[-1] + added[number], v)) @ own["output"]

    t = first_tokens(shape, p, x, exists, extra)
    return _layers(shape, p, t, x, exists, None, attend), jnp.stack(weights)


def _weights_shape(shape: TokenEncoder, x: Float[Array, "n t"]) -> tuple[int, ...]:
    n, t = x.shape
    return n, shape.heads, t, t


def _attend(
    shape: TokenEncoder,
    p: Params,
    number: int,
    t: Tokens,
    x: Float[Array, "n t"],
    exists: Exists,
    randomness: Randomness | None,
) -> Tokens:
    """A layer's attention among all tokens, or through its inducing tokens."""
    own, per_token = p[f"layer_{number}"], x[:, None]
    strength = _strength(shape, p)
    dropout = _weight_dropout(shape, number, randomness)
    if shape.attention == "exact":
        q, k, v = _projected(shape, own["attention"], t, t)
        q, k = with_values(shape.encoding, strength, q, k, per_token, per_token)
        return joined(long_attention(q, k, v, exists, dropout)) @ own["attention"]["output"]
    inducing = jnp.broadcast_to(own["inducing"], (len(t), *own["inducing"].shape))
    asked = jnp.broadcast_to(own["inducing_value"], (len(t), 1, shape.inducing))
    q, k, v = _projected(shape, own["gather"], inducing, t)
    q, k = with_values(shape.encoding, strength, q, k, asked, per_token)
    # What an inducing token has gathered has a value, too: the mean of the values it attended to.
    values = jnp.broadcast_to(x[:, None, :, None], (*v.shape[:3], 1))
    gathered = long_attention(q, k, jnp.concatenate([v, values], axis=-1), exists)
    summary = inducing + joined(gathered[..., :-1]) @ own["gather"]["output"]
    q, k, v = _projected(shape, own["attention"], t, summary)
    q, k = with_values(shape.encoding, strength, q, k, per_token, gathered[..., -1])
    everyone = jnp.ones(summary.shape[:2], bool)
    return joined(long_attention(q, k, v, everyone, dropout)) @ own["attention"]["output"]


def _strength(shape: TokenEncoder, p: Params) -> Float[Array, " h"] | None:
    return p["value"]["strength"] if shape.encoding == "bias" else None


def with_values(
    encoding: str,
    strength: Float[Array, " h"] | None,
    q: Float[Array, "n h t c"],
    k: Float[Array, "n h u c"],
    x: Float[Array, "n _ t"],
    y: Float[Array, "n _ u"],
) -> tuple[Float[Array, "n h t e"], Float[Array, "n h u e"]]:
    """Scaled queries and keys whose products are the logits, the values of both in them.

    With the term of "bias" the other is divided by sqrt(2 c) instead of sqrt(c), as in TUPE.
    """
    scale = np.sqrt(q.shape[-1] * (2 if encoding == "bias" else 1)).astype(q.dtype)
    if encoding == "rotary":
        q, k = turned(q, x), turned(k, y)
    if encoding == "bias":
        return with_value_term(q / scale, k, x, y, strength)
    return q / scale, k


def _projected(
    shape: TokenEncoder, p: Params, asking: Tokens, asked: Float[Array, "n u d"]
) -> tuple[PerHead, Float[Array, "n h u c"], Float[Array, "n h u c"]]:
    """Queries of the asking tokens, and keys and values of the asked ones, by head."""

    def by_head(tokens: Tokens, name: str) -> PerHead:
        projected = tokens @ p[name]
        return projected.reshape(*projected.shape[:2], shape.heads, -1).swapaxes(1, 2)

    return by_head(asking, "query"), by_head(asked, "key"), by_head(asked, "value")


def joined(heads: PerHead) -> Tokens:
    """The heads side by side."""
    n, h, t, c = heads.shape
    return heads.swapaxes(1, 2).reshape(n, t, h * c)


def _weight_dropout(
    shape: TokenEncoder, number: int, randomness: Randomness | None
) -> WeightDropout | None:
    if randomness is None:
        return None
    key = jax.random.fold_in(randomness.key, number * _SITES + ATTENTION_WEIGHTS)
    return WeightDropout(key, randomness.rows, shape.dropout)
