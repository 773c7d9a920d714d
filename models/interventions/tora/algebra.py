"""Token Spacing and Residual Alignment as algebra on the Gram matrix of a sample's tokens.

X [M, D] holds the selected tokens without their mean, X = U S V^T. Both steps act on X from the left, apart from one
rank-one term in the semantic direction d, so that everything follows from the inner products of the rows of X and d:

    X' = T X + z d^T

No D x D or M x D factorisation is made. "Step" below means the numbered step of `reference`, which writes the same with
a singular value decomposition. Suffixes: a vector along the columns of U is [B, M, 1], a number [B, 1, 1].
"""

from __future__ import annotations

from models.interventions.numerics.arrays import Array, Arrays

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
    """The change [T - I | z], float64 [B, M, M + 1], such that X' - X = (T - I) X + z d^T.

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

    # Steps 3 and 4.
    rotation_BMM, z_BM1 = rotation(xp, values_BM1, u_BMM, gram_BRR, principal_BM1, leading_BM1, angle)
    spacing_BMM = spacing(u_BMM, principal_BM1, sigma)
    change_BMR: Array = u_BMM @ xp.concatenate([rotation_BMM + spacing_BMM, z_BM1], -1)
    return change_BMR


def principal_count(singular_BM1: Array, elbow_rows_BMM: Array) -> Array:
    """Number k of principal directions, int [B, 1, 1]: step 2.

    singular_BM1: singular values, ascending.
    elbow_rows_BMM: see `elbow_rows`.
    """
    k_B11: Array = abs(elbow_rows_BMM @ singular_BM1).argmax(1)[:, :, None] + 1
    return k_B11


def spacing(u_BMM: Array, principal_BM1: Array, sigma: float) -> Array:
    """Token Spacing, step 3: U^T (T - I) [B, M, M], where T multiplies the principal singular values by sigma.

    u_BMM: eigenvectors of X X^T.
    principal_BM1: bool, which of them are principal.
    sigma: see `ToraConfig`.
    """
    spacing_BMM: Array = (sigma - 1.0) * (principal_BM1 * u_BMM.mT)
    return spacing_BMM


def rotation(
    xp: Arrays[Array],
    values_BM1: Array,
    u_BMM: Array,
    gram_BRR: Array,
    principal_BM1: Array,
    leading_BM1: Array,
    angle: float,
) -> tuple[Array, Array]:
    """Residual Alignment, step 4: U^T (T - I) [B, M, M] and U^T z [B, M, 1].

    The residual part of X is rotated in the plane of a and d_r, from a towards d_r: a = v_(k+1) is the leading residual
    direction, d_r the unit vector along the residual part of d.

    values_BM1: eigenvalues of X X^T, ascending.
    leading_BM1: X a along U, but for the sign: s_(k+1) at its place, else 0.
    For the rest see `transform`.
    """
    # Vectors of R^D are combinations of the rows of X and of d: d_r = (d - X^T U q) / |d - X^T U q|, where X^T U q is
    # the principal part of d, and a = X^T U p. Of the two only their products with X, along U, are needed.
    xd_BM1, dd_B11 = u_BMM.mT @ gram_BRR[:, :-1, -1:], gram_BRR[:, -1:, -1:]
    xd_principal_BM1 = xd_BM1 * principal_BM1
    q_BM1 = xd_principal_BM1 / (values_BM1 + _TINY)
    residual_square_B11 = abs(dd_B11 - q_BM1.mT @ xd_BM1)
    per_length_B11 = 1.0 / (xp.sqrt(residual_square_B11) + _TINY)
    along_target_BM1 = (xd_BM1 - xd_principal_BM1) * per_length_B11
    leading_square_B11 = leading_BM1.mT @ leading_BM1
    cos_phi_B11 = (along_target_BM1.mT @ leading_BM1) / (leading_square_B11 + _TINY)

    # The sign of a singular vector is arbitrary: a is taken to point along d_r.
    along_leading_BM1, cos_phi_B11 = xp.copysign(leading_BM1, cos_phi_B11), abs(cos_phi_B11)
    p_BM1 = along_leading_BM1 / (leading_square_B11 + _TINY)

    # phi is the angle between a and d_r, theta the rotation angle. With the third vector of step 4, b = (d_r - cos phi
    # a) / sin phi, written out, a row x becomes x + on_leading a + on_target d_r. The quotients by sin phi stay finite
    # as the two vectors become one. Without a residual direction, in X or in d, there is nothing to rotate.
    sin_phi_B11 = xp.sqrt(abs(1.0 - cos_phi_B11 * cos_phi_B11))
    half_theta_B11 = 0.5 * angle * xp.arctan2(sin_phi_B11, cos_phi_B11)
    plane_exists_B11 = (leading_square_B11 > 1e-12 * values_BM1[:, -1:]) & (residual_square_B11 > 1e-9 * dd_B11)
    ratio_B11 = plane_exists_B11 * xp.sin(half_theta_B11) / (sin_phi_B11 + _TINY)
    sine_B11 = 2.0 * ratio_B11 * xp.cos(half_theta_B11)  # sin theta / sin phi
    cosine_B11 = -2.0 * ratio_B11 * ratio_B11  # (cos theta - 1) / sin^2 phi
    across_B11 = cosine_B11 * cos_phi_B11
    on_leading_BM1 = cosine_B11 * along_leading_BM1 - (across_B11 + sine_B11) * along_target_BM1
    on_target_BM1 = cosine_B11 * along_target_BM1 - (across_B11 - sine_B11) * along_leading_BM1

    # Back to the rows of X and d.
    z_BM1 = on_target_BM1 * per_length_B11
    return (on_leading_BM1 * p_BM1.mT - z_BM1 * q_BM1.mT) @ u_BMM.mT, z_BM1
