"""Tail probabilities of the gamma, Student's t and binomial distributions, by continued fractions. Pure Python.

Source: Press, Teukolsky, Vetterling and Flannery, Numerical Recipes, 3rd edition, sections 6.2 and 6.4.
"""

from __future__ import annotations

import math

TINY = 1e-300
STEPS = 500
EXACT = 1e-12


def gamma_above(shape: float, x: float) -> float:
    """The probability that a gamma variable of this shape and scale one exceeds x.

    >>> round(gamma_above(1.0, 2.0), 6) == round(math.exp(-2), 6)
    True
    """
    if x <= 0:
        return 1.0
    scale = math.exp(max(-700.0, shape * math.log(x) - x - math.lgamma(shape)))
    if x < shape + 1:
        term = total = 1 / shape
        for step in range(1, STEPS):
            term *= x / (shape + step)
            total += term
            if term < total * EXACT:
                break
        return max(0.0, 1 - total * scale)
    b = x + 1 - shape
    c, d = 1 / TINY, 1 / b
    fraction = d
    for step in range(1, STEPS):
        a = -step * (step - shape)
        b += 2
        d = 1 / _apart(a * d + b)
        c = _apart(b + a / c)
        fraction *= d * c
        if abs(d * c - 1) < EXACT:
            break
    return fraction * scale


def student_beyond(t: float, freedom: float) -> float:
    """The probability that Student's t with these degrees of freedom lies further from zero than t, on either side.

    >>> round(student_beyond(2.0, 10.0), 4)
    0.0734
    """
    return _beta(freedom / 2, 0.5, freedom / (freedom + t * t))


def binomial_at_least(hits: int, n: int, chance: float) -> float:
    """The probability of at least that many hits in n trials.

    >>> round(binomial_at_least(2, 2, 0.5), 6)
    0.25
    """
    return 1.0 if hits <= 0 else _beta(hits, n - hits + 1, chance)


def _beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    if x < (a + 1) / (a + b + 2):
        return front * _beta_fraction(a, b, x) / a
    return 1 - front * _beta_fraction(b, a, 1 - x) / b


def _beta_fraction(a: float, b: float, x: float) -> float:
    c, d = 1.0, 1 / _apart(1 - (a + b) * x / (a + 1))
    fraction = d
    for step in range(1, STEPS):
        for part in (
            step * (b - step) * x / ((a + 2 * step - 1) * (a + 2 * step)),
            -(a + step) * (a + b + step) * x / ((a + 2 * step) * (a + 2 * step + 1)),
        ):
            d = 1 / _apart(1 + part * d)
            c = _apart(1 + part / c)
            fraction *= d * c
        if abs(d * c - 1) < EXACT:
            break
    return fraction


def _apart(value: float) -> float:
    """The value, kept away from zero."""
    return value if abs(value) > TINY else TINY
