"""Families over whole numbers."""

from code_world.family import NUMBER, Family, Slip
from code_world.inputs import around, integer, multiples_around

FAMILIES = (
    Family(
        "scale-and-shift",
        parameters={"n": range(2, 13), "m": range(14, 30)},
        names=("scale_and_shift", "multiply_add"),
        arguments=(NUMBER,),
        wordings=("multiplies $a by $n and adds $m", "returns $n times $a plus $m"),
        solution="return $a * $n + $m",
        slips=(Slip("wrong-operator", "+ $m", "- $m"), Slip("off-by-one", "* $n", "* $n + 1")),
        inputs=(integer(-9, 20),),
    ),
    Family(
        "clamp",
        parameters={"lo": range(2, 15), "hi": range(18, 36)},
        names=("clamp", "keep_between"),
        arguments=(NUMBER,),
        wordings=("limits $a to at least $lo and at most $hi", "returns $a kept between $lo and $hi"),
        solution="""
if $a < $lo:
    return $lo
if $a > $hi:
    return $hi
return $a""",
        slips=(
            Slip("wrong-return", "return $hi", "return $lo"),
            Slip("wrong-branch", "$a > $hi", "$a > $lo"),
            Slip("wrong-return", "return $lo", "return 0"),
        ),
        inputs=(around("lo", "hi"),),
    ),
    Family(
        "sum-of-multiples",
        parameters={"n": range(2, 20)},
        names=("sum_multiples", "add_multiples"),
        arguments=(NUMBER,),
        wordings=("sums the multiples of $n below $a", "adds up all numbers below $a that $n divides"),
        solution="return sum(x for x in range($a) if x % $n == 0)",
        slips=(
            Slip("off-by-one", "range($a)", "range($a + 1)"),
            Slip("wrong-operator", "== 0", "!= 0"),
            Slip("wrong-return", "sum(x", "sum(1"),
        ),
        inputs=(multiples_around("n"),),
    ),
    Family(
        "digit-sum",
        parameters={"n": range(2, 30)},
        names=("digit_sum_times", "scaled_digit_sum"),
        arguments=(NUMBER,),
        wordings=("multiplies the sum of the digits of $a by $n", "returns $n times the digit sum of $a"),
        solution="return sum(int(d) for d in str($a)) * $n",
        slips=(Slip("missing-edge", "str($a)", "str($a)[1:]"), Slip("wrong-operator", "* $n", "+ $n")),
        inputs=(integer(10, 9999),),
    ),
    Family(
        "power-modulo",
        parameters={"k": range(2, 6), "n": range(7, 30)},
        names=("power_modulo", "power_rest"),
        arguments=(NUMBER,),
        wordings=("raises $a to the power $k modulo $n", "returns the remainder of $a to the power $k by $n"),
        solution="return $a ** $k % $n",
        slips=(
            Slip("wrong-operator", "** $k", "* $k"),
            Slip("wrong-operator", "% $n", "// $n"),
            Slip("off-by-one", "% $n", "% ($n - 1)"),
        ),
        inputs=(integer(2, 12),),
    ),
    Family(
        "round-up",
        parameters={"n": range(3, 40)},
        names=("round_up", "next_multiple"),
        arguments=(NUMBER,),
        wordings=("rounds $a up to a multiple of $n", "returns the smallest multiple of $n that is at least $a"),
        solution="return ($a + $n - 1) // $n * $n",
        slips=(
            Slip("off-by-one", "$a + $n - 1", "$a + $n"),
            Slip("wrong-operator", "$a + $n - 1", "$a - $n - 1"),
            Slip("wrong-return", " * $n", ""),
        ),
        inputs=(multiples_around("n"),),
    ),
    Family(
        "distance",
        parameters={"n": range(2, 50)},
        names=("distance", "gap"),
        arguments=(NUMBER,),
        wordings=("returns the distance of $a from $n", "finds how far $a is from $n"),
        solution="return abs($a - $n)",
        slips=(
            Slip("missing-edge", "abs($a - $n)", "$a - $n"),
            Slip("wrong-operator", "$a - $n", "$a + $n"),
            Slip("off-by-one", "abs($a - $n)", "abs($a - $n) + 1"),
        ),
        inputs=(around("n", reach=9),),
    ),
    Family(
        "common-divisor",
        parameters={"n": range(12, 60)},
        names=("common_divisor", "gcd_with"),
        arguments=(NUMBER,),
        wordings=(
            "finds the greatest common divisor of $a and $n",
            "returns the largest number that divides $a and $n",
        ),
        solution="""
b = $n
while b:
    $a, b = b, $a % b
return $a""",
        slips=(Slip("wrong-return", "return $a", "return b"), Slip("wrong-operator", "$a % b", "b % $a")),
        inputs=(integer(2, 60),),
    ),
    Family(
        "product-up-to",
        parameters={"n": range(2, 40)},
        names=("product_up_to", "scaled_factorial"),
        arguments=(NUMBER,),
        wordings=("multiplies $n by all numbers from 1 to $a", "returns $n times the factorial of $a"),
        solution="""
total = $n
for x in range(1, $a + 1):
    total *= x
return total""",
        slips=(
            Slip("off-by-one", "$a + 1", "$a"),
            Slip("wrong-operator", "*=", "+="),
            Slip("missing-edge", "total = $n", "total = 1"),
        ),
        inputs=(integer(0, 7),),
    ),
    Family(
        "squares-from",
        parameters={"n": range(2, 30)},
        names=("sum_squares", "squares_from"),
        arguments=(NUMBER,),
        wordings=("sums the squares of the numbers from $n to $a", "adds the squares of all numbers $n to $a"),
        solution="""
total = 0
for x in range($n, $a + 1):
    total += x * x
return total""",
        slips=(
            Slip("off-by-one", "$a + 1", "$a"),
            Slip("wrong-operator", "x * x", "x * 2"),
            Slip("wrong-operator", "+=", "="),
        ),
        inputs=(around("n", reach=5),),
    ),
    Family(
        "halve-or-grow",
        parameters={"n": range(3, 12), "m": range(1, 16)},
        names=("halve_or_grow", "next_number"),
        arguments=(NUMBER,),
        wordings=(
            "halves $a if it is even and returns $n times $a plus $m otherwise",
            "returns half of an even $a and for an odd one $a times $n plus $m",
        ),
        solution="""
if $a % 2 == 0:
    return $a // 2
return $a * $n + $m""",
        slips=(
            Slip("wrong-branch", "== 0", "== 1"),
            Slip("wrong-operator", "* $n + $m", "* $n - $m"),
            Slip("wrong-operator", "// 2", "* 2"),
        ),
        inputs=(integer(1, 40),),
    ),
    Family(
        "count-divisors",
        parameters={"n": range(2, 40)},
        names=("count_divisors", "divisors_below"),
        arguments=(NUMBER,),
        wordings=("counts the divisors of $a that are at most $n", "finds how many numbers up to $n divide $a"),
        solution="""
count = 0
for x in range(1, $n + 1):
    if $a % x == 0:
        count += 1
return count""",
        slips=(
            Slip("off-by-one", "$n + 1", "$n"),
            Slip("wrong-branch", "== 0", "!= 0"),
            Slip("off-by-one", "count = 0", "count = 1"),
        ),
        inputs=(multiples_around("n"),),
    ),
)
