"""Groups packed for one forward pass: each prompt once, its completions behind it, positions going on from the prompt.

    pack = pack_shared(groups, one_row=True)         # all groups one behind the other in one row, nothing is padding
    pack = pack_shared(groups, one_row=False)        # one row a group; pack.mask_RTT says who sees whom
    pack = pack_separate(groups)                     # one row a completion, the prompt repeated

A completion sees its prompt and itself, so its log-probability is what it would be alone. Its last token is only
predicted, never fed.
Legend: G groups, B completions of all groups, R rows, T tokens a row, N completion tokens that are predicted, M
positions that predict any, S stretches, L tokens of the longest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

PAD = 0
"""Fills rows up to their common length. Any valid id will do: no mask, position or loss depends on a padding id."""


class TokenGroup(NamedTuple):
    """A group in token ids: a prompt's (at least one) and those of each of its completions."""

    prompt_ids: Sequence[int]
    completions: Sequence[Sequence[int]]

    @property
    def shared_length(self) -> int:
        """Tokens that are fed where the prompt is shared."""
        return len(self.prompt_ids) + sum(self.fed_lengths)

    @property
    def longest_length(self) -> int:
        """Tokens that are fed of the prompt and the longest completion alone."""
        return len(self.prompt_ids) + max(self.fed_lengths, default=0)

    @property
    def fed_lengths(self) -> list[int]:
        """Tokens of each completion that are fed: all but the last."""
        return [max(len(ids) - 1, 0) for ids in self.completions]


@dataclass(frozen=True)
class Spans:
    """Contiguous stretches of the flat tokens, as rows of one length: how attention is batched.

    index_SL: flat position of each token; beyond a stretch's end a token of the same stretch stands in.
    valid_SL: True where no token stands in. whole: nothing does. step: distance between starts, where whole stretches
    follow each other evenly; they are then views and nothing is copied.
    """

    index_SL: Tensor
    valid_SL: Tensor
    whole: bool
    start: int = 0
    step: int | None = None

    @classmethod
    def of(cls, starts: Sequence[int], lengths: Sequence[int], device: torch.device) -> Spans:
        """The stretches that begin at `starts`, in rising order; none of them is empty."""
        length_S1 = torch.tensor(lengths)[:, None]
        offset_L = torch.arange(max(lengths))
        valid_SL = offset_L < length_S1
        index_SL = torch.tensor(starts)[:, None] + torch.where(valid_SL, offset_L, 0)
        whole = len(set(lengths)) == 1
        steps = {later - earlier for earlier, later in pairwise(starts)} or {max(lengths)}
        even = whole and len(steps) == 1
        return cls(index_SL.to(device), valid_SL.to(device), whole, starts[0], steps.pop() if even else None)

    @cached_property
    def tokens(self) -> Tensor:
        """Flat positions of all tokens of all stretches, in order."""
        return self.index_SL[self.valid_SL]

    @cached_property
    def _places(self) -> Tensor:
        """Where in the rows, laid out flat, those tokens are."""
        return self.valid_SL.flatten().nonzero()[:, 0]

    @cached_property
    def _fillers(self) -> Tensor:
        """Where in the rows, laid out flat, another token stands in."""
        return (~self.valid_SL).flatten().nonzero()[:, 0]

    def take(self, value_N: Tensor, filler: float | None = None) -> Tensor:
        """Values of flat tokens [N, ...] as rows [S, L, ...]; filler takes the place of tokens that stand in."""
        if self.step is not None:
            return self._view(value_N, self.step)
        value_X = value_N.index_select(0, self.index_SL.flatten())
        if filler is not None and not self.whole:
            value_X.index_fill_(0, self._fillers, filler)
        value_SL: Tensor = value_X.unflatten(0, self.index_SL.shape)
        return value_SL

    def put(self, value_N: Tensor, value_SL: Tensor) -> None:
        """Writes rows [S, L, ...] to their flat tokens."""
        if self.step is None:
            value_N.index_copy_(0, self.tokens, self.flat(value_SL))
        else:
            self._view(value_N, self.step).copy_(value_SL)

    def add(self, value_N: Tensor, value_SL: Tensor) -> None:
        """Adds rows [S, L, ...] to their flat tokens."""
        if self.step is None:
            value_N.index_add_(0, self.tokens, self.flat(value_SL))
        else:
            self._view(value_N, self.step).add_(value_SL)

    def flat(self, value_SL: Tensor) -> Tensor:
        """Values of rows as flat tokens, in the order of `tokens`."""
        value_X = value_SL.flatten(0, 1)
        return value_X if self.whole else value_X.index_select(0, self._places)

    def _view(self, value_N: Tensor, step: int) -> Tensor:
        rows, length = self.index_SL.shape
        return value_N[self.start : self.start + step * (rows - 1) + length].unfold(0, length, step).movedim(-1, 1)


@dataclass(frozen=True)
class Blocks:
    """Who sees whom in a row of groups: prompts themselves, and completions their prompt and themselves.

    prompts: a stretch for each group. tails: one for each group whose completions feed any token, group_of_tail says
    which; None if there is none. own: one for each completion that feeds any token.
    """

    prompts: Spans
    tails: Spans | None
    own: Spans | None
    group_of_tail: Tensor


@dataclass(frozen=True)
class Pack:
    """One forward pass.

    ids_RT, position_RT: what is fed. predictor_N: flat position whose output predicts token n; target_N: its id;
    completion_N: which completion it belongs to, of num_completions. read_M: the positions that predict any, each once.
    Exactly one of blocks (a row of groups), segment_RT (a row a group: 0 prompt, k its k-th completion, -1 padding) and
    real_RT (a row a completion) is given.
    """

    ids_RT: Tensor
    position_RT: Tensor
    predictor_N: Tensor
    target_N: Tensor
    completion_N: Tensor
    num_completions: int
    read_M: Tensor
    blocks: Blocks | None = None
    segment_RT: Tensor | None = None
    real_RT: Tensor | None = None


def pack_shared(groups: Sequence[TokenGroup], device: torch.device, one_row: bool) -> Pack:
    """The groups with their prompts shared, behind each other in one row or each in a row of its own."""
    lengths = [group.shared_length for group in groups]
    longest = max(lengths)
    starts = list(accumulate(lengths[:-1], initial=0)) if one_row else [g * longest for g in range(len(groups))]
    ids, positions, segments = [], [], []
    predictors: list[int] = []
    owners: list[int] = []
    own_starts: list[int] = []
    for group, start in zip(groups, starts, strict=True):
        prompt = len(group.prompt_ids)
        row_ids, row_positions, row_segments = list(group.prompt_ids), list(range(prompt)), [0] * prompt
        for k, completion in enumerate(group.completions, start=1):
            at, fed = start + len(row_ids), max(len(completion) - 1, 0)
            if completion:
                predictors += [start + prompt - 1, *range(at, at + fed)]
            owners += [len(own_starts)] * len(completion)
            own_starts.append(at)
            row_ids += completion[:fed]
            row_positions += range(prompt, prompt + fed)
            row_segments += [k] * fed
        ids.append(row_ids)
        positions.append(row_positions)
        segments.append(row_segments)
    if one_row:
        ids, positions = [_joined(ids)], [_joined(positions)]
    width = max(map(len, ids))
    return Pack(
        ids_RT=_rows(ids, width, PAD, device),
        position_RT=_rows(positions, width, 0, device),
        predictor_N=torch.tensor(predictors, dtype=torch.long, device=device),
        target_N=_targets(groups, device),
        completion_N=torch.tensor(owners, dtype=torch.long, device=device),
        num_completions=len(own_starts),
        read_M=_each_once(predictors, device),
        blocks=_blocks(groups, starts, own_starts, device) if one_row else None,
        segment_RT=None if one_row else _rows(segments, width, -1, device),
    )


def pack_separate(groups: Sequence[TokenGroup], device: torch.device) -> Pack:
    """Every completion behind its own copy of the prompt, padded on the right."""
    rows = [(group.prompt_ids, completion) for group in groups for completion in group.completions]
    fed = [[*prompt, *completion[: max(len(completion) - 1, 0)]] for prompt, completion in rows]
    width = max(map(len, fed))
    predictors = [
        r * width + len(prompt) - 1 + n for r, (prompt, ids) in enumerate(rows) for n in range(len(ids))
    ]  # the prompt's last token predicts the first of the completion
    ids_RT = _rows(fed, width, PAD, device)
    return Pack(
        ids_RT=ids_RT,
        position_RT=torch.arange(width, device=device).expand_as(ids_RT),
        predictor_N=torch.tensor(predictors, dtype=torch.long, device=device),
        target_N=_targets(groups, device),
        completion_N=torch.tensor([r for r, (_, ids) in enumerate(rows) for _ in ids], dtype=torch.long, device=device),
        num_completions=len(rows),
        read_M=_each_once(predictors, device),
        real_RT=_rows([[1] * len(row) for row in fed], width, 0, device),
    )


def block_mask(pack: Pack, window: int | None = None) -> Tensor:
    """Who sees whom in packs of one row a group [R, 1, T, T], bool. window: how many positions back a token sees."""
    assert pack.segment_RT is not None
    distance_RTT = pack.position_RT[:, :, None] - pack.position_RT[:, None, :]
    return _sees(pack.segment_RT[:, :, None], pack.segment_RT[:, None, :], distance_RTT, window)[:, None]


def flex_mask(pack: Pack, window: int | None = None) -> Any:
    """The same for flex attention, which leaves out the blocks of pairs of tokens in which nobody sees anybody."""
    from torch.nn.attention.flex_attention import create_block_mask

    rows, width = pack.ids_RT.shape
    return create_block_mask(who_sees_whom(pack, window), rows, None, width, width, device=pack.ids_RT.device)


def who_sees_whom(pack: Pack, window: int | None) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Of row, head, query and key, as flex attention asks it: whether the query sees the key."""
    segment_RT, position_RT = pack.segment_RT, pack.position_RT
    assert segment_RT is not None

    def sees(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        distance = position_RT[row, query] - position_RT[row, key]
        return _sees(segment_RT[row, query], segment_RT[row, key], distance, window)

    return sees


def _sees(query: Tensor, key: Tensor, distance: Tensor, window: int | None) -> Tensor:
    """Whether a token of one segment sees one of another, so many positions before it."""
    sees = ((key == 0) | (key == query)) & (distance >= 0)
    if window is not None:
        sees = sees & (distance < window)
    # Padding sees padding: a row of a softmax over nothing would be NaN.
    return torch.where(query == -1, key == -1, sees)


def _blocks(
    groups: Sequence[TokenGroup], starts: Sequence[int], own_starts: Sequence[int], device: torch.device
) -> Blocks:
    prompts = [len(group.prompt_ids) for group in groups]
    tails = [group.shared_length - len(group.prompt_ids) for group in groups]
    own = [max(len(ids) - 1, 0) for group in groups for ids in group.completions]
    with_tail = [g for g, length in enumerate(tails) if length]
    fed = [b for b, length in enumerate(own) if length]
    return Blocks(
        prompts=Spans.of(starts, prompts, device),
        tails=Spans.of([starts[g] + prompts[g] for g in with_tail], [tails[g] for g in with_tail], device)
        if with_tail
        else None,
        own=Spans.of([own_starts[b] for b in fed], [own[b] for b in fed], device) if fed else None,
        group_of_tail=torch.tensor(with_tail, dtype=torch.long, device=device),
    )


def _each_once(predictors: Sequence[int], device: torch.device) -> Tensor:
    """A prompt's last token predicts the first of every completion."""
    return torch.tensor(sorted(set(predictors)), dtype=torch.long, device=device)


def _targets(groups: Sequence[TokenGroup], device: torch.device) -> Tensor:
    ids = [token_id for group in groups for completion in group.completions for token_id in completion]
    return torch.tensor(ids, dtype=torch.long, device=device)


def _joined(rows: Sequence[Sequence[int]]) -> list[int]:
    return [value for row in rows for value in row]


def _rows(rows: Sequence[Sequence[int]], width: int, filling: int, device: torch.device) -> Tensor:
    return torch.tensor([[*row, *[filling] * (width - len(row))] for row in rows], dtype=torch.long).to(device)
