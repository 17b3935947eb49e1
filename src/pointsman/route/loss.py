"""The contrastive loss of a query expert over document vectors that stay as they are."""

from __future__ import annotations

from torch import Tensor, nn


def contrastive_loss(similarities: Tensor, positive: Tensor, temperature: float) -> Tensor:
    """InfoNCE (arXiv 1807.03748) with any number of positives a row; a scalar.

    `similarities` [n, m] are cosines of n queries and m documents, `positive` [n, m] says which
    documents are relevant (at least one a row). With t the temperature, P_i the positives of row i
    and N_i all its other documents,

        L = mean_i mean_{p in P_i}  -log( e^{s_ip/t} / (e^{s_ip/t} + Σ_{j in N_i} e^{s_ij/t}) )

    so a document that is relevant as well is no negative. With one positive a row this is the
    cross-entropy over in-batch negatives of RouterRetriever's experts (arXiv 2409.02685).
    """
    logits = similarities / temperature
    negatives = logits.masked_fill(positive, float("-inf")).logsumexp(-1, keepdim=True)
    # -log(e^a / (e^a + e^b)) = log(1 + e^(b - a)); a row without negatives has none to lose to.
    losses = nn.functional.softplus(negatives - logits).masked_fill(~positive, 0.0)
    return (losses.sum(-1) / positive.sum(-1)).mean()
