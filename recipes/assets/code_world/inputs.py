"""What the asserts call the functions with: makers of values, most of them near the edges that slips get wrong."""

from random import Random
from typing import Any

from code_world.family import Maker, Parameters

_VOCABULARY = (
    "apple bird cloud dune ember fig grape hazel ink jade kite lemon mango nut oak pear quartz rain salt tea "
    "umbrella violet wind yarn zebra at be do go if in of to up"
)
WORDS = _VOCABULARY.split()
KEYS = "abcdefgh"


def integer(low: int, high: int) -> Maker:
    """A whole number, ends included."""
    return lambda random, _: random.randint(low, high)


def around(*names: str, reach: int = 3) -> Maker:
    """A number near one of the parameters; every third time exactly it."""

    def make(random: Random, parameters: Parameters) -> int:
        centre = parameters[random.choice(names)]
        return centre if random.random() < 1 / 3 else centre + random.randint(-reach, reach)

    return make


def multiples_around(*names: str) -> Maker:
    """A number that some, all or none of the parameters divide."""

    def make(random: Random, parameters: Parameters) -> int:
        number = random.randint(1, 4)
        for name in names:
            number *= parameters[name] if random.random() < 0.6 else 1
        return number + random.choice((0, 0, 1))

    return make


def numbers(low: int, high: int, least: int = 0, most: int = 7) -> Maker:
    """A list of whole numbers."""
    return lambda random, _: [random.randint(low, high) for _ in range(random.randint(least, most))]


def numbers_around(*names: str, least: int = 0, most: int = 6) -> Maker:
    """A list of numbers near the parameters, often with the parameters themselves in it."""
    one = around(*names)
    return lambda random, parameters: [one(random, parameters) for _ in range(random.randint(least, most))]


def multiples(*names: str, least: int = 2, most: int = 6) -> Maker:
    """A list of numbers that the parameters divide or do not."""
    one = multiples_around(*names)
    return lambda random, parameters: [one(random, parameters) for _ in range(random.randint(least, most))]


def numbers_as_long_as(name: str, reach: int = 3) -> Maker:
    """A list of about as many numbers as the parameter says."""

    def make(random: Random, parameters: Parameters) -> list[int]:
        return [random.randint(0, 9) for _ in range(max(0, parameters[name] + random.randint(-reach, reach)))]

    return make


def letters(least: int, most: int) -> Maker:
    """Small letters from both ends of the alphabet."""
    return lambda random, _: "".join(random.choice("abcdexyz") for _ in range(random.randint(least, most)))


def letters_as_long_as(name: str, reach: int = 3) -> Maker:
    """Small letters, about as many as the parameter says."""

    def make(random: Random, parameters: Parameters) -> str:
        length = max(0, parameters[name] + random.randint(-reach, reach))
        return "".join(random.choice("abcdexyz") for _ in range(length))

    return make


def letters_with(*names: str, capitals: bool = False) -> Maker:
    """Letters among which those of the parameters are frequent."""

    def make(random: Random, parameters: Parameters) -> str:
        pool = "".join(str(parameters[name]) for name in names) + random.choice("mnop") + random.choice("qrst")
        pool += pool.upper() if capitals else ""
        return "".join(random.choice(pool) for _ in range(random.randint(2, 8)))

    return make


def vowels_about(name: str) -> Maker:
    """Letters, most of them vowels, a few more than the parameter says."""

    def make(random: Random, parameters: Parameters) -> str:
        length = max(1, parameters[name] + random.randint(0, 4))
        return "".join(random.choice("uuuaeixz") for _ in range(length))

    return make


def far_or_equal(name: str) -> Maker:
    """Zero, or about twice the parameter: a distance of about the parameter from a number near it."""

    def make(random: Random, parameters: Parameters) -> int:
        return random.choice((0, 2 * parameters[name], 2 * parameters[name] + 2))

    return make


def sentence(random: Random, parameters: Parameters) -> str:
    """Two to five words, and some that begin, end or hold the letter of parameter `c`."""
    words = random.sample(WORDS, random.randint(2, 5))
    if "c" in parameters:
        letter = parameters["c"]
        ways = ("{}o", "{}ot", "{}otter", "ni{}", "enni{}", "o{}o")
        words = words[:2] + [way.format(letter) for way in random.sample(ways, 3)]
    random.shuffle(words)
    return " ".join(words)


def sentence_of_lengths(name: str) -> Maker:
    """Words about as long as the parameter says."""

    def make(random: Random, parameters: Parameters) -> str:
        lengths = [max(1, parameters[name] + random.randint(-1, 1)) for _ in range(random.randint(2, 4))]
        return " ".join("".join(random.choice("abdeorst") for _ in range(length)) for length in lengths)

    return make


def table(values: Maker, *names: str) -> Maker:
    """A dict with letters as keys, often those of the parameters."""

    def make(random: Random, parameters: Parameters) -> dict[str, Any]:
        keys = [parameters[name] for name in names if random.random() < 0.6]
        keys += random.sample(KEYS, random.randint(1, 3))
        random.shuffle(keys)
        return {key: values(random, parameters) for key in keys}

    return make


def word_table(random: Random, parameters: Parameters) -> dict[str, int]:
    """A dict with words as keys, some of which begin or end with the letter of parameter `c`."""
    return {word: random.randint(1, 9) for word in sentence(random, parameters).split()}


def repeated_words(name: str) -> Maker:
    """A list of words, some of which stand in it about as often as the parameter says."""

    def make(random: Random, parameters: Parameters) -> list[str]:
        chosen = random.sample(WORDS, 3)
        told = [word for word in chosen for _ in range(max(1, parameters[name] + random.randint(-1, 1)))]
        random.shuffle(told)
        return told

    return make
