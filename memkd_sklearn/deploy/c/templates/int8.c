//% extends "student.c"

/*
//% block notes
   Input: int16_t, for each channel the standardised value in units of 2^-$bits$, saturated: what is
   further than $2 ** (15 - bits)$ standard deviations from the mean counts as that far.
   $name$_step_raw(&state, values) takes the integers of a sensor, int32_t, and standardises them
   exactly, in 64 bits. $name$_quantise(values, x) makes x of floats, and is all that computes in
   floating point; NaN counts as the mean. The linker drops what is not called
   (-ffunction-sections -fdata-sections, -Wl,--gc-sections).
   Probabilities: uint16_t in units of 2^-15. Integer arithmetic, 32 bits at most; weights are
   int8_t, and four more bits of two in a byte.

//% endblock
*/

//% block interface
void $name$_quantise(const float *values, int16_t *x);
void $name$_quantise_raw(const int32_t *values, int16_t *x);
void $name$_step_raw($name$_state *state, const int32_t *values);
//% endblock

//% block functions
typedef struct {
    const int8_t *w;      /* the upper eight bits of each weight of twelve */
    const uint8_t *lower; /* the other four, two to a byte */
    const uint8_t *multiplier;
    int down, before, after;
    unsigned at;
} $name$_rows;

/* An arithmetic right shift. What >> does to a negative number is the compiler's choice; nearly
   all choose this. */
static int32_t $name$_shift(int32_t a, int bits)
{
    return (-1 >> 1) == -1 || a >= 0 ? a >> bits : ~(~a >> bits);
}

static int32_t $name$_round(int32_t a, int bits)
{
    return $name$_shift(a + ((int32_t)1 << (bits - 1)), bits);
}

/* Of twelve bits. */
static int32_t $name$_weight(const $name$_rows *r, unsigned at)
{
    return r->w[at] * (int32_t)16 + ((r->lower[at / 2] >> (at % 2 * 4)) & 15);
}

/* A part of a row of weights over one vector. */
static int32_t $name$_part($name$_rows *r, const int16_t *v, int n)
{
    unsigned at = r->at;
    int32_t sum = 0;
    int i;
    for (i = 0; i < n; i++)
        sum += $name$_weight(r, at++) * v[i];
    r->at = at;
    return sum;
}

static int32_t $name$_row($name$_rows *r, const int16_t *x, int n_x, const int16_t *h, int n_h)
{
    int32_t of_inputs = $name$_part(r, x, n_x), sum = $name$_part(r, h, n_h);
    sum += $name$_weight(r, r->at++) * 32768; /* the bias */
    sum = of_inputs + $name$_shift(sum, r->down);
    return $name$_round($name$_shift(sum, r->before) * *r->multiplier++, r->after);
}

static int32_t $name$_sigmoid(int32_t a)
{
    int32_t size = a < 0 ? -a : a, index, part, value, slope, bend;
    if (size > $(n_values - 1) * 2 ** step$)
        size = $(n_values - 1) * 2 ** step$;
    index = (size + ((int32_t)1 << ($step$ - 1))) >> $step$;
    part = size - index * ((int32_t)1 << $step$);
    value = $name$_table[index];
    /* Three terms of the series of s(-size): d = s (1 - s), d (1 - 2 s), d (1 - 6 d). */
    slope = (value * (65536 - value) + 32768) >> 16;
    bend = 32768 - value - $name$_round((10922 - slope) * part, 15);
    bend = 65536 - $name$_round(bend * part, 15);
    value = 64 * value - $name$_round($name$_round(slope * part, 13) * bend, 12);
    value = $name$_round(value, 7);
    return a < 0 ? value : 32768 - value;
}

static int16_t $name$_narrow(int32_t h)
{
    return h > 32767 ? 32767 : (int16_t)h;
}

static int32_t $name$_tanh(int32_t a)
{
    return 2 * $name$_sigmoid(2 * a) - 32768;
}

//% if cell != "rnn"
/* a * gate / 2^15 of any a, rounded, in 32 bits. */
static int32_t $name$_times(int32_t a, int32_t gate)
{
    int32_t high = $name$_shift(a, 15);
    return high * gate + (((a - high * 32768) * gate + 16384) >> 15);
}

//% endif
//% if cell == "rnn"
static void $name$_layer($name$_rows r, const int16_t *x, int n_x, int16_t *h)
//% else
static void $name$_layer($name$_rows r, const int16_t *x, int n_x, int16_t *h, int32_t *c)
//% endif
{
    int16_t fresh[$size$]; /* every unit reads the old state of all */
    int j;
    for (j = 0; j < $size$; j++) {
//% if cell == "lstm"
        int32_t enter = $name$_sigmoid($name$_row(&r, x, n_x, h, $size$));
        int32_t keep = $name$_sigmoid($name$_row(&r, x, n_x, h, $size$));
        int32_t candidate = $name$_tanh($name$_row(&r, x, n_x, h, $size$));
        int32_t out = $name$_sigmoid($name$_row(&r, x, n_x, h, $size$));
        c[j] = $name$_times(c[j], keep) + $name$_round(enter * candidate, $30 - memory_bits$);
        if (c[j] > $largest_memory$)
            c[j] = $largest_memory$;
        else if (c[j] < -$largest_memory$)
            c[j] = -$largest_memory$;
        candidate = $name$_tanh($name$_round(c[j], $memory_bits - 15$));
        fresh[j] = $name$_narrow($name$_round(out * candidate, 15));
//% elif cell == "gru"
        int32_t reset = $name$_sigmoid($name$_row(&r, x, n_x, h, $size$));
        int32_t update = $name$_sigmoid($name$_row(&r, x, n_x, h, $size$));
        int32_t candidate = $name$_row(&r, x, n_x, h, 0);
        candidate += $name$_times($name$_row(&r, x, 0, h, $size$), reset);
        candidate = $name$_tanh(candidate) * $2 ** (memory_bits - 15)$;
        c[j] = candidate + $name$_times(c[j] - candidate, update);
        fresh[j] = $name$_narrow($name$_round(c[j], $memory_bits - 15$));
//% else
        fresh[j] = $name$_narrow($name$_tanh($name$_row(&r, x, n_x, h, $size$)));
//% endif
    }
    for (j = 0; j < $size$; j++)
        h[j] = fresh[j];
}

//% macro sums(block, rows)
$name$_$block$_w, $name$_$block$_lower, $name$_$block$_multiplier, $rows.down$, $rows.before$, $rows.after$, 0
//%- endmacro
static void $name$_scores(const $name$_state *state, int32_t *scores)
{
    $name$_rows r = {$sums("head", head)$};
    int k;
    for (k = 0; k < $NAME$_CLASSES; k++)
        scores[k] = $name$_row(&r, state->h[$n_layers - 1$], 0, state->h[$n_layers - 1$], $size$);
}

void $name$_step($name$_state *state, const int16_t *x)
{
//% for rows in layers
    $name$_rows r$loop.index0$ = {$sums("layer_%d" % loop.index0, rows)$};
//% endfor
    $name$_layer(r0, x, $n_channels$, $fields | of_layer(0)$);
//% for layer in range(1, n_layers)
    $name$_layer(r$layer$, state->h[$layer - 1$], $size$, $fields | of_layer(layer)$);
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
        float value = values[i] - $name$_offset[2 * i] - $name$_offset[2 * i + 1];
        value *= $name$_gain[i];
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
        int64_t value = (int64_t)values[i] - $name$_origin[i];
        int bits = $name$_bits[i];
        value = value * $name$_factor[i] + $name$_rest[i] + ((int64_t)1 << (bits - 1));
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
