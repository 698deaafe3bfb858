void $name$_stream_reset($name$_stream *stream)
{
//% if decision
    $name$_decision_reset(&stream->decision);
//% endif
    stream->since = 0;
    stream->newest = 0;
    stream->begun = 0;
}

const $name$_state *$name$_stream_step($name$_stream *stream, const $name$_input *x)
{
    const $name$_state *ended = 0;
    uint32_t age = 0;
    unsigned i, slot;
    if (stream->begun == 0 || stream->since == $NAME$_HOP) {
        if (stream->begun > 0)
            stream->newest = (uint16_t)((stream->newest + 1u) % $NAME$_STATES);
        if (stream->begun < $NAME$_STATES)
            stream->begun++;
        $name$_reset(&stream->states[stream->newest]);
        stream->since = 0;
    }
    age = stream->since++;
    slot = stream->newest;
    for (i = 0; i < stream->begun && age < $NAME$_WINDOW; i++) {
        $name$_step(&stream->states[slot], x);
        if (age == $NAME$_WINDOW - 1)
            ended = &stream->states[slot];
        age += $NAME$_HOP;
        slot = (slot + $NAME$_STATES - 1) % $NAME$_STATES;
    }
    return ended;
}
//% if decision

int $name$_stream_decide($name$_stream *stream, const $name$_proba *proba)
{
    return $name$_decide(&stream->decision, proba);
}
//% endif
