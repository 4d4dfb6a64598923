# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
"""The hot loops of rational quadratic splines: values and gradients (numba, one thread).

Shares instead of knots: x = bound (2 u - 1), y = bound (2 v - 1), with u and v in [0, 1]; bin k has the share w_k of u
and h_k of v. Within a bin, z is the place in [0, 1]. Formulas: Durkan et al., Neural Spline Flows, 2019; bounds on
the unconstrained numbers are those of zuko, which is the oracle in the tests.
"""

from __future__ import annotations

import math

from numba import njit

SLOPE = 1e-3
"""Smallest slope of a bin, as in zuko."""


@njit(error_model="numpy", forceinline=True)
def _knots(raw, limit, bins, shares, one):
    """Softmax of softly limited numbers: the share of each bin."""
    most = raw[0]
    for k in range(bins):
        value = raw[k] / (one + abs(raw[k]) * limit)
        shares[k] = value
        if k == 0 or value > most:
            most = value
    total = one - one
    for k in range(bins):
        shares[k] = math.exp(shares[k] - most)
        total += shares[k]
    for k in range(bins):
        shares[k] /= total


@njit(error_model="numpy", forceinline=True)
def _find(shares, share, bins):
    """The bin that holds this share of the interval, and where it begins."""
    start = shares[0] - shares[0]
    for k in range(bins - 1):
        if share <= start + shares[k]:
            return k, start
        start += shares[k]
    return bins - 1, start


@njit(error_model="numpy", forceinline=True)
def _slope(raw, k, bins, limit, one):
    """Slope at knot k: free between the bins, 1 at both ends."""
    if k == 0 or k == bins:
        return one
    return math.exp(raw[2 * bins + k - 1] / (one + abs(raw[2 * bins + k - 1]) * limit))


@njit(cache=True, nogil=True, error_model="numpy")
def spline_forward(numbers, x, bound, y, log_slope, shares):
    """Values and log derivatives; also the shares of all bins, which `spline_backward` needs.

    Args:
        numbers: [n, 3 bins - 1] unconstrained widths, heights, slopes.
        x: [n] arguments.
        bound: splines bend within +- this value.
        y, log_slope: [n] results.
        shares: [n, 2 bins] result; rows of arguments beyond the bound are not written.
    """
    n, per = numbers.shape
    bins = (per + 1) // 3
    one = x.dtype.type(1.0)
    limit = x.dtype.type(-1 / math.log(SLOPE))
    B = x.dtype.type(bound)
    for i in range(n):
        if not abs(x[i]) < B:
            y[i], log_slope[i] = x[i], one - one
            continue
        raw = numbers[i]
        w, h = shares[i, :bins], shares[i, bins:]
        _knots(raw[:bins], 2 * limit, bins, w, one)
        _knots(raw[bins : 2 * bins], 2 * limit, bins, h, one)
        k, start = _find(w, (x[i] / B + one) / 2, bins)
        z = ((x[i] / B + one) / 2 - start) / w[k]
        below = one - one
        for j in range(k):
            below += h[j]
        d0, d1 = _slope(raw, k, bins, limit, one), _slope(raw, k + 1, bins, limit, one)
        s, t = h[k] / w[k], z * (one - z)
        q = s * z * z + d0 * t
        D = s + (d0 + d1 - 2 * s) * t
        N = 2 * s * t + d0 * (one - z) ** 2 + d1 * z * z
        y[i] = B * (2 * (below + h[k] * q / D) - one)
        log_slope[i] = math.log(s * s * N / (D * D))


@njit(cache=True, nogil=True, error_model="numpy")
def spline_backward(numbers, x, bound, shares, to_y, to_slope, of_numbers, of_x):
    """Reverse mode of `spline_forward`: gradients of its results in, of its arguments out.

    x = B (2 u - 1) and y = B (2 v - 1), so gradients of u and v have the factors 1 / 2B and 2B.
    """
    n, per = numbers.shape
    bins = (per + 1) // 3
    one = x.dtype.type(1.0)
    limit = x.dtype.type(-1 / math.log(SLOPE))
    B = x.dtype.type(bound)
    of_numbers[:] = one - one
    for i in range(n):
        if not abs(x[i]) < B:
            of_x[i] = to_y[i]
            continue
        raw = numbers[i]
        w, h = shares[i, :bins], shares[i, bins:]
        k, start = _find(w, (x[i] / B + one) / 2, bins)
        W, H = w[k], h[k]
        z = ((x[i] / B + one) / 2 - start) / W
        d0, d1 = _slope(raw, k, bins, limit, one), _slope(raw, k + 1, bins, limit, one)
        s, t = H / W, z * (one - z)
        q = s * z * z + d0 * t
        D = s + (d0 + d1 - 2 * s) * t
        N = 2 * s * t + d0 * (one - z) ** 2 + d1 * z * z
        of_v, of_l = 2 * B * to_y[i], to_slope[i]
        D_s = one - 2 * t
        r = q / D
        # v = below + H r; l = 2 log s + log N - 2 log D
        of_s = of_v * H * (z * z - r * D_s) / D + of_l * (2 / s + 2 * t / N - 2 * D_s / D)
        of_d0 = of_v * H * t * (one - r) / D + of_l * ((one - z) ** 2 / N - 2 * t / D)
        of_d1 = -of_v * H * t * r / D + of_l * (z * z / N - 2 * t / D)
        N_z = 2 * (s * (one - 2 * z) - d0 * (one - z) + d1 * z)
        D_z = (d0 + d1 - 2 * s) * (one - 2 * z)
        of_z = of_v * W * s * s * N / (D * D) + of_l * (N_z / N - 2 * D_z / D)
        of_x[i] = of_z / W / (2 * B)
        of_W = -(of_z * z + of_s * s) / W
        of_H = of_v * r + of_s / W
        # Shares before bin k move its beginning; through the softmax, all shares depend on all numbers.
        out = of_numbers[i]
        mean_w, mean_h = of_W * W, of_H * H
        for j in range(k):
            mean_w -= of_z / W * w[j]
            mean_h += of_v * h[j]
        for j in range(bins):
            g_w, g_h = one - one, one - one
            if j < k:
                g_w, g_h = -of_z / W, of_v
            elif j == k:
                g_w, g_h = of_W, of_H
            out[j] = w[j] * (g_w - mean_w) / (one + abs(raw[j]) * 2 * limit) ** 2
            out[bins + j] = h[j] * (g_h - mean_h) / (one + abs(raw[bins + j]) * 2 * limit) ** 2
        if k > 0:
            out[2 * bins + k - 1] = of_d0 * d0 / (one + abs(raw[2 * bins + k - 1]) * limit) ** 2
        if k < bins - 1:
            out[2 * bins + k] = of_d1 * d1 / (one + abs(raw[2 * bins + k]) * limit) ** 2
