"""Which candidate does a text commit to? Option letters or numbers of a text enter, what it says of each leaves.

"C, not D" states C and rejects D; "C or D" offers both; "C because D ignores drag" states C and only mentions D; in
"vitamin C" there is no option. A reader goes through a sentence once, by the words of `sentence_words.toml`. A letter
stands as an option only beside words that stand there, numbers, marks and the ends of a sentence: beside any other
word it is part of a phrase. What is neither stated nor set aside by a word that is known counts against the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import NamedTuple

from stages.rewards.sentence_words import Candidate, Token, Word, is_character, tokens


class Role(Enum):
    """What a text says of a candidate."""

    STATED = "stated"
    NAMED = "named"
    REJECTED = "rejected"
    OFFERED = "offered"
    ASIDE = "aside"


class Mention(NamedTuple):
    """Candidates that a sentence joins, and what it says of them, from `start` to `end`."""

    role: Role
    values: tuple[str, ...]
    start: int
    end: int
    labelled: bool = False
    concludes: bool = False


_JOINS = frozenset((Word.BOTH, Word.EITHER, Word.COMMA, Word.LIST, Word.SLASH, Word.LABEL, Word.OPEN, Word.CLOSE))
_JOINED = frozenset((Word.BOTH, Word.EITHER, Word.COMMA, Word.LIST, Word.SLASH))
_AFTER = frozenset(
    (
        Word.VERB, Word.WOULD, Word.DENIAL, Word.DENIED, Word.CONTRAST, Word.ELIMINATE, Word.REASON, Word.BESIDES,
        Word.BUT, Word.SO, Word.CONDITION, Word.EITHER, Word.BOTH, Word.ALSO, Word.COMMA, Word.LIST, Word.SLASH,
        Word.PAUSE, Word.COLON, Word.OPEN, Word.CLOSE, Word.END, Word.QUESTION, Word.NUMBER, Word.CANDIDATE,
    )
)  # fmt: skip
_OF_LETTERS = {Word.COMPARE: Word.CONTRAST, Word.LESSER: Word.WRONG}  # between numbers they are arithmetic
_BREAKS = frozenset(
    (Word.COMMA, Word.PAUSE, Word.COLON, Word.OPEN, Word.CLOSE, Word.REASON, Word.BESIDES, Word.BUT, Word.SO)
)


def mentions(sentence: Sequence[Token]) -> list[Mention]:
    """Return what a sentence says of its candidates, in order; those that are part of a phrase are left out."""
    return list(_Reader(sentence).read())


class _Reader:
    """Goes through one sentence: what governs the next candidate is kept here, a clause at a time."""

    def __init__(self, sentence: Sequence[Token], *, numbers: bool = False) -> None:
        alike = dict.fromkeys((*_OF_LETTERS, Word.ELIMINATE), Word.UNKNOWN) if numbers else _OF_LETTERS
        self.tokens = [token._replace(word=alike.get(token.word, token.word)) for token in sentence]
        self.numbers = numbers  # they are no part of a phrase
        self.denied: int | None = None  # where a word began that rejects the next candidate
        self.offered = self.strong = self.crowd = self.aside = self.but = self.early = False
        self.spoken = False  # a word since the aside began: it says something
        self.stated = self.rejected = self.concludes = False  # so far in this sentence
        self.depth: list[bool] = []
        self.why: int | None = None  # where the sentence begins to say why, once it has stated something

    def read(self) -> Iterator[Mention]:
        """Yield the mentions in order."""
        at = 0
        while at < len(self.tokens):
            token = self.tokens[at]
            if token.word != Word.CANDIDATE:
                self._govern(token)
                at += 1
                continue
            group, end = self._group(at)
            if not (self.numbers or self._is_option(at, end, len(group))):
                self.spoken = True
                at += 1
                continue
            said, past = self._said_behind(end)
            until = self.tokens[past - 1].end if said == Role.REJECTED else self._stop(end, group[-1].end)
            if len(group) > 1 and [one.word for one in self.tokens[end : end + 2]] == [Word.COMMA, Word.NUMBER]:
                said = Role.OFFERED  # "D, E, 99"
            mention = self._mention(group, at, until, said)
            self.stated |= mention.role in (Role.STATED, Role.NAMED)
            self.rejected |= mention.role == Role.REJECTED
            self.denied, self.offered = None, False
            yield mention
            at = past if said in (Role.REJECTED, Role.STATED) else end

    def _govern(self, token: Token) -> None:
        """Take in a word that is no candidate."""
        word = token.word
        if word in (Word.DENIAL, Word.CONTRAST, Word.ELIMINATE, Word.WRONG):
            self.denied = token.start if self.denied is None else self.denied
        elif word in (Word.REASON, Word.BESIDES, Word.CONDITION):
            self._clause(aside=True)
            self.early = not self.stated and word != Word.CONDITION
            self.why = token.start if self.stated and word == Word.REASON and self.why is None else self.why
        elif word in (Word.BUT, Word.SO):
            self._clause(aside=False)
            self.but, self.strong = word == Word.BUT, word == Word.SO
            self.concludes |= word == Word.SO
        elif word in (Word.PAUSE, Word.OPEN, Word.COLON):
            self.depth += [self.aside] if word == Word.OPEN else []
            if word != Word.COLON or self.stated:
                self._clause(aside=self.stated or self.aside)
        elif word == Word.CLOSE and self.depth:
            self._clause(aside=self.depth.pop())
        elif word == Word.COMMA:
            self.denied, self.offered, self.crowd = None, False, False
            self.aside &= not self.early
        elif word in (Word.ANNOUNCE, Word.RIGHT):
            self.strong = True
        elif word in (Word.EITHER, Word.ALSO):
            self.offered = True
        elif word == Word.CROWD:
            self.crowd = True
        elif word == Word.UNKNOWN and is_character(token):
            self.denied = None
        self.spoken |= word in (Word.UNKNOWN, Word.WRONG, Word.CROWD, Word.ANNOUNCE)

    def _clause(self, *, aside: bool) -> None:
        self.denied, self.aside = None, aside
        self.offered = self.strong = self.crowd = self.but = self.early = self.spoken = False

    def _group(self, at: int) -> tuple[list[Token], int]:
        """Return the candidates that are joined to the one at `at`, and where they end."""
        group, end = [self.tokens[at]], at + 1
        comma_only = True
        while True:
            ahead = end
            while ahead < len(self.tokens) and self.tokens[ahead].word in _JOINS:
                ahead += 1
            between = [token.word for token in self.tokens[end:ahead]]
            if ahead == len(self.tokens) or self.tokens[ahead].word != Word.CANDIDATE:
                break
            if between not in ([], [Word.CLOSE]) and not _JOINED & {*between}:
                break
            listed = self.tokens[ahead + 1].word if ahead + 1 < len(self.tokens) else Word.END
            if between == [Word.COMMA] and listed == Word.LIST:
                break  # "B, A、C、D均错误"
            comma_only &= between in ([Word.COMMA], [Word.CLOSE, Word.COMMA, Word.OPEN], [Word.COMMA, Word.LABEL])
            group.append(self.tokens[ahead])
            end = ahead + 1
        if len(group) > 1 and comma_only and self.denied is None and self._own(end):
            return group[:1], at + 1  # "C, D is wrong": a clause for each
        return group, end

    def _own(self, end: int) -> bool:
        """Say whether the last candidate of a list has a verb of its own."""
        behind = [token for token in self.tokens[end : end + 3] if token.word not in (Word.CLOSE, Word.LABEL)]
        return bool(behind) and behind[0].word in (
            Word.VERB, Word.WOULD, Word.WRONG, Word.RIGHT, Word.DENIAL, Word.UNKNOWN, Word.DENIED, Word.ALSO,
        ) and behind[0].text not in ("are", "were", "sind", "sont", "son", "são", "sono", "都", "均")  # fmt: skip

    def _is_option(self, at: int, end: int, many: int) -> bool:
        """Say whether what stands on both sides of a candidate leaves it an option and no part of a phrase."""
        before = self.tokens[at - 1] if at else None
        dressed = self.tokens[at].end - self.tokens[at].start > len(self.tokens[at].text)
        if before is not None and before.word in (Word.UNKNOWN, Word.NUMBER, Word.OPERATOR, Word.HYPHEN, Word.SLASH):
            return dressed and self._follows_number(at)
        labelled = before is not None and before.word == Word.LABEL
        after = self.tokens[end] if end < len(self.tokens) else None
        if after is None or many > 1 or labelled or dressed:
            return True
        if after.word == Word.HYPHEN:
            return after.apart
        if after.word == Word.PAUSE and after.text == ".":
            announced = before is None or before.word in (Word.ANNOUNCE, Word.VERB, Word.COLON)
            return self._names_an_option(end + 1, announced)
        character = is_character(after)
        if after.word in (Word.RIGHT, Word.WRONG, Word.LABEL):
            return character or self.tokens[at].text != "A"
        return after.word in _AFTER or (character and after.word != Word.UNKNOWN)

    def _follows_number(self, at: int) -> bool:
        """Say whether a number with its unit stands before a bracket: 12 m/s (C)."""
        return any(token.word == Word.NUMBER for token in self.tokens[max(0, at - 4) : at])

    def _names_an_option(self, at: int, announced: bool) -> bool:
        """Say whether small letters behind "C." are an option's text: more than a word (E. coli), none a predicate."""
        rest = self.tokens[at : at + 2]
        if rest and rest[0].word not in (Word.UNKNOWN, Word.END):
            return True
        return announced and len(rest) > 1 and rest[1].word in (Word.UNKNOWN, Word.FILLER, Word.NUMBER, Word.CANDIDATE)

    def _stop(self, at: int, here: int) -> int:
        """Return where the clause ends that goes on at a token; `here` where another candidate comes first."""
        for token in self.tokens[at:]:
            if token.word == Word.CANDIDATE:
                return here
            if token.word in _BREAKS or token.word in (Word.END, Word.QUESTION):
                return token.start
        return self.tokens[-1].end

    def _mention(self, group: list[Token], at: int, until: int, said: Role | None) -> Mention:
        """Say what is said of a group of candidates."""
        first = at == 0 or all(token.word == Word.OPEN for token in self.tokens[:at])
        end = at + next(n for n, token in enumerate(self.tokens[at:]) if token.end == group[-1].end) + 1
        after = self.tokens[end] if end < len(self.tokens) else None
        closed = after is not None and after.word in (Word.CLOSE, Word.COLON, Word.PAUSE, Word.END)
        role = self._role(group, said, first)
        start = self.denied if self.denied is not None else group[0].start
        return Mention(role, tuple(token.text for token in group), start, until, first and closed, self.concludes)

    def _role(self, group: list[Token], said: Role | None, first: bool) -> Role:
        joined = {token.word for token in self.tokens if group[0].start < token.start < group[-1].start}
        if self.denied is not None or said == Role.REJECTED:
            return Role.REJECTED
        if self.offered or said == Role.OFFERED or joined & {Word.EITHER, Word.SLASH, Word.OPERATOR}:
            return Role.OFFERED
        if self.aside or self.but or self.crowd:
            if not self.crowd and (said == Role.STATED or self.strong or (self.but and not self.stated)):
                return Role.STATED
            return Role.ASIDE if said == Role.ASIDE or self.spoken or self.crowd else Role.OFFERED
        if said == Role.STATED or self.strong or (first and said is None):
            return Role.STATED
        return Role.ASIDE if said == Role.ASIDE else Role.NAMED

    def _said_behind(self, end: int) -> tuple[Role | None, int]:
        """Say what the words behind a group say of it, and where they end; None where they say nothing."""
        verb = would = False
        for at in range(end, len(self.tokens)):
            word = self.tokens[at].word
            ahead = self.tokens[at + 1].word if at + 1 < len(self.tokens) else Word.END
            if word in (Word.CLOSE, Word.FILLER, Word.LABEL) or (word == Word.OPEN and ahead == Word.WRONG):
                continue
            if word in (Word.VERB, Word.WOULD):
                verb, would = True, would or word == Word.WOULD
                continue
            free = not self._next_candidate(at + 1)
            if word in (Word.DENIED, Word.WRONG) or (word == Word.ELIMINATE and free):
                return Role.REJECTED, at + 1
            if word == Word.DENIAL:
                return (Role.REJECTED if verb or free else None), at + 1
            if word == Word.RIGHT and self._only_wrong(at + 1):
                return Role.REJECTED, at + 1
            if word == Word.RIGHT or (word == Word.ANNOUNCE and verb):
                return self._unless(at + 1, would), at + 1
            if word in (Word.EITHER, Word.ALSO, Word.CONDITION):
                return Role.OFFERED, at + 1
            subject = verb and word in (Word.UNKNOWN, Word.NUMBER, Word.CROWD) and not self._compared(at)
            return (Role.ASIDE if subject else None), at
        return None, end

    def _compared(self, at: int) -> bool:
        """Say whether a clause goes on to compare: "is more plausible than D"."""
        for token in self.tokens[at:]:
            if token.word in _BREAKS or token.word == Word.CONTRAST:
                return token.word == Word.CONTRAST
        return False

    def _only_wrong(self, at: int) -> bool:
        """Say whether "is the only" goes on to what is wrong: "incorrect option", "one that fails"."""
        passed = (Word.RIGHT, Word.FILLER, Word.LABEL, Word.VERB)
        after = next((token.word for token in self.tokens[at:] if token.word not in passed), Word.END)
        return after in (Word.WRONG, Word.ELIMINATE)

    def _unless(self, at: int, would: bool) -> Role:
        """ "Is correct" states; "would be correct" and "is correct if" do not."""
        for token in self.tokens[at:]:
            if token.word == Word.CONDITION:
                return Role.ASIDE if would else Role.OFFERED
            if token.word in (Word.ALSO, Word.EITHER):
                return Role.OFFERED
            if token.word in _BREAKS:
                break
        return Role.ASIDE if would else Role.STATED

    def _next_candidate(self, at: int) -> bool:
        """Say whether a candidate is what comes next, articles and labels aside."""
        for token in self.tokens[at:]:
            if token.word in (Word.FILLER, Word.LABEL, Word.OPEN, Word.ANNOUNCE, Word.VERB):
                continue
            return token.word == Word.CANDIDATE
        return False


def settled(text: str, numbers: Sequence[Candidate]) -> str:
    """Return a text without the numbers that it names to reject them, or after it has settled on one to say why: "17,
    not 18" and "17, since 12 + 5 = 17" as "17"."""
    cuts: list[tuple[int, int]] = []
    for sentence in tokens(text, numbers):
        reader = _Reader(sentence, numbers=True)
        read = list(reader.read())
        if not any(mention.role in (Role.STATED, Role.NAMED) for mention in read):
            continue
        cuts += [(mention.start, mention.end) for mention in read if mention.role == Role.REJECTED]
        if reader.why is not None:
            cuts.append((reader.why, sentence[-1].start if sentence[-1].word == Word.END else sentence[-1].end))
    for start, end in sorted(cuts, reverse=True):
        text = f"{text[:start].rstrip(' ,;，、')} {text[end:]}"
    return text


def committed(text: str, candidates: Sequence[Candidate], *, last: bool = False) -> frozenset[str]:
    """Return the values that a text commits to: one, several that it joins by "and", none where it states none, offers
    several or leaves it open. With `last` a later sentence replaces an earlier one, as in free text.
    """
    read = [(mentions(sentence), sentence[-1].word == Word.QUESTION) for sentence in tokens(text, candidates)]
    labels = [mention.values for found, _ in read for mention in found[:1] if mention.labelled]
    options = len({*labels}) > 1  # "A. 17 B. 18": the options again
    chosen: frozenset[str] = frozenset()
    firm = open_ = False
    for found, asks in read:
        if asks or (options and found and found[0].labelled and found[0].role == Role.STATED):
            continue
        values, stated, offered = _of_sentence(found)
        if stated and last:
            chosen, firm, open_ = values, True, offered
        elif values:
            chosen, firm = (values if last and not firm else chosen | values), firm or stated
            open_ = offered or (open_ and (firm or not last))
        else:
            open_ |= offered
    return frozenset() if open_ else chosen


def _of_sentence(found: Sequence[Mention]) -> tuple[frozenset[str], bool, bool]:
    """Return the values of one sentence, whether it states them outright, and whether it leaves them open."""
    values: set[str] = set()
    firm = offered = concluded = False
    for mention in found:
        if mention.role == Role.OFFERED:
            offered = True
        elif mention.role == Role.STATED and (not firm or (mention.concludes and not concluded)):
            values, firm, offered, concluded = {*mention.values}, True, False, mention.concludes
        elif mention.role in (Role.STATED, Role.NAMED):
            values |= {*mention.values}
    return frozenset(values), firm, offered
