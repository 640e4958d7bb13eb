"""Families over lists of numbers."""

from code_world.family import NUMBERS, Family, Slip
from code_world.inputs import multiples, numbers, numbers_around, numbers_as_long_as

FAMILIES = (
    Family(
        "keep-above",
        parameters={"n": range(2, 50)},
        names=("keep_above", "larger_numbers"),
        arguments=(NUMBERS,),
        wordings=("keeps the numbers in $a greater than $n", "returns those of $a that are above $n"),
        solution="return [x for x in $a if x > $n]",
        slips=(
            Slip("off-by-one", "> $n", ">= $n"),
            Slip("wrong-operator", "> $n", "< $n"),
            Slip("wrong-return", "[x for", "[x > $n for"),
        ),
        inputs=(numbers_around("n"),),
    ),
    Family(
        "count-between",
        parameters={"lo": range(2, 20), "hi": range(22, 40)},
        names=("count_between", "how_many_between"),
        arguments=(NUMBERS,),
        wordings=(
            "counts the numbers in $a from $lo to $hi",
            "returns how many of $a lie between $lo and $hi inclusive",
        ),
        solution="return len([x for x in $a if $lo <= x <= $hi])",
        slips=(
            Slip("off-by-one", "x <= $hi", "x < $hi"),
            Slip("off-by-one", "$lo <= x", "$lo < x"),
            Slip("wrong-return", "len(", "sum("),
        ),
        inputs=(numbers_around("lo", "hi"),),
    ),
    Family(
        "scale-all",
        parameters={"n": range(2, 13), "m": range(1, 15)},
        names=("scale_all", "multiply_each"),
        arguments=(NUMBERS,),
        wordings=("multiplies each number in $a by $n and subtracts $m", "returns $n times each of $a minus $m"),
        solution="return [x * $n - $m for x in $a]",
        slips=(
            Slip("wrong-operator", "- $m", "+ $m"),
            Slip("missing-edge", "in $a]", "in $a[1:]]"),
            Slip("wrong-operator", "x * $n", "x + $n"),
        ),
        inputs=(numbers(-5, 9, least=1),),
    ),
    Family(
        "every-nth",
        parameters={"n": range(2, 14), "k": range(4)},
        names=("every_nth", "pick_every"),
        arguments=(NUMBERS,),
        wordings=(
            "takes every number of $a in steps of $n from index $k",
            "starts at index $k of $a and picks in steps of $n",
        ),
        solution="return $a[$k::$n]",
        slips=(
            Slip("off-by-one", "[$k:", "[$k + 1:"),
            Slip("wrong-return", "[$k::$n]", "[$k:$n]"),
            Slip("off-by-one", ":$n]", ":$n + 1]"),
        ),
        inputs=(numbers_as_long_as("n", reach=7),),
    ),
    Family(
        "rotate",
        parameters={"n": range(1, 15)},
        names=("rotate", "turn_list"),
        arguments=(NUMBERS,),
        wordings=("rotates $a to the left by $n", "moves the first $n numbers of $a to the end, going round"),
        solution="""
if not $a:
    return []
k = $n % len($a)
return $a[k:] + $a[:k]""",
        slips=(
            Slip("missing-edge", "if not $a:\n    return []\n", ""),
            Slip("wrong-return", "$a[k:] + $a[:k]", "$a[-k:] + $a[:-k]"),
            Slip("off-by-one", "$n % len", "($n + 1) % len"),
        ),
        inputs=(numbers(0, 9, least=0, most=7),),
    ),
    Family(
        "chunks",
        parameters={"n": range(2, 18)},
        names=("chunks", "split_list"),
        arguments=(NUMBERS,),
        wordings=("splits $a into lists of $n numbers", "cuts $a into pieces of length $n"),
        solution="return [$a[i:i + $n] for i in range(0, len($a), $n)]",
        slips=(
            Slip("off-by-one", "i + $n", "i + $n - 1"),
            Slip("off-by-one", "range(0,", "range(1,"),
            Slip("missing-edge", "len($a), $n", "len($a) - 1, $n"),
        ),
        inputs=(numbers_as_long_as("n", reach=4),),
    ),
    Family(
        "n-largest",
        parameters={"n": range(1, 13)},
        names=("n_largest", "top_numbers"),
        arguments=(NUMBERS,),
        wordings=("returns the $n largest numbers of $a from the largest down", "sorts $a downwards and keeps $n"),
        solution="return sorted($a, reverse=True)[:$n]",
        slips=(
            Slip("missing-edge", ", reverse=True", ""),
            Slip("off-by-one", "[:$n]", "[:$n + 1]"),
            Slip("wrong-return", "[:$n]", "[$n:]"),
        ),
        inputs=(numbers_as_long_as("n", reach=5),),
    ),
    Family(
        "first-above",
        parameters={"n": range(2, 50)},
        names=("first_above", "find_above"),
        arguments=(NUMBERS,),
        wordings=(
            "finds the index of the first number in $a above $n, or -1",
            "returns where $a first exceeds $n, and -1 if it never does",
        ),
        solution="""
for i, x in enumerate($a):
    if x > $n:
        return i
return -1""",
        slips=(
            Slip("wrong-return", "return i", "return x"),
            Slip("missing-edge", "return -1", "return 0"),
            Slip("off-by-one", "> $n", ">= $n"),
        ),
        inputs=(numbers_around("n"),),
    ),
    Family(
        "nearest",
        parameters={"n": range(2, 50)},
        names=("nearest", "closest_to"),
        arguments=(NUMBERS,),
        wordings=("returns the number in $a nearest to $n", "finds which of $a is closest to $n"),
        solution="return min($a, key=lambda x: abs(x - $n))",
        slips=(
            Slip("wrong-operator", "min(", "max("),
            Slip("missing-edge", "abs(x - $n)", "x - $n"),
            Slip("wrong-operator", "x - $n", "x + $n"),
        ),
        inputs=(numbers_around("n", least=2),),
    ),
    Family(
        "running-total",
        parameters={"n": range(2, 40)},
        names=("running_total", "partial_sums"),
        arguments=(NUMBERS,),
        wordings=(
            "lists the running totals of $a starting from $n",
            "adds up $a step by step from $n and lists each sum",
        ),
        solution="""
total = $n
result = []
for x in $a:
    total += x
    result.append(total)
return result""",
        slips=(
            Slip("wrong-return", "append(total)", "append(x)"),
            Slip("missing-edge", "total = $n", "total = 0"),
            Slip("wrong-operator", "+=", "-="),
        ),
        inputs=(numbers(1, 9, least=1, most=5),),
    ),
    Family(
        "distinct-below",
        parameters={"n": range(3, 50)},
        names=("distinct_below", "unique_below"),
        arguments=(NUMBERS,),
        wordings=("lists the numbers in $a below $n without repeats", "returns each of $a under $n once, in order"),
        solution="""
seen = []
for x in $a:
    if x < $n and x not in seen:
        seen.append(x)
return seen""",
        slips=(
            Slip("off-by-one", "< $n", "<= $n"),
            Slip("wrong-operator", " and ", " or "),
            Slip("missing-edge", " and x not in seen", ""),
        ),
        inputs=(numbers_around("n", least=2, most=7),),
    ),
    Family(
        "divisible-by-either",
        parameters={"n": range(2, 7), "m": (7, 11, 13, 17, 19, 23)},
        names=("divisible_by_either", "multiples_of_either"),
        arguments=(NUMBERS,),
        wordings=("keeps the numbers in $a divisible by $n or by $m", "returns those of $a that $n or $m divides"),
        solution="return [x for x in $a if x % $n == 0 or x % $m == 0]",
        slips=(
            Slip("wrong-operator", " or ", " and "),
            Slip("wrong-branch", "% $m == 0", "% $m != 0"),
            Slip("missing-edge", " or x % $m == 0", ""),
        ),
        inputs=(multiples("n", "m"),),
    ),
    Family(
        "pad-list",
        parameters={"n": range(3, 13), "m": range(10)},
        names=("pad_list", "fill_up"),
        arguments=(NUMBERS,),
        wordings=("fills $a up to length $n with $m at the end", "appends $m to $a until it has $n numbers"),
        solution="return $a + [$m] * ($n - len($a))",
        slips=(
            Slip("wrong-return", "$a + [$m] * ($n - len($a))", "[$m] * ($n - len($a)) + $a"),
            Slip("off-by-one", "$n - len", "$n - 1 - len"),
            Slip("missing-edge", "($n - len($a))", "$n"),
        ),
        inputs=(numbers_as_long_as("n", reach=3),),
    ),
    Family(
        "product-modulo",
        parameters={"n": range(11, 50)},
        names=("product_modulo", "product_rest"),
        arguments=(NUMBERS,),
        wordings=("multiplies the numbers in $a modulo $n", "returns the product of $a modulo $n"),
        solution="""
result = 1
for x in $a:
    result = result * x % $n
return result""",
        slips=(
            Slip("wrong-operator", "result * x", "result + x"),
            Slip("missing-edge", "result = 1", "result = 0"),
            Slip("off-by-one", "% $n", "% ($n - 1)"),
        ),
        inputs=(numbers(2, 9, least=0, most=5),),
    ),
    Family(
        "insert-at",
        parameters={"k": range(1, 6), "n": range(10, 40)},
        names=("insert_at", "put_at"),
        arguments=(NUMBERS,),
        wordings=("inserts $n into $a at index $k", "returns $a with $n put in at index $k"),
        solution="return $a[:$k] + [$n] + $a[$k:]",
        slips=(
            Slip("off-by-one", "$a[$k:]", "$a[$k + 1:]"),
            Slip("off-by-one", "$a[:$k]", "$a[:$k - 1]"),
            Slip("wrong-return", "[:$k] + [$n]", "[:$k]"),
        ),
        inputs=(numbers_as_long_as("k", reach=2),),
    ),
    Family(
        "window-sums",
        parameters={"n": range(2, 20)},
        names=("window_sums", "sums_of_neighbours"),
        arguments=(NUMBERS,),
        wordings=("sums every $n neighbours in $a", "lists the sums of all windows of $n numbers in $a"),
        solution="return [sum($a[i:i + $n]) for i in range(len($a) - $n + 1)]",
        slips=(
            Slip("off-by-one", "- $n + 1", "- $n"),
            Slip("wrong-operator", "sum(", "max("),
            Slip("off-by-one", "i + $n]", "i + $n - 1]"),
        ),
        inputs=(numbers_as_long_as("n", reach=3),),
    ),
    Family(
        "all-above",
        parameters={"n": range(2, 50)},
        names=("all_above", "every_larger"),
        arguments=(NUMBERS,),
        wordings=("tells whether all numbers in $a are above $n", "checks that each of $a is greater than $n"),
        solution="""
for x in $a:
    if x <= $n:
        return False
return True""",
        slips=(
            Slip("off-by-one", "<= $n", "< $n"),
            Slip("wrong-return", "return True", "return False"),
            Slip("wrong-branch", "<= $n", "> $n"),
        ),
        inputs=(numbers_around("n", most=3),),
    ),
)
