"""Families that turn on a condition."""

from code_world.family import NUMBER, OTHER_NUMBER, Family, Slip
from code_world.inputs import around, far_or_equal, multiples_around

FAMILIES = (
    Family(
        "three-levels",
        parameters={"lo": range(2, 20), "hi": range(22, 40)},
        names=("level", "grade"),
        arguments=(NUMBER,),
        wordings=(
            "returns high if $a is at least $hi, middle if at least $lo, else low",
            "grades $a as low below $lo, middle below $hi and high from there",
        ),
        solution="""
if $a >= $hi:
    return "high"
if $a >= $lo:
    return "middle"
return "low\"""",
        slips=(
            Slip("off-by-one", ">= $hi", "> $hi"),
            Slip("off-by-one", ">= $lo", "> $lo"),
            Slip("wrong-branch", '"middle"', '"low"'),
        ),
        inputs=(around("lo", "hi"),),
    ),
    Family(
        "fizz",
        parameters={"n": range(2, 7), "m": range(7, 16)},
        names=("fizz", "divides_which"),
        arguments=(NUMBER,),
        wordings=(
            "returns both if $n and $m divide $a, one if either does, else none",
            "tells if both, one or none of $n and $m divide $a",
        ),
        solution="""
if $a % $n == 0 and $a % $m == 0:
    return "both"
if $a % $n == 0 or $a % $m == 0:
    return "one"
return "none\"""",
        slips=(
            Slip("wrong-operator", " and ", " or "),
            Slip("wrong-operator", " or ", " and "),
            Slip("wrong-return", '"none"', '"one"'),
        ),
        inputs=(multiples_around("n", "m"),),
    ),
    Family(
        "strictly-between",
        parameters={"lo": range(2, 20), "hi": range(22, 40)},
        names=("strictly_between", "is_inside"),
        arguments=(NUMBER,),
        wordings=("tells whether $a is strictly between $lo and $hi", "checks that $a is above $lo and below $hi"),
        solution="return $lo < $a < $hi",
        slips=(
            Slip("off-by-one", "$lo < $a", "$lo <= $a"),
            Slip("off-by-one", "$a < $hi", "$a <= $hi"),
            Slip("wrong-operator", "$a < $hi", "$a > $hi"),
        ),
        inputs=(around("lo", "hi"),),
    ),
    Family(
        "compare",
        parameters={"n": range(2, 50)},
        names=("compare", "sign_against"),
        arguments=(NUMBER,),
        wordings=("returns 1 if $a is above $n, -1 if below, else 0", "compares $a with $n as 1, 0 or -1"),
        solution="""
if $a > $n:
    return 1
if $a < $n:
    return -1
return 0""",
        slips=(
            Slip("off-by-one", "> $n", ">= $n"),
            Slip("wrong-return", "return -1", "return 1"),
            Slip("wrong-branch", "< $n", "<= $n"),
        ),
        inputs=(around("n"),),
    ),
    Family(
        "ticket",
        parameters={"lo": range(3, 13), "hi": range(55, 70), "p": range(20, 50, 2)},
        names=("ticket", "price_for"),
        arguments=(NUMBER,),
        wordings=(
            "returns the price for age $a: 0 below $lo, half of $p from $hi on, else $p",
            "prices a ticket at $p, half from age $hi and 0 under $lo, for age $a",
        ),
        solution="""
if $a < $lo:
    return 0
if $a >= $hi:
    return $p // 2
return $p""",
        slips=(
            Slip("off-by-one", "< $lo", "<= $lo"),
            Slip("off-by-one", ">= $hi", "> $hi"),
            Slip("wrong-return", "return $p // 2", "return $p - 2"),
        ),
        inputs=(around("lo", "hi"),),
    ),
    Family(
        "divides-but-not",
        parameters={"n": range(2, 7), "m": range(7, 16)},
        names=("divides_but_not", "only_first_divides"),
        arguments=(NUMBER,),
        wordings=("tells whether $n divides $a and $m does not", "checks that $a is a multiple of $n but not of $m"),
        solution="return $a % $n == 0 and $a % $m != 0",
        slips=(
            Slip("wrong-operator", " and ", " or "),
            Slip("wrong-branch", "% $m != 0", "% $m == 0"),
            Slip("missing-edge", " and $a % $m != 0", ""),
        ),
        inputs=(multiples_around("n", "m"),),
    ),
    Family(
        "exactly-one",
        parameters={"n": range(2, 50)},
        names=("exactly_one", "one_above"),
        arguments=(NUMBER, OTHER_NUMBER),
        wordings=(
            "tells whether exactly one of $a and $b is above $n",
            "checks that either $a or $b exceeds $n, not both",
        ),
        solution="return ($a > $n) != ($b > $n)",
        slips=(
            Slip("wrong-operator", "!=", "or"),
            Slip("wrong-operator", "!=", "=="),
            Slip("off-by-one", "$b > $n", "$b >= $n"),
        ),
        inputs=(around("n"), around("n")),
    ),
    Family(
        "largest-at-least",
        parameters={"n": range(2, 50)},
        names=("largest_at_least", "maximum_from"),
        arguments=(NUMBER, OTHER_NUMBER),
        wordings=("returns the larger of $a and $b, but at least $n", "finds the maximum of $a, $b and $n"),
        solution="""
best = $n
if $a > best:
    best = $a
if $b > best:
    best = $b
return best""",
        slips=(
            Slip("missing-edge", "best = $n", "best = 0"),
            Slip("wrong-branch", "$b > best", "$b > $a"),
            Slip("wrong-return", "return best", "return $a"),
        ),
        inputs=(around("n"), around("n")),
    ),
    Family(
        "close-together",
        parameters={"n": range(2, 50)},
        names=("close_together", "are_near"),
        arguments=(NUMBER, OTHER_NUMBER),
        wordings=("tells whether $a and $b differ by at most $n", "checks that $a is no more than $n away from $b"),
        solution="return abs($a - $b) <= $n",
        slips=(
            Slip("off-by-one", "<= $n", "< $n"),
            Slip("missing-edge", "abs($a - $b)", "$a - $b"),
            Slip("wrong-operator", "$a - $b", "$a + $b"),
        ),
        inputs=(around("n"), far_or_equal("n")),
    ),
    Family(
        "discount",
        parameters={"n": range(10, 50), "p": range(2, 9)},
        names=("discount", "pay"),
        arguments=(NUMBER,),
        wordings=("takes $p off $a if it is over $n", "subtracts $p from $a when $a exceeds $n"),
        solution="""
if $a > $n:
    return $a - $p
return $a""",
        slips=(
            Slip("off-by-one", "> $n", ">= $n"),
            Slip("wrong-operator", "- $p", "+ $p"),
            Slip("wrong-branch", "> $n", "< $n"),
        ),
        inputs=(around("n"),),
    ),
)
