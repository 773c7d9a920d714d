"""Token Spacing and Residual Alignment as algebra on the Gram matrix of a sample's tokens.

X [M, D] holds the selected tokens without their mean, X = U S V^T. Both steps act on X from the left, apart from one
rank-one term in the semantic direction d, so that everything follows from the inner products of the rows of X and d:

    X' = T X + z d^T

No D x D or M x D factorisation is made. "Step" below means the numbered step of `reference`, which writes the same with
a singular value decomposition. Suffixes: a vector along the columns of U is [B, M, 1], a number [B, 1, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.interventions.numerics.arrays import TORCH, Array, Arrays
from models.interventions.numerics.projector import leading_direction, principal_projector, solve_inside

_TINY = 1e-12


def transform(
    xp: Arrays[Array],
    eigen: tuple[Array, Array],
    gram_BRR: Array,
    elbow_rows_BMM: Array,
    order_M1: Array,
    *,
    sigma: float,
    angle: float,
) -> Array:
    """[T - I | z], float64 [B, M, M + 1], such that X' - X = (T - I) X + z d^T.

    xp: the library of the arrays.
    eigen: eigenvalues [B, M], ascending, and eigenvectors U [B, M, M] of X X^T.
    gram_BRR: float64 [B, M + 1, M + 1], the inner products of the rows of X and, last, d.
    elbow_rows_BMM, order_M1: see `TokenSelection`.
    sigma, angle: see `ToraConfig`.
    """
    # Steps 1 and 2: the decomposition, and which of its directions are principal.
    values_BM1, u_BMM = abs(eigen[0])[:, :, None], eigen[1]
    singular_BM1 = xp.sqrt(values_BM1)
    k_B11 = principal_count(singular_BM1, elbow_rows_BMM)
    principal_BM1 = order_M1 < k_B11
    leading_BM1 = singular_BM1 * (order_M1 == k_B11)

    # Steps 3 and 4. The principal part of d is X^T U q.
    xd_BM1 = u_BMM.mT @ gram_BRR[:, :-1, -1:]
    xd_principal_BM1 = xd_BM1 * principal_BM1
    q_BM1 = xd_principal_BM1 / (values_BM1 + _TINY)
    d = (xd_BM1, xd_principal_BM1, q_BM1, gram_BRR[:, -1:, -1:])
    turn_BMM, z_BM1 = rotation(xp, values_BM1[:, -1:], *d, leading_BM1, angle)
    turn_BMM = turn_BMM @ u_BMM.mT
    space_BMM = spacing(u_BMM, principal_BM1, sigma)
    change_BMR: Array = u_BMM @ xp.concatenate([turn_BMM + space_BMM, z_BM1], -1)
    return change_BMR


def transform_without_vectors(
    values_BM: Tensor, gram_BRR: Tensor, elbow_rows_BMM: Tensor, *, sigma: float, angle: float
) -> Tensor:
    """`transform` from the eigenvalues alone, ascending, float64 [B, M]: U is the identity here, and the principal
    space is given by its projector. For what is guaranteed see `numerics.projector`."""
    # Steps 1 and 2.
    values_BM1 = values_BM.clamp_min(0.0)[:, :, None]
    k_B11 = principal_count(values_BM1.sqrt(), elbow_rows_BMM)
    place_B11 = values_BM.shape[1] - k_B11
    first_B11, last_B11 = values_BM1[:, -1:], values_BM1.gather(1, place_B11)
    next_B11 = values_BM1.gather(1, (place_B11 - 1).clamp_min(0))
    products_BMM = gram_BRR[:, :-1, :-1]
    principal_BMM = principal_projector(products_BMM, first_B11, last_B11, next_B11)
    outside_BMM = torch.eye(values_BM.shape[1], dtype=values_BM.dtype, device=values_BM.device) - principal_BMM
    leading_BM1 = next_B11.sqrt() * leading_direction(outside_BMM @ products_BMM @ outside_BMM)

    # Steps 3 and 4.
    xd_BM1 = gram_BRR[:, :-1, -1:]
    q_BM1 = solve_inside(products_BMM, principal_BMM, last_B11, xd_BM1)
    d = (xd_BM1, principal_BMM @ xd_BM1, q_BM1, gram_BRR[:, -1:, -1:])
    turn_BMM, z_BM1 = rotation(TORCH, first_B11, *d, leading_BM1, angle)
    change_BMR: Tensor = torch.cat([turn_BMM + (sigma - 1.0) * principal_BMM, z_BM1], -1)
    return change_BMR


def principal_count(singular_BM1: Array, elbow_rows_BMM: Array) -> Array:
    """Number k of principal directions, int [B, 1, 1]: step 2.

    singular_BM1: ascending.
    elbow_rows_BMM: see `elbow_rows`.
    """
    k_B11: Array = abs(elbow_rows_BMM @ singular_BM1).argmax(1)[:, :, None] + 1
    return k_B11


def spacing(u_BMM: Array, principal_BM1: Array, sigma: float) -> Array:
    """Token Spacing, step 3: U^T (T - I), where T multiplies the principal singular values by sigma."""
    space_BMM: Array = (sigma - 1.0) * (principal_BM1 * u_BMM.mT)
    return space_BMM


def rotation(
    xp: Arrays[Array],
    most_B11: Array,
    xd_BM1: Array,
    xd_principal_BM1: Array,
    q_BM1: Array,
    dd_B11: Array,
    leading_BM1: Array,
    angle: float,
) -> tuple[Array, Array]:
    """Residual Alignment, step 4: U^T (T - I) U [B, M, M] and U^T z [B, M, 1].

    The residual part of X is rotated in the plane of a and d_r, from a towards d_r: a = v_(k+1) is the leading residual
    direction, d_r the unit vector along the residual part of d.

    most_B11: the largest eigenvalue of X X^T.
    xd_BM1, xd_principal_BM1: X d along U, and its principal part.
    q_BM1: such that X^T U q is the principal part of d.
    dd_B11: the square of d.
    leading_BM1: X a along U, but for the sign: s_(k+1) at its place, else 0.
    """
    # Vectors of R^D are combinations of the rows of X and of d: d_r = (d - X^T U q) / |d - X^T U q|, where X^T U q is
    # the principal part of d, and a = X^T U p. Of the two only their products with X, along U, are needed.
    residual_square_B11 = abs(dd_B11 - q_BM1.mT @ xd_BM1)
    per_length_B11 = 1.0 / (xp.sqrt(residual_square_B11) + _TINY)
    along_target_BM1 = (xd_BM1 - xd_principal_BM1) * per_length_B11
    leading_square_B11 = leading_BM1.mT @ leading_BM1
    cos_phi_B11 = (along_target_BM1.mT @ leading_BM1) / (leading_square_B11 + _TINY)

    # A singular vector has no sign of its own: a is taken to point along d_r.
    along_leading_BM1 = leading_BM1 * xp.copysign(xp.ones_like(cos_phi_B11), cos_phi_B11)
    cos_phi_B11 = abs(cos_phi_B11)
    p_BM1 = along_leading_BM1 / (leading_square_B11 + _TINY)

    # phi is the angle between a and d_r, theta the one to turn by. With the third vector of step 4, b = (d_r - cos phi
    # a) / sin phi, written out, a row x becomes x + on_leading a + on_target d_r. The quotients by sin phi stay finite
    # as the two vectors become one. Without a residual direction, in X or in d, there is nothing to turn.
    sin_phi_B11 = xp.sqrt(abs(1.0 - cos_phi_B11 * cos_phi_B11))
    half_theta_B11 = 0.5 * angle * xp.arctan2(sin_phi_B11, cos_phi_B11)
    plane_exists_B11 = (leading_square_B11 > 1e-12 * most_B11) & (residual_square_B11 > 1e-9 * dd_B11)
    ratio_B11 = plane_exists_B11 * xp.sin(half_theta_B11) / (sin_phi_B11 + _TINY)
    sine_B11 = 2.0 * ratio_B11 * xp.cos(half_theta_B11)  # sin theta / sin phi
    cosine_B11 = -2.0 * ratio_B11 * ratio_B11  # (cos theta - 1) / sin^2 phi
    across_B11 = cosine_B11 * cos_phi_B11
    on_leading_BM1 = cosine_B11 * along_leading_BM1 - (across_B11 + sine_B11) * along_target_BM1
    on_target_BM1 = cosine_B11 * along_target_BM1 - (across_B11 - sine_B11) * along_leading_BM1

    # Back to the rows of X and d.
    z_BM1 = on_target_BM1 * per_length_B11
    return on_leading_BM1 * p_BM1.mT - z_BM1 * q_BM1.mT, z_BM1
