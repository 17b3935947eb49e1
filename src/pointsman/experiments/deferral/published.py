"""What the recorded systems take, fixed before anything was measured.

Parameters times members of the ensemble, in millions: for one question work grows with both. Sizes are
those of the systems' papers where these name them, else of the nearest published relative, rounded; a
cost is right to a factor, and the tables show what a wrong factor changes. Money is US dollars for a
thousand answers, by the list prices of early 2023 at about 60 tokens of question and 60 of answer.
"""

from __future__ import annotations

SQUAD: dict[str, tuple[str, float]] = {
    "LogisticRegressionBaseline_Stanford": ("logistic regression", 0.2),
    "DynamicChunkReader_IBM": ("chunk reader", 3.0),
    "MatchLSTM_AnsPtr_Boundary_Ensemble_SMU": ("Match-LSTM, ensemble", 12.0),
    "CoAttention_AI2_UW": ("co-attention", 4.0),
    "SpanClassifier_GoogleNYC": ("span classifier", 5.0),
    "RaSoR_ensemble_GoogleNY": ("RaSoR, ensemble", 25.0),
    "rnet_MSRA": ("R-NET", 8.0),
    "rnetplus_ensemble_MSRA": ("R-NET+, ensemble", 160.0),
    "SLQAplus_ensemble_Alibaba": ("SLQA+, ensemble", 200.0),
    "BERT_ensemble_GoogleAI": ("BERT, ensemble", 2_380.0),
}
"""File -> name and millions of parameters, cheapest first but for families. BERT: seven of 340 million."""

JUDGED: dict[str, tuple[str, float]] = {
    "fid": ("FiD", 0.10),
    "chatgpt": ("ChatGPT", 0.24),
    "gpt35": ("GPT-3.5", 2.4),
    "newbing": ("Bing Chat", 5.0),
    "gpt4": ("GPT-4", 5.4),
}
"""System -> name and dollars for a thousand answers; FiD at what a small GPU costs, Bing Chat as GPT-4's
answer with a search, less its discount."""
