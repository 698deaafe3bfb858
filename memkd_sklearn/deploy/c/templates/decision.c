void $name$_decision_reset($name$_decision *decision)
{
    int k;
    for (k = 0; k < $NAME$_CLASSES; k++)
        decision->votes[k] = 0;
    decision->holding = 0;
}

int $name$_decide($name$_decision *decision, const $name$_proba *proba)
{
    $decision.votes_type$ votes;
    int best = 0, count = 0, k, voted;
    for (k = 1; k < $NAME$_CLASSES; k++)
        if (proba[k] > proba[best])
            best = k;
    voted = best != $decision.rest$;
//% if decision.threshold
    voted = voted && proba[best] >= $decision.threshold$;
//% endif
    for (k = 0; k < $NAME$_CLASSES; k++) {
        votes = ($decision.votes_type$)(decision->votes[k] << 1);
        decision->votes[k] = ($decision.votes_type$)((votes | (voted && k == best)) & $decision.mask$);
    }
    if (decision->holding > 0) {
        decision->holding--;
        return -1;
    }
    for (votes = decision->votes[best]; votes > 0; votes = ($decision.votes_type$)(votes & (votes - 1)))
        count++;
    if (!voted || count < $decision.n$)
        return -1;
    decision->holding = $decision.hold_off$;
    return best;
}
