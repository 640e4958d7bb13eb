"""The hand-written fragments of the practice world: everything its posts and summaries are made of.

A problem or an outcome is one line of four ways to say it: `short / short / long / long`. Posts use the long ways,
summaries the short ones, so a summary has to paraphrase. The first way is the fact's name in `facts`.
Problems follow a person ("my roommate anna ..."), outcomes follow "i". No name, relation or place of the world occurs
inside a problem, an outcome or a question: the judge relies on it and a test checks it.
"""

# ruff: noqa: E501 - a statement with its four ways to say it stays on one line

_NAMES = """
    anna ben carla david emma frank grace henry irene jack kate leo maria nick olga paul rosa sam tina victor
    alice bruno clara dylan elena felix gina hugo ivan julia kevin laura mark nina oscar peter ruth simon tara walter
"""
NAMES: tuple[str, ...] = tuple(_NAMES.split())

# domain -> (relations, places)
SETTINGS: dict[str, tuple[str, str]] = {
    "home": (
        "roommate landlord neighbor housemate tenant",
        "in the kitchen, in the garage, in the hallway, in the basement, in the attic, on the balcony",
    ),
    "work": (
        "boss coworker manager intern supervisor",
        "at the office, in the warehouse, in the canteen, in the workshop, in the elevator, in the lobby",
    ),
    "family": (
        "brother sister mother father uncle aunt cousin",
        "at the church, on the farm, in the cabin, in the barn, at the restaurant, by the lake",
    ),
    "couple": (
        "girlfriend boyfriend husband wife fiance",
        "on the beach, at the cinema, in the bakery, in the park, at the museum, by the harbor",
    ),
    "school": (
        "teacher classmate professor tutor student",
        "in the library, on the campus, in the classroom, in the cafeteria, in the dormitory, in the auditorium",
    ),
    "friends": (
        "friend buddy bandmate teammate",
        "at the club, in the stadium, in the arcade, at the concert, by the pool, at the festival",
    ),
    "service": (
        "mechanic plumber barber dentist waiter",
        "at the salon, on the driveway, at the supermarket, at the market, in the courtyard, at the pharmacy",
    ),
    "travel": (
        "guide host passenger pilot captain",
        "at the airport, at the station, in the hostel, on the ferry, at the campsite, at the hotel",
    ),
}

PROBLEMS: dict[str, str] = {
    "home": """
ate all my food / emptied my fridge / finished every meal i had cooked for the week / took the groceries i had just bought and left me nothing
threw loud parties / kept making noise at night / invited thirty people over and played music until four / turned the speakers up until the walls shook
refused to pay rent / did not pay a share of the bills / said the rent could wait for the third time / laughed when i brought up the unpaid bills
flooded my room / caused a flood / left the bath running until water came through my ceiling / forgot to close a tap and my carpet was soaked
lost my spare key / misplaced my keys / borrowed my only spare key and could not find it again / dropped my keys somewhere in the snow
adopted a stray cat / brought home a cat / came back with a dirty stray cat and gave it my pillow / hid a cat in the closet although i am allergic
""",
    "work": """
took credit for my report / stole my work / put a different signature on the report i wrote / presented my slides as if i had never touched them
deleted my files / erased my project / wiped the folder with six months of my project / pressed one wrong button and all my files were gone
shouted at me / yelled at me in public / called me useless while everybody stared / screamed at me for a full ten minutes
gave my shift away / cancelled my shifts / took me off the schedule without a word / handed my best hours to somebody new
read my private messages / spied on my messages / scrolled through my phone while i was in a meeting / printed my private chat and passed it around
came to work drunk / was drunk on the job / smelled of whiskey and fell asleep on the desk / hid bottles in a drawer and could hardly stand
""",
    "family": """
sold my old guitar / gave away my guitar / traded my guitar for a used television / put my guitar online and kept the cash
told everyone my secret / shared my secret / stood up during dinner and announced what i had confessed / repeated my secret to the entire table
forgot my birthday / missed my birthday / did not say a word on the day i turned thirty / walked past the cake and asked what it was for
owed me a lot of money / never paid me back / promised to return two thousand dollars by spring and never did / asked for another loan while the first was still open
wore white to my wedding / dressed in white at my wedding / showed up at my wedding in a long white gown / picked the same white lace that i was marrying in
crashed my car / wrecked my car / drove my car into a fence / backed my car straight into a stone wall
""",
    "couple": """
cheated on me / had an affair / kissed somebody else while i was away / was seeing a stranger for months
hid a huge debt / kept a debt secret / had five credit cards i knew nothing about / owed a bank more than our car is worth
proposed too early / asked to marry me too soon / went down on one knee after three weeks / pulled out a ring on our second date
refused to have kids / said no to children / admitted that a baby would never be an option / frowned at the very idea of a baby
burned my letters / destroyed my old letters / threw a box of my letters into the fire / set a match to letters i had kept since college
got a dog without asking / brought home a dog / signed the papers for a huge dog while i slept / surprised me with a puppy that chews everything
""",
    "school": """
copied my essay / stole my essay / turned in my essay with three words changed / photographed my essay and used each line
failed me unfairly / gave me a bad grade / marked me down for an answer that was right / wrote a huge red zero on my exam
skipped our group project / did nothing for our project / missed all five meetings of our project / left me alone with forty slides
spread a rumor about me / told lies about me / whispered to half the year that i buy my grades / posted a false story with my picture
broke my microscope / damaged the lab equipment / dropped the microscope i had signed for / poured acid on the expensive equipment
mocked my accent / made fun of how i talk / imitated my accent until the whole row laughed / repeated every sentence of mine in a silly voice
""",
    "friends": """
cancelled our trip / backed out of our trip / texted an hour before the flight to say no / decided on the last day to stay home
copied my tattoo / got the same tattoo as me / rolled up a sleeve and there was my design / paid an artist to ink my drawing
flirted with my date / tried to steal my date / kept winking at the man i had brought / asked my date for a number
let my fish die / killed my fish / was meant to feed my fish and went skiing instead / left my tank dirty until nothing moved
left me behind at night / abandoned me on a night out / drove off while i was still paying for drinks / vanished at midnight with both our coats
quit our band / left our band / sent one line saying the music was over / sold the drums a week before our show
""",
    "service": """
overcharged me / asked far too much / billed me for nine hours of a short job / added a zero to the price we had agreed
came three hours late / was very late / kept me waiting until it was dark / arrived when the sun was already setting
damaged my bike / bent my bicycle / leaned a ladder on my bike and bent the frame / rolled a heavy van over my front wheel
insulted my kids / was rude to my children / called my little boy a spoiled brat / told my girls to shut up
stole my watch / took my watch / walked off with the gold watch i had left on a shelf / was caught on camera with my watch
lied about a license / had no license / showed me a license with a fake stamp / turned out to have no training at all
""",
    "travel": """
lost our passports / misplaced our passports / put our passports into a bag that was never seen again / dropped our passports over a railing
took my seat / stole my seat / sat down by the window and would not get up / spread out on the seat i had paid extra for
sent us the wrong way / gave us wrong directions / pointed left when the road went right / drew a map that led us into a swamp
snored all night / kept me awake with snoring / made a noise like a chainsaw until dawn / snored so hard that my bunk was shaking
gave my bed away / double booked my bed / had rented my bed to a family of five / let somebody else unpack on my mattress
was sick on my luggage / threw up on my bag / turned green and hit my backpack / got ill and my suitcase took all of it
""",
}

OUTCOMES: dict[str, str] = {
    "home": """
moved out / found another flat / packed my boxes and signed for a flat across town / carried my furniture out on saturday
changed the locks / put in a new lock / paid a locksmith to fit a new lock / had every lock replaced before lunch
set written rules / wrote a house contract / typed two pages of rules and taped them to the wall / drew up a contract and we both signed it
paid for the damage / covered the cost myself / pulled out my savings and paid every cent / settled the whole bill out of my own pocket
called the police / reported it to the police / rang the police and two officers came by / dialed the emergency number and an officer took notes
slept in my car / spent the night in my car / grabbed a blanket and lay down in my old car / drove around and ended up sleeping on the back seat
""",
    "work": """
quit my job / handed in my notice / wrote my notice that same evening / cleared my desk and never went back
filed a complaint / complained to human resources / filled in the form and gave it to human resources / sent a formal complaint with every date listed
asked for a transfer / requested another team / begged to be moved to another team / applied to switch to a different floor
kept a secret record / wrote everything down / started a notebook with each date and each word / saved every email in a hidden folder
worked all weekend / did the work again / stayed up until sunday to do everything again / spent both free days fixing it all
took sick leave / called in sick / got a note from a doctor and stayed in bed / rang in the next day and said i had a fever
""",
    "family": """
cut off contact / stopped all contact / blocked the number and stopped answering / have not picked up a single call since
forgave everything / let it go / took a deep breath and said it was all forgiven / decided that peace mattered more and hugged it out
demanded an apology / asked for an apology / said i would wait for a real apology / insisted on hearing the word sorry
went to court / hired a lawyer / met a lawyer and opened a case / stood before a judge with my papers
hid and cried / cried in the bathroom / locked myself in a bathroom and sobbed / wept behind a closed door for an hour
walked out quietly / left without saying goodbye / slipped out through the back before dessert / took my coat and was gone in a minute
""",
    "couple": """
broke up / ended the relationship / said it was over and gave back the ring / ended it with a short phone call
went to counseling / started therapy / booked eight sessions with a counselor / found a therapist who sees us on mondays
accepted it / said yes / smiled and agreed to everything / nodded and told everybody i was fine
asked for a break / wanted some time apart / said we needed a month apart / explained that i had to be alone for a while
took revenge / planned a revenge / made a mean plan and carried it out / got even with a very public post
went back to my parents / moved in with my parents / rang my parents and took my old room / packed one bag and drove to my parents by night
""",
    "school": """
talked to the dean / went to the dean / knocked on the door of the dean / explained it all to the dean over tea
dropped the class / left the course / took the course off my plan / withdrew one day before the deadline
finished it alone / did it all by myself / drank coffee for two nights until it was done / sat down and got through the rest on my own
asked for a second chance / requested a new exam / wrote a polite letter asking to try again / begged for one more date in june
stood up for myself / spoke up / looked everyone in the eye and said stop / raised my hand and answered back
changed schools / switched to another college / enrolled somewhere far from here / filled in papers for a college up north
""",
    "friends": """
went alone / travelled by myself / bought one ticket and boarded anyway / took the early train on my own
ended the friendship / stopped being friends / deleted ten years of photos and moved on / said that we were done as friends
laughed about it / made a joke of it / could only laugh until my belly hurt / turned it into a funny story
asked for the money back / wanted a refund / sent a bill with the exact amount / counted what i had spent and asked for it
sent a furious text / wrote an angry message / typed a furious wall of text and hit send / left a voice mail full of swearing
found a replacement / looked for somebody new / posted an advert and picked somebody better / held auditions until i found the right one
""",
    "service": """
paid nothing / refused to pay the bill / tore up the invoice and kept my wallet shut / said not one coin would leave my purse
left a bad review / posted a one star review / wrote three angry paragraphs on a review page / gave a single star and uploaded pictures
paid in full / gave in and paid / handed over the cash without a fight / swallowed my pride and signed the cheque
told the newspaper / spoke to a reporter / rang a reporter who loves such stories / gave a local newspaper the whole tale
fixed it myself / repaired it myself / watched some videos and fixed it with tape / bought tools and did the repair in one evening
hired somebody else / switched to a rival / phoned a rival who came at once / picked another number from the list
""",
    "travel": """
flew home early / took an early flight home / paid for the next flight and was back by friday / cut the holiday short and flew
slept on a bench / spent the night on a bench / stretched out on a wooden bench under my jacket / shivered on a bench until the cleaners came
complained to the company / wrote to the company / lined up at the desk of the company for an hour / kept calling the company until somebody listened
made a new friendship / became good friends / shared my snacks and we talked until sunrise / ended up swapping numbers over noodles
got a free upgrade / was moved to first class / was led to a wide chair with champagne / got a bigger room with a view of the sea
continued on foot / walked the rest / put on boots and walked nine miles / left the group and marched off with my pack
""",
}

QUESTIONS: tuple[str, ...] = (
    "say sorry first", "wait a bit longer", "tell the truth", "keep quiet about it", "try again next year",
    "talk about it once more", "send some flowers", "forget the whole thing", "feel guilty", "expect an explanation",
    "trust people less", "be more patient", "act as if nothing happened", "ask for help", "write a letter",
    "regret my choice", "be proud of myself", "warn the others", "set a limit", "pretend that i am busy",
)  # fmt: skip

INVENTED: tuple[str, ...] = (
    "and it cost me five hundred euros", "and my grandfather fainted", "while it was raining", "on christmas eve",
    "and a horse escaped", "and the whole building lost power", "and i broke my arm", "for the seventh time",
    "and the mayor heard about it", "and my goldfish is named pepper", "during a thunderstorm", "and i won a prize",
    "and we ordered pizza", "and somebody filmed it", "with a hammer", "and the ambulance came", "because of a bet",
    "and now i have a scar", "in front of a priest", "and the internet loved it",
)  # fmt: skip

PADDING: tuple[str, ...] = (
    "this is a long story", "let me start at the beginning", "to be completely honest with you",
    "as i already said above", "there is really a lot to tell here", "and so on and so forth", "i could go on for hours",
    "what i am trying to say is", "please read to the very end", "if you know what i mean", "believe it or not",
    "long story short", "at the end of the day", "i do not even know where to begin",
)  # fmt: skip

OPENINGS: tuple[str, ...] = (
    "i am {age} and this is my first time asking here.", "sorry for the length, i need to get this off my chest.",
    "i am {age} and usually i stay calm.", "throwaway account because people i know read this.",
    "this happened {when} and i still think about it.", "i never thought i would write one of these.",
    "hello all, i would like to hear some honest opinions.", "i am {age}, i work too much and i sleep too little.",
    "it has been a strange {season}.", "some background before the story.", "english is not my first language, be kind.",
    "{when} was the worst day of my {season}.", "i have been reading here for {years}.", "bear with me, i am typing on a phone.",
)  # fmt: skip

AGES = ("nineteen", "twenty two", "twenty six", "thirty one", "thirty eight", "forty five", "fifty two")
WHENS = (
    "yesterday",
    "last week",
    "last monday",
    "on sunday",
    "two days ago",
    "a month ago",
    "this morning",
    "last night",
)
SEASONS = ("spring", "summer", "autumn", "winter")
YEARS = ("two years", "three years", "six years", "ten years", "a few months", "ages")

INTRODUCTIONS: tuple[str, ...] = (
    "i have known {name}, my {relation}, for {years}.", "{name} has been my {relation} for {years}.",
    "my {relation} is called {name} and we used to get along.", "the person in question is {name}, my {relation}.",
)  # fmt: skip

# told in full, or after an introduction (then only the name is said)
PROBLEM_SENTENCES: tuple[str, ...] = (
    "{when} my {relation} {name} {problem} {place}.", "we were {place} when my {relation} {name} {problem}.",
    "{place}, my {relation} {name} {problem}.", "{when}, {place}, my {relation} {name} {problem}.",
)  # fmt: skip
PROBLEM_SENTENCES_AFTER_INTRODUCTION: tuple[str, ...] = (
    "{when} {name} {problem} {place}.", "we were {place} when {name} {problem}.", "{place}, {name} {problem}.",
    "{when}, {place}, {name} {problem}.",
)  # fmt: skip

FEELINGS: tuple[str, ...] = (
    "i was so shocked that i could not speak.", "my heart was beating like mad.", "i felt small and stupid.",
    "nobody seemed to care.", "i did not sleep at all after that.", "you can imagine how i felt.",
    "i know it sounds minor, but it hurt.", "it took me days to calm down.", "my hands were cold and i felt dizzy.",
    "i wanted to sink into the ground.", "there was no excuse and no explanation.", "honestly i was more tired than angry.",
    "i tried to stay polite.", "it was not even the first time.",
)  # fmt: skip

DIGRESSIONS: tuple[str, ...] = (
    "my {relation} {name} saw it all and only shrugged.", "earlier i had met my {relation} {name} {place}.",
    "by the way, my {relation} {name} has a new hobby and talks about nothing else.",
    "my {relation} {name} thinks that i exaggerate.", "normally i would ask my {relation} {name}, who lives abroad.",
    "i was on the phone with {name}, my {relation}, who was {place}.", "the week before i had been {place} with {name}, my {relation}.",
    "my {relation} {name} and i had spent the day {place}, so i was tired.", "{name}, my {relation}, says this is normal.",
    "my {relation} {name} told me to post this.",
)  # fmt: skip
PLACE_DIGRESSIONS: tuple[str, ...] = (
    "the day before i had been {place}, as usual.", "i should add that i often eat my lunch {place}.",
    "i had a cold because i had been {place} too long.", "my phone was charging {place}, so i have no pictures.",
)  # fmt: skip
TEMPTATIONS: tuple[str, ...] = (
    "i almost {outcome}, but i did not dare.", "a year ago i {outcome} over less, but not now.",
    "for a second i thought of a friend who {outcome}, but that is not me.",
)  # fmt: skip
OUTCOME_SENTENCES: tuple[str, ...] = (
    "in the end i {outcome}.", "after a long walk i {outcome}.", "so the next morning i {outcome}.",
    "i did not know what else to do, so i {outcome}.", "without thinking twice i {outcome}.", "so i {outcome}.",
)  # fmt: skip
QUESTION_SENTENCES: tuple[str, ...] = (
    "now i wonder: should i {question}?", "so tell me, should i {question}?", "would it be wrong to {question}?",
    "is it time to {question}?", "do you think i should {question}?",
)  # fmt: skip

# {who} is "my roommate anna" or "anna, my roommate,"
FAITHFUL: tuple[str, ...] = (
    "{who} {problem} {place}, so i {outcome}.", "{who} {problem}, so i {outcome}.",
    "i {outcome} after {who} {problem} {place}.", "i {outcome} because {who} {problem}.",
    "{place}, {who} {problem}. in the end i {outcome}.", "{who} {problem} and i {outcome}. should i {question}?",
    "{who} {problem} {place} and then i {outcome}.", "after {who} {problem}, i {outcome}.",
    "{who} {problem} {place}. i {outcome}, now i wonder if i should {question}.",
)  # fmt: skip
INCOMPLETE: tuple[str, ...] = (
    "{who} {problem} {place}.", "{who} {problem}. should i {question}?", "i {outcome} because of {who}.",
    "i {outcome}. should i {question}?", "somebody {problem}, so i {outcome}.", "{who} {problem} and now i wonder what to do.",
    "i {outcome} after something happened {place}.",
)  # fmt: skip
