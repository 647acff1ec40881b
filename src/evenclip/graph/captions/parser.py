"""Rule-based parser of English captions: objects, their attributes and the relations between them.

The word classes are those of `words.yaml`; no tagger and no download are needed. A caption is split into chunks: noun
phrases, verbs and prepositions (longest first). Triples are then read from left to right:

    THING PREPOSITION THING              a dog on a couch             (dog, on, couch)
    THING VERB THING                     a man rides a horse          (man, riding, horse)
    THING VERB PREPOSITION THING         girls sitting at a table     (girls, sitting at, table)
    THING participle PREPOSITION THING   a car parked in a lot        (car, parked in, lot)
    color THING, THING is color          a black dog                  (dog, has attribute, black)

"and" and "," join subjects or objects. Later verbs and prepositions attach to the subject. Denied objects ("no",
"without") take part in no relation. The parser aims at precision rather than recall and skips what it does not
understand. `docs/graph.md` reports its precision on captions that were not used to write the rules.
"""

import re
from dataclasses import dataclass, field

from evenclip.graph.captions.words import caption_words
from evenclip.graph.linking import IRREGULAR

_TOKEN = re.compile(r"[a-z0-9]+(?:['\-][a-z0-9]+)*|[,.;:!?()\"&]")
_POSSESSIVE = re.compile(r"(?: '|[’'])s(?=\s|$)")  # tokenised captions have a space before it


@dataclass
class Mention:
    """An object named by a caption. Spans (of the name and of each attribute) are positions in the caption's text.

    ``is_shown`` is False for denied objects and for words that name no object in the picture ("the background").
    """

    name: str
    head_span: tuple[int, int]
    attributes: list[tuple[str, tuple[int, int]]] = field(default_factory=list)
    is_shown: bool = True


@dataclass(frozen=True)
class Link:
    """Relation between two mentions (by number): its words in normal form and their span in the caption."""

    subject: int
    relation: str
    object: int
    span: tuple[int, int]


@dataclass(frozen=True)
class Parse:
    """Mentions in a caption and the links between them."""

    mentions: list[Mention]
    links: list[Link]

    def triples(self) -> list[tuple[str, str, str]]:
        """Triples (object, "has attribute", attribute) and (subject, relation, object) of what the picture shows."""
        attributes = [(m.name, "has attribute", word) for m in self.mentions if m.is_shown for word, _ in m.attributes]
        return attributes + [
            (self.mentions[link.subject].name, link.relation, self.mentions[link.object].name) for link in self.links
        ]


@dataclass(frozen=True)
class _Token:
    word: str
    start: int
    end: int


@dataclass(frozen=True)
class _Chunk:
    """One chunk of a caption.

    ``kind``: thing, verb, participle, preposition, and, break; ``value``: a mention's number, or the relation's words.
    """

    kind: str
    value: int | str
    span: tuple[int, int]


def parse_caption(text: str) -> Parse:
    """Parse one caption.

    >>> parse_caption("A black dog runs through the tall grass").triples()
    [('dog', 'has attribute', 'black'), ('grass', 'has attribute', 'tall'), ('dog', 'running through', 'grass')]
    """
    lower = _POSSESSIVE.sub(lambda match: "'s".ljust(len(match[0])), text.lower())
    tokens = [_Token(match[0], *match.span()) for match in _TOKEN.finditer(lower)]
    chunker = _Chunker(tokens)
    chunker.run()
    return Parse(chunker.mentions, _links(chunker.chunks, chunker.mentions))


class _Chunker:
    """Splits tokens into chunks, from left to right."""

    def __init__(self, tokens: list[_Token]):
        self.tokens, self.words, self.position = tokens, caption_words(), 0
        self.mentions: list[Mention] = []
        self.chunks: list[_Chunk] = []

    def run(self) -> None:
        """Fill ``mentions`` and ``chunks``."""
        classes, denied = self.words.classes, False
        while self.position < len(self.tokens):
            word = self._word()
            if word in classes["denials"]:
                denied = True
                self._add("preposition" if word == "without" else "break", word, 1)
            elif length := self._preposition():
                self._add("preposition", self._join(length), length)
            elif word in classes["auxiliaries"]:
                self._auxiliary()
            elif (word in ("has", "have") and not self._is_relating()) or self._is_gerund():
                self._add("break", word, 1)
            elif self._is_relating():
                self._relating()
            elif word in ("and", ",", "&"):
                self._add("and", word, 1)
            elif word in classes["breaks"] or not word[0].isalnum():
                denied = False
                self._add("break", word, 1)
            elif word == "of":
                self._of()
            elif word in classes["particles"] and self._follows_thing():
                self.position += 1
            else:
                self._thing(denied)
                denied = False

    def _word(self, ahead: int = 0) -> str:
        """The current word, or the one ``ahead`` places after it; "." outside the caption."""
        index = self.position + ahead
        return self.tokens[index].word if 0 <= index < len(self.tokens) else "."

    def _join(self, length: int) -> str:
        return " ".join(token.word for token in self.tokens[self.position : self.position + length])

    def _add(self, kind: str, value: int | str, length: int) -> None:
        self.chunks.append(
            _Chunk(kind, value, (self.tokens[self.position].start, self.tokens[self.position + length - 1].end))
        )
        self.position += length

    def _follows_thing(self) -> bool:
        return bool(self.chunks) and self.chunks[-1].kind == "thing"

    def _preposition(self, ahead: int = 0) -> int:
        """Number of words of the preposition that starts here; 0 if none does."""
        for phrase in self.words.prepositions.get(self._word(ahead), ()):
            if all(self._word(ahead + k) == part for k, part in enumerate(phrase)):
                return len(phrase)
        return 0

    def _is_open(self, ahead: int = 0) -> bool:
        """Whether the word's class allows it in a noun phrase."""
        word, classes = self._word(ahead), self.words.classes
        if word.endswith("'s"):
            return False
        closed = ("auxiliaries", "breaks", "denials", "determiners")
        if not word[0].isalnum() or word in ("and", "of") or any(word in classes[name] for name in closed):
            return False
        return not self._preposition(ahead)

    def _can_precede_object(self) -> bool:
        """Whether the next word can follow a verb, that is, neither a bare noun nor the end of the caption."""
        after = self._word(1)
        if after in self.words.families or after in self.words.classes["particles"]:
            return True
        if after in ("something", "someone", "it"):
            return True
        return after[0].isalnum() and after not in ("and", "of") and not self._is_open(1)

    def _is_relating(self, noun: str | None = None) -> bool:
        """Whether the current word is a verb or participle of the object before it, whose last noun is ``noun``."""
        word = self._word()
        if noun is None and self._follows_thing():
            noun = self.mentions[-1].name
        before = self._word(-1)
        follows = noun is not None or before in ("and", ",") or before in self.words.classes["auxiliaries"]
        if word in ("has", "have"):
            return follows and not self.words.is_participle(self._word(1))
        if self.words.is_participle(word) and self._preposition(1):
            return follows
        if self.words.is_ing(word):
            return follows or ((self.position == 0 or word in self.words.verbs) and not self._is_open(1))
        if word in self.words.verbs:
            ends = before in ("and", ",") and not self._word(1)[0].isalnum()
            return follows and (ends or self._can_precede_object() or word not in self.words.classes["noun_forms"])
        is_plural = noun is not None and (_is_plural(noun) or (len(self.chunks) > 1 and self._is_joined()))
        can_be_verb = self._can_precede_object() or word in self.words.classes["plain_verbs"]
        return word in self.words.bases and is_plural and can_be_verb

    def _is_joined(self) -> bool:
        """Whether the last object, or the one being read, follows "and"."""
        return self.chunks[-2 if self._follows_thing() else -1].kind == "and"

    def _relating(self) -> None:
        """Read a verb or participle with the preposition after it; particles ("down", "happily") may stand between."""
        word, length = self._word(), 1
        while self._word(length) in self.words.classes["particles"] and self._preposition(length) in (0, 1):
            if self._preposition(length) and not self._preposition(length + 1):
                break
            length += 1
        following = self._preposition(length)
        relation = self.words.verbs.get(word) or self.words.bases.get(word, word)
        if following:
            after = self.tokens[self.position + length : self.position + length + following]
            relation = " ".join([relation, *(token.word for token in after)])
        self._add("participle" if self.words.is_participle(word) else "verb", relation, length + following)

    def _is_gerund(self) -> bool:
        """Whether the current word is a gerund after a verb or preposition: "concentrating on keeping the ball"."""
        before = self.chunks[-1].kind if self.chunks else "break"
        if before in ("and", "break", "thing"):
            return False
        return self.words.is_ing(self._word()) and not self._is_open(1)

    def _auxiliary(self) -> None:
        """Skip an auxiliary verb; a predicate adjective after it becomes an attribute ("the dog is black")."""
        self.position += 1
        if self._follows_thing() and self._word() in self.words.families and not self._is_open(1):
            token = self.tokens[self.position]
            self.mentions[-1].attributes.append((token.word, (token.start, token.end)))
            self.position += 1

    def _of(self) -> None:
        """Read "of". A measure before it is dropped: the object of "a group of people" is "people"."""
        if self._follows_thing() and self.mentions[-1].name.split()[-1] in self.words.classes["measures"]:
            self.chunks.pop()
            if self.chunks and self.chunks[-1].value == "taking":  # "taking a picture of ...": what it shows is unknown
                self._add("break", "of", 1)
            else:
                self.position += 1
        else:
            self._add("preposition", "of", 1)

    def _thing(self, denied: bool) -> None:
        """Read a noun phrase: determiners, attributes, nouns. The nouns are its name."""
        while self._word() in self.words.classes["determiners"] or self._word().endswith("'s"):
            self.position += 1
        tokens, noun = [], None
        while (self._is_open() and not self._ends_thing(noun, tokens)) or self._joins_attributes(tokens, noun):
            if self._word() != ",":
                noun = self._word() if noun or not self.words.is_attribute(self._word()) else None
                tokens.append(self.tokens[self.position])
            self.position += 1
        if not tokens:
            self.position += self._word() not in self.words.classes["determiners"] and not self._is_taken()
            return
        n_attributes = next((k for k, t in enumerate(tokens) if not self.words.is_attribute(t.word)), len(tokens) - 1)
        colored = [k + 1 for k, t in enumerate(tokens[:-1]) if self._is_color(t.word)]
        n_attributes = max(n_attributes, *colored[-1:], 0)
        around = tokens[max(n_attributes - 1, 0) : n_attributes + 1]
        if len(around) == 2 and f"{around[0].word} {around[1].word}" in self.words.classes["compounds"]:
            n_attributes -= 1
        nouns = tokens[n_attributes:]
        mention = Mention(" ".join(token.word for token in nouns), (nouns[0].start, nouns[-1].end))
        mention.is_shown = not denied and self._names_thing(mention.name)
        attributes = [token for token in tokens[:n_attributes] if self.words.is_attribute(token.word)]
        mention.attributes += [(token.word, (token.start, token.end)) for token in attributes]
        self.mentions.append(mention)
        self.chunks.append(_Chunk("thing", len(self.mentions) - 1, (tokens[0].start, tokens[-1].end)))

    def _is_color(self, word: str) -> bool:
        return self.words.families.get(word) == "color"

    def _joins_attributes(self, tokens: list[_Token], noun: str | None) -> bool:
        """Whether the current comma separates attributes: "a big, red bus"."""
        return bool(tokens) and noun is None and self._word() == "," and self._is_open(1)

    def _names_thing(self, name: str) -> bool:
        """Whether a name is that of an object that a picture can show."""
        classes, last = self.words.classes, name.rpartition(" ")[2]
        if name in (classes["not_things"] | classes["measures"]) - classes["people"] or name.endswith("ed"):
            return False
        return self.words.families.get(last, "other") in ("other", "material")

    def _ends_thing(self, noun: str | None, tokens: list[_Token]) -> bool:
        """Whether the noun phrase ``tokens`` ends before the current word."""
        if noun is None:
            return not tokens and self.words.is_ing(self._word()) and not self._is_open(1)
        return self._word() in self.words.classes["particles"] or self._is_relating(noun)

    def _is_taken(self) -> bool:
        """Whether `run` reads the current word as something other than an object."""
        return not self._is_open() or self._is_relating()


def _is_plural(name: str) -> bool:
    last = name.rpartition(" ")[2]
    return last in IRREGULAR or (last.endswith("s") and not last.endswith("ss"))


def _links(chunks: list[_Chunk], mentions: list[Mention]) -> list[Link]:
    """Links between mentions, read from left to right."""
    reader = _LinkReader(mentions)
    for before, chunk, after in zip([None, *chunks], chunks, [*chunks[1:], None], strict=False):
        if chunk.kind in ("verb", "participle", "preposition"):
            reader.relate(chunk)
        elif chunk.kind == "break":
            reader.subjects, reader.relation, reader.object = [], None, None
        elif chunk.kind == "thing":
            is_joined = before is not None and before.kind == "and"
            reader.thing(chunk.value, is_joined, is_subject=after is not None and after.kind == "verb")
    return reader.links


class _LinkReader:
    """State of reading links from chunks: current subjects, relation and object."""

    def __init__(self, mentions: list[Mention]):
        self.mentions, self.classes = mentions, caption_words().classes
        self.links: list[Link] = []
        self.subjects: list[int] = []
        self.holders: list[int] = []  # subjects of the relation: the clause's subjects, or the object before it
        self.object: int | None = None
        self.relation: _Chunk | None = None

    def relate(self, chunk: _Chunk) -> None:
        """Start a relation. Its subject is the clause's, or the object before it ("of"; what a person does or has)."""
        if chunk.value == "of" and self.object is None and self.relation is not None:
            return  # "the side of a house": the side is no object, so the relation is to the house
        self.relation, self.holders = chunk, self.subjects
        if self.object is None or chunk.kind == "verb":
            return
        if (
            chunk.value == "of"
            or chunk.kind == "participle"
            or self.mentions[self.object].name in self.classes["people"]
        ):
            self.holders = [self.object]
        elif chunk.value == "with":  # ambiguous: subject or object
            self.holders = []

    def thing(self, number: int, is_joined: bool, is_subject: bool) -> None:
        """Take a noun phrase as the relation's object, or as a subject."""
        shown_number = [number] if self.mentions[number].is_shown else []
        starts_clause = is_joined and (
            self.mentions[number].name in self.classes["people"]
            or (is_subject and self.relation is not None and self.relation.value not in ("in", "wearing"))
        )
        if self.relation is None or starts_clause:
            self.subjects = [*self.subjects, *shown_number] if is_joined and self.relation is None else shown_number
            self.relation = self.object = None
            return
        takes_lists = self.relation.kind != "preposition" or self.relation.value in ("in", "with", "of")
        if self.relation.value not in self.classes["unsaid"] and (takes_lists or not is_joined) and shown_number:
            self.links += [Link(h, self.relation.value, number, self.relation.span) for h in self.holders]
        self.object = number if shown_number else None
