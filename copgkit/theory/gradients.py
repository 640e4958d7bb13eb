"""Claims 1-14 and 24: what the loss is, what its gradient is, and which other losses share it.

Each function checks one claim on random problems, with the engine's own objectives, and gives the worst error found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from copgkit.engine.objectives import all_pairs, copg, copg_score_function, ipo
from copgkit.theory.exact import (
    Problem,
    finite_differences,
    gradient,
    kl,
    minimum,
    problem,
    product_pairs,
    stationary_point,
)
from copgkit.theory.finding import EXACT, NUMERIC, Finding

_SEEDS = range(5)
_ARMS = 6


def closed_forms() -> Finding:
    """l = dR dh - (beta/2) dh^2 = ((dR)^2 - (dA)^2) / (2 beta), and the engine's loss is (dR)^2 / (2 beta) - l."""

    def error(case: Problem, theta: Tensor, pair: Tensor) -> float:
        log_ratio = (theta.log_softmax(0) - case.reference.log())[pair]
        reward = case.reward[pair]
        gap_R, gap_h = reward[0] - reward[1], log_ratio[0] - log_ratio[1]
        literal = paper_loss(theta, case, pair)
        square = gap_R * gap_h - case.beta / 2 * gap_h**2
        engine = gap_R**2 / (2 * case.beta) - _engine(theta, case, pair)
        return max((literal - square).abs().item(), (literal - engine).abs().item())

    return Finding("1", "closed forms of the pair loss", _worst(error, 2), EXACT)


def gradient_has_full_beta() -> Finding:
    """grad l = (A(y) - A(y'))(grad ln pi(y) - grad ln pi(y')), with beta where l has beta/2."""

    def error(case: Problem, theta: Tensor, pair: Tensor) -> float:
        by_autograd = gradient(lambda at: paper_loss(at, case, pair), theta)
        return (by_autograd - _paper_gradient(theta, case, pair)).abs().max().item()

    return Finding("2", "gradient of the pair loss carries the full beta", _worst(error, 2), EXACT)


def gradient_by_finite_differences() -> Finding:
    """The same against central differences, which know nothing of autograd."""

    def error(case: Problem, theta: Tensor, pair: Tensor) -> float:
        numeric = finite_differences(lambda at: paper_loss(at, case, pair), theta)
        return (numeric - _paper_gradient(theta, case, pair)).abs().max().item()

    return Finding("2b", "the same by finite differences", _worst(error, 2), NUMERIC)


def squared_form() -> Finding:
    """grad (dA)^2 / 2 = -beta grad l, and the engine's loss has gradient -grad l."""

    def error(case: Problem, theta: Tensor, pair: Tensor) -> float:
        engine = gradient(lambda at: _engine(at, case, pair), theta)
        return (engine + _paper_gradient(theta, case, pair)).abs().max().item()

    return Finding("3", "half the squared gap over beta has minus its gradient", _worst(error, 2), EXACT)


def other_forms_of_the_gradient() -> Finding:
    """The score-function form, and two passes (A without graph, then each sequence by itself with its weight)."""

    def error(case: Problem, theta: Tensor, group: Tensor) -> float:
        direct = gradient(lambda at: _engine(at, case, group), theta)
        indirect = gradient(lambda at: _engine(at, case, group, copg_score_function), theta)
        advantage = leave_one_out(case.regularised(theta)[group])
        alone = [torch.eye(len(theta), dtype=torch.float64)[y] - theta.softmax(0) for y in group]  # grad ln pi(y)
        size = len(group)
        two_pass = -2 / size * (advantage[:, None] * torch.stack(alone)).sum(0)
        return max((direct - indirect).abs().max().item(), (direct - two_pass).abs().max().item())

    return Finding("4", "score-function and two-pass forms give the same gradient", _worst(error, 4), EXACT)


def half_beta_trap() -> Finding:
    """R_{beta/2} behind a stop-gradient ends at the optimum of beta/2; R_beta left inside l ends at that of 2 beta."""
    case = problem(4, seed=1)
    pairs, weights = product_pairs(case.reference, case.reference)

    def stopped(theta: Tensor) -> Tensor:
        half = case.at(case.beta / 2)
        return gradient(lambda at: _weighted(at, half, pairs, weights, copg_score_function), theta)

    def inside(theta: Tensor) -> Tensor:
        log_ratio = (theta.log_softmax(0) - case.reference.log())[pairs]
        gap_R = (case.reward[pairs] * torch.tensor([1.0, -1.0])).sum(-1)
        gap_h = (log_ratio * torch.tensor([1.0, -1.0])).sum(-1)
        return -(weights * (gap_R * gap_h - case.beta * gap_h**2)).sum()

    ends = {case.beta / 2: stationary_point(stopped, 4), 2 * case.beta: minimum(inside, 4)}
    worst = max(kl(case.at(beta).optimum, end).item() for beta, end in ends.items())
    away = min(kl(case.optimum, end).item() for end in ends.values())
    return _unless(
        away > 0.01, Finding("5", "the beta/2 trap ends elsewhere", worst, NUMERIC, f"KL from pi* at least {away:.3f}")
    )


def symmetry() -> Finding:
    """Swapping y and y' changes nothing; y = y' gives loss and gradient 0."""

    def error(case: Problem, theta: Tensor, pair: Tensor) -> float:
        swapped = _engine(theta, case, pair) - _engine(theta, case, pair.flip(0))
        same = pair[:1].repeat(2)
        still = gradient(lambda at: _engine(at, case, same), theta).abs().max()
        return max(swapped.abs().item(), _engine(theta, case, same).abs().item(), still.item())

    return Finding("6", "symmetric, and nothing from a pair of equals", _worst(error, 2), EXACT)


def rloo(size: int) -> Finding:
    """The gradient of a group is that of RLOO on the regularised reward: -(2/k) sum r_i grad ln pi_i."""

    def error(case: Problem, theta: Tensor, group: Tensor) -> float:
        advantage = leave_one_out(case.regularised(theta)[group])
        reinforce = gradient(lambda at: -2 / size * (advantage * at.log_softmax(0)[group]).sum(), theta)
        return (gradient(lambda at: _engine(at, case, group), theta) - reinforce).abs().max().item()

    return Finding("7" if size == 2 else "8", f"RLOO's gradient for k = {size}", _worst(error, size), EXACT)


def variance_identity() -> Finding:
    """(1/(k-1)) sum_{i>j} (A_i - A_j)^2 = k s^2(A), and the engine's loss is s^2(A) / beta."""

    def error(case: Problem, theta: Tensor, group: Tensor) -> float:
        regularised = case.regularised(theta)[group]
        gaps = torch.combinations(regularised).diff(dim=1).square().sum() / (len(group) - 1)
        variance = regularised.var(correction=1)
        engine = _engine(theta, case, group) * case.beta
        return max((gaps - len(group) * variance).abs().item(), (engine - variance).abs().item())

    return Finding("9", "mean over pairs = unbiased variance of A over beta", _worst(error, 5), EXACT)


def ipo_is_a_special_case() -> Finding:
    """With R = +-1/4, IPO's gradient is 2/beta times CoPG's."""

    def error(case: Problem, theta: Tensor, pair: Tensor) -> float:
        reward = torch.tensor([0.25, -0.25], dtype=torch.float64)
        ours = gradient(lambda at: _engine(at, case, pair, copg, reward), theta)
        theirs = gradient(lambda at: _engine(at, case, pair, ipo, reward), theta)
        return (theirs - 2 / case.beta * ours).abs().max().item()

    return Finding("10", "IPO for rewards of plus and minus a quarter", _worst(error, 2), EXACT)


def on_policy_expectation() -> Finding:
    """On-policy, the expected gradient of l is twice that of J, by enumeration of all pairs."""

    def error(case: Problem, theta: Tensor, _: Tensor) -> float:
        policy = theta.softmax(0)
        ascent = -gradient(lambda at: _weighted(at, case, *product_pairs(policy, policy)), theta)
        return (ascent - 2 * gradient(lambda at: case.value(at.softmax(0)), theta)).abs().max().item()

    return Finding("11", "on-policy expectation = 2 grad J", _worst(error, 2), EXACT)


def on_policy_statistics() -> Finding:
    """The mean gradient of 20,000 sampled pairs lies within 4 standard errors of 2 grad J, in every coordinate."""
    case, theta = problem(_ARMS, seed=3), _theta(3)
    policy = theta.softmax(0)
    draws = torch.multinomial(policy, 40_000, True, generator=torch.Generator().manual_seed(0)).view(-1, 2)
    logp_GK = theta.log_softmax(0)[draws].requires_grad_()
    pair_weight_GKK = all_pairs(torch.ones_like(logp_GK))
    losses = copg(logp_GK, case.reference.log()[draws], case.reward[draws], pair_weight_GKK, case.beta)
    slope_GK = -torch.autograd.grad(losses.sum(), logp_GK)[0]
    # d ln pi(y) / d theta = e_y - pi, and the slopes of a pair add up to 0, so that pi cancels.
    gradients = (slope_GK[:, :, None] * torch.eye(_ARMS, dtype=torch.float64)[draws]).sum(1)
    expected = 2 * gradient(lambda at: case.value(at.softmax(0)), theta)
    errors = (gradients.mean(0) - expected).abs() / (gradients.std(0) / len(gradients) ** 0.5)
    return Finding("12", "sampled groups agree with the expectation", errors.max().item(), 4.0, "in standard errors")


def off_policy_product() -> Finding:
    """With y ~ mu1 and y' ~ mu2, both skewed, the expected loss is smallest at pi*, whatever mu1 and mu2 are."""

    def error(case: Problem, theta: Tensor, _: Tensor) -> float:
        first, second = theta.softmax(0), theta.flip(0).softmax(0)
        found = minimum(lambda at: _weighted(at, case, *product_pairs(first, second)), _ARMS)
        return kl(case.optimum, found).item()

    return Finding("13", "pairs from mu1 x mu2 have pi* as optimum", _worst(error, 2), EXACT, "KL(pi* || pi)")


def invariances() -> Finding:
    """A constant added to a prompt's rewards changes nothing; (cR, c beta) has the optimum of (R, beta)."""

    def error(case: Problem, theta: Tensor, group: Tensor) -> float:
        shifted = Problem(case.reward + 7.5, case.reference, case.beta)
        scaled = Problem(3 * case.reward, case.reference, 3 * case.beta)
        shift = _engine(theta, case, group) - _engine(theta, shifted, group)
        scale = 3 * _engine(theta, case, group) - _engine(theta, scaled, group)
        return max(shift.abs().item(), scale.abs().item(), kl(case.optimum, scaled.optimum).abs().item())

    return Finding("14", "constants and common factors do not matter", _worst(error, 4), EXACT)


def neighbours() -> Finding:
    """VarGrad, DRO at its best V, and REBEL with pi_ref := pi_t: the same gradient up to their scales."""

    def error(case: Problem, theta: Tensor, group: Tensor) -> float:
        size, beta = len(group), case.beta
        ours = gradient(lambda at: _engine(at, case, group), theta)

        def vargrad(at: Tensor) -> Tensor:
            log_ratio = (at.log_softmax(0) - case.reference.log())[group]
            estimate = (case.reward[group] / beta - log_ratio).mean().detach()
            return (estimate + log_ratio - case.reward[group] / beta).square().mean()

        def dro(at: Tensor) -> Tensor:
            return 0.5 * case.regularised(at)[group].var(correction=0)

        def rebel(at: Tensor) -> Tensor:
            ratio, pair = (at.log_softmax(0) - theta.log_softmax(0).detach())[group[:2]], case.reward[group[:2]]
            return (beta * (ratio[0] - ratio[1]) - (pair[0] - pair[1])).square()

        here = Problem(case.reward, theta.softmax(0), beta)
        wanted = {
            vargrad: (size - 1) / size / beta * ours,
            dro: beta * (size - 1) / size / 2 * ours,
            rebel: 2 * beta * gradient(lambda at: _engine(at, here, group[:2]), theta),
        }
        return max((gradient(loss, theta) - goal).abs().max().item() for loss, goal in wanted.items())

    return Finding("24", "VarGrad, DRO and REBEL share the gradient", _worst(error, 4), EXACT)


def claims() -> Iterator[Callable[[], Finding]]:
    """The claims of this file, in order."""
    yield from (closed_forms, gradient_has_full_beta, gradient_by_finite_differences, squared_form)
    yield from (other_forms_of_the_gradient, half_beta_trap, symmetry)
    for size in (2, 3, 5, 8):
        yield partial(rloo, size)
    yield from (variance_identity, ipo_is_a_special_case, on_policy_expectation, on_policy_statistics)
    yield from (off_policy_product, invariances, neighbours)


def paper_loss(theta: Tensor, case: Problem, pair: Tensor) -> Tensor:
    """l as the paper writes it: (R_{beta/2}(y) - R_{beta/2}(y')) h(y) + (R_{beta/2}(y') - R_{beta/2}(y)) h(y')."""
    log_ratio = (theta.log_softmax(0) - case.reference.log())[pair]
    half = case.reward[pair] - case.beta / 2 * log_ratio
    return (half[0] - half[1]) * log_ratio[0] + (half[1] - half[0]) * log_ratio[1]


def leave_one_out(value_K: Tensor) -> Tensor:
    """Each value minus the mean of the others [K]."""
    return value_K - (value_K.sum() - value_K) / (len(value_K) - 1)


def _paper_gradient(theta: Tensor, case: Problem, pair: Tensor) -> Tensor:
    regularised = case.regularised(theta)[pair]
    directions = torch.eye(len(theta), dtype=torch.float64)[pair] - theta.softmax(0)
    return (regularised[0] - regularised[1]) * (directions[0] - directions[1])


def _engine(
    theta: Tensor,
    case: Problem,
    group: Tensor,
    form: Callable[..., Tensor] = copg,
    reward: Tensor | None = None,
) -> Tensor:
    """The engine's loss of one group of arms [K]."""
    logp_GK, ref_logp_GK = theta.log_softmax(0)[group][None], case.reference.log()[group][None]
    reward_GK = (case.reward[group] if reward is None else reward)[None]
    return form(logp_GK, ref_logp_GK, reward_GK, all_pairs(torch.ones_like(logp_GK)), case.beta)[0]


def _weighted(
    theta: Tensor, case: Problem, groups: Tensor, weights: Tensor, form: Callable[..., Tensor] = copg
) -> Tensor:
    """The engine's loss summed over groups of arms [G, K] with weights [G]."""
    logp_GK, ref_logp_GK = theta.log_softmax(0)[groups], case.reference.log()[groups]
    losses = form(logp_GK, ref_logp_GK, case.reward[groups], all_pairs(torch.ones_like(logp_GK)), case.beta)
    return (weights * losses).sum()


def _theta(seed: int) -> Tensor:
    return torch.randn(_ARMS, generator=torch.Generator().manual_seed(100 + seed), dtype=torch.float64)


def _worst(error: Callable[[Problem, Tensor, Tensor], float], size: int) -> float:
    """The largest error over random problems, policies and groups of `size` arms, repeats included."""
    worst = 0.0
    for seed in _SEEDS:
        group = torch.randint(_ARMS, (size,), generator=torch.Generator().manual_seed(seed))
        group[0], group[1] = 0, 1  # at least one real contrast
        found = error(problem(_ARMS, seed), _theta(seed), group)
        worst = max(worst, found) if found == found else float("nan")
    return worst


def _unless(condition: bool, finding: Finding) -> Finding:
    """The finding, failed if a condition that belongs to the claim does not hold."""
    return (
        finding if condition else Finding(finding.claim, finding.title, float("inf"), finding.tolerance, finding.detail)
    )
