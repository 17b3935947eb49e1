"""The reader's loss, as a pure function of logits and targets."""

from __future__ import annotations

from torch import Tensor


def span_loss(start: Tensor, end: Tensor, start_target: Tensor, end_target: Tensor) -> Tensor:
    """Mean cross-entropy of start and end, (CE(start) + CE(end)) / 2, averaged over windows.

    Logits and targets are [windows, length]; logits of tokens that cannot be chosen are very low.
    Each target row is a distribution: 1 on a token, or shared among the tokens that several
    annotators chose; on token 0 where the window holds no answer.
    """
    start_ce = -(start_target * start.float().log_softmax(-1)).sum(-1)
    end_ce = -(end_target * end.float().log_softmax(-1)).sum(-1)
    return (start_ce + end_ce).mean() / 2
