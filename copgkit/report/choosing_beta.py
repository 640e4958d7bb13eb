"""A beta to begin with, from the spread of the rewards within groups.

At the optimum, completions of one prompt whose rewards differ by one deviation sigma lie sigma/beta nats further apart
than under the reference. For rewards like a bell curve among the reference's completions, the optimum is then
(sigma/beta)²/2 nats of KL away from it, and its mean reward sigma²/beta higher. The advice puts sigma/beta at 2: about
2 nats, what the best of 20 samples costs. In the practice world of `recipes/tldr.yaml` (sigma 1.6) the measured reward
was highest from 1.0 to 0.5 and lower at 0.25 and 0.15, where the share of faithful summaries fell as well. Limits: it
takes the groups for samples of the reference, and knows nothing of how far the reward can be trusted: a sweep shows it.
"""

from __future__ import annotations

from dataclasses import dataclass

from copgkit.report.inspection import Inspection

NATS_AIMED_AT = 2.0


@dataclass(frozen=True)
class BetaAdvice:
    """low, beta and high: values worth a sweep, the middle one to begin with. kl: of the optimum at beta, in nats;
    gain: in units of reward; both for rewards like a bell curve."""

    low: float
    beta: float
    high: float
    kl: float
    gain: float
    reason: str

    @property
    def sweep(self) -> str:
        """The three as `copgkit sweep --set` takes them."""
        return f"objective.beta={self.low:g},{self.beta:g},{self.high:g}"


def advise_beta(inspection: Inspection) -> BetaAdvice | None:
    """The advice; None where the rewards do not vary within groups."""
    sigma, length = inspection.reward.within, inspection.mean_length
    if sigma <= 0:
        return None
    beta = _two_digits(sigma / NATS_AIMED_AT)
    apart = sigma / beta
    kl, gain = apart**2 / 2, sigma * apart
    reason = (
        f"rewards of one prompt deviate by {sigma:.3g}; at beta = {beta:g} the optimum moves such completions"
        f" {apart:.1f} nats apart ({apart / length if length else 0:.2g} a {inspection.unit[:-1]}), for a KL of about"
        f" {kl:.1f} nats and a reward higher by about {gain:.2g}, if rewards are like a bell curve."
    )
    return BetaAdvice(_two_digits(beta / 2), beta, _two_digits(beta * 2), kl, gain, reason)


def _two_digits(value: float) -> float:
    return float(f"{value:.2g}")
