"""Families over dicts."""

from code_world.family import NUMBERS, OTHER_TABLE, TABLE, WORDS, Family, Slip
from code_world.inputs import around, integer, numbers, repeated_words, table, word_table

_KEYS = "abcdefgh"

FAMILIES = (
    Family(
        "keys-above",
        parameters={"n": range(2, 50)},
        names=("keys_above", "rich_keys"),
        arguments=(TABLE,),
        wordings=(
            "lists the keys of $a with values above $n in order",
            "returns the sorted keys in $a worth more than $n",
        ),
        solution="return sorted(k for k, v in $a.items() if v > $n)",
        slips=(
            Slip("off-by-one", "> $n", ">= $n"),
            Slip("wrong-return", "sorted(k for", "sorted(v for"),
            Slip("wrong-operator", "> $n", "< $n"),
        ),
        inputs=(table(around("n")),),
    ),
    Family(
        "frequent-words",
        parameters={"n": range(2, 8)},
        names=("frequent_words", "count_frequent"),
        arguments=(WORDS,),
        wordings=(
            "counts the words in $a that occur at least $n times",
            "returns a dict of the words in $a found $n times or more",
        ),
        solution="""
counts = {}
for w in $a:
    counts[w] = counts.get(w, 0) + 1
return {w: c for w, c in counts.items() if c >= $n}""",
        slips=(
            Slip("off-by-one", ">= $n", "> $n"),
            Slip("off-by-one", "get(w, 0)", "get(w, 1)"),
            Slip("wrong-return", "return {w: c for w", "return {c: w for w"),
        ),
        inputs=(repeated_words("n"),),
    ),
    Family(
        "scale-values",
        parameters={"n": range(2, 50)},
        names=("scale_values", "multiply_values"),
        arguments=(TABLE,),
        wordings=("multiplies the values of $a by $n", "returns $a with each value times $n"),
        solution="return {k: v * $n for k, v in $a.items()}",
        slips=(
            Slip("wrong-operator", "v * $n", "v + $n"),
            Slip("wrong-return", "k: v * $n", "k: v"),
            Slip("off-by-one", "v * $n", "v * $n + 1"),
        ),
        inputs=(table(integer(3, 9)),),
    ),
    Family(
        "value-or-default",
        parameters={"c": _KEYS, "n": range(10, 40)},
        names=("value_or_default", "look_up"),
        arguments=(TABLE,),
        wordings=(
            'looks up "$c" in $a, or gives $n if it is missing',
            'returns the value of "$c" in $a and $n without one',
        ),
        solution="""
if "$c" in $a:
    return $a["$c"]
return $n""",
        slips=(
            Slip("wrong-branch", " in $a", " not in $a"),
            Slip("wrong-return", "return $n", "return 0"),
            Slip("missing-edge", 'if "$c" in $a', "if $a"),
        ),
        inputs=(table(integer(0, 9), "c"),),
    ),
    Family(
        "increase-key",
        parameters={"c": _KEYS, "n": range(2, 30)},
        names=("increase_key", "add_to_key"),
        arguments=(TABLE,),
        wordings=('adds $n to the value of "$c" in a copy of $a', 'returns a copy of $a with "$c" increased by $n'),
        solution="""
result = dict($a)
result["$c"] = result.get("$c", 0) + $n
return result""",
        slips=(
            Slip("missing-edge", 'result.get("$c", 0)', 'result["$c"]'),
            Slip("wrong-operator", "+ $n", "- $n"),
            Slip("wrong-return", "return result", "return $a"),
        ),
        inputs=(table(integer(1, 9), "c"),),
    ),
    Family(
        "group-by-remainder",
        parameters={"n": range(2, 14)},
        names=("group_by_remainder", "group_numbers"),
        arguments=(NUMBERS,),
        wordings=(
            "groups the numbers in $a by their remainder by $n",
            "returns a dict from each remainder by $n to its numbers in $a",
        ),
        solution="""
groups = {}
for x in $a:
    groups.setdefault(x % $n, []).append(x)
return groups""",
        slips=(
            Slip("wrong-operator", "x % $n", "x // $n"),
            Slip("wrong-return", "append(x)", "append(x % $n)"),
            Slip("off-by-one", "% $n", "% ($n + 1)"),
        ),
        inputs=(numbers(5, 40, least=2, most=5),),
    ),
    Family(
        "sum-by-letter",
        parameters={"c": "abcdefghijkl", "n": range(2, 9)},
        names=("sum_by_letter", "letter_total"),
        arguments=(TABLE,),
        wordings=(
            'sums the values of $a whose keys begin with "$c" and adds $n',
            'returns $n plus all values in $a under keys that start with "$c"',
        ),
        solution='return sum(v for k, v in $a.items() if k.startswith("$c")) + $n',
        slips=(
            Slip("wrong-branch", "startswith", "endswith"),
            Slip("missing-edge", ") + $n", ")"),
            Slip("wrong-return", "sum(v for", "sum(1 for"),
        ),
        inputs=(word_table,),
    ),
    Family(
        "merge-tables",
        parameters={"n": range(2, 50)},
        names=("merge_tables", "add_tables"),
        arguments=(TABLE, OTHER_TABLE),
        wordings=(
            "adds the values of $b to $a, where missing keys count $n",
            "merges $b into $a by sums with $n for a missing key",
        ),
        solution="""
result = dict($a)
for k, v in $b.items():
    result[k] = result.get(k, $n) + v
return result""",
        slips=(
            Slip("missing-edge", "get(k, $n)", "get(k, 0)"),
            Slip("wrong-operator", "+ v", "- v"),
            Slip("wrong-return", "return result", "return $b"),
        ),
        inputs=(table(integer(1, 9)), table(integer(1, 9))),
    ),
    Family(
        "smallest-key-above",
        parameters={"n": range(2, 50)},
        names=("poorest_above", "least_above"),
        arguments=(TABLE,),
        wordings=(
            "finds the key of the smallest value in $a that is at least $n, or None",
            "returns the key in $a with the least value not below $n, else None",
        ),
        solution="""
best = None
for k, v in $a.items():
    if v >= $n and (best is None or v < $a[best]):
        best = k
return best""",
        slips=(
            Slip("off-by-one", ">= $n", "> $n"),
            Slip("wrong-operator", "v < $a[best]", "v > $a[best]"),
            Slip("wrong-return", "return best", "return v"),
        ),
        inputs=(table(around("n")),),
    ),
)
