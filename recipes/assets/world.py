"""The practice world: short first-person posts with known facts, summaries of known kinds, and a judge of summaries.

Every text is composed from the fragments in `fragments.py`, all lower-case. A post tells who did what to the narrator,
where, and what the narrator did about it, among digressions about other people and places. Nothing here needs more
than the standard library, and everything is a function of the `random.Random` it is given.

Limits: the language is tiny and regular, and the judge knows only this world. What is learnt here says something about
the machinery of alignment, and nothing about summarising real posts.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from random import Random

import fragments as text

PROMPT_SUFFIX = "\n\nTL;DR:"
"""A prompt is the post and this; a completion is one space, the summary and the tokenizer's eos."""

KINDS = (
    "faithful",
    "wrong-person",
    "wrong-place",
    "wrong-problem",
    "wrong-outcome",
    "invented-detail",
    "incomplete",
    "long-winded",
)
"""The kinds of summary the world writes; a verdict may also be `degenerate`, which only a language model writes."""

MAX_SUMMARY_WORDS = 32
MAX_GLUE_WORDS = 12

Facts = Mapping[str, str]


@dataclass(frozen=True)
class Statement:
    """A problem or an outcome: short ways to say it for summaries, long ones for posts."""

    domain: str
    short: tuple[str, ...]
    long: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.short[0]


@dataclass(frozen=True)
class Setting:
    """The relations and places that suit a domain, and what may happen there."""

    relations: tuple[str, ...]
    places: tuple[str, ...]
    problems: tuple[Statement, ...]
    outcomes: tuple[Statement, ...]


@dataclass(frozen=True)
class Post:
    """A post, the facts it tells, and the people, places and outcomes it mentions without being about them."""

    text: str
    facts: dict[str, str]
    distractors: dict[str, str] = field(default_factory=dict)

    @property
    def prompt(self) -> str:
        return self.text + PROMPT_SUFFIX


@dataclass(frozen=True)
class Verdict:
    """What the judge found: `faithful`, or the first kind of fault, and every reason in words."""

    kind: str
    reasons: tuple[str, ...] = ()

    @property
    def faithful(self) -> bool:
        return self.kind == "faithful"


def _statements(domain: str, lines: str) -> tuple[Statement, ...]:
    ways = [line.split(" / ") for line in lines.strip().splitlines()]
    return tuple(Statement(domain, tuple(way[:2]), tuple(way[2:])) for way in ways)


SETTINGS: dict[str, Setting] = {
    domain: Setting(
        tuple(relations.split()),
        tuple(places.split(", ")),
        _statements(domain, text.PROBLEMS[domain]),
        _statements(domain, text.OUTCOMES[domain]),
    )
    for domain, (relations, places) in text.SETTINGS.items()
}
RELATIONS = tuple(relation for setting in SETTINGS.values() for relation in setting.relations)
PLACES = tuple(place for setting in SETTINGS.values() for place in setting.places)
PROBLEMS = {problem.name: problem for setting in SETTINGS.values() for problem in setting.problems}
OUTCOMES = {outcome.name: outcome for setting in SETTINGS.values() for outcome in setting.outcomes}


# ---- posts


def make_post(random: Random) -> Post:
    """One post of 40 to 100 words; `facts` has name, relation, place, problem, outcome, question and domain."""
    while True:
        post = _draft_post(random)
        if 40 <= len(post.text.split()) <= 100:
            return post


def make_posts(count: int, random: Random, taken: set[str] | None = None) -> list[Post]:
    """`count` posts whose texts differ from each other and from `taken`, which grows by them."""
    taken = set() if taken is None else taken
    posts: list[Post] = []
    while len(posts) < count:
        post = make_post(random)
        if post.text not in taken:
            taken.add(post.text)
            posts.append(post)
    return posts


def _draft_post(random: Random) -> Post:
    domain = random.choice(list(SETTINGS))
    setting = SETTINGS[domain]
    problem, outcome = random.choice(setting.problems), random.choice(setting.outcomes)
    name, other_name = random.sample(text.NAMES, 2)
    relation, place = random.choice(setting.relations), random.choice(setting.places)
    facts = {
        "name": name,
        "relation": relation,
        "place": place,
        "problem": problem.name,
        "outcome": outcome.name,
        "question": random.choice(text.QUESTIONS),
        "domain": domain,
    }
    other = {
        "name": other_name,
        "relation": random.choice([word for word in RELATIONS if word != relation]),
        "place": random.choice([phrase for phrase in PLACES if phrase != place]),
        "outcome": random.choice([item for item in setting.outcomes if item != outcome]).name,
    }
    times = {
        "when": random.choice(text.WHENS),
        "age": random.choice(text.AGES),
        "season": random.choice(text.SEASONS),
        "years": random.choice(text.YEARS),
    }
    story = {**facts, **times, "problem": random.choice(problem.long), "outcome": random.choice(outcome.long)}
    aside = {**other, "outcome": random.choice(OUTCOMES[other["outcome"]].long)}

    introduced = random.random() < 0.4
    problems = text.PROBLEM_SENTENCES_AFTER_INTRODUCTION if introduced else text.PROBLEM_SENTENCES
    before = [random.choice(text.INTRODUCTIONS).format(**story)] if introduced else []
    after: list[str] = []
    for sentences, share in ((text.DIGRESSIONS, 0.25), (text.PLACE_DIGRESSIONS, 0.25)):
        if random.random() < share:
            part = before if random.random() < 0.5 else after
            part.insert(random.randint(0, len(part)), random.choice(sentences).format(**aside))
    after.insert(random.randint(0, len(after)), random.choice(text.FEELINGS))
    if random.random() < 0.3:
        after.append(random.choice(text.TEMPTATIONS).format(**aside))
    sentences = [
        random.choice(text.OPENINGS).format(**times),
        *before,
        random.choice(problems).format(**story),
        *after,
        random.choice(text.OUTCOME_SENTENCES).format(**story),
        random.choice(text.QUESTION_SENTENCES).format(**story),
    ]
    told = " ".join(sentences)
    mentioned = set(_words(told))
    distractors = {key: value for key, value in other.items() if _words(value)[-1] in mentioned and key != "outcome"}
    if aside["outcome"] in told:
        distractors["outcome"] = other["outcome"]
    return Post(told, facts, distractors)


# ---- summaries


def summarise(post: Post, kind: str, random: Random) -> str:
    """A summary of the post of one of `KINDS`."""
    facts = post.facts
    if kind == "incomplete":
        return _state(random.choice(text.INCOMPLETE), facts, random)
    if kind == "invented-detail":
        detail = random.choice(text.INVENTED)
        return _state(random.choice(text.FAITHFUL[:3] + text.FAITHFUL[6:8]), facts, random)[:-1] + f" {detail}."
    if kind == "long-winded":
        return _ramble(facts, random)
    facts = _altered(post, kind, random)
    forms = [form for form in text.FAITHFUL if kind != "wrong-place" or "{place}" in form]
    return _state(random.choice(forms), facts, random)


def summarise_alike(post: Post, kinds: Iterable[str], random: Random) -> list[str]:
    """Summaries in the very same words but for what `faithful` or a `wrong-...` kind says differently."""
    form = random.choice([form for form in text.FAITHFUL if "{place}" in form])
    wording = random.random()
    return [_state(form, _altered(post, kind, random), Random(wording)) for kind in kinds]


def _altered(post: Post, kind: str, random: Random) -> dict[str, str]:
    """The facts that a summary of this kind states."""
    facts, tempting = post.facts, post.distractors
    setting = SETTINGS[facts["domain"]]
    if kind == "faithful":
        return facts
    if kind == "wrong-person":
        return facts | _another_person(post, random)
    if kind == "wrong-place":
        return facts | {"place": _another(PLACES, facts["place"], tempting.get("place"), random)}
    if kind == "wrong-problem":
        names = [item.name for item in setting.problems]
        return facts | {"problem": _another(names, facts["problem"], None, random)}
    if kind == "wrong-outcome":
        names = [item.name for item in setting.outcomes]
        return facts | {"outcome": _another(names, facts["outcome"], tempting.get("outcome"), random)}
    raise ValueError(f"no kind of summary is called {kind!r}; known: {', '.join(KINDS)}")


def _state(template: str, facts: Facts, random: Random) -> str:
    who = random.choice(("my {relation} {name}", "my {relation} {name}", "{name}, my {relation},")).format(**facts)
    return template.format(
        who=who,
        place=facts["place"],
        question=facts["question"],
        problem=random.choice(PROBLEMS[facts["problem"]].short),
        outcome=random.choice(OUTCOMES[facts["outcome"]].short),
    ).replace(",,", ",")


def _ramble(facts: Facts, random: Random) -> str:
    first, second, third = random.sample(text.PADDING, 3)
    told = _state("{who} {problem}", facts, random)
    again = _state(random.choice(("{who} {problem}", "i {outcome}")), facts, random)
    ending = _state("i {outcome}", facts, random)
    return random.choice(
        (
            f"{first}, {told}, {second}, {again}. {ending}, {third}.",
            f"{first}, {second}, {told}. {third}, {ending}.",
            f"{told}, {first}. {ending}, {second}. {again}.",
        )
    )


def _another_person(post: Post, random: Random) -> dict[str, str]:
    """The other person of the post, whole or by name only, or a name from nowhere."""
    other = post.distractors
    if "name" in other and random.random() < 0.7:
        return {"name": other["name"], **({"relation": other["relation"]} if random.random() < 0.5 else {})}
    return {"name": _another(text.NAMES, post.facts["name"], None, random)}


def _another(choices: Iterable[str], right: str, tempting: str | None, random: Random) -> str:
    if tempting is not None and random.random() < 0.7:
        return tempting
    return random.choice([choice for choice in choices if choice != right])


# ---- the judge


@dataclass(frozen=True)
class _Mention:
    """A phrase of the world found in a summary: what it speaks of, which one, and the words it took."""

    role: str
    value: str
    start: int
    end: int


def judge(summary: str, facts: Facts) -> Verdict:
    """Whether a summary is faithful to a post's facts, by strings alone; the same text always gets the same verdict.

    The summary is cut into words, and every phrase by which the world names a person, relation, place, problem,
    outcome, question or padding is found, longest first. It is faithful if and only if all of this holds:

    1. It names the person, tells the problem and tells the outcome, each in one of the world's ways to say it.
    2. The problem directly follows the person ("my boss anna shouted at me", "anna, my boss, shouted at me") and the
       outcome directly follows "i", itself not after "because" or "after": who did what, and what came first, is right.
    3. It names no other person, relation, place, problem, outcome or question. So listing several possibilities is
       a fault even when the right one is among them. Relation, place and question may be left out.
    4. Every other word is one of the small words of the world's faithful summaries (no "not", no content word), there
       are at most 12 of them, and none stands twice in a row: nothing is invented and nothing is garbled.
    5. It is concise: at most 32 words, no padding phrase, and no problem, outcome, name or place told twice.

    The kind is that of the first fault in the order wrong-person, wrong-place, wrong-problem, wrong-outcome,
    long-winded, incomplete (or degenerate, if something is missing and there are foreign words too), invented-detail
    (foreign words beside a complete summary, or another question), degenerate.
    """
    words = _words(summary)
    mentions, rest = _find_mentions(words)
    faults = [
        *_contradictions(mentions, facts),
        *_wrong_subjects(mentions, words),
        *_tedium(mentions, words),
        *_omissions(mentions, facts, bool(rest - _glue() - _glue_of_incomplete())),
        *(("invented-detail", f"foreign word {word!r}") for word in sorted(rest - _glue())),
        *_broken_language(mentions, words),
    ]
    return Verdict(faults[0][0], tuple(reason for _, reason in faults)) if faults else Verdict("faithful")


Fault = tuple[str, str]
_FAULTS = {"name": "person", "relation": "person", "place": "place", "problem": "problem", "outcome": "outcome"}


def _contradictions(mentions: list[_Mention], facts: Facts) -> list[Fault]:
    faults: list[Fault] = []
    for role, fault in _FAULTS.items():
        wrong = {mention.value for mention in mentions if mention.role == role} - {facts[role]}
        faults += [(f"wrong-{fault}", f"{role} is {facts[role]!r}, not {value!r}") for value in sorted(wrong)]
    return faults


def _wrong_subjects(mentions: list[_Mention], words: list[str]) -> list[Fault]:
    people = {mention.end for mention in mentions if mention.role in ("name", "relation")}
    faults: list[Fault] = []
    for mention in mentions:
        if mention.role == "problem" and mention.start not in people:
            faults.append(("incomplete", "the problem does not follow a person"))
        if mention.role == "outcome" and words[mention.start - 1 : mention.start] != ["i"]:
            faults.append(("wrong-person", "the outcome does not follow 'i'"))
        if mention.role == "outcome" and {"after", "because"} & set(words[max(mention.start - 2, 0) : mention.start]):
            faults.append(("wrong-outcome", "the outcome is told as the cause"))
    return sorted(faults, key=lambda fault: KINDS.index(fault[0]))


def _tedium(mentions: list[_Mention], words: list[str]) -> list[Fault]:
    told = [mention.role for mention in mentions]
    faults = [("long-winded", f"{role} told {told.count(role)} times") for role in _FAULTS if told.count(role) > 1]
    faults += [("long-winded", f"padding {mention.value!r}") for mention in mentions if mention.role == "padding"]
    if len(words) > MAX_SUMMARY_WORDS:
        faults.append(("long-winded", f"{len(words)} words"))
    return faults


def _omissions(mentions: list[_Mention], facts: Facts, foreign: bool) -> list[Fault]:
    told = {mention.role for mention in mentions}
    kind = "degenerate" if foreign else "incomplete"
    faults = [(kind, f"no {role}") for role in ("name", "problem", "outcome") if role not in told]
    questions = {mention.value for mention in mentions if mention.role == "question"} - {facts["question"]}
    return faults + [("invented-detail", f"another question {question!r}") for question in sorted(questions)]


def _broken_language(mentions: list[_Mention], words: list[str]) -> list[Fault]:
    taken = sum(mention.end - mention.start for mention in mentions)
    faults = [("degenerate", f"{word!r} twice in a row") for word, after in pairwise(words) if word == after]
    if len(words) - taken > MAX_GLUE_WORDS:
        faults.append(("degenerate", f"{len(words) - taken} small words"))
    return faults


def _words(string: str) -> list[str]:
    """The words of a text: lower-case runs of anything but white space and sentence punctuation."""
    return re.findall(r"[^\s.,;:!?]+", string.lower())


@cache
def _lexicon() -> dict[tuple[str, ...], tuple[str, str]]:
    """Every phrase the judge looks for, as words, with its role and the value it stands for."""
    phrases = {(name,): ("name", name) for name in text.NAMES}
    phrases |= {(relation,): ("relation", relation) for relation in RELATIONS}
    phrases |= {(_words(place)[-1],): ("place", place) for place in PLACES}
    phrases |= {tuple(_words(question)): ("question", question) for question in text.QUESTIONS}
    phrases |= {tuple(_words(padding)): ("padding", padding) for padding in text.PADDING}
    for role, statements in (("problem", PROBLEMS), ("outcome", OUTCOMES)):
        for statement in statements.values():
            phrases |= {tuple(_words(way)): (role, statement.name) for way in statement.short + statement.long}
    return phrases


@cache
def _glue() -> frozenset[str]:
    """The small words between the facts of a faithful summary, and the prepositions of places."""
    return _words_between_slots((*text.FAITHFUL, "my finally", "in on at by the"))


@cache
def _glue_of_incomplete() -> frozenset[str]:
    """The small words of the world's incomplete summaries: no sign that a text is garbled."""
    return _words_between_slots(text.INCOMPLETE)


def _words_between_slots(templates: Iterable[str]) -> frozenset[str]:
    return frozenset(word for form in templates for word in _words(re.sub(r"\{\w+\}", " ", form)))


@cache
def _longest() -> int:
    return max(map(len, _lexicon()))


def _find_mentions(words: list[str]) -> tuple[list[_Mention], set[str]]:
    """The world's phrases in a list of words, longest first from left to right, and the words left over."""
    mentions: list[_Mention] = []
    rest: set[str] = set()
    position = 0
    while position < len(words):
        for length in range(min(_longest(), len(words) - position), 0, -1):
            found = _lexicon().get(tuple(words[position : position + length]))
            if found:
                mentions.append(_Mention(*found, position, position + length))
                position += length
                break
        else:
            rest.add(words[position])
            position += 1
    return mentions, rest
