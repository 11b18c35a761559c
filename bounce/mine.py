"""Replies that no rule knows: gathered by their wording, turned into a proposed rule, tried on the past before anybody believes it.

`clusters` groups texts that are the same but for addresses, numbers and names. `propose` finds the words they share, guesses a category
from the rules that use similar words, and writes a rule with examples. `replay` says what would have been classified otherwise, above all
which addresses would be dead that are not, and the reverse. A person decides: nothing here changes a rule set.

Pure and bounded: at most MAX_SAMPLES texts are looked at.
"""

import collections
import json
import math
import re
from collections.abc import Iterable

import msgspec

from bounce.classify import UNKNOWN, classify
from bounce.phrases import normalise, words
from bounce.rules import MAX_TEXT, Rule, Rules
from mail.outcome import Category, Fault, Phase, is_hard
from mail.reply import Reply

MAX_SAMPLES = 200_000
MAX_EXAMPLES = 5
SHORTEST_PHRASE = 2
"""Words of a phrase that is worth a rule."""

LONGEST_WORD = 40
"""Letters of a word; what is longer is an identifier."""

_TELLING = 4
"""Letters of a word that may say something about a category."""
_VARIABLE = re.compile(r"^(?:[a-z]{0,4}\d[a-z0-9]*|[a-z0-9]*\d[a-z0-9]{6,}|[0-9a-f]{8,}|https?|www)$")
_HOST = re.compile(r"\b[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){1,10}\b", re.I)
_WEAK_CODES = ("reply-", "code-")
"""How rules are named that decide by a code alone."""
_WEAK_RULES = frozenset({"policy", "receiver-trouble", "protocol", UNKNOWN})


class Sample(msgspec.Struct, frozen=True):
    """A refusal of the past. `count` is how often it was said."""

    reply: Reply
    provider: str = ""
    count: int = 1
    phase: Phase = Phase.RCPT


class Cluster(msgspec.Struct, frozen=True):
    """Texts that say the same. `shape` is their wording without what varies."""

    shape: tuple[str, ...]
    samples: tuple[Sample, ...]

    @property
    def size(self) -> int:
        """How many refusals it stands for."""
        return sum(sample.count for sample in self.samples)


class Change(msgspec.Struct, frozen=True):
    """A refusal that a new rule would have classified otherwise."""

    sample: Sample
    before: Category
    after: Category
    rule_before: str
    hard_before: bool
    hard_after: bool


def is_unclear(sample: Sample, rules: Rules | None = None) -> bool:
    """Whether the rules had little to go by."""
    return _is_weak(classify(sample.reply, sample.provider, sample.phase, rules).rule)


def _is_weak(name: str) -> bool:
    return name in _WEAK_RULES or name.startswith(_WEAK_CODES)


def clusters(samples: Iterable[Sample], least: int = 2, rules: Rules | None = None) -> list[Cluster]:
    """Groups of unclear samples that say the same, the largest first; those of fewer than `least` refusals are left out."""
    groups: dict[tuple[str, ...], list[Sample]] = {}
    for number, sample in enumerate(samples):
        if number >= MAX_SAMPLES:
            break
        if is_unclear(sample, rules):
            groups.setdefault(shape_of(sample.reply.text), []).append(sample)
    found = [Cluster(shape, tuple(group)) for shape, group in groups.items() if shape]
    return sorted((group for group in found if group.size >= least), key=lambda group: (-group.size, group.shape))


def shape_of(text: str) -> tuple[str, ...]:
    """The words of a reply without addresses, host names, numbers and identifiers; `*` stands where something varies."""
    kept: list[str] = []
    for word in words(_HOST.sub(" 0 ", text[:MAX_TEXT])):
        token = "*" if len(word) > LONGEST_WORD or _VARIABLE.match(word) else word
        if token != "*" or not kept or kept[-1] != "*":
            kept.append(token)
    return tuple(kept)


def propose(cluster: Cluster, rules: Rules) -> Rule | None:
    """A rule for the cluster, or None when its wording holds no phrase. Category and fault are a guess; the examples are its own."""
    phrase = _phrase(cluster.shape)
    if phrase is None:
        return None
    category, fault = _guess(cluster.shape, rules)
    replies = list(dict.fromkeys(str(sample.reply) for sample in cluster.samples))[:MAX_EXAMPLES]
    return Rule(
        name="mined-" + "-".join(phrase.replace("*", " ").split()[:4]), category=category, fault=fault, texts=[phrase], examples=replies
    )


def _phrase(shape: tuple[str, ...]) -> str | None:
    """The longest run of words without a gap; two such runs with the gap between when one alone is short."""
    runs = [run.split() for run in " ".join(shape).split("*")]
    runs = [run[:12] for run in runs if run]
    best = max(runs, key=len, default=[])
    if len(best) >= 5:
        return " ".join(best)
    joined = " * ".join(" ".join(run) for run in runs[:3])
    return joined if sum(len(run) for run in runs[:3]) >= SHORTEST_PHRASE else None


def _guess(shape: tuple[str, ...], rules: Rules) -> tuple[Category, Fault]:
    """The category whose phrases share the rarest words with the wording; `other` when they share none that tells."""
    documents = [(rule, {word for text in rule.texts for word in normalise(text).split()}) for rule in rules.rules if rule.texts]
    seen = collections.Counter(word for _, vocabulary in documents for word in vocabulary)
    scores: dict[tuple[Category, Fault], float] = {}
    for rule, vocabulary in documents:
        shared = {word for word in vocabulary & set(shape) if len(word) >= _TELLING}
        score = sum(math.log(len(documents) / seen[word]) for word in shared) / (1 + math.log(1 + len(vocabulary)))
        key = (rule.category, rule.fault)
        scores[key] = max(scores.get(key, 0.0), score)
    best = max(scores, key=lambda key: scores[key], default=(Category.OTHER, Fault.UNKNOWN))
    return best if scores.get(best, 0.0) > 0.8 else (Category.OTHER, Fault.UNKNOWN)


def replay(rule: Rule, rules: Rules, samples: Iterable[Sample]) -> list[Change]:
    """What `rule`, in front of all others as an operator's own rules are, would have changed among `samples`."""
    with_it = Rules([rule, *rules.rules])
    found = []
    for number, sample in enumerate(samples):
        if number >= MAX_SAMPLES:
            break
        before, after = (classify(sample.reply, sample.provider, sample.phase, tried) for tried in (rules, with_it))
        if before.category is not after.category or before.fault is not after.fault:
            permanent = sample.reply.permanent
            found.append(
                Change(
                    sample=sample,
                    before=before.category,
                    after=after.category,
                    rule_before=before.rule,
                    hard_before=is_hard(before.category, permanent),
                    hard_after=is_hard(after.category, permanent),
                )
            )
    return found


def as_toml(rule: Rule) -> str:
    """The rule as it would stand in a rules file."""
    texts, examples = (", ".join(json.dumps(text, ensure_ascii=False) for text in group) for group in (rule.texts, rule.examples))
    lines = ["[[rule]]", f'name = "{rule.name}"', f'category = "{rule.category}"', f'fault = "{rule.fault}"']
    return "\n".join([*lines, f"texts = [{texts}]", f"examples = [{examples}]"]) + "\n"
