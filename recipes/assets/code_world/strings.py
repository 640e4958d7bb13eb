"""Families over strings."""

from code_world.family import TEXT, Family, Slip
from code_world.inputs import letters, letters_as_long_as, letters_with, sentence, sentence_of_lengths, vowels_about

_LETTERS = "abcdefghijkl"
_MARKS = "-+*/_.:"

FAMILIES = (
    Family(
        "repeat-joined",
        parameters={"n": range(2, 12), "s": _MARKS},
        names=("repeat_joined", "join_copies"),
        arguments=(TEXT,),
        wordings=('repeats $a $n times with "$s" between', 'joins $n copies of $a by "$s"'),
        solution='return "$s".join([$a] * $n)',
        slips=(Slip("off-by-one", "* $n", "* ($n - 1)"), Slip("missing-edge", '"$s".join', '"".join')),
        inputs=(letters_with("s"),),
    ),
    Family(
        "drop-first",
        parameters={"n": range(1, 30)},
        names=("drop_first", "without_first"),
        arguments=(TEXT,),
        wordings=("drops the first $n letters of $a", "returns $a without its first $n letters"),
        solution="return $a[$n:]",
        slips=(
            Slip("wrong-return", "[$n:]", "[:$n]"),
            Slip("off-by-one", "[$n:]", "[$n - 1:]"),
            Slip("wrong-return", "[$n:]", "[-$n:]"),
        ),
        inputs=(letters_as_long_as("n", reach=5),),
    ),
    Family(
        "keep-last",
        parameters={"n": range(1, 30)},
        names=("keep_last", "ending"),
        arguments=(TEXT,),
        wordings=("keeps the last $n letters of $a", "returns the final $n letters of $a"),
        solution="return $a[-$n:]",
        slips=(
            Slip("wrong-return", "[-$n:]", "[$n:]"),
            Slip("off-by-one", "[-$n:]", "[-$n - 1:]"),
            Slip("wrong-return", "[-$n:]", "[:-$n]"),
        ),
        inputs=(letters_as_long_as("n", reach=5),),
    ),
    Family(
        "count-letter",
        parameters={"c": _LETTERS, "n": range(2, 9)},
        names=("letter_score", "count_letter"),
        arguments=(TEXT,),
        wordings=('counts the letter "$c" in $a and multiplies by $n', 'returns $n points for every "$c" in $a'),
        solution='return $a.count("$c") * $n',
        slips=(
            Slip("missing-edge", "$a.count", "$a.lower().count"),
            Slip("wrong-operator", "* $n", "+ $n"),
            Slip("missing-edge", "$a.count", "$a[1:].count"),
        ),
        inputs=(letters_with("c", capitals=True),),
    ),
    Family(
        "replace-letter",
        parameters={"c": _LETTERS, "s": _MARKS},
        names=("replace_letter", "swap_letter"),
        arguments=(TEXT,),
        wordings=('replaces every "$c" in $a by "$s"', 'returns $a with "$s" in place of each "$c"'),
        solution='return $a.replace("$c", "$s")',
        slips=(
            Slip("missing-edge", '"$s")', '"$s", 1)'),
            Slip("wrong-return", '"$c", "$s"', '"$s", "$c"'),
            Slip("missing-edge", '"$s"', '""'),
        ),
        inputs=(letters_with("c", "s"),),
    ),
    Family(
        "long-words",
        parameters={"n": range(2, 18)},
        names=("long_words", "words_longer"),
        arguments=(TEXT,),
        wordings=("lists the words of $a with more than $n letters", "returns the words in $a longer than $n letters"),
        solution="return [w for w in $a.split() if len(w) > $n]",
        slips=(
            Slip("off-by-one", "> $n", ">= $n"),
            Slip("wrong-operator", "> $n", "< $n"),
            Slip("wrong-return", "[w for", "[len(w) for"),
        ),
        inputs=(sentence_of_lengths("n"),),
    ),
    Family(
        "upper-every",
        parameters={"n": range(2, 18)},
        names=("upper_every", "raise_letters"),
        arguments=(TEXT,),
        wordings=(
            "puts the first letter of $a and every $n letters the next one in capitals",
            "capitalises the letters of $a whose index is a multiple of $n",
        ),
        solution='return "".join(c.upper() if i % $n == 0 else c for i, c in enumerate($a))',
        slips=(
            Slip("wrong-branch", "== 0", "!= 0"),
            Slip("off-by-one", "enumerate($a)", "enumerate($a, 1)"),
            Slip("wrong-operator", "% $n", "// $n"),
        ),
        inputs=(letters_as_long_as("n"),),
    ),
    Family(
        "shorten",
        parameters={"n": range(3, 30)},
        names=("shorten", "cut_text"),
        arguments=(TEXT,),
        wordings=(
            "cuts $a after $n letters and adds dots if it is longer",
            "shortens $a to $n letters and dots unless it fits",
        ),
        solution="""
if len($a) <= $n:
    return $a
return $a[:$n] + "...\"""",
        slips=(
            Slip("off-by-one", "<= $n", "< $n"),
            Slip("off-by-one", "[:$n]", "[:$n - 1]"),
            Slip("missing-edge", ' + "..."', ""),
        ),
        inputs=(letters_as_long_as("n"),),
    ),
    Family(
        "shift-letters",
        parameters={"n": (*range(2, 13), *range(14, 25))},
        names=("shift_letters", "caesar"),
        arguments=(TEXT,),
        wordings=("shifts the letters of $a by $n in the alphabet", "moves every letter of $a $n places on"),
        solution="""
result = ""
for c in $a:
    result += chr((ord(c) - 97 + $n) % 26 + 97)
return result""",
        slips=(
            Slip("wrong-operator", "+ $n", "- $n"),
            Slip("off-by-one", "% 26", "% 25"),
            Slip("wrong-operator", "+=", "="),
        ),
        inputs=(letters(2, 7),),
    ),
    Family(
        "words-beginning",
        parameters={"c": _LETTERS, "n": range(2, 5)},
        names=("words_beginning", "find_words"),
        arguments=(TEXT,),
        wordings=(
            'lists the words of $a with at least $n letters that begin with "$c"',
            'returns all words in $a that start with "$c" and have $n letters or more',
        ),
        solution='return [w for w in $a.split() if w.startswith("$c") and len(w) >= $n]',
        slips=(
            Slip("wrong-branch", "startswith", "endswith"),
            Slip("wrong-operator", " and ", " or "),
            Slip("missing-edge", 'w.startswith("$c")', '"$c" in w'),
        ),
        inputs=(sentence,),
    ),
    Family(
        "capitalise-long",
        parameters={"n": range(2, 18)},
        names=("capitalise_long", "title_words"),
        arguments=(TEXT,),
        wordings=(
            "capitalises the words of $a with more than $n letters",
            "gives the words in $a longer than $n letters a capital",
        ),
        solution="""
result = []
for w in $a.split():
    if len(w) > $n:
        w = w.capitalize()
    result.append(w)
return " ".join(result)""",
        slips=(
            Slip("off-by-one", "> $n", ">= $n"),
            Slip("missing-edge", '" ".join', '"".join'),
            Slip("wrong-operator", "capitalize", "upper"),
        ),
        inputs=(sentence_of_lengths("n"),),
    ),
    Family(
        "pad-left",
        parameters={"n": range(4, 16), "s": _MARKS},
        names=("pad_left", "fill_front"),
        arguments=(TEXT,),
        wordings=('pads $a with "$s" on the left to $n letters', 'puts "$s" in front of $a until it has $n letters'),
        solution="""
while len($a) < $n:
    $a = "$s" + $a
return $a""",
        slips=(Slip("off-by-one", "< $n", "<= $n"), Slip("wrong-operator", '"$s" + $a', '$a + "$s"')),
        inputs=(letters_as_long_as("n", reach=4),),
    ),
    Family(
        "enough-vowels",
        parameters={"n": range(1, 24)},
        names=("enough_vowels", "has_vowels"),
        arguments=(TEXT,),
        wordings=("tells whether $a has more than $n vowels", "checks that $a holds over $n vowels"),
        solution='return len([c for c in $a if c in "aeiou"]) > $n',
        slips=(
            Slip("off-by-one", "> $n", ">= $n"),
            Slip("wrong-operator", 'c in "', 'c not in "'),
            Slip("missing-edge", '"aeiou"', '"aeio"'),
        ),
        inputs=(vowels_about("n"),),
    ),
    Family(
        "reverse-long",
        parameters={"n": range(2, 18)},
        names=("reverse_long", "flip_words"),
        arguments=(TEXT,),
        wordings=(
            "reverses the words of $a with at least $n letters",
            "turns the words in $a of $n letters or more round",
        ),
        solution='return " ".join(w[::-1] if len(w) >= $n else w for w in $a.split())',
        slips=(
            Slip("off-by-one", ">= $n", "> $n"),
            Slip("wrong-branch", ">= $n", "< $n"),
            Slip("missing-edge", '" ".join', '"".join'),
        ),
        inputs=(sentence_of_lengths("n"),),
    ),
)
