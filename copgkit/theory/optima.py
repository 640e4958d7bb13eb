"""Claims 15-22 and 25: where training ends, by exact minimisation of the engine's objectives over all pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial

import torch
from torch import Tensor

from copgkit.engine.objectives import Objective, all_pairs, copg, copg_score_function
from copgkit.theory import bandit
from copgkit.theory.exact import Problem, expected_loss, gradient, kl, minimum, problem, product_pairs
from copgkit.theory.finding import EXACT, NUMERIC, Finding

_REACHED = 1e-9  # KL to the optimum in nats, after exact minimisation
_FAR = 0.01  # KL from the optimum that cannot be called the optimum

# Section 5 of the paper in exact numbers: policy and regret at each method's fixed point.
FIXED_POINTS = {
    "CoPG": ((0.705385, 0.259496, 0.035119), 0.0),
    "PG, b = 0": ((0.1940, 0.2501, 0.5559), 0.6378),
    "PG, b = E_pi[R]": ((0.8115, 0.1675, 0.0209), 0.0148),
    "PG, b = E_pi[A]": ((0.705385, 0.259496, 0.035119), 0.0),
    "PG, b = E_mu[A]": ((0.705385, 0.259496, 0.035119), 0.0),
    "PG, b = E_mu[R]": ((0.4126, 0.3996, 0.1878), 0.1331),
    "contrast with the other's raw R": ((0.4072, 0.4105, 0.1822), 0.1323),
    "IPO, beta = .5": ((0.4242, 0.3527, 0.2231), 0.1525),
    "IPO, beta = .1": ((0.6955, 0.2765, 0.0280), 0.0007),
    "DPO, beta = .5": ((0.705385, 0.259496, 0.035119), 0.0),
}

# The literal recipe: mean regret over seeds after 100 epochs, and how far a mean over 10 seeds may lie from it: about
# four of its standard errors. IPO's labels and the data of b = 0 differ more from seed to seed than CoPG's does.
LITERAL_RECIPE = {
    "CoPG": (0.0131, 0.0003),
    "PG, b = E_pi[R]": (0.0274, 0.001),
    "IPO": (0.1526, 0.005),
    "PG, b = 0": (0.637, 0.006),
}


def optimality_condition() -> Finding:
    """At pi*, A is constant and equals beta ln Z = J(pi*); the regret of any policy is beta KL(pi || pi*)."""
    worst = 0.0
    for seed in range(5):
        case = problem(6, seed)
        constant = case.regularised(case.optimum.log()) - case.best_value
        policy = problem(6, seed + 50).reference
        regret = case.regret(policy) - case.beta * kl(policy, case.optimum)
        worst = max(worst, constant.abs().max().item(), regret.abs().item())
    return Finding("15", "A is constant at pi*, and regret = beta KL", worst, EXACT)


def skewed_data() -> Finding:
    """Off-policy pairs from mu = (.98, .01, .01) still end at pi*."""
    case = problem(3, seed=2)
    mu = torch.tensor([0.98, 0.01, 0.01], dtype=torch.float64)
    found = _minimum(case, *product_pairs(mu, mu))
    return Finding("16", "skewed data of full support reaches pi*", kl(case.optimum, found).item(), _REACHED, _KL)


def support_and_connectivity() -> Finding:
    """Unconnected pairs fix the ratios within each component only; an unseen arm's logit gets no gradient; supports
    that overlap are enough."""
    case = problem(5, seed=4)
    apart = torch.tensor([[0, 1], [2, 3]])
    found = _minimum(case, apart, torch.ones(2, dtype=torch.float64))
    within = [(found[i] / found[j] - case.optimum[i] / case.optimum[j]).abs().item() for i, j in apart.tolist()]
    across = (found[0] / found[2] - case.optimum[0] / case.optimum[2]).abs().item()
    unseen = gradient(lambda at: _loss(at, case, apart, torch.ones(2, dtype=torch.float64)), torch.ones(5).double())[4]
    chained = torch.tensor([[0, 1], [1, 2], [2, 3], [3, 4]])
    union = kl(case.optimum, _minimum(case, chained, torch.ones(4, dtype=torch.float64))).item()
    value = max(*within, unseen.abs().item(), union) if across > _FAR else float("inf")
    return Finding(
        "17", "support: connected pairs are needed, and enough", value, NUMERIC, f"across: off by {across:.2f}"
    )


def spanning_tree() -> Finding:
    """n - 1 pairs that connect all arms give pi*, and every pair's own gradient is 0 there: no noise floor."""
    case = problem(8, seed=5)
    star = torch.tensor([[0, arm] for arm in range(1, 8)])
    reached = kl(case.optimum, _minimum(case, star, torch.ones(7, dtype=torch.float64))).item()
    one = torch.ones(1, dtype=torch.float64)
    at_optimum = [
        gradient(partial(_loss, case=case, groups=pair[None], weights=one), case.optimum.log()) for pair in star
    ]
    still = torch.stack(at_optimum).abs().max().item()
    return Finding("18", "a spanning tree of pairs is enough", max(reached, still), _REACHED, _KL)


def quadratic_in_logits() -> Finding:
    """The ascent direction of the tabular objective is Lap (R - beta (theta - theta_ref)), Lap the graph of pairs."""
    worst = 0.0
    for seed in range(5):
        case, mu = problem(6, seed), problem(6, seed + 20).reference
        pairs, weights = product_pairs(mu, mu)
        graph = 2 * (torch.diag(mu) - torch.outer(mu, mu))
        theta = torch.randn(6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        ascent = -gradient(partial(_loss, case=case, groups=pairs, weights=weights), theta)
        wanted = graph @ (case.reward - case.beta * (theta - case.reference.log()))
        worst = max(worst, (ascent - wanted).abs().max().item())
    return Finding("19", "an exact quadratic in the logits", worst, EXACT)


def wrong_baselines() -> Finding:
    """Every method's fixed point on the paper's bandit, to the digits of the table."""
    worst, lines = 0.0, []
    for name, policy in bandit.fixed_points().items():
        wanted, wanted_regret = FIXED_POINTS[name]
        worst = max(worst, (policy - torch.tensor(wanted, dtype=torch.float64)).abs().max().item())
        worst = max(worst, abs(bandit.regret(policy).item() - wanted_regret))
        lines.append(f"{name} {bandit.regret(policy).clamp(min=0).item():.4f}")
    return Finding("20", "fixed points of the bandit's methods", worst, 6e-5, "regrets: " + ", ".join(lines))


def bandit_figures() -> Finding:
    """pi* = (.705385, .259496, .035119), J* = 2.125200, J(pi_ref) = 1.833333, regret of the reference .291867."""
    case = bandit.PROBLEM
    found = [*case.optimum, case.best_value, case.value(case.reference), case.regret(case.reference)]
    wanted = [0.705385, 0.259496, 0.035119, 2.125200, 1.833333, 0.291867]
    worst = max(abs(value.item() - goal) for value, goal in zip(found, wanted, strict=True))
    return Finding("21", "the bandit's exact figures", worst, 6e-7)


def literal_recipe(name: str) -> Finding:
    """Mean regret over 10 seeds after 100 epochs of the literal recipe."""
    wanted, tolerance = LITERAL_RECIPE[name]
    found = _copg_run()[100] if name == "CoPG" else bandit.train(_method(name), range(10), 100, every=100)[100]
    mean, low, high = found.mean().item(), found.min().item(), found.max().item()
    detail = f"regret {mean:.4f} at 100 epochs, from {low:.4f} to {high:.4f} over 10 seeds; wanted {wanted}"
    return Finding("21", f"the bandit's literal recipe: {name}", abs(mean - wanted), tolerance, detail)


def literal_recipe_converged() -> Finding:
    """CoPG's regret after 200 epochs is below 1e-5: 100 epochs were not the end."""
    found = _copg_run()[200]
    return Finding(
        "21", "the bandit's literal recipe: CoPG, 200 epochs", found.max().item(), 1e-5, "largest of 10 seeds"
    )


def no_regularisation() -> Finding:
    """beta = 0 off-policy has no optimum and may drift to the wrong arm: mu = (.3, .6, .1), R = (0, .8, 1) goes to the
    second. On-policy it is plain RLOO and goes to the best."""
    case = Problem(torch.tensor([0.0, 0.8, 1.0]).double(), torch.full((3,), 1 / 3).double(), 0.5)
    mu = torch.tensor([0.3, 0.6, 0.1], dtype=torch.float64)
    drift = _ascend(case, lambda policy: mu)
    rloo = _ascend(case, lambda policy: policy)
    detail = f"off-policy pi = {_text(drift)}, on-policy pi = {_text(rloo)}"
    return Finding(
        "22", "beta = 0 off-policy drifts to the wrong arm", max(1 - drift[1], 1 - rloo[2]).item(), 1e-3, detail
    )


def clipping_keeps_the_optimum() -> Finding:
    """Huber's clip of dA keeps pi*; clipping dR instead does not."""
    case = problem(4, seed=6)
    pairs, weights = product_pairs(case.reference, case.reference)
    kept = minimum(lambda at: expected_loss(at, case, Objective("copg", case.beta, clip=0.2), pairs, weights), 4)
    clipped_R = (case.reward[pairs] * torch.tensor([1.0, -1.0])).sum(-1).clamp(-0.3, 0.3)
    reward_GK = torch.stack([clipped_R / 2, -clipped_R / 2], dim=1)
    moved = minimum(lambda at: (weights * _losses(at, case, pairs, reward_GK)).sum(), 4)
    return _if_far("25", "clipping the gap of A keeps pi*", case.optimum, kept, moved, "clipping the gap of R")


def standardising_moves_the_optimum() -> Finding:
    """Dividing by a group's deviation of rewards gives each prompt a temperature of its own: beta sigma(x)."""
    case = problem(4, seed=7)
    deviation = case.reward.std(correction=1).item()
    standardised = Problem(case.reward / deviation, case.reference, case.beta)
    group, one = torch.arange(4)[None], torch.ones(1, dtype=torch.float64)
    found = _minimum(standardised, group, one)
    optimum = case.at(case.beta * deviation).optimum
    return _if_far("25", "dividing by the deviation is another beta", optimum, found, case.optimum, "pi* itself")


def prompts_do_not_mix() -> Finding:
    """Pairs across prompts are biased: Z(x) does not cancel. Pairs within each prompt are not."""
    reward = torch.tensor([[0.0, 1.0], [2.0, 5.0]], dtype=torch.float64)
    optimum = (reward / 0.5).softmax(-1)

    def loss(theta: Tensor, mixed: bool) -> Tensor:
        logp = theta.view(2, 2).log_softmax(-1)
        rows = (logp.view(1, 4), reward.view(1, 4)) if mixed else (logp, reward)
        weights = all_pairs(torch.ones_like(rows[0]))
        return copg(rows[0], torch.full_like(rows[0], 0.5).log(), rows[1], weights, 0.5).sum()

    apart, mixed = (_two_prompts(partial(loss, mixed=mixing)) for mixing in (False, True))
    worst = max(kl(optimum[x], apart[x]).item() for x in range(2))
    away = max(kl(optimum[x], mixed[x]).item() for x in range(2))
    value = worst if away > _FAR else float("inf")
    return Finding("25", "prompts do not mix", value, _REACHED, f"mixed, a prompt is {away:.3f} nats off")


def reference_refresh() -> Finding:
    """T exact solves with pi_ref := pi after each are one solve at beta / T."""
    case, times = problem(5, seed=8), 3
    reference = case.reference
    for _ in range(times):
        step = Problem(case.reward, reference, case.beta)
        reference = _minimum(step, *product_pairs(reference, reference))
    return Finding(
        "25", "T refreshes = beta / T", kl(case.at(case.beta / times).optimum, reference).item(), _REACHED, _KL
    )


def reward_noise() -> Finding:
    """Unbiased noise on the rewards leaves the expected gradient as it is, by enumeration of symmetric noise."""
    case, theta = problem(5, seed=9), problem(5, seed=10).reference.log()
    pairs, weights = product_pairs(case.reference, case.reference)
    noise = torch.randn(len(pairs), 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    clean = gradient(lambda at: _loss(at, case, pairs, weights), theta)

    def noisy(at: Tensor) -> Tensor:
        either = [_losses(at, case, pairs, case.reward[pairs] + sign * noise) for sign in (1.0, -1.0)]
        return (weights * sum(either) / 2).sum()

    error = (gradient(noisy, theta) - clean).abs().max().item()
    return Finding("25", "reward noise is harmless", error, EXACT)


def claims() -> Iterator[Callable[[], Finding]]:
    """The claims of this file, in order."""
    yield from (optimality_condition, skewed_data, support_and_connectivity, spanning_tree, quadratic_in_logits)
    yield from (wrong_baselines, bandit_figures)
    for name in LITERAL_RECIPE:
        yield partial(literal_recipe, name)
    yield from (literal_recipe_converged, no_regularisation, clipping_keeps_the_optimum)
    yield from (standardising_moves_the_optimum, prompts_do_not_mix, reference_refresh, reward_noise)


_KL = "KL(pi* || pi)"


def _losses(theta: Tensor, case: Problem, groups: Tensor, reward_GK: Tensor) -> Tensor:
    logp_GK, ref_logp_GK = theta.log_softmax(0)[groups], case.reference.log()[groups]
    return copg(logp_GK, ref_logp_GK, reward_GK, all_pairs(torch.ones_like(logp_GK)), case.beta)


def _loss(theta: Tensor, case: Problem, groups: Tensor, weights: Tensor) -> Tensor:
    return (weights * _losses(theta, case, groups, case.reward[groups])).sum()


def _minimum(case: Problem, groups: Tensor, weights: Tensor) -> Tensor:
    """Where the engine's CoPG loss over these groups of arms [G, K] is smallest: a policy [N]."""
    return minimum(lambda at: _loss(at, case, groups, weights), len(case.reward))


def _ascend(case: Problem, sampling: Callable[[Tensor], Tensor], steps: int = 600, rate: float = 4.0) -> Tensor:
    """The policy after following the expected score-function gradient at beta = 0; sampling(pi) gives mu."""
    theta = torch.zeros(len(case.reward), dtype=torch.float64)
    valid_GK = torch.ones(len(case.reward) ** 2, 2, dtype=torch.float64)
    for _ in range(steps):
        mu = sampling(theta.softmax(0))
        pairs, weights = product_pairs(mu, mu)

        def loss(at: Tensor, pairs: Tensor = pairs, weights: Tensor = weights) -> Tensor:
            logp_GK, ref_logp_GK = at.log_softmax(0)[pairs], case.reference.log()[pairs]
            return (
                weights * copg_score_function(logp_GK, ref_logp_GK, case.reward[pairs], all_pairs(valid_GK), 0.0)
            ).sum()

        theta = theta - rate * gradient(loss, theta)
    return theta.softmax(0)


def _two_prompts(loss: Callable[[Tensor], Tensor]) -> Tensor:
    """The policies [2, 2] of two prompts at which a function of their four logits is smallest."""
    joint = minimum(loss, 4)  # softmax over all four: only the ratios within each prompt mean anything
    return joint.view(2, 2) / joint.view(2, 2).sum(-1, keepdim=True)


def _if_far(claim: str, title: str, wanted: Tensor, found: Tensor, other: Tensor, what: str) -> Finding:
    """A finding that also needs `other` to lie far from the wanted policy."""
    away = kl(wanted, other).item()
    value = kl(wanted, found).item() if away > 1e-3 else float("inf")
    return Finding(claim, title, value, _REACHED, f"{what} is {away:.3f} nats off")


@cache
def _copg_run() -> dict[int, Tensor]:
    """CoPG's regrets after 100 and 200 epochs, trained once for both claims."""
    return bandit.train(_method("CoPG"), range(10), 200, every=100)


def _method(name: str) -> bandit.Method:
    return next(method for method in bandit.methods() if method.name == name)


def _text(policy: Tensor) -> str:
    return "(" + ", ".join(f"{value:.3f}" for value in policy.tolist()) + ")"
