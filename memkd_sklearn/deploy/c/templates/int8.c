//% extends "student.c"

/*
//% block notes
   Input: int16_t, for each channel the standardised value in units of 2^-$bits$, saturated: a reading
   further than $2 ** (15 - bits)$ standard deviations from the mean counts as that far.
   $name$_step_raw(&state, values) takes the integers of a sensor, int32_t, and standardises them
   exactly, in 64 bits. $name$_quantise(values, x) makes x of floats, and nothing else computes in
   floating point; NaN counts as the mean. The linker drops functions that are not called
   (-ffunction-sections -fdata-sections, -Wl,--gc-sections).
   Probabilities: uint16_t in units of 2^-15.
   Integer arithmetic, 32 bits at most; weights are int16_t.

//% endblock
*/

//% block interface
void $name$_quantise(const float *values, int16_t *x);
void $name$_quantise_raw(const int32_t *values, int16_t *x);
void $name$_step_raw($name$_state *state, const int32_t *values);
//% endblock

//% block functions
/* An arithmetic right shift. Compilers may choose how >> shifts a negative number; nearly all
   choose this. By 16 or 8, processors of 8 bits need not shift at all. */
#define $NAME$_SHIFT(a, bits) ((-1 >> 1) == -1 || (a) >= 0 ? (a) >> (bits) : ~(~(a) >> (bits)))

static int32_t $name$_shift(int32_t a, int bits)
{
    return $NAME$_SHIFT(a, bits);
}

static int32_t $name$_weight(const int16_t *w)
{
    return (int16_t)$NAME$_WORD(w);
}

/* The next weights' sum over hidden states. */
static int32_t $name$_recall(const int16_t **weights, const int16_t *h)
{
    const int16_t *w = *weights;
    int32_t sum = 0;
    int j;
    for (j = 0; j < $size$; j++)
        sum += $name$_weight(w++) * h[j];
    *weights = w;
    return sum;
}

/* A unit's sum: after its hidden states' follow the bits to drop, a bias, and weights of inputs. */
static int32_t $name$_row(const int16_t **weights, int32_t sum, const int16_t *x, int n_x)
{
    const int16_t *w = *weights;
    uint16_t drop = (uint16_t)$NAME$_WORD(w++);
    sum = $name$_shift(sum + $name$_weight(w++) * 32768, drop >> 8);
    for (; n_x > 0; n_x--)
        sum += $name$_weight(w++) * *x++;
    *weights = w;
    return $name$_shift($name$_shift(sum, drop & 255) + 1, 1);
}

/* A gate, from 0 to 32768: three terms of the series of s around the nearest value of the table,
   by d = s (1 - s), d (1 - 2 s), d (1 - 6 d). */
static uint16_t $name$_sigmoid(int32_t a)
{
    uint16_t s;
    int16_t index, part, slope, bend;
    int32_t t;
    if (a > $largest_sum$)
        a = $largest_sum$;
    else if (a < -$largest_sum$)
        a = -$largest_sum$;
    t = a * $2 ** (16 - step)$ + 32768;
    index = (int16_t)$NAME$_SHIFT(t, 16);
    part = (int16_t)(a - index * ((int32_t)1 << $step$));
    s = $NAME$_WORD($name$_table + $largest_sum // 2 ** step$ + index);
    slope = (int16_t)(s - (uint16_t)(((uint32_t)s * s + 32767) >> 16));
    t = (int32_t)(int16_t)(10922 - slope) * part * 2 + 32768;
    t = 32768 - (int32_t)s + $NAME$_SHIFT(t, 16);
    t = t * part * 2 + 32768;
    bend = (int16_t)$NAME$_SHIFT(t, 16);
    t = (int32_t)slope * part * 8 + 32768;
    slope = (int16_t)$NAME$_SHIFT(t, 16);
    t = (int32_t)slope * bend + 2048;
    t = $NAME$_SHIFT(t, 12) + (int32_t)slope * 16 + (int32_t)s * 64 + 64;
    return (uint16_t)((t * 2) >> 8);
}

static int16_t $name$_narrow(int32_t h)
{
    return h > 32767 ? 32767 : (int16_t)h;
}

static int32_t $name$_tanh(int32_t a)
{
    return 2 * (int32_t)$name$_sigmoid(2 * a) - 32768;
}

//% if cell != "rnn"
static int32_t $name$_round(int32_t a, int bits)
{
    return $name$_shift(a + ((int32_t)1 << (bits - 1)), bits);
}

/* a * gate / 2^15 of any a, rounded, in 32 bits. */
static int32_t $name$_times(int32_t a, uint16_t gate)
{
    int32_t high = $NAME$_SHIFT(a, 16);
    uint32_t low = (uint32_t)(a - high * 65536) * (uint32_t)gate + 16384;
    return high * gate * 2 + (int32_t)(low >> 15);
}

//% endif
//% if cell == "gru"
static void $name$_layer(const int16_t *w, const int16_t *x, int n_x, int16_t *h, int32_t *c)
{
    int j;
    for (j = 0; j < $size$; j++) {
        uint16_t reset = $name$_sigmoid($name$_row(&w, $name$_recall(&w, h), x, n_x));
        uint16_t update = $name$_sigmoid($name$_row(&w, $name$_recall(&w, h), x, n_x));
        int32_t candidate = $name$_times($name$_row(&w, $name$_recall(&w, h), x, 0), reset);
        candidate = $name$_tanh(candidate + $name$_row(&w, 0, x, n_x)) * $2 ** (memory_bits - 15)$;
        c[j] = candidate + $name$_times(c[j] - candidate, update);
    }
    /* Now that every unit has read the old states of all. */
    for (j = 0; j < $size$; j++)
        h[j] = $name$_narrow($name$_round(c[j], $memory_bits - 15$));
}

//% else
//% set memory = ", int32_t *c" if cell == "lstm" else ""
static void $name$_layer(const int16_t *w, const int16_t *x, int n_x, int16_t *h$memory$)
{
    int16_t next[$size$]; /* every unit reads the old states of all */
    int j;
    for (j = 0; j < $size$; j++) {
//% if cell == "lstm"
        uint16_t enter = $name$_sigmoid($name$_row(&w, $name$_recall(&w, h), x, n_x));
        uint16_t keep = $name$_sigmoid($name$_row(&w, $name$_recall(&w, h), x, n_x));
        int32_t candidate = $name$_tanh($name$_row(&w, $name$_recall(&w, h), x, n_x));
        uint16_t out = $name$_sigmoid($name$_row(&w, $name$_recall(&w, h), x, n_x));
        c[j] = $name$_times(c[j], keep) + $name$_round(enter * candidate, $30 - memory_bits$);
        if (c[j] > $largest_memory$)
            c[j] = $largest_memory$;
        else if (c[j] < -$largest_memory$)
            c[j] = -$largest_memory$;
        candidate = $name$_tanh($name$_round(c[j], $memory_bits - 15$));
        next[j] = $name$_narrow($name$_round(out * candidate, 15));
//% else
        next[j] = $name$_narrow($name$_tanh($name$_row(&w, $name$_recall(&w, h), x, n_x)));
//% endif
    }
    for (j = 0; j < $size$; j++)
        h[j] = next[j];
}

//% endif
static void $name$_scores(const $name$_state *state, int32_t *scores)
{
    const int16_t *w = $name$_head_w, *h = state->h[$n_layers - 1$];
    int k;
    for (k = 0; k < $NAME$_CLASSES; k++)
        scores[k] = $name$_row(&w, $name$_recall(&w, h), h, 0);
}

void $name$_step($name$_state *state, const int16_t *x)
{
    $name$_layer($name$_layer_0_w, x, $n_channels$, $fields | of_layer(0)$);
//% for layer in range(1, n_layers)
    $name$_layer($name$_layer_$layer$_w, state->h[$layer - 1$], $size$, $fields | of_layer(layer)$);
//% endfor
}

void $name$_predict_proba(const $name$_state *state, uint16_t *proba)
{
    int32_t scores[$NAME$_CLASSES], top;
    uint32_t sum = 0;
    int k;
    $name$_scores(state, scores);
    top = scores[0];
    for (k = 1; k < $NAME$_CLASSES; k++)
        if (scores[k] > top)
            top = scores[k];
    for (k = 0; k < $NAME$_CLASSES; k++) {
        /* exp(-a) = sigmoid(-a) / sigmoid(a) */
        int32_t above = $name$_sigmoid(top - scores[k]);
        scores[k] = (32768 - above) * 32768 / above;
        sum += (uint32_t)scores[k];
    }
    for (k = 0; k < $NAME$_CLASSES; k++)
        proba[k] = (uint16_t)((uint32_t)scores[k] * 32768u / sum);
}

void $name$_quantise(const float *values, int16_t *x)
{
    int i;
    for (i = 0; i < $NAME$_CHANNELS; i++) {
        float value = values[i] - $NAME$_FLOAT($name$_offset + 2 * i);
        value = (value - $NAME$_FLOAT($name$_offset + 2 * i + 1)) * $NAME$_FLOAT($name$_gain + i);
        if (value != value)
            value = 0.0f;
        else if (value < -32768.0f)
            value = -32768.0f;
        else if (value > 32767.0f)
            value = 32767.0f;
        x[i] = (int16_t)(value < 0.0f ? value - 0.5f : value + 0.5f);
    }
}

void $name$_quantise_raw(const int32_t *values, int16_t *x)
{
    int i;
    for (i = 0; i < $NAME$_CHANNELS; i++) {
        int64_t value = (int64_t)values[i] - $NAME$_LONG($name$_origin + i);
        int bits = $NAME$_BYTE($name$_bits + i);
        value = value * $NAME$_LONG($name$_factor + i) + $NAME$_LONG($name$_rest + i);
        value += (int64_t)1 << (bits - 1);
        value = value < 0 ? ~(~value >> bits) : value >> bits;
        x[i] = (int16_t)(value < -32768 ? -32768 : value > 32767 ? 32767 : value);
    }
}

void $name$_step_raw($name$_state *state, const int32_t *values)
{
    int16_t x[$NAME$_CHANNELS];
    $name$_quantise_raw(values, x);
    $name$_step(state, x);
}

//% endblock

//% block mismatch
            if (proba[k] != $NAME$_WORD(expected++))
//% endblock
